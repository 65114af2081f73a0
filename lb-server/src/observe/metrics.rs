//! Counters of a process, kept by every worker without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lb_core::config::StatusSet;
use lb_core::{
    BackendId, BodyEnd, BreakerState, Event, Failure, Outcome, Rejection, Time, Verdict,
};

use super::latencies::{Latencies, Spread};

/// A count that only goes up.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What was counted of the process since it started.
#[derive(Debug, Default)]
pub(crate) struct Process {
    pub(crate) accept_failures: Count,
    pub(crate) listen_failures: Count,
    /// Connections closed since their client had as many as it may.
    pub(crate) refused_connections: Count,
    /// Times that accepting paused since descriptors or memory had run out.
    pub(crate) accept_pauses: Count,
    /// Bytes of answers that were moved in pipes.
    pub(crate) spliced_bytes: Count,
    /// Connections to the admin listener that found no place there.
    pub(crate) admin_waits: Count,
    pub(crate) refused_requests: Count,
    /// Requests that routes sent elsewhere.
    pub(crate) redirected: Count,
    /// Requests that routes answered.
    pub(crate) responded: Count,
    /// Connections that took back too many requests.
    pub(crate) floods: Count,
    /// Connections to listeners for proxies that had no header that could be believed.
    pub(crate) proxies_refused: Count,
    /// Handshakes of TLS with clients.
    pub(crate) handshakes: Count,
    /// Those in which an earlier session went on.
    pub(crate) handshakes_resumed: Count,
    /// By [`tls::Why`](crate::tls::Why).
    pub(crate) handshakes_failed: [Count; crate::tls::Why::ALL.len()],
    /// Those that did not end in time.
    pub(crate) handshakes_late: Count,
    pub(crate) reloads: Count,
    pub(crate) reloads_failed: Count,
    /// How often what was learned was written down, or could not be.
    pub(crate) state_writes: Count,
    pub(crate) state_failures: Count,
}

/// What was counted of a service and its backends. Reloads keep it.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) service: Arc<ServiceCounts>,
    /// In the order of the service's backends.
    pub(crate) backends: Box<[Arc<BackendCounts>]>,
}

/// What was counted of one service.
#[derive(Debug, Default)]
pub(crate) struct ServiceCounts {
    pub(crate) exchanges: Count,
    pub(crate) retries: Count,
    /// Attempts beside another one that took long.
    pub(crate) hedges: Count,
    /// Exchanges that waited for a place.
    pub(crate) queued: Count,
    /// Clients that left before there was an answer.
    pub(crate) left: Count,
    /// Copies of requests to other services.
    pub(crate) mirrored: Count,
    /// Copies that were not made: too many ran, or the body was not kept.
    pub(crate) mirrors_left_out: Count,
    pub(crate) delivered: [Count; STATUS_CLASSES],
    /// By [`rejection_slot`].
    pub(crate) rejected: [Count; REJECTIONS.len() + Failure::ALL.len()],
    /// By the reason of [`SPOILED`].
    pub(crate) spoiled: [Count; SPOILED.len()],
    pub(crate) withheld: [Count; lb_core::Withheld::ALL.len()],
    pub(crate) ended: [Count; lb_core::BodyEnd::ALL.len()],
    /// How long exchanges took, by [`Close`].
    pub(crate) latencies: [Series; CLOSE_NAMES.len()],
}

/// What was counted of one backend.
#[derive(Debug, Default)]
pub(crate) struct BackendCounts {
    /// How long attempts took, by [`outcome_slot`]. Nothing else counts them.
    pub(crate) latencies: [Series; STATUS_CLASSES + Failure::ALL.len()],
    /// Attempts that nobody waited for any longer: their clients left.
    pub(crate) abandoned: Count,
    /// How often health checks took it out.
    pub(crate) fell: Count,
    pub(crate) opened: Count,
    /// How often it was ejected as an outlier.
    pub(crate) ejected: Count,
}

/// How long things of one kind took, in memory that is taken when there is the first of them: most
/// backends fail in few of the ways that there are.
#[derive(Debug, Default)]
pub(crate) struct Series(OnceLock<Box<Latencies>>);

impl Series {
    fn record(&self, now: Time, took: Duration) {
        self.0.get_or_init(Box::default).record(now, took);
    }

    /// What was recorded, if anything ever was.
    pub(crate) fn get(&self) -> Option<&Latencies> {
        self.0.get().map(|latencies| &**latencies)
    }

    /// How often it was.
    pub(crate) fn count(&self) -> u64 {
        self.get().map_or(0, |latencies| latencies.tally().count())
    }
}

/// How an exchange closed, for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// A backend's answer went out with this status, to its last byte.
    Answered(u16),
    /// We answered ourselves.
    Rejected,
    /// An answer broke off.
    Broken,
    /// The client left before the last byte.
    Left,
}

/// The labels of [`Close`].
pub(crate) const CLOSE_NAMES: [&str; STATUS_CLASSES + 3] =
    ["1xx", "2xx", "3xx", "4xx", "5xx", "rejected", "broken", "left"];

impl Close {
    /// How an exchange closed whose answer had this status and `end`ed like that.
    pub(crate) const fn of(status: u16, end: BodyEnd) -> Self {
        match end {
            BodyEnd::Complete => Self::Answered(status),
            BodyEnd::ClientLeft => Self::Left,
            _ => Self::Broken,
        }
    }

    fn slot(self) -> usize {
        match self {
            Self::Answered(status) => status_slot(status),
            Self::Rejected => STATUS_CLASSES,
            Self::Broken => STATUS_CLASSES + 1,
            Self::Left => STATUS_CLASSES + 2,
        }
    }
}

/// 1xx to 5xx.
pub(crate) const STATUS_CLASSES: usize = 5;
/// As written in labels.
pub(crate) const STATUS_CLASS_NAMES: [&str; STATUS_CLASSES] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl Counts {
    /// Counts an event of an exchange of the service.
    pub(crate) fn on(&self, now: Time, event: &Event) {
        let counts = &self.service;
        match event {
            Event::Started { .. } => counts.exchanges.add(1),
            Event::Attempted { attempt, choice, .. } => {
                counts.hedges.add(u64::from(choice.hedge));
                counts.retries.add(u64::from(*attempt > 1 && !choice.hedge));
            }
            Event::Overtaken { .. } => {}
            Event::Concluded { backend, outcome, took, .. } => {
                self.backend(*backend).concluded(now, *outcome, *took);
            }
            Event::Queued { .. } => counts.queued.add(1),
            Event::Delayed { .. } => {}
            Event::Withheld { why, .. } => counts.withheld[*why as usize].add(1),
            Event::Delivered { status, .. } => counts.delivered[status_slot(*status)].add(1),
            Event::Rejected { rejection, .. } => counts.rejected[rejection_slot(*rejection)].add(1),
            Event::Ended { end, .. } => counts.ended[*end as usize].add(1),
            Event::Left { .. } => counts.left.add(1),
            Event::HealthMoved { backend, healthy } => {
                self.backend(*backend).fell.add(u64::from(!healthy));
            }
            Event::Ejected { backend, .. } => self.backend(*backend).ejected.add(1),
            Event::Pardoned { .. } | Event::Hastened { .. } => {}
            Event::BreakerMoved { backend, to, .. } => {
                self.backend(*backend).opened.add(u64::from(*to == BreakerState::Open));
            }
        }
    }

    /// An exchange of the service closed `now`, and had taken `took` since its request came.
    pub(crate) fn closed(&self, now: Time, close: Close, took: Duration) {
        self.service.latencies[close.slot()].record(now, took);
    }

    pub(crate) fn backend(&self, id: BackendId) -> &BackendCounts {
        &self.backends[usize::from(id.backend)]
    }
}

impl BackendCounts {
    fn concluded(&self, now: Time, outcome: Outcome, took: Duration) {
        self.latencies[outcome_slot(outcome)].record(now, took);
    }

    /// What is to be said of all attempts that came to an end.
    pub(crate) fn figures(&self) -> Figures {
        let mut figures = Figures::default();
        for (slot, latencies) in self.latencies.iter().enumerate() {
            let Some(tally) = latencies.get().map(Latencies::tally) else { continue };
            let count = tally.count();
            figures.attempts += count;
            figures.took += tally.sum;
            // What counts against nobody is nobody's error.
            let mut failures = Failure::ALL.into_iter().map(Outcome::Failed);
            let is_nobodys = failures.any(|it| {
                slot == outcome_slot(it) && it.verdict(StatusSet::NONE) == Verdict::Abandoned
            });
            let is_error = slot >= STATUS_CLASSES - 1 && !is_nobodys;
            figures.errors += count * u64::from(is_error);
        }
        figures
    }

    /// How long attempts of the last minutes took, whatever became of them.
    pub(crate) fn spread(&self, now: Time) -> Spread {
        let mut spread = Spread::default();
        self.latencies.iter().filter_map(Series::get).for_each(|it| it.add_to(&mut spread, now));
        spread
    }
}

/// What a backend did, in figures.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Attempts that came to an end.
    pub(crate) attempts: u64,
    /// Those that failed, or were answered 5xx.
    pub(crate) errors: u64,
    /// How long all of them took together.
    took: Duration,
}

impl Figures {
    /// How long an attempt took on average, in milliseconds.
    #[expect(clippy::cast_precision_loss, reason = "a mean needs no more than 52 bits")]
    pub(crate) fn mean_ms(&self) -> f64 {
        match self.attempts {
            0 => 0.0,
            attempts => self.took.as_secs_f64() * 1_000.0 / attempts as f64,
        }
    }
}

fn status_slot(status: u16) -> usize {
    usize::from(status / 100).clamp(1, STATUS_CLASSES) - 1
}

const fn failure_slot(failure: Failure) -> usize {
    failure as usize
}

fn outcome_slot(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Answered(status) => status_slot(status),
        Outcome::Failed(failure) => STATUS_CLASSES + failure_slot(failure),
    }
}

const fn rejection_slot(rejection: Rejection) -> usize {
    match rejection {
        Rejection::NoFitBackend => 0,
        Rejection::DeadlinePassed => 1,
        Rejection::Replaced(_) => 2,
        Rejection::RateLimited(_) => 3,
        Rejection::ClientBusy => 4,
        Rejection::Overloaded => 5,
        Rejection::QueueTimeout => 6,
        Rejection::AttemptFailed(failure) => REJECTIONS.len() + failure_slot(failure),
    }
}

/// Why we answer ourselves, but for failed attempts.
const REJECTIONS: [Rejection; 7] = [
    Rejection::NoFitBackend,
    Rejection::DeadlinePassed,
    Rejection::Replaced(0),
    Rejection::RateLimited(Duration::ZERO),
    Rejection::ClientBusy,
    Rejection::Overloaded,
    Rejection::QueueTimeout,
];

/// The labels of what attempts at a backend came to, in their order.
pub(crate) fn outcome_names() -> impl Iterator<Item = &'static str> {
    STATUS_CLASS_NAMES.into_iter().chain(Failure::ALL.map(Failure::as_str))
}

/// Why we answer an exchange that has begun, for its body.
pub(crate) const SPOILED: [&str; 3] = ["request_timeout", "broken_request", "body_too_large"];

/// The labels of [`ServiceCounts::rejected`] and [`ServiceCounts::spoiled`], in their order.
pub(crate) fn rejection_names() -> impl Iterator<Item = &'static str> {
    let ours = REJECTIONS.map(Rejection::as_str).into_iter();
    ours.chain(Failure::ALL.map(Failure::as_str)).chain(SPOILED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_counted_under_its_own_name() {
        let names: Vec<_> = outcome_names().collect();
        for failure in Failure::ALL {
            assert_eq!(names[outcome_slot(Outcome::Failed(failure))], failure.as_str());
        }
        for status in [100, 204, 304, 404, 523] {
            let outcome = Outcome::Answered(status);
            assert_eq!(names[outcome_slot(outcome)], outcome.as_str());
        }
    }

    #[test]
    fn every_rejection_is_counted_under_its_own_name() {
        let names: Vec<_> = rejection_names().collect();
        for rejection in REJECTIONS.into_iter().chain(Failure::ALL.map(Rejection::AttemptFailed)) {
            assert_eq!(names[rejection_slot(rejection)], rejection.as_str());
        }
    }

    #[test]
    fn every_close_has_a_name_of_its_own() {
        let name = |close: Close| CLOSE_NAMES[close.slot()];
        for end in BodyEnd::ALL {
            let closed = [204, 503].map(|status| name(Close::of(status, end)));
            let expected = match end {
                BodyEnd::Complete => ["2xx", "5xx"],
                BodyEnd::ClientLeft => ["left"; 2],
                _ => ["broken"; 2],
            };
            assert_eq!(closed, expected, "{end:?}");
        }
        assert_eq!(name(Close::Rejected), "rejected");
    }

    #[test]
    fn an_unsent_request_is_no_error() {
        let counts = BackendCounts::default();
        let concluded = |outcome, ms| {
            counts.concluded(Time::ZERO, outcome, Duration::from_millis(ms));
        };
        concluded(Outcome::Failed(Failure::Unsent), 1);
        concluded(Outcome::Failed(Failure::Reset), 2);
        concluded(Outcome::Answered(500), 3);
        concluded(Outcome::Answered(404), 6);
        let figures = counts.figures();
        assert_eq!((figures.attempts, figures.errors, figures.mean_ms()), (4, 2, 3.0));
        assert_eq!(counts.spread(Time::ZERO).count(), 4);
    }
}
