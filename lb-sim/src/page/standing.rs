//! How backends stood over a run: spans in which a breaker was not closed, checks had taken a backend
//! out, or it was ejected. The ledger says how each stands; here is only written down when that changed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use lb_core::{BackendId, BreakerState, Event, Time};

use crate::ledger::Ledger;
use crate::log::{Entry, What};
use crate::scenario::Scenario;

/// What speaks against a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// Its breaker lets nothing through.
    Open,
    /// Its breaker lets trials through.
    HalfOpen,
    /// Health checks have taken it out.
    Unhealthy,
    /// It did so much worse than the others that it was taken out.
    Ejected,
}

impl Standing {
    /// All of them, in the order of legends.
    pub(crate) const ALL: [Self; 4] = [Self::Open, Self::HalfOpen, Self::Unhealthy, Self::Ejected];

    /// For people.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "breaker open",
            Self::HalfOpen => "breaker half-open",
            Self::Unhealthy => "out by health checks",
            Self::Ejected => "ejected as an outlier",
        }
    }

    /// The class by which the style sheet knows it.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::HalfOpen => "half",
            Self::Unhealthy => "unhealthy",
            Self::Ejected => "ejected",
        }
    }

    /// Whether the breaker says so; the rest has a lane of its own, as both may be at once.
    pub(crate) const fn is_breaker(self) -> bool {
        matches!(self, Self::Open | Self::HalfOpen)
    }
}

/// When it was so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Band {
    /// From when to when.
    pub(crate) span: Range<Duration>,
    /// What.
    pub(crate) standing: Standing,
}

/// Follows the backends through a log.
pub(crate) struct Standings<'s> {
    ledger: Ledger<'s>,
    /// What began and has not ended; an ejection ends by itself.
    begun: BTreeMap<(BackendId, Standing), (Duration, Option<Duration>)>,
    bands: BTreeMap<BackendId, Vec<Band>>,
}

impl<'s> Standings<'s> {
    pub(crate) fn new(scenario: &'s Scenario) -> Self {
        Self { ledger: Ledger::new(scenario), begun: BTreeMap::new(), bands: BTreeMap::new() }
    }

    /// The ledger hears of backends alone: what it knows of exchanges is not needed here.
    pub(crate) fn enter(&mut self, entry: &Entry) {
        let whose = match &entry.what {
            What::Core(
                Event::HealthMoved { backend, .. }
                | Event::Ejected { backend, .. }
                | Event::Pardoned { backend }
                | Event::BreakerMoved { backend, .. },
            ) => vec![*backend],
            // A reload forgets those that it leaves out.
            What::Serves(_) => self.begun.keys().map(|(backend, _)| *backend).collect(),
            _ => return,
        };
        self.ledger.enter(entry);
        for backend in whose {
            for standing in Standing::ALL {
                self.follow(backend, standing, entry.at);
            }
        }
    }

    fn follow(&mut self, backend: BackendId, standing: Standing, now: Duration) {
        let ledger = &self.ledger;
        let until = ledger.ejected.get(&backend).map(|until| since(*until));
        let (is, until) = match standing {
            Standing::Open => (ledger.breaker(backend) == BreakerState::Open, None),
            Standing::HalfOpen => (ledger.breaker(backend) == BreakerState::HalfOpen, None),
            Standing::Unhealthy => (ledger.unhealthy.contains(&backend), None),
            Standing::Ejected => (until.is_some_and(|until| until > now), until),
        };
        let key = (backend, standing);
        match self.begun.get(&key).copied() {
            // The same ejection, or the same state, goes on.
            Some((_, known)) if is && known == until => {}
            Some((from, known)) => {
                self.begun.remove(&key);
                self.close(key, from..known.map_or(now, |known| known.min(now)));
                if is {
                    self.begun.insert(key, (now, until));
                }
            }
            None if is => drop(self.begun.insert(key, (now, until))),
            None => {}
        }
    }

    fn close(&mut self, (backend, standing): (BackendId, Standing), span: Range<Duration>) {
        self.bands.entry(backend).or_default().push(Band { span, standing });
    }

    /// All bands, when the run is over.
    pub(crate) fn end(mut self, end: Duration) -> BTreeMap<BackendId, Vec<Band>> {
        for (key, (from, until)) in std::mem::take(&mut self.begun) {
            self.close(key, from..until.map_or(end, |until| until.min(end)).max(from));
        }
        for bands in self.bands.values_mut() {
            bands.sort_by_key(|band| (band.span.start, band.standing));
        }
        self.bands
    }
}

/// A point in the core's time as the log has it.
fn since(at: Time) -> Duration {
    Duration::from_micros(at.as_micros())
}
