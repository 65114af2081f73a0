//! What was asked for, validated: the one `Config` that every dialect is lowered to.
//!
//! Whoever holds a [`Config`] may trust it: names are unique, bounds are kept, every pool has a
//! backend or a place where some are found, every service is reached, every host leads to one
//! service. Nothing here is optional that has a safe default.

mod discovery;
mod socket;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lb_core::Cidr;
use lb_core::config::{EditConfig, RoutingConfig, ServiceConfig};

pub use discovery::{Discovery, DiscoverySource, Dns, Family, Format, Found, Priority, State};
pub use socket::{Address, Socket, Tcp, TcpKeepAlive};

/// A whole configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The process: workers, client connections, drain.
    pub server: Server,
    /// Whose word on where a request comes from counts.
    pub trust: Trust,
    /// Where the admin listener is, if anywhere.
    pub admin: Option<Admin>,
    /// What is logged of each exchange.
    pub access_log: AccessLog,
    /// Where spans are sent, if anywhere.
    pub tracing: Option<Tracing>,
    /// Where clients connect. At least one.
    pub listeners: Vec<Listener>,
    /// What is served. At least one. Configurations that have one in common may share it.
    pub services: Vec<Arc<Service>>,
    /// Which requests go where: the routes of the file, and those that services' hosts are. Services
    /// are meant by their place.
    pub routing: Arc<RoutingConfig>,
    /// Who is asked about names: of backends, and of lists of them.
    pub dns: Dns,
    /// Where what was learned about backends outlives the process, if it does.
    pub state: Option<State>,
    /// Where exchanges are recorded, if they are.
    pub record: Option<Recording>,
}

/// The process: workers, client connections, drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// Worker threads; `None` is one per core.
    pub workers: Option<usize>,
    /// Whether the configuration is read anew when its file changes.
    pub watch: bool,
    /// How long listeners stay open after SIGTERM, while `/ready` says that the end is near.
    pub shutdown_delay: Duration,
    /// How long exchanges may take to finish after that.
    pub drain_timeout: Duration,
    /// How long a client connection without a request may bring one more meanwhile.
    pub drain_idle_timeout: Duration,
    /// Client connections open at once, in total. Beyond it accepting pauses.
    pub connections_max: usize,
    /// Those of one client address, or of one IPv6 network of 64 bits.
    pub connections_per_client_max: usize,
    /// Requests that one connection may carry.
    pub requests_per_connection_max: u64,
    /// From a connection's (or the next request's) first byte to the end of its head.
    pub header_timeout: Duration,
    /// How long a client connection may stay open between two requests.
    pub keep_alive_timeout: Duration,
    /// Bytes of a request's or response's head.
    pub header_bytes_max: usize,
    /// Bytes of a request's target: its path and query.
    pub target_bytes_max: usize,
    /// Header lines of a request or response.
    pub headers_max: usize,
    /// Bytes of memory that answers over HTTP/2 may take on one client connection before it reads them.
    pub unread_bytes_max: usize,
    /// Whether large bodies of answers may go from socket to socket without being copied (Linux).
    pub splice: bool,
    /// What clients that speak HTTP/2 may do.
    pub http2: Http2,
}

/// What clients that speak HTTP/2 may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// Whether it is spoken at all.
    pub enabled: bool,
    /// Requests at once on a connection.
    pub streams_max: u32,
    /// Requests in each second that a client may take back before they are answered. One that takes
    /// back more loses its connection (CVE-2023-44487).
    pub resets_per_second_max: u32,
}

/// Whose word on where a request comes from counts, and which word.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Trust {
    /// Proxies that are believed. Empty: nobody is.
    pub proxies: Vec<Cidr>,
    /// Where they say it.
    pub client_address: ClientAddress,
}

/// The header field in which trusted proxies name the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ClientAddress {
    /// `X-Forwarded-For`, from the right.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239), from the right.
    Forwarded,
    /// `CF-Connecting-IP`.
    CfConnectingIp,
    /// `X-Real-IP`.
    XRealIp,
    /// `True-Client-IP`.
    TrueClientIp,
}

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Its address.
    pub bind: Address,
    /// Names that it answers to besides `localhost` and addresses, lower case.
    pub hosts: Vec<String>,
}

/// Where exchanges are recorded, so that they can be replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// The path of the file.
    pub file: PathBuf,
    /// Bytes that it may have.
    pub bytes_max: u64,
    /// What happens then.
    pub when_full: WhenFull,
}

/// What happens to a record that has as many bytes as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Nothing more is recorded.
    Stop,
    /// It is renamed to end in `.1`, in place of the one before, and another one begins.
    Rotate,
}

/// What is logged of each exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// Whether one JSON line per exchange is written to standard output.
    pub enabled: bool,
    /// How much it says.
    pub level: Level,
}

/// How much the access log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// What happened.
    Info,
    /// And what each choice was made from.
    Debug,
}

/// Of which requests spans are made, and where they are sent by OTLP over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracing {
    /// The collector, without TLS.
    pub endpoint: Origin,
    /// Of a million requests that nobody has decided about yet, how many are traced.
    pub sample_per_million: u32,
    /// What the spans say they are from.
    pub service_name: String,
}

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its address.
    pub bind: Address,
    /// How its socket behaves.
    pub socket: Socket,
    /// What is agreed on with clients before anything else is said; `None` is plain text.
    pub tls: Option<ListenerTls>,
    /// Whether each connection begins with a header of the PROXY protocol, and is from a trusted
    /// proxy.
    pub proxy_protocol: bool,
}

/// TLS with clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// Whom the listener can prove to be. At least one; the first where no other is asked for.
    pub certificates: Vec<KeyPair>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// What may be spoken over it, the most welcome first. Empty leaves it to HTTP/1.1.
    pub alpn: Vec<Alpn>,
    /// From accepting a connection to the end of the handshake.
    pub handshake_timeout: Duration,
    /// Whether clients have to say who they are.
    pub client_auth: Option<ClientAuth>,
    /// Whether a client may resume its session.
    pub session_tickets: bool,
}

/// A certificate and its key, as the paths of two PEM files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPair {
    /// The certificate, and those between it and its root.
    pub cert: PathBuf,
    /// The private key, not encrypted.
    pub key: PathBuf,
}

/// A version of TLS. Older ones are not spoken at all (RFC 8996).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// What is spoken over TLS, by its name in the handshake (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// `http/1.1`.
    Http1,
    /// `h2`.
    Http2,
}

/// How clients say who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuth {
    /// Whether one without a certificate is turned away.
    pub mode: ClientAuthMode,
    /// The path of a PEM file with the certificates that may vouch for clients.
    pub ca: PathBuf,
}

/// Whether a client without a certificate is turned away. One with a bad one always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthMode {
    /// It is served like any other.
    Optional,
    /// Its handshake fails.
    Required,
}

/// One service: what the core decides by, and what the proxy needs besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Pools and policies.
    pub core: ServiceConfig,
    /// Host names of which all that no route takes leads here, lower case: exact, `*.example.com`, or
    /// `*` for any other. Each is a route in [`Config::routing`].
    pub hosts: Vec<String>,
    /// Where each backend is, in the order of `core.pools` and their backends.
    pub origins: Vec<Origin>,
    /// Where more backends are found, at most once per pool, in the order of the pools. Pools that are
    /// not named here have at least one backend.
    pub discovery: Vec<Discovery>,
    /// What a backend sees as `Host`.
    pub host: HostPolicy,
    /// Bytes of a request's body.
    pub body_bytes_max: u64,
    /// Bytes of a request body kept so that it can be sent again.
    pub replay_buffer: usize,
    /// Connections to backends, and how they are kept.
    pub keep_alive: KeepAlive,
    /// What is spoken with backends.
    pub protocol: Protocol,
    /// What TCP does on connections to backends.
    pub tcp: Tcp,
    /// What backends with an `https://` url are held to.
    pub tls: ServiceTls,
    /// What is changed in requests and answers, whichever route leads here.
    pub edits: Arc<EditConfig>,
    /// In which version backends are told of the client before the first byte, if at all.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Whether its backends are asked for tunnels by CONNECT.
    pub allow_connect: bool,
}

/// A version of HAProxy's PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// What is spoken with backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// What TLS agrees on, and HTTP/1.1 without it.
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, over TLS or, where the url says `http://`, without it (prior knowledge).
    Http2,
}

/// Where a backend is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// A host name or an IP address (without brackets).
    pub host: String,
    /// The port; where the url names none, 443 with TLS and 80 without.
    pub port: u16,
    /// The Unix socket that it listens at, if it does. Its `host` is `localhost` then.
    pub socket: Option<PathBuf>,
    /// Whether it is spoken to over TLS.
    pub tls: bool,
    /// The address, where whoever named the host told it as well.
    pub at: Option<IpAddr>,
}

/// TLS with backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceTls {
    /// The path of a PEM file with the certificates that may vouch for backends; `None` is those
    /// that browsers trust.
    pub ca: Option<PathBuf>,
    /// Who the proxy says it is, where backends ask.
    pub identity: Option<KeyPair>,
    /// The name that backends have to prove; `None` is the host of their url.
    pub server_name: Option<String>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Whether anybody is believed to be the backend.
    pub insecure_skip_verify: bool,
}

/// What a backend sees as `Host`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPolicy {
    /// What the client sent.
    Client,
    /// The backend's own host and port.
    Backend,
}

/// Connections to backends, and how they are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// Connections to one backend that are open at once, over all workers, idle ones included.
    pub connections_max: usize,
    /// Idle connections kept per backend and worker. 0 closes each after one exchange.
    pub idle_max: usize,
    /// How long one may be idle.
    pub idle_timeout: Duration,
    /// How old one may be that another exchange begins on.
    pub age_max: Duration,
}
