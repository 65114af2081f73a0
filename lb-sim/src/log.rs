//! What happened in a run, in order: the core's events, and what the simulator's own clients and
//! origins saw. Invariants, expectations, trace and report are all read off this one log.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lb_core::{Event, ExchangeId, Explanation, Time};
use lb_server::{Snapshot, Tap};

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// When, since the world began.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The proxy's core said so.
    Core(Event),
    /// What a choice was made from, where somebody asked to be told.
    Explained {
        /// Of which exchange.
        exchange: ExchangeId,
        /// For people.
        text: String,
    },
    /// A client sent a request.
    Sent {
        /// Its number in the workload.
        request: u32,
        /// Whether it is a POST.
        post: bool,
    },
    /// A client's request came to its end.
    Ended {
        /// Its number in the workload.
        request: u32,
        /// How.
        end: End,
        /// Which exchange it was, as far as the client was told.
        exchange: Option<ExchangeId>,
        /// How long it took.
        took: Duration,
    },
    /// The head of a request reached an origin.
    Reached {
        /// Which origin, by its place in the scenario.
        origin: usize,
        /// Which exchange it belongs to.
        exchange: ExchangeId,
        /// Whether it is a POST.
        post: bool,
        /// What the origin will answer.
        status: u16,
        /// Which user sent it, if the workload has users.
        user: Option<u32>,
    },
    /// An origin closed a connection that was idle.
    HungUp {
        /// Which origin, by its place in the scenario.
        origin: usize,
    },
    /// Somebody connected to an origin that closes idle connections.
    Connected {
        /// Which origin, by its place in the scenario.
        origin: usize,
    },
    /// A fault began, by its place in the scenario.
    FaultBegan(usize),
    /// A fault was over, by its place in the scenario.
    FaultEnded(usize),
    /// All requests have ended, and this many leases are held on each backend of each service.
    Quiet(Vec<u32>),
    /// The proxy was told to drain, and ended.
    Drained,
}

/// How a client's request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A whole answer with this status.
    Answered(u16),
    /// An answer with this status that broke off, as its client could see.
    Broken(u16),
    /// An answer with this status that ended as if it were whole, and was not what the origin sends.
    PassedOff(u16),
    /// The client could not connect, or its connection broke before there was an answer.
    Failed,
    /// The client waited for too long and hung up.
    TimedOut,
}

impl End {
    /// Whether the client got what it asked for.
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Answered(..500))
    }
}

/// The log while it is being written. Everybody in the world has a handle.
#[derive(Clone, Debug, Default)]
pub struct Log {
    entries: Arc<Mutex<Vec<Entry>>>,
    explains: bool,
}

impl Log {
    /// A log that also says what choices were made from, if `explains`.
    pub fn new(explains: bool) -> Self {
        Self { explains, ..Self::default() }
    }

    /// Writes down that `what` happens now.
    pub fn write(&self, what: What) {
        let at = turmoil::sim_elapsed().unwrap_or_default();
        self.write_at(at, what);
    }

    /// Writes down that `what` happened at `at`, where nobody in the world can tell the time.
    pub fn write_at(&self, at: Duration, what: What) {
        // A poisoned log belongs to a run that has panicked, and is reported as such.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(Entry { at, what });
    }

    /// Everything that was written.
    pub fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut *self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Tap for Log {
    fn on(&self, _now: Time, _snapshot: &Snapshot, event: &Event) {
        self.write(What::Core(*event));
    }

    fn explains(&self) -> bool {
        self.explains
    }

    fn explained(&self, explanation: &Explanation<'_>) {
        let (exchange, text) = (explanation.exchange, explanation.to_string());
        self.write(What::Explained { exchange, text });
    }
}
