//! A new connection to a backend: an address, a socket, and what is spoken on it.
//!
//! Where a name has several addresses they are tried in turn, each a moment after the one before it
//! and beside it, and the first that connects is taken (RFC 8305 §5): an address that leads nowhere
//! costs a moment and not the attempt, and then it is tried last for a while.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lb_config::config::{Alpn, Protocol, ProxyProtocol, Tcp};
use lb_core::Failure;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::distrust::distrusted;
use crate::doors::is_exhausted;
use crate::gateway::Gateway;
use crate::names;
use crate::platform::{Address, Io};
use crate::proxy_protocol::{Ends, announce};
use crate::snapshot::Endpoint;
use crate::tls::Why;

/// A connection on which nothing was said.
pub(crate) struct Wire {
    pub(crate) io: Box<dyn Io>,
    pub(crate) speaks: Speaks,
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http1,
    Http2,
}

/// Whom a connection is said to be for, before anything else is said on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Announced {
    pub(crate) version: ProxyProtocol,
    /// `None`: for the proxy itself.
    pub(crate) ends: Option<Ends>,
}

/// How long an address has before the next is tried beside it (RFC 8305 §8).
const HEAD_START: Duration = Duration::from_millis(250);

/// A new connection to `endpoint` on which `protocol` is spoken. It may wait for ever: the caller has
/// the deadline.
pub(crate) async fn dial(
    gateway: &Arc<Gateway>,
    endpoint: &Endpoint,
    protocol: Protocol,
    announced: Option<Announced>,
) -> Result<Wire, Failure> {
    let mut io = connect(gateway, endpoint).await?;
    if let Some(Announced { version, ends }) = announced {
        let said = announce(&mut io, version, ends).await;
        said.map_err(|_| Failure::ConnectFailed)?;
    }
    if let Some(tls) = &endpoint.tls {
        let connected = tls.connect(io, &endpoint.origin.host, protocol).await;
        let connected = connected.map_err(|error| {
            // Only tunnels have to speak it there, and the backend need not.
            let is_foreign = protocol == Protocol::Http1
                && endpoint.protocol != Protocol::Http1
                && announced.is_none();
            match error.why {
                Why::Incompatible if is_foreign => Failure::NoTunnel,
                _ => distrusted(gateway, endpoint, &error),
            }
        })?;
        let speaks = match connected.alpn {
            Alpn::Http1 => Speaks::Http1,
            Alpn::Http2 => Speaks::Http2,
        };
        return Ok(Wire { io: connected.io, speaks });
    }
    let speaks = match protocol {
        Protocol::Http2 => Speaks::Http2,
        Protocol::Auto | Protocol::Http1 => Speaks::Http1,
    };
    Ok(Wire { io, speaks })
}

/// A socket, on which nothing was said.
pub(crate) async fn connect(
    gateway: &Arc<Gateway>,
    endpoint: &Endpoint,
) -> Result<Box<dyn Io>, Failure> {
    let (platform, tcp) = (&gateway.platform, endpoint.tcp);
    let dial = async |addr| platform.dial(addr, tcp).await.map_err(|error| failure_of(&error));
    if let Some(addr) = &endpoint.literal {
        return dial(addr.clone()).await;
    }
    let at = |ip| SocketAddr::new(ip, endpoint.origin.port);
    match names::addresses(gateway, &endpoint.origin).await[..] {
        [] => Err(Failure::NoAddress),
        [only] => dial(Address::Ip(at(only))).await,
        ref several => {
            let all = several.iter().copied().map(at);
            let (won, io) = race(gateway, &endpoint.origin.host, all, tcp).await?;
            gateway.names.won(&endpoint.origin.host, won, gateway.now());
            Ok(io)
        }
    }
}

/// Tries all addresses of `host`, one a moment after the other, and says which of them is the first to
/// connect. Those that are too late are closed.
async fn race(
    gateway: &Arc<Gateway>,
    host: &str,
    mut addresses: impl Iterator<Item = SocketAddr>,
    tcp: Tcp,
) -> Result<(IpAddr, Box<dyn Io>), Failure> {
    let mut before = None;
    let mut running = JoinSet::new();
    let mut failure = Failure::NoAddress;
    let mut next = Instant::now();
    loop {
        if running.is_empty() || next <= Instant::now() {
            let Some(addr) = addresses.next() else {
                match running.join_next().await {
                    Some(ended) => match settled(ended) {
                        Ok(won) => return Ok(won),
                        Err(why) => failure = why,
                    },
                    None => return Err(failure),
                }
                continue;
            };
            let platform = Arc::clone(&gateway.platform);
            if let Some(before) = before.replace(addr.ip()) {
                gateway.names.lost(host, before, gateway.now());
            }
            let dial = async move { Ok((addr.ip(), platform.dial(addr.into(), tcp).await?)) };
            running.spawn_local(dial);
            next = Instant::now() + HEAD_START;
        }
        tokio::select! {
            biased;
            Some(ended) = running.join_next() => match settled(ended) {
                Ok(won) => return Ok(won),
                Err(why) => failure = why,
            },
            () = sleep_until(next) => {}
        }
    }
}

fn settled<T>(ended: Result<io::Result<T>, tokio::task::JoinError>) -> Result<T, Failure> {
    ended.expect("dialing does not panic").map_err(|error| failure_of(&error))
}

fn failure_of(error: &io::Error) -> Failure {
    if is_exhausted(error) {
        return Failure::Exhausted;
    }
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => Failure::Exhausted,
        io::ErrorKind::ConnectionRefused => Failure::ConnectRefused,
        io::ErrorKind::TimedOut => Failure::ConnectTimeout,
        _ => Failure::ConnectFailed,
    }
}
