//! A ring: each backend has points on it by its weight, and a key belongs to the next one.
//!
//! Karger et al., "Consistent hashing and random trees", STOC 1997; the many points per backend are
//! ketama's (Last.fm, 2007). A backend that goes away leaves its stretches to the points behind
//! them, and no other key moves.
//!
//! The ring is cut into slots, some for each point, and a slot knows the first point at or behind its
//! beginning. From there it is a step or two to the point that a key belongs to, where a search among a
//! million points would miss the cache at every step. The slots only say where to begin: with another
//! number of them no key moves.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::rank::mix;

/// The points in order, and where to begin to look.
#[derive(Debug)]
pub(super) struct Ring {
    points: Box<[u64]>,
    /// Whose each of them is.
    places: Box<[u16]>,
    /// The first point at or behind the beginning of each slot; their count if there is none.
    slots: Box<[u32]>,
    /// What of a key is below the number of its slot.
    shift: u32,
}

/// Points per unit of weight: shares are off by an eighth (one over the root of this).
const POINTS_PER_WEIGHT: u64 = 160;
/// Points of a ring. Beyond it there are fewer per unit of weight, and each has one at least.
const POINTS_MAX: u64 = 1 << 20;
/// Slots for each point, at least.
const SLOTS_PER_POINT: usize = 2;
/// Points that a walk passes over before it gives up.
const STEPS_MAX: usize = 1_024;

impl Ring {
    pub(super) fn new(ids: &[u64], weights: &[u32]) -> Self {
        let total: u64 = weights.iter().copied().map(u64::from).sum();
        let per_weight = (POINTS_MAX / total.max(1)).clamp(1, POINTS_PER_WEIGHT);
        let mut points: Vec<(u64, u64, u16)> = Vec::new();
        for (place, (id, weight)) in (0..).zip(ids.iter().zip(weights)) {
            let count = (u64::from(*weight) * per_weight).min(POINTS_MAX);
            // The name decides between equal points, whatever the order of the backends.
            points.extend((0..count).map(|nth| (mix(id.wrapping_add(mix(nth))), *id, place)));
        }
        points.sort_unstable();
        let bits = (points.len() * SLOTS_PER_POINT).next_power_of_two().trailing_zeros().max(1);
        let shift = u64::BITS - bits;
        let mut next = 0;
        let slots = (0..1_u64 << bits).map(|slot| {
            while points.get(next).is_some_and(|(point, ..)| *point < slot << shift) {
                next += 1;
            }
            u32::try_from(next).expect("POINTS_MAX and a point for each backend fit in 32 bits")
        });
        Self {
            slots: slots.collect(),
            places: points.iter().map(|(_, _, place)| *place).collect(),
            points: points.iter().map(|(point, ..)| *point).collect(),
            shift,
        }
    }

    /// The places behind `key` in order, round the ring once at most; the same one comes again.
    pub(super) fn walk(&self, key: u64) -> impl Iterator<Item = usize> {
        let count = self.points.len();
        let slot = usize::try_from(key >> self.shift).expect("a slot is an index");
        let near = self.slots[slot] as usize;
        let before = self.points[near..].iter().take_while(|point| **point < key).count();
        // Behind the last point comes the first.
        let first = near + before;
        (first..first + count.min(STEPS_MAX)).map(move |nth| usize::from(self.places[nth % count]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::stable_hash;

    #[test]
    fn one_that_goes_moves_its_own_keys_whatever_that_does_to_the_number_of_slots() {
        let ids: Vec<u64> = (0..40_u64).map(|nth| stable_hash(&nth.to_le_bytes())).collect();
        let ring = |count: usize| Ring::new(&ids[..count], &alloc::vec![1; count]);
        let home = |ring: &Ring, key| ring.walk(key).next();
        for count in 2..=ids.len() {
            let (all, fewer) = (ring(count), ring(count - 1));
            for key in (0..500_u64).map(|nth| stable_hash(&nth.to_be_bytes())) {
                let (before, after) = (home(&all, key), home(&fewer, key));
                assert!(before == Some(count - 1) || before == after, "{key} of {count}");
            }
        }
    }
}
