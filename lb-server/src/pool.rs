//! Kept connections to backends, of one worker.
//!
//! Per backend a stack of idle connections: the one used last is used next, so that the others can
//! grow old and be closed. A connection comes back when the last byte of a response was read and
//! all of the request was written; before it goes out again it is asked whether the backend has
//! closed it meanwhile.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use lb_core::{Failure, Time};
use tokio::time::{Instant, timeout_at};

use crate::body::Upload;
use crate::gateway::{Endpoint, Gateway, Site};

/// A connection to a backend, ready for a request.
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<Upload>,
    place: Place,
    /// Whether it carried a request before.
    pub(crate) reused: bool,
}

/// Whose connection it is: a backend's place in the configuration.
#[derive(Clone, Copy)]
struct Place {
    site: usize,
    endpoint: usize,
}

struct Idle {
    sender: SendRequest<Upload>,
    since: Time,
}

/// The idle connections of one worker: by site, by endpoint, oldest first.
pub(crate) struct Pool {
    idle: RefCell<Vec<Vec<Vec<Idle>>>>,
}

impl Pool {
    pub(crate) fn new(gateway: &Gateway) -> Self {
        let endpoints = |site: &Site| site.endpoints.iter().map(|_| Vec::new()).collect();
        Self { idle: RefCell::new(gateway.sites.iter().map(endpoints).collect()) }
    }

    /// An idle connection that still works, or a new one by `deadline`.
    pub(crate) async fn connection(
        &self,
        gateway: &Gateway,
        backend: lb_core::BackendId,
        deadline: Time,
    ) -> Result<Connection, Failure> {
        let place = Place { site: backend.service.into(), endpoint: backend.backend.into() };
        match self.take_idle(gateway, place) {
            Some(sender) => Ok(Connection { sender, place, reused: true }),
            None => self.dial(gateway, backend, deadline).await,
        }
    }

    /// A new connection by `deadline`.
    pub(crate) async fn dial(
        &self,
        gateway: &Gateway,
        backend: lb_core::BackendId,
        deadline: Time,
    ) -> Result<Connection, Failure> {
        let place = Place { site: backend.service.into(), endpoint: backend.backend.into() };
        let endpoint = &gateway.sites[place.site].endpoints[place.endpoint];
        let deadline = gateway.clock.instant(deadline);
        let sender = timeout_at(deadline, connect(gateway, endpoint, deadline))
            .await
            .unwrap_or(Err(Failure::ConnectTimeout))?;
        Ok(Connection { sender, place, reused: false })
    }

    fn take_idle(&self, gateway: &Gateway, place: Place) -> Option<SendRequest<Upload>> {
        let mut idle = self.idle.borrow_mut();
        let stack = &mut idle[place.site][place.endpoint];
        let oldest = oldest_allowed(gateway, place.site);
        // One that is not ready is still busy with the end of its last exchange: it stays.
        let newest = stack.iter().rposition(|idle| idle.sender.is_ready());
        let taken = newest.map(|at| stack.remove(at)).filter(|idle| idle.since >= oldest);
        if taken.is_none() {
            stack.retain(|idle| !idle.sender.is_closed() && idle.since >= oldest);
        }
        taken.map(|idle| idle.sender)
    }

    /// Takes a connection back whose exchange is over.
    pub(crate) fn give_back(&self, gateway: &Gateway, connection: Connection) {
        let Connection { sender, place, .. } = connection;
        let idle_max = gateway.sites[place.site].keep_alive.idle_max;
        if sender.is_closed() || idle_max == 0 {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let stack = &mut idle[place.site][place.endpoint];
        if stack.len() >= idle_max {
            stack.remove(0);
        }
        stack.push(Idle { sender, since: gateway.clock.now() });
    }

    /// Closes what has been idle for too long, or was closed by its backend.
    pub(crate) fn reap(&self, gateway: &Gateway) {
        for (site, stacks) in self.idle.borrow_mut().iter_mut().enumerate() {
            let oldest = oldest_allowed(gateway, site);
            for stack in stacks {
                stack.retain(|idle| !idle.sender.is_closed() && idle.since >= oldest);
            }
        }
    }

    /// How often [`Pool::reap`] is worth calling.
    pub(crate) fn reap_every(gateway: &Gateway) -> Duration {
        let shortest = gateway.sites.iter().map(|site| site.keep_alive.idle_timeout).min();
        (shortest.unwrap_or(REAP_MAX) / 2).clamp(REAP_MIN, REAP_MAX)
    }
}

/// Bounds on how often idle connections are looked through.
const REAP_MIN: Duration = Duration::from_millis(100);
const REAP_MAX: Duration = Duration::from_secs(5);

/// When a connection must have come back at the earliest to be used again now.
fn oldest_allowed(gateway: &Gateway, site: usize) -> Time {
    let idle_for = gateway.clock.now() - Time::ZERO;
    Time::ZERO + idle_for.saturating_sub(gateway.sites[site].keep_alive.idle_timeout)
}

/// Tries the addresses of `endpoint` in turn.
async fn connect(
    gateway: &Gateway,
    endpoint: &Endpoint,
    deadline: Instant,
) -> Result<SendRequest<Upload>, Failure> {
    let addresses = match endpoint.literal {
        Some(addr) => vec![addr],
        None => gateway
            .platform
            .lookup(&endpoint.host, endpoint.port)
            .await
            .map_err(|_| Failure::NoAddress)?,
    };
    let mut failure = Failure::NoAddress;
    let mut left = addresses.len();
    for addr in addresses {
        // Each address gets an even share of the time that is left.
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now) / u32::try_from(left).unwrap_or(1);
        left -= 1;
        match timeout_at(now + share, dial_one(gateway, addr)).await {
            Ok(Ok(sender)) => return Ok(sender),
            Ok(Err(error)) => failure = failure_of(&error),
            Err(_) => failure = Failure::ConnectTimeout,
        }
    }
    Err(failure)
}

async fn dial_one(gateway: &Gateway, addr: SocketAddr) -> io::Result<SendRequest<Upload>> {
    let io = gateway.platform.dial(addr).await?;
    let (sender, connection) = Builder::new()
        .max_buf_size(gateway.config.server.header_bytes_max)
        .max_headers(gateway.config.server.headers_max)
        .handshake(TokioIo::new(io))
        .await
        .map_err(io::Error::other)?;
    // What goes wrong on a connection is told to the exchange that uses it; between exchanges the
    // sender knows that it is closed.
    tokio::task::spawn_local(async move {
        let _told_elsewhere = connection.await;
    });
    Ok(sender)
}

fn failure_of(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::ConnectRefused,
        io::ErrorKind::TimedOut => Failure::ConnectTimeout,
        _ => Failure::ConnectFailed,
    }
}
