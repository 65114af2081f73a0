//! Smooth weighted round robin: exact shares over a cycle, evenly spread within it.
//!
//! Each pick, every backend gains its weight in credit, the richest is chosen and pays the total
//! (nginx, "upstream: smooth weighted round-robin balancing", 2012). Weights 1, 2, 1 give
//! b2 b1 b3 b2. The cycle is worked out once, and a pick is one step of a shared cursor. A backend
//! that may not be chosen has its turn struck out: the others' turns stay in proportion, where
//! passing a turn to the next in line would double that neighbour's share. For the same reason a
//! die by weight decides where a long row of turns was struck out, as when a whole zone is gone.

use alloc::boxed::Box;
use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::alias::Alias;
use super::{Candidates, Draw, Drawn, How, reduced};
use crate::word::atomic::{AtomicU64, Ordering};

/// The turns of one cycle, and whose turn it is.
#[derive(Debug)]
pub(crate) struct RoundRobin {
    turns: Box<[u16]>,
    /// Decides where a long row of turns was struck out.
    die: Alias,
    cursor: AtomicU64,
}

/// Additions that the smooth order may cost when it is worked out: a few milliseconds. Beyond it
/// turns are placed by deadline, which is as exact over a cycle, and less even within it.
const SMOOTH_WORK_MAX: u64 = 1 << 22;
/// Turns of a cycle. Beyond it weights are halved (and kept at least 1) until it fits.
const TURNS_MAX: u64 = 1 << 20;
/// Turns struck out in a row before the die decides.
const STRUCK_MAX: usize = 16;

impl RoundRobin {
    pub(crate) fn new(weights: &[u32]) -> Self {
        let mut weights = reduced(weights);
        let total = |weights: &[u32]| weights.iter().copied().map(u64::from).sum::<u64>();
        while total(&weights) > TURNS_MAX {
            weights = weights.iter().map(|weight| weight.div_ceil(2)).collect();
        }
        let total = total(&weights);
        let work = total * weights.len() as u64;
        let turns = if work <= SMOOTH_WORK_MAX {
            smooth_turns(&weights, total)
        } else {
            deadline_turns(&weights, total)
        };
        Self { turns, die: Alias::new(&weights), cursor: AtomicU64::new(0) }
    }

    /// Goes on with the turn that another round came to.
    pub(crate) fn go_on(&self, from: &Self) {
        self.cursor.store(from.cursor.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    pub(crate) fn choose(&self, among: &impl Candidates, draw: &mut Draw<'_>) -> Option<Drawn> {
        let turns = if draw.first { STRUCK_MAX.min(self.turns.len()) } else { 0 };
        (0..turns)
            .map(|_| self.next_turn())
            .find(|place| among.admits(*place))
            .map(|place| Drawn { place, how: How::Turn })
            .or_else(|| {
                let place = self.die.draw_among(among, draw.rng)?;
                Some(Drawn { place, how: How::Weight })
            })
    }

    fn next_turn(&self) -> usize {
        let turn = self.cursor.fetch_add(1, Ordering::Relaxed) % self.turns.len() as u64;
        let turn = usize::try_from(turn).expect("a turn is below the count of turns");
        usize::from(self.turns[turn])
    }
}

fn smooth_turns(weights: &[u32], total: u64) -> Box<[u16]> {
    let total_signed = i64::try_from(total).expect("TURNS_MAX fits");
    let mut credit = alloc::vec![0_i64; weights.len()];
    (0..total)
        .map(|_| {
            let mut richest = 0;
            for (place, weight) in weights.iter().enumerate() {
                credit[place] += i64::from(*weight);
                if credit[place] > credit[richest] {
                    richest = place;
                }
            }
            credit[richest] -= total_signed;
            small(richest)
        })
        .collect()
}

/// The k-th turn of a backend is due at (k + ½)/weight of the cycle; turns in order of deadline.
fn deadline_turns(weights: &[u32], total: u64) -> Box<[u16]> {
    let due = |place: usize, k: u64| {
        // In units of 2⁻⁴⁰ cycles; ties go to the lower place.
        (((2 * k + 1) << 39) / u64::from(weights[place]), place, k)
    };
    let mut heap: BinaryHeap<_> = (0..weights.len()).map(|place| Reverse(due(place, 0))).collect();
    let mut turns = Vec::with_capacity(usize::try_from(total).unwrap_or(0));
    while let Some(Reverse((_, place, k))) = heap.pop() {
        turns.push(small(place));
        if k + 1 < u64::from(weights[place]) {
            heap.push(Reverse(due(place, k + 1)));
        }
    }
    turns.into()
}

fn small(place: usize) -> u16 {
    u16::try_from(place).expect("BACKENDS_MAX fits in 16 bits")
}
