//! What is counted of a replay: in slices of its time, so that how sure a difference is can be told.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use lb_core::Event;

use crate::log::{Sink, TOO_MANY, Topics, What};
use crate::scenario::Metric;

/// Slices of equal length. Long ones hardly depend on each other, which makes them a sample ("batch means").
pub const SLICES: usize = 20;

/// What was counted.
#[derive(Clone, Debug)]
pub struct Tally {
    /// How long a slice is, in microseconds.
    slice_us: u64,
    /// By backend of the service: its origin.
    origins: Vec<usize>,
    slices: Vec<Counts>,
}

/// What was counted of a slice, or of all of them.
#[derive(Clone, Debug)]
pub struct Counts {
    /// Requests whose client stayed to the end.
    pub requests: u64,
    /// Those that were not answered below 500.
    pub errors: u64,
    /// Those that the proxy answered 429, since a limit was reached: neither good nor errors.
    pub limited: u64,
    /// Beyond those: requests whose client left.
    pub left: u64,
    /// Attempts, by origin; the last are those at backends that are in no configuration.
    pub attempts: Vec<u64>,
    /// Attempts after the first of their exchange.
    pub retries: u64,
    /// The most attempts of one exchange.
    pub attempts_max: u8,
    answered: BTreeMap<u16, u64>,
    /// From the arrival to the head of a good answer, in microseconds.
    latencies: Histogram<u64>,
}

/// What a request came to whose client stayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// An answer below 500.
    Good,
    /// 429 of the proxy itself.
    Limited,
    /// Anything else.
    Bad,
}

impl Came {
    /// Of an answer of the proxy itself.
    pub(super) const fn of_ours(status: u16) -> Self {
        match status {
            TOO_MANY => Self::Limited,
            ..500 => Self::Good,
            _ => Self::Bad,
        }
    }
}

/// Longer than any exchange.
const LATENCY_MAX_US: u64 = 2 * 3_600 * 1_000_000;
/// Three significant digits are what a latency deserves.
const DIGITS: u8 = 3;

impl Tally {
    /// Of a run of so long with so many origins, of which these are the service's.
    pub(super) fn new(span: Duration, count: usize, origins: Vec<usize>) -> Self {
        let slice = span.as_micros().div_ceil(SLICES as u128).max(1);
        let slice_us = u64::try_from(slice).unwrap_or(u64::MAX);
        let slices = (0..SLICES).map(|_| Counts::none(count + 1)).collect();
        Self { slice_us, origins, slices }
    }

    /// Slice by slice.
    pub fn slices(&self) -> &[Counts] {
        &self.slices
    }

    /// All slices together.
    pub fn whole(&self) -> Counts {
        let (first, others) = self.slices.split_first().expect("there are slices");
        let mut whole = first.clone();
        others.iter().for_each(|slice| whole.add(slice));
        whole
    }

    /// Takes another run of the same into account.
    pub fn add(&mut self, other: &Self) {
        self.slices.iter_mut().zip(&other.slices).for_each(|(mine, theirs)| mine.add(theirs));
    }

    fn at(&mut self, at: Duration) -> &mut Counts {
        let at = u64::try_from(at.as_micros()).unwrap_or(u64::MAX) / self.slice_us;
        let at = usize::try_from(at).unwrap_or(usize::MAX).min(SLICES - 1);
        &mut self.slices[at]
    }

    /// A request that arrived at `at` was answered, as it should be or not.
    pub(super) fn ended(&mut self, at: Duration, status: u16, came: Came, took: Option<Duration>) {
        let counts = self.at(at);
        counts.requests += 1;
        counts.errors += u64::from(came == Came::Bad);
        counts.limited += u64::from(came == Came::Limited);
        *counts.answered.entry(status).or_default() += 1;
        if let Some(took) = took.filter(|_| came == Came::Good) {
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            counts.latencies.saturating_record(micros);
        }
    }

    /// The client of a request that arrived at `at` left.
    pub(super) fn left(&mut self, at: Duration) {
        self.at(at).left += 1;
    }

    /// An attempt began, the so-many-th of its exchange.
    pub(super) fn attempt(&mut self, at: Duration, origin: Option<usize>, number: u8) {
        let counts = self.at(at);
        let place = origin.unwrap_or(counts.attempts.len() - 1);
        counts.attempts[place] += 1;
        counts.retries += u64::from(number > 1);
        counts.attempts_max = counts.attempts_max.max(number);
    }
}

impl Sink for Tally {
    fn enter(&mut self, at: Duration, what: What) {
        match what {
            What::Core(Event::Attempted { backend, attempt, .. }) => {
                let origin = self.origins[usize::from(backend.backend)];
                self.attempt(at, Some(origin), attempt);
            }
            What::Ended { end, sent, took, .. } => match end {
                crate::log::End::TimedOut => self.left(sent),
                // No backend says 429 here: whatever it answered below 500 is 200 (`record::past`).
                crate::log::End::Answered(status) => {
                    self.ended(sent, status, Came::of_ours(status), Some(took));
                }
                _ => self.ended(sent, 0, Came::Bad, Some(took)),
            },
            _ => {}
        }
    }

    fn hears(&self) -> Topics {
        Topics::ATTEMPTED.and(Topics::ENDED)
    }
}

impl Counts {
    fn none(origins: usize) -> Self {
        let latencies = Histogram::new_with_bounds(1, LATENCY_MAX_US, DIGITS);
        Self {
            requests: 0,
            errors: 0,
            limited: 0,
            left: 0,
            attempts: vec![0; origins],
            retries: 0,
            attempts_max: 0,
            answered: BTreeMap::new(),
            latencies: latencies.expect("an hour is above a microsecond, and 3 digits below 6"),
        }
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.limited += other.limited;
        self.left += other.left;
        self.attempts.iter_mut().zip(&other.attempts).for_each(|(mine, theirs)| *mine += theirs);
        self.retries += other.retries;
        self.attempts_max = self.attempts_max.max(other.attempts_max);
        for (status, count) in &other.answered {
            *self.answered.entry(*status).or_default() += count;
        }
        self.latencies.add(&other.latencies).expect("both have the same bounds");
    }

    /// The share of the requests that were not answered below 500.
    pub fn error_ratio(&self) -> Option<f64> {
        ratio(self.errors, self.requests)
    }

    /// The share of the requests that the proxy turned away with 429.
    pub fn limited_ratio(&self) -> Option<f64> {
        ratio(self.limited, self.requests)
    }

    /// The share of all requests whose clients left.
    pub fn left_ratio(&self) -> Option<f64> {
        ratio(self.left, self.requests + self.left)
    }

    /// Requests to backends for each of a client; none where nobody tells of them.
    pub fn amplification(&self) -> Option<f64> {
        let all = self.attempts.iter().sum();
        ratio(all, self.requests + self.left).filter(|_| all > 0)
    }

    /// The share of the attempts that went to an origin; `None` for those in no configuration.
    pub fn share(&self, origin: Option<usize>) -> Option<f64> {
        let place = origin.unwrap_or(self.attempts.len() - 1);
        ratio(self.attempts[place], self.attempts.iter().sum())
    }

    /// The latency below which this share of the good answers stayed, in milliseconds.
    pub fn latency_ms(&self, quantile: f64) -> Option<f64> {
        let micros = || self.latencies.value_at_quantile(quantile);
        (!self.latencies.is_empty()).then(|| float(micros()) / 1_000.0)
    }

    /// The number that `metric` asks for, of whose origins `place` knows the places.
    ///
    /// # Errors
    /// It is not counted here.
    pub fn of(
        &self,
        metric: &Metric,
        place: impl Fn(&str) -> Option<usize>,
    ) -> Result<Option<f64>, &'static str> {
        let asked = self.requests > 0;
        Ok(match metric {
            Metric::Errors => asked.then(|| float(self.errors)),
            Metric::ErrorRatio => self.error_ratio(),
            Metric::Attempts => asked.then(|| float(self.attempts.iter().sum())),
            Metric::Retries => asked.then(|| float(self.retries)),
            Metric::RetryRatio => ratio(self.retries, self.requests),
            Metric::AttemptsMax => (self.attempts_max > 0).then(|| f64::from(self.attempts_max)),
            Metric::Share(origin) => match place(origin) {
                Some(place) => self.share(Some(place)),
                None => return Err("the service has no such backend"),
            },
            Metric::Answered(status) => {
                ratio(self.answered.get(status).copied().unwrap_or(0), self.requests)
            }
            Metric::Latency(thousandths) => self.latency_ms(f64::from(*thousandths) / 1_000.0),
            Metric::LatencyMax => self.latency_ms(1.0),
            _ => {
                return Err(
                    "a replay does not count that; it counts error_ratio, retries, shares, \
                             statuses and latencies",
                );
            }
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2⁵²")]
fn float(count: u64) -> f64 {
    count as f64
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| float(part) / float(whole))
}
