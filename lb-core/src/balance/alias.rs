//! Weighted dice in constant time: one draw and one comparison, however many sides.
//!
//! Vose, "A linear algorithm for generating random numbers with a given distribution", IEEE TSE
//! 1991. The total weight is cut into equal columns, each holding at most two places: a draw picks
//! a column, then one of the two. In whole numbers, so that every platform builds the same table.

use alloc::boxed::Box;
use alloc::vec::Vec;

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
    fn draw(&self, rng: &mut Rng) -> usize {
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
            .or_else(|| self.draw_one_by_one(among, rng))
    }

    #[cold]
    fn draw_one_by_one(&self, among: &impl Candidates, rng: &mut Rng) -> Option<usize> {
        let candidates = || (0..self.weights.len()).filter(|place| among.admits(*place));
        let total: u32 = candidates().map(|place| self.weights[place]).sum();
        let mut mark = (total > 0).then(|| rng.below(total))?;
        // Another thread may change who is admitted between the two walks: then the last will do.
        let mut last = None;
        for place in candidates() {
            last = Some(place);
            match mark.checked_sub(self.weights[place]) {
                Some(rest) => mark = rest,
                None => break,
            }
        }
        last
    }

    /// The weight of a place, common factor taken out.
    pub(crate) fn weight(&self, place: usize) -> u32 {
        self.weights[place]
    }
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
