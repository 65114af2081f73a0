//! What pictures need of a run and [`Facts`](crate::measure::Facts) does not tell, read off the log in one
//! pass and kept in bins: how long answers took, who had how much in flight, what was left of the budgets,
//! and how things ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lb_core::{BackendId, Event, ExchangeId, Outcome};

use super::axis::Axis;
use super::standing::{Band, Standings};
use crate::log::{End, Entry, What};
use crate::measure::origin_of;
use crate::scenario::Scenario;

/// Latencies in quarters of an octave: 1, 1.25, 1.5, 1.75, 2, 2.5, … microseconds. Nothing here is a
/// logarithm, so the same answer falls into the same bucket everywhere.
pub(crate) mod bucket {
    /// The bucket of a latency.
    pub(crate) fn of(micros: u64) -> usize {
        let micros = micros.max(4);
        let octave = 63 - micros.leading_zeros();
        let quarter = (micros >> (octave - 2)) & 3;
        (octave as usize) * 4 + quarter as usize
    }

    /// The latency at which a bucket begins, in microseconds.
    pub(crate) fn begins(bucket: usize) -> u64 {
        (4 + bucket as u64 % 4) << (bucket / 4 - 2)
    }
}

/// A state that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) at: Duration,
    pub(crate) backend: BackendId,
    pub(crate) to: &'static str,
}

/// Moves that are kept: a table of more is read by nobody.
const MOVES_MAX: usize = 400;

/// A run in bins.
pub(crate) struct History {
    /// By bin: good answers that were asked for in it, by bucket.
    pub(crate) latencies: Vec<BTreeMap<usize, u32>>,
    /// By origin and bin: the most that was in flight there.
    pub(crate) in_flight: Vec<Vec<u32>>,
    /// By service and bin: the least that was left of the budget, as a share of its burst.
    pub(crate) budgets: BTreeMap<u16, Vec<f64>>,
    /// By bin: retries that were worth making, and were not made.
    pub(crate) withheld: Vec<u32>,
    /// By backend: when something spoke against it.
    pub(crate) bands: BTreeMap<BackendId, Vec<Band>>,
    /// The first of those, as they happened, and how many there were.
    pub(crate) moves: (Vec<Moved>, usize),
    /// How requests ended, for their clients.
    pub(crate) ends: BTreeMap<String, u64>,
    /// Why attempts came to nothing.
    pub(crate) failures: BTreeMap<&'static str, u64>,
    /// Why we answered ourselves.
    pub(crate) rejections: BTreeMap<&'static str, u64>,
    /// Why there was no other attempt.
    pub(crate) reasons: BTreeMap<&'static str, u64>,
}

impl History {
    /// Of a log.
    pub(crate) fn of(scenario: &Scenario, log: &[Entry], axis: Axis) -> Self {
        let mut reader = Reader::new(scenario, axis);
        for entry in log {
            reader.enter(entry);
        }
        reader.end()
    }
}

/// A budget, as the invariant reckons it.
#[derive(Clone, Copy)]
struct Bucket {
    left: f64,
    since: Duration,
    earns: f64,
    burst: f64,
}

impl Bucket {
    fn at(self, now: Duration) -> f64 {
        let earned = self.earns * now.saturating_sub(self.since).as_secs_f64();
        (self.left + earned).min(self.burst)
    }

    fn share(self, now: Duration) -> f64 {
        if self.burst > 0.0 { (self.at(now) / self.burst).clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// A place at a backend that an attempt holds.
#[derive(Clone, Copy)]
struct Place {
    attempt: u8,
    origin: usize,
    /// Whether it has an answer, which it holds on to until another one is to be had.
    answered: bool,
}

struct Reader<'s> {
    scenario: &'s Scenario,
    axis: Axis,
    told: History,
    standings: Standings<'s>,
    reloads: usize,
    /// By request: when it was sent.
    sent: Vec<Duration>,
    /// By exchange: its service, and the places that it holds.
    exchanges: BTreeMap<ExchangeId, (u16, Vec<Place>)>,
    /// By origin.
    now_in_flight: Vec<u32>,
    buckets: BTreeMap<u16, Bucket>,
    /// Exchanges whose next attempt is paid for.
    paid: BTreeSet<ExchangeId>,
    /// The bin of the last entry.
    bin: usize,
    now: Duration,
}

impl<'s> Reader<'s> {
    fn new(scenario: &'s Scenario, axis: Axis) -> Self {
        let (bins, origins) = (axis.count, scenario.origins.len());
        let told = History {
            latencies: vec![BTreeMap::new(); bins],
            in_flight: vec![vec![0; bins]; origins],
            budgets: BTreeMap::new(),
            withheld: vec![0; bins],
            bands: BTreeMap::new(),
            moves: (Vec::new(), 0),
            ends: BTreeMap::new(),
            failures: BTreeMap::new(),
            rejections: BTreeMap::new(),
            reasons: BTreeMap::new(),
        };
        Self {
            scenario,
            axis,
            told,
            standings: Standings::new(scenario),
            reloads: 0,
            sent: Vec::new(),
            exchanges: BTreeMap::new(),
            now_in_flight: vec![0; origins],
            buckets: BTreeMap::new(),
            paid: BTreeSet::new(),
            bin: 0,
            now: Duration::ZERO,
        }
    }

    fn enter(&mut self, entry: &Entry) {
        self.pass(entry.at);
        self.standings.enter(entry);
        match &entry.what {
            What::Core(event) => self.enter_event(event),
            What::Serves(reloads) => self.reloads = *reloads,
            What::Sent { .. } => self.sent.push(entry.at),
            What::Ended { request, end, took, .. } => {
                *self.told.ends.entry(in_words(*end)).or_default() += 1;
                // Requests are numbered in the order in which they are sent.
                let sent = usize::try_from(*request).ok().and_then(|it| self.sent.get(it));
                if end.is_good()
                    && let Some(bin) = sent.and_then(|sent| self.axis.bin(*sent))
                {
                    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                    *self.told.latencies[bin].entry(bucket::of(micros)).or_default() += 1;
                }
            }
            _ => {}
        }
    }

    /// Time goes on: whatever is in flight still is in the next bins.
    fn pass(&mut self, now: Duration) {
        self.now = now;
        let bin = self.axis.bin(now).unwrap_or(self.axis.count);
        for next in self.bin + 1..=bin.min(self.axis.count - 1) {
            for (most, in_flight) in self.told.in_flight.iter_mut().zip(&self.now_in_flight) {
                most[next] = *in_flight;
            }
            let begins = self.axis.step * u32::try_from(next).unwrap_or(u32::MAX);
            for (service, bucket) in &self.buckets {
                let least = self.told.budgets.get_mut(service).expect("every bucket has a line");
                least[next] = bucket.share(begins);
            }
        }
        self.bin = self.bin.max(bin);
    }

    fn enter_event(&mut self, event: &Event) {
        match *event {
            Event::Started { exchange, service, .. } => {
                self.exchanges.insert(exchange, (service, Vec::new()));
                self.pay(service, 0.0);
            }
            Event::Delayed { exchange, .. } => {
                self.paid.insert(exchange);
                if let Some((service, _)) = self.exchanges.get(&exchange) {
                    self.pay(*service, 1.0);
                }
            }
            Event::Attempted { exchange, attempt, backend, choice, .. } => {
                if attempt > 1 && !self.paid.remove(&exchange) {
                    self.pay(backend.service, 1.0);
                }
                // A retry gives up the answer that it is to replace; a hedge gives up nothing.
                if !choice.hedge {
                    self.release(exchange, |place| place.answered);
                }
                let origin = origin_of(self.scenario, backend);
                if let Some((_, places)) = self.exchanges.get_mut(&exchange) {
                    places.push(Place { attempt, origin, answered: false });
                    self.now_in_flight[origin] += 1;
                    if let Some(bin) = self.axis.bin(self.now) {
                        let most = &mut self.told.in_flight[origin][bin];
                        *most = (*most).max(self.now_in_flight[origin]);
                    }
                }
            }
            Event::Concluded { exchange, attempt, outcome, .. } => match outcome {
                Outcome::Failed(failure) => {
                    *self.told.failures.entry(failure.as_str()).or_default() += 1;
                    self.release(exchange, |place| place.attempt == attempt);
                }
                Outcome::Answered(_) => {
                    let places = self.exchanges.get_mut(&exchange).map(|(_, places)| places);
                    let mut places = places.into_iter().flatten();
                    if let Some(place) = places.find(|it| it.attempt == attempt) {
                        place.answered = true;
                    }
                }
            },
            Event::Overtaken { exchange, attempt, .. } => {
                self.release(exchange, |place| place.attempt == attempt);
            }
            Event::Rejected { exchange, rejection } => {
                *self.told.rejections.entry(rejection.as_str()).or_default() += 1;
                self.forget(exchange);
            }
            Event::Left { exchange } | Event::Ended { exchange, .. } => self.forget(exchange),
            Event::Withheld { why, .. } => {
                *self.told.reasons.entry(why.as_str()).or_default() += 1;
                if let Some(bin) = self.axis.bin(self.now) {
                    self.told.withheld[bin] += 1;
                }
            }
            _ => self.enter_move(event),
        }
    }

    fn enter_move(&mut self, event: &Event) {
        let (backend, to) = match *event {
            Event::BreakerMoved { backend, to, .. } => (backend, to.as_str()),
            Event::HealthMoved { backend, healthy: true } => (backend, "healthy"),
            Event::HealthMoved { backend, healthy: false } => (backend, "unhealthy"),
            Event::Ejected { backend, .. } => (backend, "ejected"),
            Event::Pardoned { backend } => (backend, "pardoned"),
            Event::Hastened { backend } => (backend, "hastened"),
            _ => return,
        };
        let (moves, count) = &mut self.told.moves;
        *count += 1;
        if moves.len() < MOVES_MAX {
            moves.push(Moved { at: self.now, backend, to });
        }
    }

    /// A request came in, or a retry was paid for.
    fn pay(&mut self, service: u16, price: f64) {
        let mut configs = (0..=self.reloads).rev().map(|it| self.scenario.config_after(it));
        let roster = &self.scenario.roster;
        let said = configs.find_map(|config| roster.service(config, service));
        let Some(said) = said else { return };
        let budget = said.core.retry.budget;
        let burst = f64::from(budget.burst);
        let earns = f64::from(budget.min_per_second);
        let bins = self.axis.count;
        let least = self.told.budgets.entry(service).or_insert_with(|| vec![1.0; bins]);
        let full = Bucket { left: burst, since: Duration::ZERO, earns, burst };
        let bucket = self.buckets.entry(service).or_insert(full);
        let deposit = if price > 0.0 { 0.0 } else { f64::from(budget.percent) / 100.0 };
        let left = (bucket.at(self.now) + deposit).min(burst) - price;
        *bucket = Bucket { left, since: self.now, earns, burst };
        if let Some(bin) = self.axis.bin(self.now) {
            least[bin] = least[bin].min(bucket.share(self.now));
        }
    }

    fn release(&mut self, exchange: ExchangeId, which: impl Fn(&Place) -> bool) {
        let Some((_, places)) = self.exchanges.get_mut(&exchange) else { return };
        places.retain(|place| {
            let goes = which(place);
            if goes {
                self.now_in_flight[place.origin] -= 1;
            }
            !goes
        });
    }

    fn forget(&mut self, exchange: ExchangeId) {
        self.release(exchange, |_| true);
        self.exchanges.remove(&exchange);
        self.paid.remove(&exchange);
    }

    fn end(mut self) -> History {
        self.pass(self.now.max(self.axis.end));
        self.told.bands = self.standings.end(self.axis.end.max(self.now));
        self.told
    }
}

fn in_words(end: End) -> String {
    match end {
        End::Answered(status) => format!("answered {status}"),
        End::Broken(status) => format!("answered {status}, broke off"),
        End::PassedOff(status) => format!("answered {status}, was not whole"),
        End::Failed => "no answer".to_owned(),
        End::TimedOut => "client hung up".to_owned(),
    }
}

#[cfg(test)]
mod tests;
