//! What a record is worth: the formulas behind the policies that go by scores.
//!
//! A formula makes a **score** of a record, the lower the better, and a **factor** of a score: what the
//! backend's weight is multiplied by. Two of the three measure a score against the best and the worst,
//! the third looks at nobody else.

use super::ends::Scale;
use crate::config::Policy;
use crate::score::{Record, health, performance};

/// Whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Formula {
    /// Proxy Worker's, as its documents promise it.
    Performance,
    /// The same as its source has it.
    Naive,
    /// FlowBalance's.
    Health,
}

/// What a backend without a record scores in Proxy Worker's source.
const NEUTRAL: f64 = 50.0;
/// The least share of the best that a backend keeps, so that it can show that it is better now.
const FLOOR: f64 = 1.0 / 20.0;
/// Weights are reckoned in thousandths.
const UNIT: f64 = 1_000.0;

impl Formula {
    pub(super) const fn of(policy: Policy) -> Self {
        match policy {
            Policy::PerformanceNaive => Self::Naive,
            Policy::HealthScore => Self::Health,
            _ => Self::Performance,
        }
    }

    /// A configured weight, where it counts.
    pub(super) const fn weight(self, configured: u32) -> u32 {
        match self {
            Self::Naive => 1,
            Self::Performance | Self::Health => configured,
        }
    }

    /// The lower the better; `None` for one of which nothing is known, where that counts as the best.
    pub(super) fn score(self, record: Record) -> Option<f64> {
        let known = record.requests > 0;
        match self {
            Self::Performance => known.then(|| performance(record)),
            Self::Naive => Some(naive(record)),
            Self::Health => Some(-health(record)),
        }
    }

    /// What a backend's weight is multiplied by, at least 1 and at most 100; the best's is the highest.
    pub(super) fn factor(self, score: Option<f64>, scale: &Scale) -> f64 {
        let (best, worst) = (scale.best.unwrap_or(0.0), scale.worst.unwrap_or(0.0));
        let score = score.unwrap_or(best);
        let earned = |score: f64| libm::floor(worst + 1.0 - score).max(1.0);
        match self {
            Self::Naive => earned(score),
            Self::Performance => earned(score).max(earned(best) * FLOOR),
            Self::Health => (-score).max(100.0 * FLOOR),
        }
    }

    /// The share of a backend, in thousandths of a unit of weight, at least 1.
    pub(super) fn share(self, weight: u32, score: Option<f64>, scale: &Scale) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is ≥ 1")]
        let share = (f64::from(weight) * self.factor(score, scale) * UNIT).max(1.0) as u64;
        share
    }
}

/// A factor in whole numbers.
pub(super) fn thousandths(factor: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 100")]
    let whole = (factor * UNIT) as u32;
    whole
}

/// As Proxy Worker's source has it: a perfect score of 0 is taken for none at all.
fn naive(record: Record) -> f64 {
    let score = if record.requests > 0 { performance(record) } else { 0.0 };
    if score > 0.0 { score } else { NEUTRAL }
}

/// So many requests of so many milliseconds, some of them errors.
#[cfg(test)]
pub(super) fn record(requests: u32, errors: u32, mean: u64) -> Record {
    use crate::score::Shown;
    use core::time::Duration;

    (0..requests).fold(Record::default(), |record, nth| {
        let shown = if nth < errors { Shown::Error } else { Shown::Good };
        record.after(shown, Duration::from_millis(mean))
    })
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::balance::ends::Ends;

    fn weights(policy: Policy, of: &[(u32, Record)]) -> Vec<u64> {
        let formula = Formula::of(policy);
        let scores = || of.iter().map(|(_, record)| formula.score(*record)).enumerate();
        let (_, scale) = Ends::of(scores());
        let share = |(place, score)| {
            let (configured, _): (u32, Record) = of[place];
            formula.share(formula.weight(configured), score, &scale) / 1_000
        };
        scores().map(share).collect()
    }

    #[test]
    fn naive_weights_are_those_of_proxy_workers_source() {
        let golden = [(9, record(100, 0, 145)), (9, record(100, 10, 145)), (9, Record::default())];
        assert_eq!(weights(Policy::PerformanceNaive, &golden), [50, 43, 1]);
        let golden = [(1, record(100, 0, 145)), (1, record(100, 0, 600))];
        assert_eq!(weights(Policy::PerformanceNaive, &golden), [2, 1]);
    }

    #[test]
    fn performance_honours_weights_and_lets_newcomers_in() {
        let known = [(3, record(100, 0, 145)), (1, record(100, 0, 145)), (1, Record::default())];
        assert_eq!(weights(Policy::Performance, &known), [3, 1, 1], "the newcomer as the best");
        let bad = [(10, record(100, 0, 10)), (10, record(100, 100, 10))];
        assert_eq!(weights(Policy::Performance, &bad), [710, 35], "and nobody below a twentieth");
        let all_new = [(2, Record::default()), (1, Record::default())];
        assert_eq!(weights(Policy::Performance, &all_new), [2, 1]);
    }

    #[test]
    fn health_scores_are_shares() {
        let golden =
            [(1, Record::default()), (2, record(10, 5, 2_000)), (1, record(10, 10, 99_000))];
        assert_eq!(weights(Policy::HealthScore, &golden), [100, 158, 45]);
    }
}
