//! Weighted random: each pick on its own, in proportion to the weights.

use super::alias::Alias;
use super::{Candidates, Draw, Drawn, How};

/// A weighted die.
#[derive(Debug)]
pub(crate) struct WeightedRandom {
    die: Alias,
}

impl WeightedRandom {
    pub(crate) fn new(weights: &[u32]) -> Self {
        Self { die: Alias::new(weights) }
    }

    pub(crate) fn choose(&self, among: &impl Candidates, draw: &mut Draw<'_>) -> Option<Drawn> {
        let place = self.die.draw_among(among, draw.rng)?;
        Some(Drawn { place, how: How::Weight })
    }
}
