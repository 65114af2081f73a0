//! Sockets: where somebody listens, and how connections behave.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where somebody listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// A Unix socket, by its path.
    Unix(PathBuf),
}

impl Address {
    /// The IP address and port, if it has them.
    pub const fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(addr) => Some(*addr),
            Self::Unix(_) => None,
        }
    }

    /// Whether the system is to choose the port.
    pub fn leaves_port_open(&self) -> bool {
        self.ip().is_some_and(|addr| addr.port() == 0)
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        Self::Ip(addr)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(addr) => write!(out, "{addr}"),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

/// How a listening socket behaves, and the connections that come in by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Connections that may wait to be accepted, for each worker.
    pub backlog: u16,
    /// What TCP does on its connections.
    pub tcp: Tcp,
    /// Whether an IPv6 socket leaves IPv4 alone.
    pub ipv6_only: bool,
    /// Who may connect to a Unix socket: the permissions of its file.
    pub mode: u32,
}

impl Socket {
    /// What a socket is like of which nothing is said.
    pub const DEFAULT: Self =
        Self { backlog: 4_096, tcp: Tcp::DEFAULT, ipv6_only: false, mode: 0o660 };
}

/// What TCP does on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Whether small pieces are sent at once (no Nagle's algorithm).
    pub nodelay: bool,
    /// Whether a peer that says nothing is asked if it is still there, and how often.
    pub keepalive: Option<TcpKeepAlive>,
}

impl Tcp {
    /// What it does if nothing is said.
    pub const DEFAULT: Self = Self { nodelay: true, keepalive: Some(TcpKeepAlive::DEFAULT) };
}

/// When the kernel asks a peer that says nothing if it is still there. Whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpKeepAlive {
    /// How long it may say nothing.
    pub idle: Duration,
    /// From one question to the next.
    pub interval: Duration,
    /// Questions without an answer after which it is gone.
    pub count: u32,
}

impl TcpKeepAlive {
    /// A peer that has gone is noticed within two minutes, which is less than most middleboxes take
    /// to forget a connection that says nothing.
    pub const DEFAULT: Self =
        Self { idle: Duration::from_secs(60), interval: Duration::from_secs(10), count: 6 };
}
