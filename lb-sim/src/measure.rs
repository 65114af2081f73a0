//! Numbers of a run or a part of it: what expectations compare and reports show.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use hdrhistogram::Histogram;
use lb_core::{BackendId, BreakerState, Event};

use crate::log::{End, Entry, Sink, Topics, What};
use crate::scenario::{Metric, Origin, Phase, Scenario};

/// The requests and attempts of a run, in a form that can be cut by time.
#[derive(Debug)]
pub struct Facts {
    places: Places,
    /// Whether the proxy drains.
    drains: bool,
    requests: Vec<Asked>,
    attempts: Vec<Tried>,
    /// When which user reached which origin.
    visits: Vec<(Duration, u32, usize)>,
    /// When whose breaker moved to what.
    moved: Vec<(Duration, BackendId, BreakerState)>,
    /// How many requests were rejected, by reason.
    rejected: BTreeMap<&'static str, u64>,
}

#[derive(Debug)]
struct Asked {
    sent: Duration,
    end: Option<(End, Duration)>,
    /// Whether the proxy drained, and did not take it.
    turned_away: bool,
}

#[derive(Debug)]
struct Tried {
    at: Duration,
    origin: usize,
    number: u8,
}

/// What was measured of a span of time.
#[derive(Debug)]
pub struct Measure {
    /// How long it is.
    lasts: Duration,
    /// Requests sent in it.
    pub requests: u64,
    /// Those that were not answered below 500.
    pub errors: u64,
    /// Beyond those: what a proxy that drained did not take. Its client asks another.
    pub(crate) turned_away: u64,
    /// Those that were answered, by status.
    answered: BTreeMap<u16, u64>,
    /// Attempts made in it, by origin.
    pub attempts: Vec<u64>,
    /// Those after the first of their exchange.
    pub retries: u64,
    /// The most attempts of one exchange.
    pub attempts_max: u8,
    /// How often a breaker opened.
    pub(crate) opened: u64,
    /// The origins that each user reached.
    homes: BTreeMap<u32, BTreeSet<usize>>,
    /// Latencies of good answers, in microseconds, if somebody asks for them.
    latencies: Option<Histogram<u64>>,
}

/// Longer than any run.
const LATENCY_MAX_US: u64 = 2 * 3_600 * 1_000_000;
/// Three significant digits are what a latency deserves.
const DIGITS: u8 = 3;

impl Sink for Facts {
    fn enter(&mut self, at: Duration, what: What) {
        self.add(&Entry { at, what });
    }

    fn hears(&self) -> Topics {
        let of_requests = Topics::SENT.and(Topics::ENDED).and(Topics::REACHED);
        let of_requests = of_requests.and(Topics::ATTEMPTED).and(Topics::REJECTED);
        of_requests.and(Topics::BACKEND).and(Topics::DRAINS)
    }
}

impl Facts {
    /// Those of a run of `scenario` that is about to begin.
    pub fn new(scenario: &Scenario) -> Self {
        let (requests, attempts, visits, moved) = Default::default();
        let (places, rejected) = (Places::new(scenario), BTreeMap::new());
        Self { places, drains: false, requests, attempts, visits, moved, rejected }
    }

    /// The facts of a log.
    pub fn of(scenario: &Scenario, log: &[Entry]) -> Self {
        let mut facts = Self::new(scenario);
        log.iter().for_each(|entry| facts.add(entry));
        facts
    }

    /// Another entry.
    pub fn add(&mut self, Entry { at, what }: &Entry) {
        match what {
            What::Sent { .. } => {
                self.requests.push(Asked { sent: *at, end: None, turned_away: false });
            }
            What::DrainBegan => self.drains = true,
            What::Ended { request, end, took, exchange, .. } => {
                // Requests are numbered in the order in which they are sent.
                let asked = usize::try_from(*request).ok();
                if let Some(asked) = asked.and_then(|it| self.requests.get_mut(it)) {
                    asked.end = Some((*end, *took));
                    asked.turned_away = self.drains && *end == End::Failed && exchange.is_none();
                }
            }
            What::Core(Event::Attempted { backend, attempt, .. }) => {
                let origin = self.places.of(*backend);
                self.attempts.push(Tried { at: *at, origin, number: *attempt });
            }
            What::Core(Event::Rejected { rejection, .. }) => {
                *self.rejected.entry(rejection.as_str()).or_default() += 1;
            }
            What::Core(Event::BreakerMoved { backend, to, .. }) => {
                self.moved.push((*at, *backend, *to));
            }
            What::Reached { origin, user: Some(user), .. } => {
                self.visits.push((*at, *user, *origin));
            }
            _ => {}
        }
    }

    /// What was measured of `span`.
    pub fn measure(&self, scenario: &Scenario, span: &Range<Duration>) -> Measure {
        let mut measure = Measure::nothing(scenario, span, true);
        let opened = |(at, _, to): &&(Duration, BackendId, BreakerState)| {
            span.contains(at) && *to == BreakerState::Open
        };
        measure.opened = self.moved.iter().filter(opened).count() as u64;
        let cut = |at: &dyn Fn(usize) -> Duration, count: usize| {
            let from = partition(count, |index| at(index) < span.start);
            from..partition(count, |index| at(index) < span.end).max(from)
        };
        for asked in &self.requests[cut(&|index| self.requests[index].sent, self.requests.len())] {
            if asked.turned_away {
                measure.turned_away += 1;
                continue;
            }
            measure.requests += 1;
            match asked.end {
                Some((end, took)) => measure.ended(end, took),
                None => measure.errors += 1,
            }
        }
        for tried in &self.attempts[cut(&|index| self.attempts[index].at, self.attempts.len())] {
            measure.tried(tried.origin, tried.number);
        }
        for (_, user, origin) in &self.visits[cut(&|index| self.visits[index].0, self.visits.len())]
        {
            measure.visited(*user, *origin);
        }
        measure
    }

    /// How many requests were rejected in all of it, by reason.
    pub(crate) const fn rejected(&self) -> &BTreeMap<&'static str, u64> {
        &self.rejected
    }

    /// Whether the breaker of any backend was not closed at some time in `span`.
    pub(crate) fn was_open(&self, span: &Range<Duration>) -> bool {
        let mut before = BTreeMap::new();
        for (at, backend, to) in self.moved.iter().filter(|(at, ..)| *at < span.end) {
            if *at >= span.start && *to != BreakerState::Closed {
                return true;
            }
            // Who closes in it was not closed until then.
            if *at < span.start {
                before.insert(*backend, *to);
            }
        }
        before.values().any(|standing| *standing != BreakerState::Closed)
    }
}

/// The first index below `count` that is not `before`.
fn partition(count: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low.midpoint(high);
        if before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

impl Measure {
    /// Of nothing so far; also of latencies, if somebody `asks` for them.
    pub(crate) fn nothing(scenario: &Scenario, span: &Range<Duration>, asks: bool) -> Self {
        let new = || Histogram::new_with_bounds(1, LATENCY_MAX_US, DIGITS);
        let new = || new().expect("an hour is above a microsecond, and 3 digits below 6");
        Self {
            lasts: span.end.saturating_sub(span.start),
            requests: 0,
            errors: 0,
            turned_away: 0,
            answered: BTreeMap::new(),
            attempts: vec![0; scenario.origins.len()],
            retries: 0,
            attempts_max: 0,
            opened: 0,
            homes: BTreeMap::new(),
            latencies: asks.then(new),
        }
    }

    /// A request ended that was not turned away.
    pub(crate) fn ended(&mut self, end: End, took: Duration) {
        if let End::Answered(status) = end {
            *self.answered.entry(status).or_default() += 1;
        }
        if !end.is_good() {
            self.errors += 1;
        } else if let Some(latencies) = &mut self.latencies {
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            latencies.saturating_record(micros);
        }
    }

    pub(crate) fn tried(&mut self, origin: usize, number: u8) {
        self.attempts[origin] += 1;
        self.retries += u64::from(number > 1);
        self.attempts_max = self.attempts_max.max(number);
    }

    pub(crate) fn visited(&mut self, user: u32, origin: usize) {
        self.homes.entry(user).or_default().insert(origin);
    }

    /// The number that `metric` asks for; `None` where there was nothing to measure, which proves
    /// neither good nor bad.
    pub fn of(&self, metric: &Metric, scenario: &Scenario) -> Option<f64> {
        let asked = self.requests > 0;
        match metric {
            Metric::Errors => asked.then(|| float(self.errors)),
            Metric::ErrorRatio => ratio(self.errors, self.requests),
            Metric::TurnedAway => (asked || self.turned_away > 0).then(|| float(self.turned_away)),
            Metric::Attempts => asked.then(|| float(self.attempts.iter().sum())),
            Metric::Retries => asked.then(|| float(self.retries)),
            Metric::RetryRatio => ratio(self.retries, self.requests),
            Metric::Amplification => ratio(self.attempts.iter().sum(), self.requests),
            Metric::Goodput => {
                asked.then(|| float(self.requests - self.errors) / self.lasts.as_secs_f64())
            }
            Metric::AttemptsMax => (self.attempts_max > 0).then(|| f64::from(self.attempts_max)),
            Metric::Opened => asked.then(|| float(self.opened)),
            Metric::Share(origin) => self.share(scenario.place(origin)),
            Metric::ShareMax => self.share_of(self.attempts.iter().max()),
            Metric::ShareMin => self.share_of(self.attempts.iter().min()),
            Metric::Answered(status) => {
                let answered = self.answered.get(status).copied().unwrap_or(0);
                ratio(answered, self.requests)
            }
            Metric::Wanderers => {
                let wander = self.homes.values().filter(|homes| homes.len() > 1).count();
                ratio(wander as u64, self.homes.len() as u64)
            }
            Metric::Latency(thousandths) => self.latency_ms(f64::from(*thousandths) / 1_000.0),
            Metric::LatencyMean => {
                let latencies = self.latencies.as_ref().filter(|them| !them.is_empty())?;
                Some(latencies.mean() / 1_000.0)
            }
            Metric::LatencyMax => self.latency_ms(1.0),
        }
    }

    /// The share of the attempts that went to an origin.
    pub fn share(&self, origin: Option<usize>) -> Option<f64> {
        self.share_of(origin.map(|origin| &self.attempts[origin]))
    }

    fn share_of(&self, attempts: Option<&u64>) -> Option<f64> {
        ratio(attempts.copied().unwrap_or(0), self.attempts.iter().sum())
    }

    /// The latency below which this share of the good answers stayed, in milliseconds.
    pub fn latency_ms(&self, quantile: f64) -> Option<f64> {
        let latencies = self.latencies.as_ref().filter(|them| !them.is_empty())?;
        Some(float(latencies.value_at_quantile(quantile)) / 1_000.0)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2⁵²")]
fn float(count: u64) -> f64 {
    count as f64
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| float(part) / float(whole))
}

/// Which origin is at which address, by its place in the scenario.
pub(crate) struct Addresses<'s>(BTreeMap<(&'s str, u16), usize>);

impl<'s> Addresses<'s> {
    pub(crate) fn new(scenario: &'s Scenario) -> Self {
        let at = |(place, it): (usize, &'s Origin)| ((&*it.host, it.port), place);
        // Of two that stand at one address the first one is meant.
        Self(scenario.origins.iter().enumerate().rev().map(at).collect())
    }

    pub(crate) fn place(&self, host: &str, port: u16) -> usize {
        *self.0.get(&(host, port)).expect("a scenario has an origin for every backend")
    }
}

/// Which origin each backend is, by its place in the scenario: [`origin_of`] for those who ask often.
#[derive(Clone, Debug)]
pub struct Places(Vec<Vec<usize>>);

impl Places {
    /// Of all backends that a configuration of `scenario` names.
    pub fn new(scenario: &Scenario) -> Self {
        let known = Addresses::new(scenario);
        let place = |(host, port): (&str, u16)| known.place(host, port);
        let services = 0..scenario.roster.services();
        Self(services.map(|it| scenario.roster.addresses(it).map(place).collect()).collect())
    }

    /// Which origin a backend is.
    pub fn of(&self, backend: BackendId) -> usize {
        self.0[usize::from(backend.service)][usize::from(backend.backend)]
    }
}

/// Which origin a backend is, by its place in the scenario.
pub fn origin_of(scenario: &Scenario, backend: BackendId) -> usize {
    let (host, port) = scenario.roster.address(backend);
    let is = |origin: &Origin| origin.host == host && origin.port == port;
    scenario.origins.iter().position(is).expect("a scenario has an origin for every backend")
}

/// When a part of the run is.
pub fn span(scenario: &Scenario, phase: Option<Phase>) -> Range<Duration> {
    match phase {
        None => Duration::ZERO..scenario.duration,
        Some(Phase::Calm) => Duration::ZERO..scenario.first_fault(),
        Some(Phase::Faults) => scenario.first_fault()..scenario.healed(),
        Some(Phase::Healed) => scenario.healed()..scenario.duration,
        Some(Phase::Between(from, to)) => from..to,
    }
}

/// The whole seconds of a span.
pub fn seconds(span: &Range<Duration>) -> impl Iterator<Item = Range<Duration>> + use<> {
    let (start, end) = (span.start, span.end);
    let second = move |count: u32| start + Duration::from_secs(1) * count;
    (0..).map(move |count| second(count)..second(count + 1)).take_while(move |it| it.end <= end)
}
