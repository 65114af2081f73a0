//! A ring: each backend has points on it by its weight, and a key belongs to the next one.
//!
//! Karger et al., "Consistent hashing and random trees", STOC 1997; the many points per backend are
//! ketama's (Last.fm, 2007). A backend that goes away leaves its stretches to the points behind
//! them, and no other key moves.
//!
//! The ring is cut into slots, some for each point, and a slot belongs to the first point at or behind
//! its beginning. So all keys of a slot go the same way, and a look-up is one read of two bytes, where a
//! search among a million points would miss the cache at every step.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::rank::mix;

/// Whose each slot is, in order.
#[derive(Debug)]
pub(super) struct Ring {
    slots: Box<[u16]>,
    /// What of a key is below the number of its slot.
    shift: u32,
}

/// Points per unit of weight: shares are off by an eighth (one over the root of this).
const POINTS_PER_WEIGHT: u64 = 160;
/// Points of a ring. Beyond it there are fewer per unit of weight, and each has one at least.
const POINTS_MAX: u64 = 1 << 20;
/// Slots for each point, at least: of points that share a slot only the first counts.
const SLOTS_PER_POINT: usize = 2;
/// Slots that a walk passes over before it gives up.
const STEPS_MAX: usize = 2_048;

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
            // Behind the last point comes the first.
            points[next % points.len()].2
        });
        Self { slots: slots.collect(), shift }
    }

    /// The places behind `key` in order, round the ring once at most; the same one comes again.
    pub(super) fn walk(&self, key: u64) -> impl Iterator<Item = usize> {
        let count = self.slots.len();
        let slot = usize::try_from(key >> self.shift).expect("a slot is an index");
        let steps = count.min(STEPS_MAX);
        (slot..slot + steps).map(move |slot| usize::from(self.slots[slot & (count - 1)]))
    }
}
