//! Where a client's connection comes from, as far as is known before the first request.

use std::net::SocketAddr;

use http::HeaderValue;

/// What TLS says of a client.
#[derive(Clone, Debug)]
pub(crate) struct Secure {
    /// Who it has proved to be, if it was asked and said so, as backends are told it.
    pub(crate) certificate: Option<HeaderValue>,
}

/// Where a connection comes from, and how.
#[derive(Clone, Debug)]
pub(crate) struct Whence {
    /// Its address, unless it came by a Unix socket.
    pub(crate) peer: Option<SocketAddr>,
    /// What it connected to.
    pub(crate) local: Option<SocketAddr>,
    /// What TLS says of the client, where it is spoken.
    pub(crate) secure: Option<Secure>,
}
