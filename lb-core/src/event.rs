//! What happened, in the past tense: the one vocabulary of metrics, logs, traces and invariants.
//!
//! The core tells, and whoever implements [`Observe`] listens. Nothing is counted anywhere else,
//! so the access log, `/metrics` and the simulator's ledger cannot disagree about the facts.

use core::time::Duration;

use crate::balance::How;
use crate::breaker::{BreakerState, Role};
use crate::exchange::Ask;
use crate::explain::Explanation;
use crate::input::Input;
use crate::outcome::{BodyEnd, Outcome};
use crate::outlier::Outlier;
use crate::retry::Withheld;
use crate::steer::Steered;
use crate::time::Time;

/// An exchange's name: unique as long as the process lives, and the name of its dice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId(pub u64);

/// A backend's place: its service's place in the configuration and its own in the service,
/// counted over the pools in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId {
    /// Which service.
    pub service: u16,
    /// Which backend of it.
    pub backend: u16,
}

/// Why an attempt went where it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// In what capacity.
    pub role: Role,
    /// By which pool, counted from 0.
    pub pool: u16,
    /// Why that pool.
    pub steered: Steered,
    /// By what draw.
    pub how: How,
    /// Whether this exchange had tried the backend before: every other fit one was tried as well.
    pub again: bool,
    /// Whether it is made beside another one that takes long.
    pub hedge: bool,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An exchange began.
    Started {
        /// Which.
        exchange: ExchangeId,
        /// At which service.
        service: u16,
        /// Until when it has time.
        deadline: Time,
    },
    /// A backend was chosen for an attempt, and its slot taken.
    Attempted {
        /// Of which exchange.
        exchange: ExchangeId,
        /// Which attempt, counted from 1.
        attempt: u8,
        /// At which backend.
        backend: BackendId,
        /// Why there.
        choice: Choice,
        /// Until when a head must have come.
        deadline: Time,
    },
    /// An attempt came to an answer or to nothing.
    Concluded {
        /// Of which exchange.
        exchange: ExchangeId,
        /// Which attempt, counted from 1.
        attempt: u8,
        /// At which backend.
        backend: BackendId,
        /// What became of it.
        outcome: Outcome,
        /// How long it took.
        took: Duration,
    },
    /// Of two attempts side by side the other was sooner, and this one is given up.
    Overtaken {
        /// Of which exchange.
        exchange: ExchangeId,
        /// Which attempt, counted from 1.
        attempt: u8,
        /// At which backend.
        backend: BackendId,
    },
    /// All places are taken, and the exchange waits for one.
    Queued {
        /// Which.
        exchange: ExchangeId,
        /// Until when, at most.
        until: Time,
    },
    /// Another attempt will be made, later.
    Delayed {
        /// Of which exchange.
        exchange: ExchangeId,
        /// When.
        until: Time,
    },
    /// Another attempt was worth making, and was not made.
    Withheld {
        /// Of which exchange.
        exchange: ExchangeId,
        /// Why not.
        why: Withheld,
    },
    /// A backend's answer goes to the client.
    Delivered {
        /// Of which exchange.
        exchange: ExchangeId,
        /// Whose.
        backend: BackendId,
        /// With which status.
        status: u16,
    },
    /// The exchange is answered by ourselves.
    Rejected {
        /// Which.
        exchange: ExchangeId,
        /// Why.
        rejection: Rejection,
    },
    /// The body of a delivered answer ended.
    Ended {
        /// Of which exchange.
        exchange: ExchangeId,
        /// Whose.
        backend: BackendId,
        /// How.
        end: BodyEnd,
    },
    /// The client left before there was an answer. Told by the driver, which alone can know it.
    Left {
        /// Which exchange.
        exchange: ExchangeId,
    },
    /// A backend does so much worse than the others of its pool that it is taken out.
    Ejected {
        /// Which.
        backend: BackendId,
        /// Until when.
        until: Time,
        /// Why.
        why: Outlier,
    },
    /// What spoke against a backend was forgotten, its ejection with it.
    Pardoned {
        /// Which.
        backend: BackendId,
    },
    /// Checks saw a backend fail and are good again: its open breaker waits no longer.
    Hastened {
        /// Which.
        backend: BackendId,
    },
    /// Checks took a backend out, or brought it back.
    HealthMoved {
        /// Which.
        backend: BackendId,
        /// Whether it is healthy now.
        healthy: bool,
    },
    /// A breaker moved.
    BreakerMoved {
        /// Whose.
        backend: BackendId,
        /// From this state.
        from: BreakerState,
        /// To this one.
        to: BreakerState,
    },
}

impl Event {
    /// The exchange that it happened to; `None` for what becomes of a backend, whoever's request showed it.
    pub const fn exchange(&self) -> Option<ExchangeId> {
        match *self {
            Self::Started { exchange, .. }
            | Self::Attempted { exchange, .. }
            | Self::Concluded { exchange, .. }
            | Self::Overtaken { exchange, .. }
            | Self::Queued { exchange, .. }
            | Self::Delayed { exchange, .. }
            | Self::Withheld { exchange, .. }
            | Self::Delivered { exchange, .. }
            | Self::Rejected { exchange, .. }
            | Self::Ended { exchange, .. }
            | Self::Left { exchange } => Some(exchange),
            Self::BreakerMoved { .. }
            | Self::HealthMoved { .. }
            | Self::Ejected { .. }
            | Self::Pardoned { .. }
            | Self::Hastened { .. } => None,
        }
    }
}

/// Why an exchange is answered by ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// No backend was fit, and the service does not panic.
    NoFitBackend,
    /// The last attempt came to nothing, and there was no other.
    AttemptFailed(crate::Failure),
    /// The last answer, with this status, was not good enough, and the service replaces such.
    Replaced(u16),
    /// The client has made too many requests: the next one may come after this long.
    RateLimited(Duration),
    /// The client has as much in flight as it may have.
    ClientBusy,
    /// As much is in flight as may be, and so much waits already.
    Overloaded,
    /// It has waited for a place for as long as it may.
    QueueTimeout,
    /// The exchange's time was up.
    DeadlinePassed,
}

impl Rejection {
    /// The status a client gets (RFC 9110 §15.6.3–5, RFC 6585 §4).
    pub const fn status(self) -> u16 {
        match self {
            Self::NoFitBackend => 503,
            Self::AttemptFailed(
                crate::Failure::ConnectTimeout
                | crate::Failure::FirstByteTimeout
                | crate::Failure::OutOfTime,
            )
            | Self::DeadlinePassed => 504,
            Self::Replaced(_) | Self::Overloaded | Self::QueueTimeout => 503,
            Self::RateLimited(_) | Self::ClientBusy => 429,
            Self::AttemptFailed(crate::Failure::Exhausted | crate::Failure::Crowded) => 503,
            Self::AttemptFailed(_) => 502,
        }
    }

    /// As written in metrics, logs and error bodies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoFitBackend => "no_fit_backend",
            Self::AttemptFailed(failure) => failure.as_str(),
            Self::Replaced(_) => "backend_error",
            Self::RateLimited(_) => "rate_limited",
            Self::ClientBusy => "client_busy",
            Self::Overloaded => "overloaded",
            Self::QueueTimeout => "queue_timeout",
            Self::DeadlinePassed => "deadline_passed",
        }
    }
}

/// Who is told what happened.
pub trait Observe {
    /// `event` happened at `now`. Called where it happened: be quick.
    fn on(&self, now: Time, event: &Event);

    /// An exchange begins at `now`, at the service of this place. Told before anything is decided.
    fn begins(&self, now: Time, service: u16, ask: &Ask<'_>) {
        let _ = (now, service, ask);
    }

    /// The core was handed `input` at `now`. Told before anything follows from it.
    fn hears(&self, now: Time, input: Input) {
        let _ = (now, input);
    }

    /// Whether it wants to know what choices are made from. That costs a look at every backend.
    fn explains(&self) -> bool {
        false
    }

    /// What the next choice is made from, where it [`explains`](Self::explains).
    fn explained(&self, explanation: &Explanation<'_>) {
        let _ = explanation;
    }
}

/// Listens to nothing.
#[derive(Clone, Copy, Debug)]
pub struct Unobserved;

impl Observe for Unobserved {
    fn on(&self, _now: Time, _event: &Event) {}
}
