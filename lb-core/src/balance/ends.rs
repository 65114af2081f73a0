//! Who of a group scores best and who worst, and what all weigh together: a hint in one word.
//!
//! A score says something beside the best and the worst alone ([`super::scored`]), and finding those
//! takes a look at everybody. So a look is kept, and kept up to date by what choices see anyway:
//!
//! - places are kept and not scores. What the best has shown since then counts at once;
//! - a candidate that is drawn and goes beyond an end takes its place;
//! - an end that is no longer fit ends the hint, and every so many choices one looks anew.
//!
//! What is left is an end that comes back towards the others: until somebody drawn goes beyond it, or
//! the next look, others are measured against it.

use super::Candidates;
use crate::score::Record;
use crate::word::Word;

/// Kept of a look: 16 bits each for two places, 32 for the total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    /// Places, or [`NOBODY`] where nobody has a score.
    best: u16,
    worst: u16,
    /// The sum of weights, each times its owner's share of what the best is worth, in hundredths; at
    /// most 16,384 × 1,000 × 100, which are 31 bits. 0: nobody has looked yet.
    total: u32,
}

/// `BACKENDS_MAX` is well below it.
const NOBODY: u16 = u16::MAX;

/// What scores are measured against: the best and the worst of those that have one, the best being
/// the lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Scale {
    pub(crate) best: Option<f64>,
    pub(crate) worst: Option<f64>,
}

impl Ends {
    /// Before the first look.
    pub(crate) const UNSEEN: Self = Self { best: NOBODY, worst: NOBODY, total: 0 };

    /// The ends of those `scores`, and what is between them. The total is for the caller to add.
    pub(crate) fn of(scores: impl Iterator<Item = (usize, Option<f64>)>) -> (Self, Scale) {
        let mut found = (Self::UNSEEN, Scale::default());
        for (place, score) in scores {
            found = found.0.with(&found.1, place, score).unwrap_or(found);
        }
        found
    }

    /// The same with its total, which is at least 1: somebody has looked.
    pub(crate) fn totalling(self, hundredths: u64) -> Self {
        Self { total: u32::try_from(hundredths.max(1)).unwrap_or(u32::MAX), ..self }
    }

    pub(crate) const fn total(self) -> u32 {
        self.total
    }

    /// Whether somebody has looked, and the ends found are still fit.
    pub(crate) fn hold(self, among: &impl Candidates) -> bool {
        let is_fit = |end| end == NOBODY || among.is_fit(usize::from(end));
        self.total > 0 && is_fit(self.best) && is_fit(self.worst)
    }

    /// The two by what they score now: the best may have become the worse of them, and one may have
    /// lost its score.
    pub(crate) fn now(
        self,
        among: &impl Candidates,
        score: impl Fn(Record) -> Option<f64>,
    ) -> (Self, Scale) {
        let seen = [self.best, self.worst].into_iter().filter(|end| *end != NOBODY).map(|end| {
            let place = usize::from(end);
            (place, score(among.backend(place).record.get()))
        });
        let (ends, scale) = Self::of(seen);
        (Self { total: self.total, ..ends }, scale)
    }

    /// With somebody who goes beyond an end; `None` if this one does not.
    pub(crate) fn with(
        self,
        scale: &Scale,
        place: usize,
        score: Option<f64>,
    ) -> Option<(Self, Scale)> {
        let score = score?;
        let place = u16::try_from(place).expect("BACKENDS_MAX fits in 16 bits");
        let (mut ends, mut to) = (self, *scale);
        if scale.best.is_none_or(|best| score < best) {
            (ends.best, to.best) = (place, Some(score));
        }
        if scale.worst.is_none_or(|worst| score > worst) {
            (ends.worst, to.worst) = (place, Some(score));
        }
        (to != *scale).then_some((ends, to))
    }
}

impl Word for Ends {
    fn pack(self) -> u64 {
        u64::from(self.best) | (u64::from(self.worst) << 16) | (u64::from(self.total) << 32)
    }

    fn unpack(bits: u64) -> Self {
        let place =
            |shift: u32| u16::try_from((bits >> shift) & u64::from(u16::MAX)).expect("16 bits");
        let total = u32::try_from(bits >> 32).expect("32 bits");
        Self { best: place(0), worst: place(16), total }
    }
}
