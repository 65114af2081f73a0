//! What was asked for, validated: the one `Config` that every dialect is lowered to.
//!
//! Whoever holds a [`Config`] may trust it: names are unique, bounds are kept, every pool has a
//! backend or a place where some are found, every host leads to one service. Nothing here is optional that has a safe default.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use lb_core::config::{BackendConfig, ServiceConfig};

use crate::address::BackendUrl;

/// A whole configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The process: workers, client connections, drain.
    pub server: Server,
    /// Where the admin listener is, if anywhere.
    pub admin: Option<Admin>,
    /// What is logged of each exchange.
    pub access_log: AccessLog,
    /// Where clients connect. At least one.
    pub listeners: Vec<Listener>,
    /// What is served. At least one.
    pub services: Vec<Service>,
    /// Who is asked where discovered backends are.
    pub dns: Dns,
    /// Where what was learned about backends outlives the process, if it does.
    pub state: Option<State>,
}

/// Who is asked where discovered backends are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Name servers. Empty leaves it to the system (`/etc/resolv.conf`, and the hosts file).
    pub servers: Vec<SocketAddr>,
    /// How long one answer may take.
    pub timeout: Duration,
}

/// Where what was learned about backends outlives the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The path of the file.
    pub file: PathBuf,
    /// How old it may be when it is read.
    pub max_age: Duration,
    /// How often it is written.
    pub every: Duration,
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

/// Where clients connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its address.
    pub bind: SocketAddr,
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
    /// Where more backends are found, at most once per pool, in the order of the pools. Pools that are
    /// not named here have at least one backend.
    pub discovery: Vec<Discovery>,
    /// What a backend sees as `Host`.
    pub host: HostPolicy,
    /// Bytes of a request body kept so that it can be sent again.
    pub replay_buffer: usize,
    /// Kept connections to backends.
    pub keep_alive: KeepAlive,
    /// What is spoken with backends.
    pub protocol: Protocol,
}

/// Where backends of a pool are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// The place of the pool in `core.pools`. What is found comes after the backends that stand there.
    pub pool: usize,
    /// Who is asked.
    pub source: DiscoverySource,
    /// The shortest and the longest time from one look to the next. A file is looked at in the shorter.
    pub refresh: RangeInclusive<Duration>,
    /// Whether an answer without a backend is believed.
    pub accepts_empty: bool,
}

/// Who is asked where backends are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiscoverySource {
    /// The addresses of a name: each is a backend.
    Dns {
        /// The name, and what all of its addresses have in common.
        url: BackendUrl,
        /// Of what kind.
        family: Family,
    },
    /// The SRV records of a name (RFC 2782): each target is a backend.
    Srv {
        /// The name.
        name: String,
        /// Which of them.
        priority: Priority,
    },
    /// A file with a list of backends.
    File {
        /// Its path.
        path: PathBuf,
        /// How it is written.
        format: Format,
    },
}

/// Which addresses of a name are backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// All.
    Any,
    /// IPv4 (A records).
    V4,
    /// IPv6 (AAAA records).
    V6,
}

/// Which SRV records of a name are backends of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Those of the lowest priority number, which are to be asked first.
    First,
    /// Those of all higher ones, for a pool behind.
    Others,
    /// All of them alike.
    All,
}

/// How a file with a list of backends is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON (RFC 8259).
    Json,
    /// TOML.
    Toml,
}

/// A backend that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What the core knows of it.
    pub backend: BackendConfig,
    /// Where it is.
    pub origin: Origin,
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
    /// The address, where whoever named the host told it as well.
    pub at: Option<IpAddr>,
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
