//! Which backends of a pool are fit: a bitmap, kept lazily, so that a pick costs the same with
//! three backends and with ten thousand.
//!
//! The breaker is the truth and the bitmap a hint. A pick that the breaker declines clears the bit
//! and lowers `due`, the time at which some bit may be worth another look; the first pick after that
//! time looks at all of them. So a bit that is wrongly set costs one more draw, and one that is
//! wrongly cleared is found again when it is due. Nobody but picks writes bits, and a backend need
//! not know in how many groups it sits.

use alloc::boxed::Box;
use core::time::Duration;

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
/// The longest that a place is left out without another look at it.
pub(crate) const REST_MAX: Duration = Duration::from_secs(1);

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

    /// The fit place that has `nth` of them before it.
    pub(crate) fn nth(&self, mut nth: usize) -> Option<usize> {
        for (index, word) in self.words.iter().enumerate() {
            let mut bits = word.load(Ordering::Relaxed);
            let here = bits.count_ones() as usize;
            if nth < here {
                for _ in 0..nth {
                    bits &= bits - 1;
                }
                return Some(index * BITS + bits.trailing_zeros() as usize);
            }
            nth -= here;
        }
        None
    }

    /// Leaves `place` out until `due`.
    pub(crate) fn rest(&self, place: usize, due: Time) {
        // First the bit, then the time: a sweep between the two leaves the time behind for the
        // next one, never a cleared bit that nobody will look at.
        self.words[place / BITS].fetch_and(!mask(place), Ordering::AcqRel);
        self.due.fetch_min(due.as_micros(), Ordering::AcqRel);
    }

    /// Looks at all bits if one is due. `rests_until` tells of a place until when it must
    /// be left out, if at all.
    pub(crate) fn refresh(&self, now: Time, rests_until: impl Fn(usize) -> Option<Time>) {
        if now.as_micros() < self.due.load(Ordering::Acquire) {
            return;
        }
        // A swap and not a store: whoever lowered `due` since it was loaded loses that time here,
        // but by reading it the swap makes sure that the sweep sees the bit cleared before it.
        self.due.swap(u64::MAX, Ordering::AcqRel);
        for place in 0..self.count {
            match rests_until(place) {
                // Somebody may speak for it while its bit is being cleared, and nobody would hear.
                Some(until) if now < until && self.is_fit(place) => {
                    self.rest(place, until.min(now + REST_MAX));
                }
                // Nor does anybody speak to a snapshot that a reload has replaced, and that requests under
                // way still choose from: what only a word would end is looked at again all the same.
                Some(until) if now < until => {
                    self.due.fetch_min(until.min(now + REST_MAX).as_micros(), Ordering::AcqRel);
                }
                _ if self.is_fit(place) => {}
                _ => {
                    self.words[place / BITS].fetch_or(mask(place), Ordering::AcqRel);
                }
            }
        }
    }

    /// When some place that rests may be worth another look.
    pub(crate) fn due(&self) -> Time {
        Time::from_micros(self.due.load(Ordering::Acquire))
    }

    /// Has the next pick look at every place: somebody spoke for one, or against one.
    pub(crate) fn look_again(&self) {
        // A swap and not a store: it hands on to the sweep what a rest before it has cleared.
        self.due.swap(0, Ordering::AcqRel);
    }

    /// The first fit place in `from..`, among those that `admits` lets pass.
    pub(crate) fn first_from(&self, from: usize, admits: impl Fn(usize) -> bool) -> Option<usize> {
        let mut wanted = u64::MAX << (from % BITS);
        for index in from / BITS..self.words.len() {
            let mut bits = self.words[index].load(Ordering::Relaxed) & wanted;
            wanted = u64::MAX;
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

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use core::iter::successors;

    use super::*;

    /// Around the edges of words.
    const COUNTS: [usize; 8] = [1, 2, 63, 64, 65, 127, 128, 129];
    const NEVER: Time = Time::MAX;

    fn bits(fitness: &Fitness) -> Vec<u64> {
        fitness.words.iter().map(|word| word.load(Ordering::Relaxed)).collect()
    }

    fn fit(fitness: &Fitness) -> Vec<usize> {
        (0..fitness.count).filter(|place| fitness.is_fit(*place)).collect()
    }

    fn walked(fitness: &Fitness) -> Vec<usize> {
        let next = |from| fitness.first_from(from, |_| true);
        successors(next(0), |place| next(place + 1)).collect()
    }

    #[test]
    fn no_bit_behind_the_last_backend_is_ever_set() {
        for count in COUNTS {
            let fitness = Fitness::all(count);
            let ones =
                |bits: Vec<u64>| bits.iter().map(|word| word.count_ones() as usize).sum::<usize>();
            assert_eq!((bits(&fitness).len(), fitness.fit_count()), (count.div_ceil(BITS), count));
            for place in 0..count {
                fitness.rest(place, Time::ZERO);
                fitness.rest(place, Time::ZERO);
                assert_eq!(fitness.fit_count(), count - place - 1);
            }
            assert_eq!(fitness.first_from(0, |_| true), None);
            fitness.refresh(Time::ZERO, |_| None);
            assert_eq!(ones(bits(&fitness)), count);
            assert_eq!(bits(&fitness), bits(&Fitness::all(count)));
        }
    }

    #[test]
    fn a_walk_visits_every_fit_place_once_and_no_other() {
        for count in COUNTS {
            let all = Fitness::all(count);
            assert!((0..=count).all(|nth| all.nth(nth) == (nth < count).then_some(nth)), "{count}");
            for step in 1..=5 {
                let fitness = Fitness::all(count);
                (0..count).step_by(step).for_each(|place| fitness.rest(place, NEVER));
                assert_eq!(walked(&fitness), fit(&fitness), "all but every {step} of {count}");
                let counted: Vec<usize> = (0..count).map_while(|nth| fitness.nth(nth)).collect();
                assert_eq!(counted, fit(&fitness), "all but every {step} of {count}");
                for from in 0..=count {
                    let expected = fit(&fitness).into_iter().find(|place| *place >= from);
                    assert_eq!(fitness.first_from(from, |_| true), expected);
                }
            }
            let fitness = Fitness::all(count);
            assert_eq!(fitness.first_from(0, |place| place + 1 == count), Some(count - 1));
            assert_eq!(fitness.first_from(0, |_| false), None);
        }
    }

    #[test]
    fn a_resting_place_comes_back_when_it_is_due_and_not_before() {
        let until = |place: usize| Time::from_millis(10 + place as u64);
        for count in COUNTS {
            let fitness = Fitness::all(count);
            (0..count).for_each(|place| fitness.rest(place, until(place)));
            for now in (0..10 + count as u64).map(Time::from_millis) {
                fitness.refresh(now, |place| Some(until(place)));
                let expected: Vec<usize> = (0..count).filter(|p| until(*p) <= now).collect();
                assert_eq!(fit(&fitness), expected, "at {now:?} of {count}");
            }
        }
    }

    #[test]
    fn nobody_looks_before_something_is_due() {
        let fitness = Fitness::all(65);
        let looked = core::cell::Cell::new(0);
        let look = |place: usize, until: Option<Time>| {
            looked.set(looked.get() + usize::from(place == 64));
            until.filter(|_| place == 64)
        };
        fitness.refresh(Time::from_millis(4), |place| look(place, None));
        assert_eq!(looked.get(), 0, "all are fit");
        fitness.rest(64, Time::from_millis(5));
        fitness.refresh(Time::from_micros(4_999), |place| look(place, None));
        assert_eq!((looked.get(), fitness.is_fit(64)), (0, false));
        // It turns out to rest for longer, and is not looked at again until then.
        fitness.refresh(Time::from_millis(5), |place| look(place, Some(Time::from_millis(9))));
        fitness.refresh(Time::from_millis(8), |place| look(place, None));
        assert_eq!((looked.get(), fitness.is_fit(64)), (1, false));
        fitness.refresh(Time::from_millis(9), |place| look(place, None));
        assert_eq!((looked.get(), fitness.is_fit(64)), (2, true));
    }

    #[test]
    fn whoever_rests_until_somebody_speaks_for_him_is_looked_at_every_second_in_case_nobody_can() {
        let fitness = Fitness::all(65);
        fitness.look_again();
        for now in [0, 1_000, 2_000].map(Time::from_millis) {
            fitness.refresh(now, |place| (place == 3).then_some(NEVER));
            assert_eq!((fitness.is_fit(3), fitness.due()), (false, now + REST_MAX));
        }
        fitness.refresh(Time::from_millis(2_999), |_| None);
        assert!(!fitness.is_fit(3), "it is not yet time to look");
        fitness.refresh(Time::from_millis(3_000), |_| None);
        assert!(fitness.is_fit(3));
    }

    #[test]
    fn whoever_is_spoken_against_is_left_out_without_having_been_drawn() {
        let fitness = Fitness::all(65);
        let unhealthy = |place: usize| (place == 3).then_some(NEVER);
        fitness.refresh(Time::from_millis(1), unhealthy);
        assert!(fitness.is_fit(3), "nobody said that there is something to look at");
        fitness.look_again();
        fitness.refresh(Time::from_millis(1), unhealthy);
        assert_eq!((fitness.is_fit(3), fitness.fit_count()), (false, 64));
    }
}
