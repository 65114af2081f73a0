//! A ring: each backend has points on it by its weight, and a key belongs to the next one.
//!
//! Karger et al., "Consistent hashing and random trees", STOC 1997; the many points per backend are
//! ketama's (Last.fm, 2007). A backend that goes away leaves its stretches to the points behind
//! them, and no other key moves. Points are found through an index of their high bits, since a
//! search through a million points would miss the cache at every step.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::rank::mix;

/// Points in order, and where those begin that share their high bits.
#[derive(Debug)]
pub(super) struct Ring {
    points: Box<[(u64, u16)]>,
    /// By the high bits of a hash.
    starts: Box<[u32]>,
    shift: u32,
}

/// Points per unit of weight: shares are off by an eighth (one over the root of this).
const POINTS_PER_WEIGHT: u64 = 160;
/// Points of a ring. Beyond it there are fewer per unit of weight, and each has one at least.
const POINTS_MAX: u64 = 1 << 20;
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
        let bits = points.len().next_power_of_two().trailing_zeros().max(1);
        let shift = u64::BITS - bits;
        let mut starts = Vec::with_capacity(1 << bits);
        for bucket in 0..1_u64 << bits {
            let begins = points.partition_point(|(point, ..)| point >> shift < bucket);
            starts.push(u32::try_from(begins).expect("POINTS_MAX fits in 32 bits"));
        }
        let points = points.into_iter().map(|(point, _, place)| (point, place)).collect();
        Self { points, starts: starts.into(), shift }
    }

    /// The places behind `key` in order, round the ring once at most; the same one comes again.
    pub(super) fn walk(&self, key: u64) -> impl Iterator<Item = usize> {
        let count = self.points.len();
        let bucket = usize::try_from(key >> self.shift).expect("a bucket is an index");
        let mut at = self.starts[bucket] as usize;
        while at < count && self.points[at].0 < key {
            at += 1;
        }
        let steps = count.min(STEPS_MAX);
        (at..at + steps).map(move |index| usize::from(self.points[index % count].1))
    }
}
