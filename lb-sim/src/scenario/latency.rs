//! How long work takes: distributions, and how they are written.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use lb_config::read::{Table, Value};

use crate::dice::{Chance, times};

use super::Span;
use super::read::{DURATION_MAX, between, span};

/// How long something takes, from one time to the next.
#[derive(Clone, Debug, PartialEq)]
pub enum Latency {
    /// Any duration of a span, each as likely.
    Within(Span),
    /// Memoryless, as of a queue's textbook.
    Exponential {
        /// On average.
        mean: Duration,
    },
    /// Most near the median, some far above: what servers look like.
    Lognormal {
        /// Half take longer.
        median: Duration,
        /// The deviation of the logarithm: at 0.5 one in a hundred takes 3.2 times the median, at 1 it
        /// takes 10 times that.
        sigma: f64,
    },
    /// One of two: a hit or a miss.
    Bimodal {
        /// Mostly.
        often: Duration,
        /// Else.
        rarely: Duration,
        /// The share of the latter.
        share: f64,
    },
    /// As it was seen: any of these, each as likely.
    Empirical(Seen),
}

/// Durations that were seen, in order; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen(Arc<[Duration]>);

impl Seen {
    /// `None` of none.
    pub fn new(mut all: Vec<Duration>) -> Option<Self> {
        all.sort_unstable();
        (!all.is_empty()).then(|| Self(all.into()))
    }

    /// The one that this share of them is below.
    fn quantile(&self, share: f64) -> Duration {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of a number far below 2⁵²"
        )]
        let at = (share * self.0.len() as f64) as usize;
        self.0[at.min(self.0.len() - 1)]
    }
}

/// Deviations of a logarithm that servers have.
const SIGMA: RangeInclusive<f64> = 0.0..=3.0;

impl Latency {
    /// What it is once.
    pub(crate) fn draw(&self, dice: &mut impl Chance) -> Duration {
        match *self {
            Self::Empirical(ref seen) => seen.quantile(dice.unit()),
            Self::Within(span) => dice.within(span),
            Self::Exponential { mean } => dice.gap(mean),
            Self::Lognormal { median, sigma } => {
                times(median, libm::exp(sigma * dice.normal())).min(DURATION_MAX)
            }
            Self::Bimodal { often, rarely, share } => {
                if dice.unit() < share {
                    rarely
                } else {
                    often
                }
            }
        }
    }

    /// What it is on average.
    pub fn mean(&self) -> Duration {
        match *self {
            Self::Empirical(Seen(ref all)) => {
                let count = u32::try_from(all.len()).unwrap_or(u32::MAX);
                all.iter().sum::<Duration>() / count
            }
            Self::Within(Span { min, max }) => (min + max) / 2,
            Self::Exponential { mean } => mean,
            Self::Lognormal { median, sigma } => median.mul_f64(libm::exp(sigma * sigma / 2.0)),
            Self::Bimodal { often, rarely, share } => {
                often.mul_f64(1.0 - share) + rarely.mul_f64(share)
            }
        }
    }

    /// The share of the draws that take no longer than `ample` is more than 99 of 100.
    pub(crate) fn ample(&self) -> Duration {
        match *self {
            Self::Empirical(ref seen) => seen.quantile(0.991),
            Self::Within(span) => span.max,
            Self::Exponential { mean } => mean * 5,
            Self::Lognormal { median, sigma } => median.mul_f64(libm::exp(2.4 * sigma)),
            Self::Bimodal { often, rarely, .. } => often.max(rarely),
        }
    }
}

/// `"5ms"`, `{ min = "4ms", max = "8ms" }`, `{ exponential = "10ms" }`, `{ lognormal = "10ms", sigma = 0.5 }`
/// `{ often = "2ms", rarely = "80ms", share = 0.1 }` or
/// `{ empirical = ["2ms", "3ms", "80ms"] }`.
pub(super) fn latency(value: &Value<'_>) -> Option<Latency> {
    if value.is_text() {
        return span(value).map(Latency::Within);
    }
    let table = value.table()?;
    if table.has_any(&["empirical"]) {
        return empirical(table);
    }
    match ["exponential", "lognormal", "often"].map(|key| table.has_any(&[key])) {
        [true, ..] => exponential(table),
        [_, true, _] => lognormal(table),
        [.., true] => bimodal(table),
        _ => between(table).map(Latency::Within),
    }
}

fn empirical(mut table: Table<'_>) -> Option<Latency> {
    let seen = table.list("empirical", |item| item.duration(RANGE));
    let seen = seen.required("empirical = [\"2ms\", \"3ms\", \"80ms\"]")?;
    let at = seen.at;
    let seen = Seen::new(seen.value).map(Latency::Empirical);
    if seen.is_none() {
        table.report().error(
            at,
            "empirical has no durations",
            "list what was seen, or leave it out",
        );
    }
    seen
}

fn exponential(mut table: Table<'_>) -> Option<Latency> {
    let mean = table.duration("exponential", RANGE).required("exponential = \"10ms\"")?;
    Some(Latency::Exponential { mean: mean.value })
}

fn lognormal(mut table: Table<'_>) -> Option<Latency> {
    let median = table.duration("lognormal", RANGE).required("lognormal = \"10ms\"");
    let sigma = table.number("sigma", SIGMA).or(0.5);
    Some(Latency::Lognormal { median: median?.value, sigma })
}

fn bimodal(mut table: Table<'_>) -> Option<Latency> {
    let often = table.duration("often", RANGE).required("often = \"2ms\"");
    let rarely = table.duration("rarely", RANGE).required("rarely = \"80ms\"");
    let share = table.number("share", 0.0..=1.0).required("share = 0.1");
    Some(Latency::Bimodal { often: often?.value, rarely: rarely?.value, share: share?.value })
}

const RANGE: RangeInclusive<Duration> = Duration::ZERO..=DURATION_MAX;

#[cfg(test)]
mod tests {
    use lb_core::Rng;

    use super::*;

    /// Mean and 99th percentile of many draws, in milliseconds.
    fn drawn(latency: &Latency) -> (f64, f64) {
        let mut dice = Rng::stream(1, 1);
        let mut all: Vec<f64> =
            (0..100_000).map(|_| latency.draw(&mut dice).as_secs_f64() * 1_000.0).collect();
        all.sort_by(f64::total_cmp);
        (all.iter().sum::<f64>() / 100_000.0, all[99_000])
    }

    fn about(found: (f64, f64), mean: f64, p99: f64) {
        let close = |found: f64, said: f64| (found - said).abs() < 0.03 * said;
        assert!(close(found.0, mean) && close(found.1, p99), "{found:?}");
    }

    #[test]
    fn distributions_have_the_mean_and_the_tail_of_the_textbook() {
        let ms = Duration::from_millis;
        about(drawn(&Latency::Exponential { mean: ms(10) }), 10.0, 46.05);
        // exp(σ²/2) and exp(2.326 σ).
        about(drawn(&Latency::Lognormal { median: ms(10), sigma: 0.5 }), 11.33, 32.0);
        about(drawn(&Latency::Within(Span { min: ms(4), max: ms(8) })), 6.0, 7.96);
        let bimodal = Latency::Bimodal { often: ms(2), rarely: ms(80), share: 0.1 };
        about(drawn(&bimodal), 9.8, 80.0);
        let seen = [vec![ms(5); 90], vec![ms(80); 10]].concat();
        about(drawn(&Latency::Empirical(Seen::new(seen).expect("a hundred"))), 12.5, 80.0);
    }

    #[test]
    fn hardly_a_draw_is_beyond_what_is_ample() {
        let ms = Duration::from_millis;
        for latency in [
            Latency::Exponential { mean: ms(10) },
            Latency::Lognormal { median: ms(10), sigma: 1.0 },
            Latency::Bimodal { often: ms(2), rarely: ms(80), share: 0.1 },
            Latency::Empirical(Seen::new((1..=500).map(ms).collect()).expect("five hundred")),
        ] {
            assert!(drawn(&latency).1 <= latency.ample().as_secs_f64() * 1_000.0, "{latency:?}");
        }
    }
}
