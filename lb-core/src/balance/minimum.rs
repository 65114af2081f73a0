//! Least request over all: the least loaded of all that may be chosen, exactly.
//!
//! Several proxies that do so strike the same backend at once; the less loaded of two does nearly
//! as well. Between equals a die decides, so that the first of an idle pool is not the only one that
//! works.
//!
//! Nobody has less than an idle backend of the highest weight, so a large pool is first asked for one
//! by throwing a die: whoever is hit first is as likely as any other of them. Only where a few
//! throws hit none is every backend looked at.

use alloc::boxed::Box;

use super::{Candidates, Draw, Drawn, How, reduced, walk};
use crate::rng::Rng;

/// Weights, to compare loads by.
#[derive(Debug)]
pub(crate) struct Minimum {
    weights: Box<[u32]>,
    /// The places of the highest weight.
    heaviest: Box<[u16]>,
}

/// Throws for an idle backend before all are looked at: with one in eight idle, 16 hit one in 88 of 100 cases.
const THROWS_MAX: usize = 16;
/// So many looks at others are worth a throw.
const LOOKS_PER_THROW: usize = 8;

impl Minimum {
    pub(crate) fn new(weights: &[u32]) -> Self {
        let weights = reduced(weights);
        let highest = weights.iter().max();
        let heaviest = (0..).zip(&weights).filter(|it| Some(it.1) == highest).map(|it| it.0);
        Self { heaviest: heaviest.collect(), weights }
    }

    /// An idle one of the highest weight, every one as likely as the next, if a throw hits one.
    fn throw(&self, among: &impl Candidates, rng: &mut Rng) -> Option<usize> {
        let sides = u32::try_from(self.heaviest.len()).expect("BACKENDS_MAX fits in 16 bits");
        let throws = THROWS_MAX.min(self.weights.len() / LOOKS_PER_THROW);
        (0..throws)
            .map(|_| usize::from(self.heaviest[rng.below(sides) as usize]))
            .find(|hit| among.admits(*hit) && among.backend(*hit).in_flight() == 0)
    }

    pub(crate) fn choose(&self, among: &impl Candidates, draw: &mut Draw<'_>) -> Option<Drawn> {
        if let Some(place) = self.throw(among, draw.rng) {
            return Some(Drawn { place, how: How::Least { in_flight: 0 } });
        }
        let mut best: Option<(usize, u32)> = None;
        let mut equals = 0;
        for place in walk(among) {
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
