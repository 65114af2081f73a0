//! Which backends of a pool are fit: a bitmap, kept lazily, so that a pick costs the same with
//! three backends and with ten thousand.
//!
//! The breaker is the truth and the bitmap a hint. A pick that the breaker declines clears the bit
//! and lowers `due`, the time at which some cleared bit may be worth another look; the first pick
//! after that time looks at all cleared bits. So a bit that is wrongly set costs one more draw, and
//! one that is wrongly cleared is found again when it is due. Nobody but picks writes here, and a
//! backend need not know in how many pools it sits.

use alloc::boxed::Box;

use crate::time::Time;
use crate::word::atomic::{AtomicU64, Ordering};

/// A bit per backend, and when to look at the cleared ones.
#[derive(Debug)]
pub(crate) struct Fitness {
    words: Box<[AtomicU64]>,
    count: usize,
    due: AtomicU64,
}

const BITS: usize = 64;

impl Fitness {
    /// `count` backends, all fit.
    pub(crate) fn all(count: usize) -> Self {
        let ones = |word: usize| match count - word * BITS {
            BITS.. => u64::MAX,
            rest => (1 << rest) - 1,
        };
        let words = (0..count.div_ceil(BITS)).map(|word| AtomicU64::new(ones(word))).collect();
        Self { words, count, due: AtomicU64::new(u64::MAX) }
    }

    pub(crate) fn is_fit(&self, place: usize) -> bool {
        self.words[place / BITS].load(Ordering::Relaxed) & mask(place) != 0
    }

    /// How many are fit.
    pub(crate) fn fit_count(&self) -> usize {
        self.words.iter().map(|word| word.load(Ordering::Relaxed).count_ones() as usize).sum()
    }

    /// Leaves `place` out until `due`.
    pub(crate) fn rest(&self, place: usize, due: Time) {
        // First the bit, then the time: a sweep between the two leaves the time behind for the
        // next one, never a cleared bit that nobody will look at.
        self.words[place / BITS].fetch_and(!mask(place), Ordering::AcqRel);
        self.due.fetch_min(due.as_micros(), Ordering::AcqRel);
    }

    /// Looks at the cleared bits if one is due. `rests_until` tells of a place until when it must
    /// be left out, if at all.
    pub(crate) fn refresh(&self, now: Time, rests_until: impl Fn(usize) -> Option<Time>) {
        if now.as_micros() < self.due.load(Ordering::Acquire) {
            return;
        }
        self.due.store(u64::MAX, Ordering::Release);
        for place in (0..self.count).filter(|place| !self.is_fit(*place)) {
            match rests_until(place) {
                Some(until) if now < until => {
                    self.due.fetch_min(until.as_micros(), Ordering::AcqRel);
                }
                _ => {
                    self.words[place / BITS].fetch_or(mask(place), Ordering::AcqRel);
                }
            }
        }
    }

    /// The first fit place in `from..` and then in `..from`, among those that `admits` lets pass.
    pub(crate) fn first_from(&self, from: usize, admits: impl Fn(usize) -> bool) -> Option<usize> {
        let word_count = self.words.len();
        // One round and the first word again, whose low bits come last.
        for step in 0..=word_count {
            let index = (from / BITS + step) % word_count;
            let mut bits = self.words[index].load(Ordering::Relaxed);
            if step == 0 {
                bits &= u64::MAX << (from % BITS);
            }
            while bits != 0 {
                let place = index * BITS + bits.trailing_zeros() as usize;
                if admits(place) {
                    return Some(place);
                }
                bits &= bits - 1;
            }
        }
        None
    }
}

const fn mask(place: usize) -> u64 {
    1 << (place % BITS)
}
