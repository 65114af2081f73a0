//! Least request by two choices: the less loaded of two drawn by weight.
//!
//! One random choice lets queues grow like the logarithm of the backends, the better of two like
//! the logarithm of the logarithm (Mitzenmacher, "The power of two choices in randomized load
//! balancing", 2001), and unlike the exact minimum it does not send every worker to the same
//! backend at once. Load is requests in flight over weight; of two equals the first drawn wins, so
//! that an idle pool is shared in proportion to the weights.

use super::alias::Alias;
use super::{Candidates, Draw, Drawn, How};
use crate::backend::Backend;

/// Two weighted dice and a comparison.
#[derive(Debug)]
pub(crate) struct LeastRequest {
    die: Alias,
}

impl LeastRequest {
    pub(crate) fn new(weights: &[u32]) -> Self {
        Self { die: Alias::new(weights) }
    }

    pub(crate) fn choose(&self, among: &impl Candidates, draw: &mut Draw<'_>) -> Option<Drawn> {
        let first = self.die.draw_among(among, draw.rng)?;
        let Some(second) = self.die.draw_among(&AllBut { first, among }, draw.rng) else {
            return Some(Drawn { place: first, how: How::Only });
        };
        let (in_flight, others) =
            (among.backend(first).in_flight(), among.backend(second).in_flight());
        // in_flight/weight compared without a division: both sides times both weights.
        let load = u64::from(in_flight) * u64::from(self.die.weight(second));
        let others_load = u64::from(others) * u64::from(self.die.weight(first));
        let (place, in_flight, than, than_in_flight) = if load <= others_load {
            (first, in_flight, second, others)
        } else {
            (second, others, first, in_flight)
        };
        let than = u16::try_from(than).expect("BACKENDS_MAX fits in 16 bits");
        Some(Drawn { place, how: How::LessLoaded { in_flight, than, than_in_flight } })
    }
}

/// The candidates for the second choice.
struct AllBut<'a, C> {
    first: usize,
    among: &'a C,
}

impl<C: Candidates> Candidates for AllBut<'_, C> {
    fn admits(&self, place: usize) -> bool {
        place != self.first && self.among.admits(place)
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
