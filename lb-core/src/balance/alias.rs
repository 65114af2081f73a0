//! Weighted dice in constant time: one draw and one comparison, however many sides.
//!
//! Vose, "A linear algorithm for generating random numbers with a given distribution", IEEE TSE
//! 1991. The total weight is cut into equal columns, each holding at most two places: a draw picks
//! a column, then one of the two. In whole numbers, so that every platform builds the same table.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::iter::successors;

use super::{Candidates, DRAWS_MAX, reduced};
use crate::rng::Rng;

/// A die whose sides are places, as likely as their weights.
#[derive(Debug)]
pub(crate) struct Alias {
    /// Empty when all weights are equal: the column is the place.
    columns: Box<[Column]>,
    /// What a column holds: the total weight.
    height: u32,
    weights: Box<[u32]>,
}

#[derive(Clone, Copy, Debug)]
struct Column {
    /// Below this height it is the column's own place,
    own: u32,
    /// above it another's.
    other: u32,
}

impl Alias {
    /// `weights` are at least 1 and at most `WEIGHT_MAX`, `BACKENDS_MAX` of them: their sum and
    /// the sum times a weight's share fit in 32 and 64 bits.
    pub(crate) fn new(weights: &[u32]) -> Self {
        let weights = reduced(weights);
        let height: u32 = weights.iter().sum();
        let equal = weights.iter().all(|weight| *weight == 1);
        let columns = if equal { Box::default() } else { columns(&weights, height) };
        Self { columns, height, weights }
    }

    /// Draws a place, whoever it is.
    pub(super) fn draw(&self, rng: &mut Rng) -> usize {
        let count = u32::try_from(self.weights.len()).expect("BACKENDS_MAX fits in 32 bits");
        if self.columns.is_empty() {
            return rng.below(count) as usize;
        }
        let column = rng.below(count) as usize;
        let Column { own, other } = self.columns[column];
        if rng.below(self.height) < own { column } else { other as usize }
    }

    /// Draws a candidate, in proportion to the candidates' weights; `None` when there is none.
    pub(crate) fn draw_among(&self, among: &impl Candidates, rng: &mut Rng) -> Option<usize> {
        (0..DRAWS_MAX)
            .map(|_| self.draw(rng))
            .find(|place| among.admits(*place))
            .or_else(|| draw_one_by_one(&self.weights, among, rng))
    }

    /// The weight of a place, common factor taken out.
    pub(crate) fn weight(&self, place: usize) -> u32 {
        self.weights[place]
    }
}

/// Draws a candidate by weight after a look at every one, when other draws were refused too often.
#[cold]
fn draw_one_by_one(weights: &[u32], among: &impl Candidates, rng: &mut Rng) -> Option<usize> {
    let candidates =
        || successors(among.first_from(0), |place: &usize| among.first_from(place + 1));
    let total: u32 = candidates().map(|place| weights[place]).sum();
    let mut mark = (total > 0).then(|| rng.below(total))?;
    // Another thread may change who is admitted between the two walks: then the last will do.
    let mut last = None;
    for place in candidates() {
        last = Some(place);
        match mark.checked_sub(weights[place]) {
            Some(rest) => mark = rest,
            None => break,
        }
    }
    last
}

/// Fills short columns from tall ones until all are level.
fn columns(weights: &[u32], height: u32) -> Box<[Column]> {
    let index = |place: usize| u32::try_from(place).expect("BACKENDS_MAX fits in 32 bits");
    let count = u64::from(index(weights.len()));
    // In units in which a column holds `height`, a place has `weight × count`.
    let mut heights: Vec<u64> = weights.iter().map(|weight| u64::from(*weight) * count).collect();
    let (mut short, mut tall): (Vec<usize>, Vec<usize>) =
        (0..weights.len()).partition(|place| heights[*place] < u64::from(height));
    let mut columns: Vec<Column> =
        (0..weights.len()).map(|place| Column { own: height, other: index(place) }).collect();
    while let (Some(low), Some(high)) = (short.pop(), tall.last().copied()) {
        let own = u32::try_from(heights[low]).expect("a short column is below the height");
        columns[low] = Column { own, other: index(high) };
        heights[high] -= u64::from(height - own);
        if heights[high] < u64::from(height) {
            short.extend(tall.pop());
        }
    }
    columns.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, RngSeed};

    use super::*;
    use crate::config::{BACKENDS_MAX, WEIGHT_MAX};

    /// What each place has over all columns, in units in which a column holds the total weight.
    fn shares(alias: &Alias) -> Vec<u64> {
        let mut shares = alloc::vec![0; alias.weights.len()];
        for (place, column) in alias.columns.iter().enumerate() {
            assert!(column.own <= alias.height);
            shares[place] += u64::from(column.own);
            shares[column.other as usize] += u64::from(alias.height - column.own);
        }
        shares
    }

    fn check(weights: &[u32]) {
        let alias = Alias::new(weights);
        if alias.columns.is_empty() {
            assert!(weights.iter().all(|weight| *weight == weights[0]), "{weights:?}");
            return;
        }
        let count = weights.len() as u64;
        let expected: Vec<u64> = alias.weights.iter().map(|w| u64::from(*w) * count).collect();
        assert_eq!(shares(&alias), expected, "{weights:?}");
        let same =
            |(own, given)| u64::from(weights[0]) * own == u64::from(alias.weights[0]) * given;
        let given = weights.iter().copied().map(u64::from);
        assert!(alias.weights.iter().copied().map(u64::from).zip(given).all(same), "{weights:?}");
    }

    #[test]
    fn the_largest_die_is_exact() {
        let weights: Vec<u32> = (0..BACKENDS_MAX)
            .map(|place| if place % 3 == 0 { 1 } else { WEIGHT_MAX - u32::from(place % 2 == 0) })
            .collect();
        check(&weights);
        check(&alloc::vec![WEIGHT_MAX; BACKENDS_MAX]);
    }

    proptest! {
        #![proptest_config(Config {
            cases: 500,
            rng_seed: RngSeed::Fixed(7),
            failure_persistence: None,
            ..Config::default()
        })]

        #[test]
        fn a_die_is_exactly_as_likely_as_its_weights(
            weights in prop_oneof![
                prop::collection::vec(1..=WEIGHT_MAX, 1..200),
                prop::collection::vec(1..=3_u32, 1..20),
                prop::collection::vec(prop_oneof![Just(1), Just(WEIGHT_MAX)], 1..50),
            ],
        ) {
            check(&weights);
        }
    }
}
