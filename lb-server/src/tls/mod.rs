//! TLS on both sides of the proxy: who proves what to whom, over any [`Io`].
//!
//! [`ServerTls`] is what a listener shows to clients, [`ClientTls`] is what a service asks of its
//! backends. Both turn one connection into another, with nothing in between but rustls:
//!
//! ```text
//! accept → ServerTls::accept → Accepted { io, alpn, client_subject } → HTTP
//! dial   → ClientTls::connect → Connected { io, alpn }               → HTTP
//! ```
//!
//! Certificates are files, and files change. What was made of them never does: a snapshot of the
//! configuration has its own, and the next snapshot takes over what is the same, so that sessions go
//! on. A connection that is open never notices. Files that make no sense together make no snapshot
//! ([`Problem`]); where they change under one that is served, what was made of them before stays
//! ([`Renewed`]).
//!
//! Cryptography is aws-lc-rs, named wherever a configuration is built, so that no second provider
//! that another crate brings along can make rustls undecided. It needs a C compiler to build and
//! nothing else.
//!
//! Not here: deadlines (the caller has one around every handshake), sockets, and what time the
//! process thinks it is: rustls asks the system whether a certificate of a peer has expired. The
//! simulator therefore has no TLS. Revocation lists are not looked at.

mod client;
mod files;
mod handshake;
mod names;
mod parts;
mod server;
mod subject;
mod trust;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use lb_config::config::{Alpn, TlsVersion};
use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, aws_lc_rs};

use crate::platform::Io;
pub use client::{ClientTls, Connected};
pub use files::{Files, Loaded, Problem, read};
pub use handshake::{HandshakeError, Why};
pub use parts::Renewed;
pub use server::{Accepted, ServerTls};

/// One that ends without `close_notify` has broken off to whoever speaks TLS; so it has to TCP beneath it.
impl Io for tokio_rustls::server::TlsStream<Box<dyn Io>> {
    fn break_off(&mut self) {
        self.get_mut().0.break_off();
    }
}

impl Io for tokio_rustls::client::TlsStream<Box<dyn Io>> {
    fn break_off(&mut self) {
        self.get_mut().0.break_off();
    }
}

/// Bytes that rustls may hold back for a peer that reads slowly: four records, which leave in one
/// system call. An idle connection holds none.
const BUFFER_MAX: usize = 64 << 10;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// All versions from `min` on.
fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    const FROM_1_3: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
    match min {
        TlsVersion::V1_2 => rustls::ALL_VERSIONS,
        TlsVersion::V1_3 => FROM_1_3,
    }
}

/// As in the handshake.
fn protocols(alpn: &[Alpn]) -> Vec<Vec<u8>> {
    let name = |alpn: &Alpn| match alpn {
        Alpn::Http1 => b"http/1.1".to_vec(),
        Alpn::Http2 => b"h2".to_vec(),
    };
    alpn.iter().map(name).collect()
}

/// What was agreed on; silence is HTTP/1.1.
fn agreed(protocol: Option<&[u8]>) -> Alpn {
    match protocol {
        Some(b"h2") => Alpn::Http2,
        _ => Alpn::Http1,
    }
}
