//! Peak EWMA by two choices: of two drawn by weight, the one that will answer sooner.
//!
//! What a backend costs is its latency estimate times the requests that it will then have, over its
//! weight. Where the latency of one is unknown, the other's stands in: a new backend gets its share
//! by load until it has answered, and so does one whose breaker lets trials through.

use super::alias::Alias;
use super::least_request::AllBut;
use super::{Candidates, Draw, Drawn, How};
use crate::config::LatencyConfig;

/// Two weighted dice and a comparison of costs.
#[derive(Debug)]
pub(crate) struct PeakEwma {
    die: Alias,
    config: LatencyConfig,
}

impl PeakEwma {
    pub(crate) fn new(weights: &[u32], config: LatencyConfig) -> Self {
        Self { die: Alias::new(weights), config }
    }

    pub(crate) fn choose(&self, among: &impl Candidates, draw: &mut Draw<'_>) -> Option<Drawn> {
        let first = self.die.draw_among(among, draw.rng)?;
        let Some(second) = self.die.draw_among(&AllBut { first, among }, draw.rng) else {
            return Some(Drawn { place: first, how: How::Only });
        };
        let estimate = |place| among.backend(place).estimate(draw.now, &self.config);
        let (own, others) = (estimate(first), estimate(second));
        let known = own.or(others).unwrap_or(1);
        let (own, others) = (own.unwrap_or(known), others.unwrap_or(known));
        let takes = |place, latency: u64| {
            u128::from(latency) * (u128::from(among.backend(place).in_flight()) + 1)
        };
        let weight = |place| u128::from(self.die.weight(place));
        let (own, others) = (takes(first, own), takes(second, others));
        let (place, micros, than, than_micros) =
            match own * weight(second) <= others * weight(first) {
                true => (first, own, second, others),
                false => (second, others, first, own),
            };
        let told =
            |place, takes: u128| u32::try_from(takes.div_ceil(weight(place))).unwrap_or(u32::MAX);
        let (micros, than_micros) = (told(place, micros), told(than, than_micros));
        let than = u16::try_from(than).expect("BACKENDS_MAX fits in 16 bits");
        Some(Drawn { place, how: How::Sooner { micros, than, than_micros } })
    }
}
