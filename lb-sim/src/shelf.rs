//! What is known of exchanges and requests while somebody may ask about them, and no longer.
//!
//! Both are numbered in the order in which they begin, so what is open lies close together: a [`Shelf`] is a
//! window over the numbers that moves on as the oldest are done with. Who is done stays for a while, since
//! news of him may still be on their way; who is not done and would hold up everybody behind him is put
//! aside. So a run of a billion exchanges needs the memory of those that are open.
//!
//! ```
//! # use lb_sim::shelf::{Kept, Shelf};
//! struct Job(bool);
//! impl Kept for Job {
//!     fn is_done(&self) -> bool {
//!         self.0
//!     }
//!     fn is_sound(&self) -> bool {
//!         true
//!     }
//! }
//! let mut jobs = Shelf::new();
//! for number in 0..1_000_000 {
//!     jobs.insert(number, Job(number != 7));
//! }
//! assert!(jobs.get(&7_u64).is_some() && jobs.get(&8_u64).is_none());
//! assert_eq!(jobs.retired() + jobs.iter().count() as u64, 1_000_000);
//! ```

use std::collections::{BTreeMap, VecDeque};

use lb_core::ExchangeId;

/// Who is kept on a shelf.
pub trait Kept {
    /// Whether nothing is to be expected of it any more.
    fn is_done(&self) -> bool;

    /// Whether it ended as it should. Who did not is kept to the end, to be looked at.
    fn is_sound(&self) -> bool;
}

/// Whatever says who is meant.
pub trait Numbered {
    /// By what number.
    fn number(&self) -> u64;
}

impl Numbered for u64 {
    fn number(&self) -> u64 {
        *self
    }
}

impl Numbered for u32 {
    fn number(&self) -> u64 {
        (*self).into()
    }
}

impl Numbered for ExchangeId {
    fn number(&self) -> u64 {
        self.0
    }
}

/// So many of the newest are kept though they are done: news of them may still come.
const LINGERING: usize = 4_096;
/// The widest window. Who is older and not done is put aside.
const WINDOW_MAX: usize = 65_536;
/// So many who did not end as they should are kept; they all say the same.
const UNSOUND_MAX: usize = 1_024;

/// Who is open, and who was until a moment ago, by number.
#[derive(Debug)]
pub struct Shelf<T> {
    /// The number of the first in the window.
    first: u64,
    window: VecDeque<Option<T>>,
    /// Older ones that are not done, or not sound.
    aside: BTreeMap<u64, T>,
    unsound: usize,
    retired: u64,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        let (window, aside) = (VecDeque::new(), BTreeMap::new());
        Self { first: 0, window, aside, unsound: 0, retired: 0 }
    }
}

impl<T: Kept> Shelf<T> {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts somebody there, and lets go who is done and sound.
    pub fn insert(&mut self, number: u64, new: T) {
        if self.window.is_empty() {
            self.first = number;
        }
        let Some(at) = number.checked_sub(self.first) else {
            self.aside.insert(number, new);
            return;
        };
        // Numbers may be left out, but not so many that the gap were longer than the window.
        if at >= (self.window.len() + WINDOW_MAX) as u64 {
            while self.shift() {}
            self.first = number;
        }
        let at = usize::try_from(number - self.first).expect("the window is narrow");
        while self.window.len() < at {
            self.window.push_back(None);
        }
        match self.window.get_mut(at) {
            Some(place) => *place = Some(new),
            None => self.window.push_back(Some(new)),
        }
        self.tidy();
    }

    /// Makes room: at most two go for each that comes, so that no one has to wait.
    fn tidy(&mut self) {
        for _ in 0..2 {
            let Some(oldest) = self.window.front() else { return };
            let is_done = oldest.as_ref().is_none_or(Kept::is_done);
            let too_many = if is_done { LINGERING } else { WINDOW_MAX };
            if self.window.len() <= too_many {
                return;
            }
            self.shift();
        }
    }

    /// Takes the oldest out of the window, if there is one. It is kept aside unless it is done with.
    fn shift(&mut self) -> bool {
        let Some(oldest) = self.window.pop_front() else { return false };
        let number = self.first;
        self.first += 1;
        let Some(oldest) = oldest else { return true };
        let is_unsound = !oldest.is_sound() && self.unsound < UNSOUND_MAX;
        if !oldest.is_done() || is_unsound {
            self.unsound += usize::from(oldest.is_done());
            self.aside.insert(number, oldest);
        } else {
            self.retired += 1;
        }
        true
    }

    /// Who has this number, if he is still known.
    pub fn get(&self, who: &impl Numbered) -> Option<&T> {
        let number = who.number();
        match self.place(number) {
            Some(at) => self.window.get(at)?.as_ref(),
            None => self.aside.get(&number),
        }
    }

    /// Changes who has this number, if he is still known.
    pub fn change(&mut self, number: u64, change: impl FnOnce(&mut T)) {
        if let Some(at) = self.place(number) {
            if let Some(Some(known)) = self.window.get_mut(at) {
                change(known);
            }
        } else if let Some(known) = self.aside.get_mut(&number) {
            change(known);
            if known.is_done() && known.is_sound() {
                self.aside.remove(&number);
                self.retired += 1;
            }
        }
    }

    fn place(&self, number: u64) -> Option<usize> {
        number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok())
    }

    /// Everybody who is known, in order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let aside = self.aside.iter().map(|(number, known)| (*number, known));
        let window = (self.first..).zip(&self.window);
        aside.chain(window.filter_map(|(number, known)| Some((number, known.as_ref()?))))
    }

    /// How many were done with, and ended as they should.
    pub fn retired(&self) -> u64 {
        self.retired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it is done, and whether it is sound.
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct It(bool, bool);

    impl Kept for It {
        fn is_done(&self) -> bool {
            self.0
        }

        fn is_sound(&self) -> bool {
            self.1
        }
    }

    const MANY: u64 = 1_000_000;

    fn shelf(of: impl Fn(u64) -> It) -> Shelf<It> {
        let mut shelf = Shelf::new();
        for number in 1..=MANY {
            shelf.insert(number, of(number));
        }
        shelf
    }

    #[test]
    fn what_is_open_is_known_however_old_it_is_and_gone_when_it_is_done() {
        let mut shelf = shelf(|number| It(number % 100_000 != 0, true));
        assert!(
            shelf.window.len() <= WINDOW_MAX && shelf.aside.len() <= 10,
            "{}",
            shelf.aside.len()
        );
        assert_eq!(shelf.get(&100_000_u64), Some(&It(false, true)));
        shelf.change(100_000, |it| it.0 = true);
        assert_eq!((shelf.get(&100_000_u64), shelf.get(&1_u64)), (None, None));
        assert_eq!(shelf.retired() + shelf.iter().count() as u64, MANY);
    }

    #[test]
    fn who_did_not_end_as_he_should_is_kept_up_to_a_limit() {
        let shelf = shelf(|_| It(true, false));
        assert_eq!(shelf.aside.len(), UNSOUND_MAX);
        assert_eq!(shelf.get(&1_u64), Some(&It(true, false)));
    }

    #[test]
    fn numbers_may_be_left_out_and_come_in_any_order() {
        let mut shelf = Shelf::new();
        for number in [5, 3, 9, 1 << 48, 4] {
            shelf.insert(number, It(false, true));
        }
        let known: Vec<u64> = shelf.iter().map(|(number, _)| number).collect();
        assert_eq!(known, [3, 4, 5, 9, 1 << 48]);
        assert_eq!(shelf.get(&6_u64), None);
    }
}
