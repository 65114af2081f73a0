//! What was asked for, validated: the one `Config` that every dialect is lowered to.
//!
//! Whoever holds a [`Config`] may trust it: names are unique, bounds are kept, every service has a
//! backend, every host leads to one service. Nothing here is optional that has a safe default.

use std::net::SocketAddr;
use std::time::Duration;

use lb_core::Cidr;
use lb_core::config::ServiceConfig;

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
    /// What is served. At least one.
    pub services: Vec<Service>,
}

/// The process: workers, client connections, drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// Worker threads; `None` is one per core.
    pub workers: Option<usize>,
    /// Whether the configuration is read anew when its file changes.
    pub watch: bool,
    /// How long exchanges may take to finish after SIGTERM.
    pub drain_timeout: Duration,
    /// Client connections open at once, in total. Beyond it accepting pauses.
    pub connections_max: usize,
    /// From a connection's (or the next request's) first byte to the end of its head.
    pub header_timeout: Duration,
    /// How long a client connection may stay open between two requests.
    pub keep_alive_timeout: Duration,
    /// Bytes of a request's or response's head.
    pub header_bytes_max: usize,
    /// Header lines of a request or response.
    pub headers_max: usize,
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
    pub bind: SocketAddr,
    /// Names that it answers to besides `localhost` and addresses, lower case.
    pub hosts: Vec<String>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its address.
    pub bind: SocketAddr,
    /// Whether each connection begins with a header of the PROXY protocol, and is from a trusted
    /// proxy.
    pub proxy_protocol: bool,
}

/// One service: what the core decides by, and what the proxy needs besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Pools and policies.
    pub core: ServiceConfig,
    /// Host names that lead here, lower case: exact, `*.example.com`, or `*` for any other.
    pub hosts: Vec<String>,
    /// Where each backend is, in the order of `core.pools` and their backends.
    pub origins: Vec<Origin>,
    /// What a backend sees as `Host`.
    pub host: HostPolicy,
    /// Bytes of a request body kept so that it can be sent again.
    pub replay_buffer: usize,
    /// Kept connections to backends.
    pub keep_alive: KeepAlive,
    /// What is spoken with backends.
    pub protocol: Protocol,
    /// In which version backends are told of the client before the first byte, if at all.
    pub proxy_protocol: Option<ProxyProtocol>,
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
    /// The port, 80 where the url names none.
    pub port: u16,
}

/// What a backend sees as `Host`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPolicy {
    /// What the client sent.
    Client,
    /// The backend's own host and port.
    Backend,
}

/// Kept connections to backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// Idle connections kept per backend and worker. 0 closes each after one exchange.
    pub idle_max: usize,
    /// How long one may be idle.
    pub idle_timeout: Duration,
    /// How old one may be that another exchange begins on.
    pub age_max: Duration,
}
