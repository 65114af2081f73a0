//! Least request over all: the least loaded of all that may be chosen, exactly.
//!
//! It looks at every one, and several proxies that do so strike the same backend at once; the less
//! loaded of two does nearly as well for less. Between equals a die decides, so that the first of an
//! idle pool is not the only one that works.

use alloc::boxed::Box;

use super::{Candidates, Draw, Drawn, How, reduced};

/// Weights, to compare loads by.
#[derive(Debug)]
pub(crate) struct Minimum {
    weights: Box<[u32]>,
}

impl Minimum {
    pub(crate) fn new(weights: &[u32]) -> Self {
        Self { weights: reduced(weights) }
    }

    pub(crate) fn choose(&self, among: &impl Candidates, draw: &mut Draw<'_>) -> Option<Drawn> {
        let mut best: Option<(usize, u32)> = None;
        let mut equals = 0;
        let places = core::iter::successors(among.first_from(0), |at| among.first_from(at + 1));
        for place in places {
            let load = among.backend(place).in_flight();
            // What it would have with one more, over its weight: both sides times both weights.
            let cost =
                |load: u32, other: usize| (u64::from(load) + 1) * u64::from(self.weights[other]);
            let order = best.map(|best| cost(load, best.0).cmp(&cost(best.1, place)));
            let takes = match order {
                None | Some(core::cmp::Ordering::Less) => {
                    equals = 1;
                    true
                }
                Some(core::cmp::Ordering::Equal) => {
                    equals += 1;
                    draw.rng.below(equals) == 0
                }
                Some(core::cmp::Ordering::Greater) => false,
            };
            if takes {
                best = Some((place, load));
            }
        }
        best.map(|(place, in_flight)| Drawn { place, how: How::Least { in_flight } })
    }
}
