//! The order in which a key prefers backends: rendezvous hashing with weights.
//!
//! Each backend draws a number from its name and the key, exponentially distributed with its weight
//! as the rate, and the smallest wins: a backend wins its share of the keys by weight, and one that
//! goes away gives each of its keys to the runner-up and moves no other (Thaler and Ravishankar,
//! "Using name-based mappings to increase hit rates", 1998; the logarithm: Schindelhauer and
//! Schomaker, "Weighted distributed hash tables", SPAA 2005). The logarithm is `libm`'s, which is
//! the same on every platform.

use alloc::boxed::Box;

/// Names and weights, ready to be ranked by any key.
#[derive(Debug)]
pub(super) struct Rank {
    ids: Box<[u64]>,
    weights: Box<[f64]>,
}

impl Rank {
    pub(super) fn new(ids: &[u64], weights: &[u32]) -> Self {
        Self { ids: ids.into(), weights: weights.iter().copied().map(f64::from).collect() }
    }

    /// The place that `key` prefers among those that `admits` lets pass. Looks at every one.
    pub(super) fn best(&self, key: u64, admits: impl Fn(usize) -> bool) -> Option<usize> {
        let mut best = None;
        for place in (0..self.ids.len()).filter(|place| admits(*place)) {
            let drawn = self.drawn(key, place);
            let better = best.is_none_or(|(least, id, _): (f64, u64, usize)| {
                drawn < least || (drawn <= least && self.ids[place] < id)
            });
            if better {
                best = Some((drawn, self.ids[place], place));
            }
        }
        best.map(|(_, _, place)| place)
    }

    /// What the backend at `place` draws for `key`: the less, the better.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are kept, and that is all there are")]
    fn drawn(&self, key: u64, place: usize) -> f64 {
        const UNIT: f64 = 1.0 / (1_u64 << 53) as f64;
        let bits = mix(key ^ self.ids[place]) >> 11;
        let uniform = (bits as f64 + 0.5) * UNIT;
        -libm::log(uniform) / self.weights[place]
    }
}

/// A second hash of a hash: the finaliser of MurmurHash3 (Appleby, 2011).
pub(super) const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ (bits >> 33)
}
