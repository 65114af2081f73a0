//! Rendezvous hashing at the cost of a table look-up.
//!
//! Ranking all backends for each request costs as much as there are backends. But keys can share
//! their rankings: there is a slot for each of some hundred keys per backend, and the first request
//! that comes by a slot works out its winner. Nothing else is remembered, so that a winner depends
//! on names and weights alone, and a backend that goes away moves its own slots and no other.

use alloc::boxed::Box;

use super::rank::Rank;
use crate::word::atomic::{AtomicU16, Ordering};

/// The winner of each slot, as far as somebody asked.
#[derive(Debug)]
pub(super) struct Rendezvous {
    slots: Box<[AtomicU16]>,
}

/// Slots per backend: shares are off by a tenth (one over the root of this).
const SLOTS_PER_BACKEND: usize = 128;
/// Few backends get more of them: it costs nothing.
const SLOTS_MIN: usize = 1 << 14;
/// No place: `BACKENDS_MAX` is far below.
const UNKNOWN: u16 = u16::MAX;

impl Rendezvous {
    pub(super) fn new(count: usize) -> Self {
        let slots = (count * SLOTS_PER_BACKEND).next_power_of_two().max(SLOTS_MIN);
        Self { slots: (0..slots).map(|_| AtomicU16::new(UNKNOWN)).collect() }
    }

    /// The key that stands for `key` and all others of its slot.
    pub(super) fn slot(&self, key: u64) -> u64 {
        key & (self.slots.len() as u64 - 1)
    }

    /// The winner of a slot over all backends.
    pub(super) fn winner(&self, slot: u64, rank: &Rank) -> usize {
        let cell = &self.slots[usize::try_from(slot).expect("a slot is an index")];
        match cell.load(Ordering::Relaxed) {
            UNKNOWN => {
                let winner = rank.best(slot, |_| true).expect("there is at least one backend");
                let small = u16::try_from(winner).expect("BACKENDS_MAX fits in 16 bits");
                // Whoever works it out comes to the same.
                cell.store(small, Ordering::Relaxed);
                winner
            }
            winner => usize::from(winner),
        }
    }
}
