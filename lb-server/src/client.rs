//! One client connection, as its requests see it: what it sent, and how long it may be silent.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::framing::{Refusal, Watch};

/// One client connection, as its requests see it.
pub(crate) struct Client {
    pub(crate) peer: SocketAddr,
    watch: Watch,
    requests: Cell<u64>,
    pulse: Rc<Pulse>,
}

impl Client {
    pub(crate) fn new(peer: SocketAddr, watch: Watch) -> Rc<Self> {
        Rc::new(Self { peer, watch, requests: Cell::new(0), pulse: Pulse::new() })
    }

    /// Another request begins.
    pub(crate) fn begin(&self) -> Busy {
        self.requests.set(self.requests.get() + 1);
        self.pulse.busy.set(self.pulse.busy.get() + 1);
        Busy(Rc::clone(&self.pulse))
    }

    /// Why the request that began last must be refused, if it must.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.watch.refusal(self.requests.get().saturating_sub(1))
    }

    /// Whether a body ended early because its client left.
    pub(crate) fn left(&self) -> bool {
        !self.watch.is_malformed()
    }

    /// Waits until the client has been silent for too long: between requests, or
    /// when it takes nothing of an answer, which hyper then asks for no more.
    pub(crate) async fn silent(&self, server: &lb_config::config::Server) {
        loop {
            let now = Instant::now();
            let until = match (self.pulse.busy.get(), self.watch.head_since()) {
                (0, None) => self.pulse.since.get() + server.keep_alive_timeout,
                // The guard sees to it that a head ends.
                (0, Some(_)) => now + server.header_timeout,
                _ => match (self.watch.stuck_since(), self.pulse.patience.get()) {
                    (Some(since), Some(patience)) => (since + patience.idle).min(patience.until),
                    (Some(since), None) => since + server.keep_alive_timeout,
                    (None, _) => now + server.keep_alive_timeout.min(server.header_timeout),
                },
            };
            if until <= now {
                return;
            }
            // A head may begin meanwhile, and its time is shorter: look again by then.
            let look_again = until.min(now + server.header_timeout);
            let _stuck_or_not = timeout_at(look_again, self.watch.stuck()).await;
        }
    }
}

/// Whether a connection is at work, and since when it is not.
#[derive(Debug)]
struct Pulse {
    busy: Cell<u32>,
    since: Cell<Instant>,
    patience: Cell<Option<Patience>>,
}

/// How long a client may leave a backend's answer where it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Without taking any of it.
    pub(crate) idle: Duration,
    /// With all of it.
    pub(crate) until: Instant,
}

impl Pulse {
    fn new() -> Rc<Self> {
        Rc::new(Self {
            busy: Cell::new(0),
            since: Cell::new(Instant::now()),
            patience: Cell::new(None),
        })
    }
}

/// A request that has not been answered to its last byte.
#[derive(Debug)]
pub(crate) struct Busy(Rc<Pulse>);

impl Busy {
    /// A backend's answer begins.
    pub(crate) fn delivers(&self, patience: Patience) {
        self.0.patience.set(Some(patience));
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.patience.set(None);
        self.0.busy.set(self.0.busy.get() - 1);
        self.0.since.set(Instant::now());
    }
}
