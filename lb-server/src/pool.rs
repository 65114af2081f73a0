//! Kept connections to backends, of one worker.
//!
//! Per backend a stack of idle connections: the one used last is used next, so that the others can
//! grow old and be closed. A connection comes back when the last byte of a response was read and
//! all of the request was written; before it goes out again it is asked whether the backend has
//! closed it meanwhile.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use lb_config::config::KeepAlive;
use lb_core::{BackendId, Failure, Time};
use tokio::time::{Instant, timeout_at};

use crate::body::Upload;
use crate::snapshot::{Endpoint, Snapshot};
use crate::view::View;

/// A connection to a backend, ready for a request.
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<Upload>,
    stack: Rc<Stack>,
    /// Whether it carried a request before.
    pub(crate) reused: bool,
}

struct Idle {
    sender: SendRequest<Upload>,
    since: Time,
}

/// The idle connections of one worker to one backend, oldest first.
pub(crate) struct Stack {
    idle: RefCell<Vec<Idle>>,
    keep_alive: Cell<KeepAlive>,
}

/// Nothing is kept.
const NOTHING: KeepAlive = KeepAlive { idle_max: 0, idle_timeout: Duration::ZERO };

impl Default for Stack {
    fn default() -> Self {
        Self { idle: RefCell::default(), keep_alive: Cell::new(NOTHING) }
    }
}

/// An idle connection that still works, or a new one by `deadline`.
pub(crate) async fn connection(
    view: &View,
    backend: BackendId,
    deadline: Time,
) -> Result<Connection, Failure> {
    let stack = view.stack(backend);
    match stack.take(view.gateway.now()) {
        Some(sender) => Ok(Connection { sender, stack: Rc::clone(stack), reused: true }),
        None => dial(view, backend, deadline).await,
    }
}

/// A new connection by `deadline`.
pub(crate) async fn dial(
    view: &View,
    backend: BackendId,
    deadline: Time,
) -> Result<Connection, Failure> {
    let endpoint = &view.site_of(backend).endpoints[usize::from(backend.backend)];
    let deadline = view.gateway.clock.instant(deadline);
    let sender = timeout_at(deadline, connect(view, endpoint, deadline))
        .await
        .unwrap_or(Err(Failure::ConnectTimeout))?;
    Ok(Connection { sender, stack: Rc::clone(view.stack(backend)), reused: false })
}

impl Connection {
    /// Takes it back when its exchange is over.
    pub(crate) fn give_back(self, now: Time) {
        self.stack.put(self.sender, now);
    }
}

impl Stack {
    /// What may be kept from now on.
    pub(crate) fn allow(&self, keep_alive: KeepAlive) {
        self.keep_alive.set(keep_alive);
        let mut idle = self.idle.borrow_mut();
        let surplus = idle.len().saturating_sub(keep_alive.idle_max);
        idle.drain(..surplus);
    }

    /// Nobody asks for connections from here any more.
    pub(crate) fn retire(&self) {
        self.allow(NOTHING);
    }

    fn take(&self, now: Time) -> Option<SendRequest<Upload>> {
        let oldest = self.oldest_allowed(now);
        let mut idle = self.idle.borrow_mut();
        // One that is not ready is still busy with the end of its last exchange: it stays.
        let newest = idle.iter().rposition(|idle| idle.sender.is_ready());
        let taken = newest.map(|at| idle.remove(at)).filter(|idle| idle.since >= oldest);
        if taken.is_none() {
            idle.retain(|idle| !idle.sender.is_closed() && idle.since >= oldest);
        }
        taken.map(|idle| idle.sender)
    }

    fn put(&self, sender: SendRequest<Upload>, now: Time) {
        let idle_max = self.keep_alive.get().idle_max;
        if sender.is_closed() || idle_max == 0 {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= idle_max {
            idle.remove(0);
        }
        idle.push(Idle { sender, since: now });
    }

    /// Closes what has been idle for too long, or was closed by its backend.
    pub(crate) fn reap(&self, now: Time) {
        let oldest = self.oldest_allowed(now);
        let mut idle = self.idle.borrow_mut();
        idle.retain(|idle| !idle.sender.is_closed() && idle.since >= oldest);
    }

    /// When a connection must have come back at the earliest to be used again at `now`.
    fn oldest_allowed(&self, now: Time) -> Time {
        let idle_for = now - Time::ZERO;
        Time::ZERO + idle_for.saturating_sub(self.keep_alive.get().idle_timeout)
    }
}

/// How often [`Stack::reap`] is worth calling.
pub(crate) fn reap_every(snapshot: &Snapshot) -> Duration {
    let shortest = snapshot.sites.iter().map(|site| site.keep_alive.idle_timeout).min();
    (shortest.unwrap_or(REAP_MAX) / 2).clamp(REAP_MIN, REAP_MAX)
}

/// Bounds on how often idle connections are looked through.
const REAP_MIN: Duration = Duration::from_millis(100);
const REAP_MAX: Duration = Duration::from_secs(5);

/// Tries the addresses of `endpoint` in turn.
async fn connect(
    view: &View,
    endpoint: &Endpoint,
    deadline: Instant,
) -> Result<SendRequest<Upload>, Failure> {
    let addresses = match endpoint.literal {
        Some(addr) => vec![addr],
        None => view
            .gateway
            .platform
            .lookup(&endpoint.origin.host, endpoint.origin.port)
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
        match timeout_at(now + share, dial_one(view, addr)).await {
            Ok(Ok(sender)) => return Ok(sender),
            Ok(Err(error)) => failure = failure_of(&error),
            Err(_) => failure = Failure::ConnectTimeout,
        }
    }
    Err(failure)
}

async fn dial_one(view: &View, addr: SocketAddr) -> io::Result<SendRequest<Upload>> {
    let server = &view.config.server;
    let io = view.gateway.platform.dial(addr).await?;
    let (sender, connection) = Builder::new()
        .max_buf_size(server.header_bytes_max)
        .max_headers(server.headers_max)
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
