//! By chance, in proportion to weight and score.
//!
//! A score is what a formula makes of a backend's record: Proxy Worker's performance (with the
//! weights that it promises, and with a share for backends that nobody has asked yet), the same as
//! its source has it, and FlowBalance's health. Scores are worked out anew for each choice from one
//! word per backend, so this costs as much as there are backends; a few hundred are no burden.

use alloc::boxed::Box;

use super::{Candidates, Draw, Drawn, How};
use crate::config::Policy;
use crate::score::{Record, health, performance};

/// Configured weights and the formula.
#[derive(Debug)]
pub(crate) struct Scored {
    formula: Formula,
    weights: Box<[u32]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Formula {
    Performance,
    Naive,
    Health,
}

/// What a backend without a record scores in Proxy Worker's source.
const NEUTRAL: f64 = 50.0;
/// The least share of the best that a backend keeps, so that it can show that it is better now.
const FLOOR: f64 = 1.0 / 20.0;
/// Weights are reckoned in thousandths.
const UNIT: f64 = 1_000.0;

impl Scored {
    pub(crate) fn new(policy: Policy, weights: &[u32]) -> Self {
        let formula = match policy {
            Policy::PerformanceNaive => Formula::Naive,
            Policy::HealthScore => Formula::Health,
            _ => Formula::Performance,
        };
        Self { formula, weights: weights.into() }
    }

    pub(crate) fn choose(&self, among: &impl Candidates, draw: &mut Draw<'_>) -> Option<Drawn> {
        let places =
            || core::iter::successors(among.first_from(0), |place| among.first_from(place + 1));
        let record = |place: usize| among.backend(place).record.get();
        let scale = self.scale(places().map(record));
        let share = |place: usize| self.share(self.weights[place], record(place), &scale);
        let total: u64 = places().map(share).sum();
        let mut mark = draw.rng.up_to(total.checked_sub(1)?);
        // Another thread may change a record between the two walks: then the last will do.
        let mut last = None;
        for place in places() {
            last = Some(place);
            match mark.checked_sub(share(place)) {
                Some(rest) => mark = rest,
                None => break,
            }
        }
        let thousandths = |place| {
            let own = share(place) * 1_000 / total.max(1);
            u32::try_from(own).unwrap_or(u32::MAX)
        };
        last.map(|place| Drawn { place, how: How::Scored { share: thousandths(place) } })
    }

    /// What scores are measured against: the best and the worst of those that have a record.
    fn scale(&self, records: impl Iterator<Item = Record>) -> Scale {
        let mut scale = Scale { best: None, worst: None };
        for record in records {
            let known = record.requests > 0;
            let score = match self.formula {
                Formula::Performance if known => performance(record),
                Formula::Naive => naive(record),
                _ => continue,
            };
            scale.best = Some(scale.best.map_or(score, |best: f64| best.min(score)));
            scale.worst = Some(scale.worst.map_or(score, |worst: f64| worst.max(score)));
        }
        scale
    }

    /// The share of a backend, in thousandths of a unit of weight, at least 1.
    fn share(&self, weight: u32, record: Record, scale: &Scale) -> u64 {
        let (best, worst) = (scale.best.unwrap_or(0.0), scale.worst.unwrap_or(0.0));
        let earned = |score: f64| libm::floor(worst + 1.0 - score).max(1.0);
        let factor = match self.formula {
            Formula::Naive => earned(naive(record)),
            // Whoever has shown nothing is as good as the best.
            Formula::Performance => {
                let score = if record.requests > 0 { performance(record) } else { best };
                earned(score).max(earned(best) * FLOOR)
            }
            Formula::Health => health(record).max(100.0 * FLOOR),
        };
        let weight = if self.formula == Formula::Naive { 1.0 } else { f64::from(weight) };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is ≥ 1")]
        let share = (weight * factor * UNIT).max(1.0) as u64;
        share
    }
}

#[derive(Debug)]
struct Scale {
    best: Option<f64>,
    worst: Option<f64>,
}

/// As Proxy Worker's source has it: a perfect score of 0 is taken for none at all.
fn naive(record: Record) -> f64 {
    let score = if record.requests > 0 { performance(record) } else { 0.0 };
    if score > 0.0 { score } else { NEUTRAL }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::score::Shown;

    fn record(requests: u32, errors: u32, mean: u64) -> Record {
        (0..requests).fold(Record::default(), |record, nth| {
            let shown = if nth < errors { Shown::Error } else { Shown::Good };
            record.after(shown, Duration::from_millis(mean))
        })
    }

    fn weights(policy: Policy, of: &[(u32, Record)]) -> alloc::vec::Vec<u64> {
        let scored = Scored::new(policy, &[1]);
        let scale = scored.scale(of.iter().map(|(_, record)| *record));
        of.iter().map(|(weight, record)| scored.share(*weight, *record, &scale) / 1_000).collect()
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
