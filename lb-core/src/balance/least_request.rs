//! Least request by two choices (or more): the less loaded of two drawn by weight.
//!
//! One random choice lets queues grow like the logarithm of the backends, the better of two like
//! the logarithm of the logarithm (Mitzenmacher, "The power of two choices in randomized load
//! balancing", 2001), and unlike the exact minimum it does not send every worker to the same
//! backend at once. Load is requests in flight over weight; of two equals the first drawn wins, so
//! that an idle pool is shared in proportion to the weights.

use super::alias::Alias;
use super::{Candidates, Draw, Drawn, How};
use crate::backend::Backend;

/// Weighted dice and comparisons.
#[derive(Debug)]
pub(crate) struct LeastRequest {
    die: Alias,
    choices: u8,
}

/// The best so far, and the one it was better than.
struct Best {
    place: usize,
    in_flight: u32,
    than: Option<(usize, u32)>,
}

impl LeastRequest {
    pub(crate) fn new(weights: &[u32], choices: u8) -> Self {
        Self { die: Alias::new(weights), choices }
    }

    pub(crate) fn choose(&self, among: &impl Candidates, draw: &mut Draw<'_>) -> Option<Drawn> {
        let load = |place: usize| among.backend(place).in_flight();
        let first = self.die.draw_among(among, draw.rng)?;
        let mut best = Best { place: first, in_flight: load(first), than: None };
        for _ in 1..self.choices {
            // The others need not differ from each other: that only wastes a look.
            let others = AllBut { first: best.place, among };
            let Some(next) = self.die.draw_among(&others, draw.rng) else { break };
            best = self.better(&best, next, load(next));
        }
        let Best { place, in_flight, than } = best;
        let how = than.map_or(How::Only, |(than, than_in_flight)| {
            let than = u16::try_from(than).expect("BACKENDS_MAX fits in 16 bits");
            How::LessLoaded { in_flight, than, than_in_flight }
        });
        Some(Drawn { place, how })
    }

    /// in_flight/weight compared without a division: both sides times both weights.
    fn better(&self, best: &Best, next: usize, others: u32) -> Best {
        let load = u64::from(best.in_flight) * u64::from(self.die.weight(next));
        let others_load = u64::from(others) * u64::from(self.die.weight(best.place));
        if load <= others_load {
            Best { than: Some((next, others)), ..*best }
        } else {
            Best { place: next, in_flight: others, than: Some((best.place, best.in_flight)) }
        }
    }
}

/// The candidates for the second choice.
pub(super) struct AllBut<'a, C> {
    pub(super) first: usize,
    pub(super) among: &'a C,
}

impl<C: Candidates> Candidates for AllBut<'_, C> {
    fn admits(&self, place: usize) -> bool {
        place != self.first && self.among.admits(place)
    }

    fn is_fit(&self, place: usize) -> bool {
        self.among.is_fit(place)
    }

    fn first_from(&self, from: usize) -> Option<usize> {
        self.among.first_from(from).and_then(|place| match place == self.first {
            true => self.among.first_from(place + 1),
            false => Some(place),
        })
    }

    fn backend(&self, place: usize) -> &Backend {
        self.among.backend(place)
    }

    fn in_flight_of_all(&self) -> u32 {
        self.among.in_flight_of_all()
    }
}
