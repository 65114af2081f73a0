//! What happened in a run, in order: the core's events, and what the simulator's own clients and
//! origins saw. Invariants, expectations, trace and report are all read off this one log.

mod writing;

use std::time::Duration;

use lb_core::{Event, ExchangeId, Outcome};

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
        /// When it was sent.
        sent: Duration,
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
///
/// A log is one of them. Whoever can make do with less takes what he needs and lets the rest go, so that a
/// run of millions of requests needs no more memory than what is open in it.
pub trait Sink {
    /// `what` happened at `at`.
    fn enter(&mut self, at: Duration, what: What);

    /// What he has to be told of. The rest he may be told or not: a model saves the trouble.
    fn hears(&self) -> Topics {
        Topics::ALL
    }
}

impl Sink for Vec<Entry> {
    fn enter(&mut self, at: Duration, what: What) {
        self.push(Entry { at, what });
    }
}

impl<S: Sink + ?Sized> Sink for &mut S {
    fn enter(&mut self, at: Duration, what: What) {
        (**self).enter(at, what);
    }

    fn hears(&self) -> Topics {
        (**self).hears()
    }
}

/// Two who are told the same.
impl<S: Sink, T: Sink> Sink for (S, T) {
    fn enter(&mut self, at: Duration, what: What) {
        self.0.enter(at, what.clone());
        self.1.enter(at, what);
    }

    fn hears(&self) -> Topics {
        self.0.hears().and(self.1.hears())
    }
}

/// Nobody, who hears nothing.
impl Sink for () {
    fn enter(&mut self, _at: Duration, _what: What) {}

    fn hears(&self) -> Topics {
        Topics::NONE
    }
}

/// What entries are about, for whoever listens to some of them only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topics(u32);

impl Topics {
    /// Everything.
    pub const ALL: Self = Self(u32::MAX);
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// An exchange began.
    pub const STARTED: Self = Self(1);
    /// A backend was chosen.
    pub const ATTEMPTED: Self = Self(1 << 1);
    /// An attempt came to an answer.
    pub const ANSWERED: Self = Self(1 << 2);
    /// A backend's answer goes out.
    pub const DELIVERED: Self = Self(1 << 3);
    /// The body of an answer has ended.
    pub const BODY_ENDED: Self = Self(1 << 4);
    /// An exchange was answered by the proxy itself.
    pub const REJECTED: Self = Self(1 << 5);
    /// A client has left.
    pub const LEFT: Self = Self(1 << 6);
    /// Another attempt will be made later.
    pub const DELAYED: Self = Self(1 << 7);
    /// The core tells of an exchange: it waits in line, an attempt is overtaken, a retry is withheld.
    pub const ASIDE: Self = Self(1 << 8);
    /// Something has become of a backend.
    pub const BACKEND: Self = Self(1 << 9);
    /// A client sent a request.
    pub const SENT: Self = Self(1 << 10);
    /// A client's request came to its end.
    pub const ENDED: Self = Self(1 << 11);
    /// A request reached an origin.
    pub const REACHED: Self = Self(1 << 12);
    /// Tunnels open and end.
    pub const TUNNELS: Self = Self(1 << 13);
    /// The proxy was given another configuration, or serves by it.
    pub const RELOADS: Self = Self(1 << 14);
    /// The proxy was told to drain, is quiet, or has drained.
    pub const DRAINS: Self = Self(1 << 15);
    /// The rest.
    pub const REST: Self = Self(1 << 16);
    /// An attempt failed.
    pub const FAILED: Self = Self(1 << 17);
    /// An attempt came to something.
    pub const CONCLUDED: Self = Self::ANSWERED.and(Self::FAILED);

    /// How many there are to tell apart.
    pub const COUNT: usize = 18;

    /// These and those.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether the one with this number, as [`What::topic`] has it, is among them.
    pub const fn has(self, topic: usize) -> bool {
        self.0 & (1 << topic) != 0
    }

    /// The number of the only one that is among them.
    const fn number(self) -> usize {
        self.0.trailing_zeros() as usize
    }

    /// The number of what an event is about.
    pub(crate) const fn of(event: &Event) -> usize {
        let topic = match event {
            Event::Started { .. } => Self::STARTED,
            Event::Attempted { .. } => Self::ATTEMPTED,
            Event::Concluded { outcome: Outcome::Answered(_), .. } => Self::ANSWERED,
            Event::Concluded { outcome: Outcome::Failed(_), .. } => Self::FAILED,
            Event::Delivered { .. } => Self::DELIVERED,
            Event::Ended { .. } => Self::BODY_ENDED,
            Event::Rejected { .. } => Self::REJECTED,
            Event::Left { .. } => Self::LEFT,
            Event::Delayed { .. } => Self::DELAYED,
            Event::Overtaken { .. } | Event::Queued { .. } | Event::Withheld { .. } => Self::ASIDE,
            Event::Ejected { .. }
            | Event::Pardoned { .. }
            | Event::Hastened { .. }
            | Event::HealthMoved { .. }
            | Event::BreakerMoved { .. } => Self::BACKEND,
        };
        topic.number()
    }
}

impl What {
    /// The number of its topic, below [`Topics::COUNT`].
    pub fn topic(&self) -> usize {
        let topic = match self {
            Self::Core(event) => return Topics::of(event),
            Self::Sent { .. } => Topics::SENT,
            Self::Ended { .. } => Topics::ENDED,
            Self::Reached { .. } => Topics::REACHED,
            Self::TunnelOpened { .. } | Self::TunnelEnded { .. } => Topics::TUNNELS,
            Self::Reloaded(_) | Self::Serves(_) => Topics::RELOADS,
            Self::DrainBegan | Self::Quiet(_) | Self::Drained => Topics::DRAINS,
            Self::Explained { .. }
            | Self::HungUp { .. }
            | Self::SaidGoodbye { .. }
            | Self::CutOff { .. }
            | Self::Connected { .. }
            | Self::FaultBegan(_)
            | Self::FaultEnded(_) => Topics::REST,
        };
        topic.number()
    }
}

/// The status of a request that a limit turned away (RFC 6585 §4).
pub const TOO_MANY: u16 = 429;

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
