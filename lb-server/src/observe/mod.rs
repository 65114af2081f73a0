//! Readers of the core's events: counters, the access log, and whoever else listens.

mod journal;
mod made;
mod latencies;
mod metrics;
mod why;
mod exposition;
pub(crate) mod trace;

use lb_core::{Ask, Event, Explanation, Input, Time};

pub(crate) use exposition::{Format, exposition};
pub(crate) use journal::{Journal, RequestFacts};
pub use latencies::Latencies;
pub(crate) use latencies::{SHARES, Spread};
pub(crate) use metrics::{BackendCounts, Counts, Process};
pub(crate) use trace::Trace;
pub(crate) use trace::export::{Export, Exporter, queue};

use crate::snapshot::Snapshot;

/// Hears every event of a process: the simulator's ledger, for one.
pub trait Tap: Send + Sync {
    /// `event` happened at `now`, to what was served by `snapshot`, whose numbers it has for services
    /// and backends. Called where it happened: be quick.
    fn on(&self, now: Time, snapshot: &Snapshot, event: &Event);

    /// An exchange begins at a service of `snapshot`: all that is known of it, before it is decided on.
    fn begins(&self, now: Time, snapshot: &Snapshot, service: u16, ask: &Ask<'_>) {
        let _ = (now, snapshot, service, ask);
    }

    /// The core was handed `input` at `now`, by the numbers of `snapshot`, and goes by it next.
    fn hears(&self, now: Time, snapshot: &Snapshot, input: Input) {
        let _ = (now, snapshot, input);
    }

    /// Whether it wants to know what choices are made from.
    fn explains(&self) -> bool {
        false
    }

    /// What the next choice is made from, where it [`explains`](Self::explains).
    fn explained(&self, explanation: &Explanation<'_>) {
        let _ = explanation;
    }
}

/// Takes a line of the access log for each exchange, without its line end.
pub trait AccessSink: Send + Sync {
    /// Called when the exchange is over, on its worker's thread: be quick, and never wait.
    fn line(&self, line: &[u8]);

    /// Lines that were lost because nobody read them fast enough, or they could not be written.
    fn lost(&self) -> u64 {
        0
    }
}

/// Takes what an operator may want to know, a line or more at a time: what discovery found, say.
pub trait Notices: Send + Sync {
    /// Called when it happens, seldom, and on a worker's thread: be quick, and never wait.
    fn say(&self, notice: &str);

    /// Notices that were lost because nobody took them fast enough, or they could not be written.
    fn lost(&self) -> u64 {
        0
    }
}
