//! Weighted random: each pick on its own, in proportion to the weights.

use super::alias::Alias;
use super::{Candidates, Drawn, How};
use crate::rng::Rng;

/// A weighted die.
#[derive(Debug)]
pub(crate) struct WeightedRandom {
    die: Alias,
}

impl WeightedRandom {
    pub(crate) fn new(weights: &[u32]) -> Self {
        Self { die: Alias::new(weights) }
    }

    pub(crate) fn choose(&self, among: &impl Candidates, rng: &mut Rng) -> Option<Drawn> {
        let place = self.die.draw_among(among, rng)?;
        Some(Drawn { place, how: How::Weight })
    }
}
