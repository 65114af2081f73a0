//! What happened in a run, in order: the core's events, and what the simulator's own clients and
//! origins saw. Invariants, expectations, trace and report are all read off this one log.

mod writing;

use std::time::Duration;

use lb_core::{Event, ExchangeId};

pub use writing::Log;

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
    /// An origin said GOAWAY on a connection.
    SaidGoodbye {
        /// Which origin, by its place in the scenario.
        origin: usize,
    },
    /// The proxy hung up on a client that meant harm.
    CutOff {
        /// Which attack, by its place in the scenario.
        attack: usize,
    },
    /// Somebody connected to an origin that closes idle connections, or says GOAWAY.
    Connected {
        /// Which origin, by its place in the scenario.
        origin: usize,
    },
    /// A fault began, by its place in the scenario.
    FaultBegan(usize),
    /// A fault was over, by its place in the scenario.
    FaultEnded(usize),
    /// A client's connection speaks another protocol from now on.
    TunnelOpened {
        /// Its number among the tunnels.
        tunnel: u32,
        /// Which exchange it was.
        exchange: Option<ExchangeId>,
    },
    /// It has come to its end, or did not come about.
    TunnelEnded {
        /// Its number among the tunnels.
        tunnel: u32,
        /// How.
        end: TunnelEnd,
        /// Words that its client said and heard again.
        words: u32,
    },
    /// The proxy was given its next configuration; the first reload is 1.
    Reloaded(usize),
    /// The first request arrives that is served by that configuration; from here on all are.
    Serves(usize),
    /// The proxy was told to drain while requests arrive.
    DrainBegan,
    /// All requests have ended, and this many leases are held on each backend of each service.
    Quiet(Vec<u32>),
    /// The proxy was told to drain, and ended.
    Drained,
}

/// Whoever is told what happens, in order.
pub trait Sink {
    /// `what` happened at `at`.
    fn enter(&mut self, at: Duration, what: What);
}

impl Sink for Vec<Entry> {
    fn enter(&mut self, at: Duration, what: What) {
        self.push(Entry { at, what });
    }
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

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelEnd {
    /// Its client was done.
    Done,
    /// It did not come about.
    Refused,
    /// Somebody else ended it.
    CutOff,
    /// A word did not come back, or came back as another.
    Garbled,
}
