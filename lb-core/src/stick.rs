//! Who sticks where, for clients that bring no cookie: a bounded table by key.
//!
//! A client is remembered for a while after each answer. The table holds so many and no more, four to a
//! set; a new one takes the place of the one that would be forgotten first. So a crowd makes the table
//! forgetful and no larger. Two clients whose tags agree stick to the same backend: one in four
//! million.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::config::StickConfig;
use crate::facts::Facts;
use crate::key::Keys;
use crate::time::{Time, micros};
use crate::word::{Shared, Word};

/// Clients that are remembered, at most: half a MiB.
#[cfg(not(loom))]
const CELLS: usize = 1 << 16;
/// loom follows each one of them.
#[cfg(loom)]
const CELLS: usize = 8;
const WAYS: usize = 4;

/// 24 bits of a key, 16 of a backend's number, 24 of the second at which it is forgotten (194 days).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cell {
    tag: u32,
    number: u16,
    until_s: u32,
}

const TAG_BITS: u32 = 24;
const UNTIL_MAX: u64 = (1 << 24) - 1;

/// The clients of one service.
#[derive(Debug)]
pub(crate) struct Stick {
    keys: Keys,
    ttl_s: u64,
    /// By place in the service.
    numbers: Box<[u16]>,
    /// Who has which number and is at which place, in the order of numbers.
    places: Box<[(u16, u16)]>,
    /// Shared with the tables before and after it, however their backends are placed.
    cells: Arc<[Shared<Cell>]>,
}

impl Stick {
    /// A table for backends of these `numbers`, by place; who was remembered `before` still is.
    pub(crate) fn new(
        config: &StickConfig,
        numbers: impl Iterator<Item = u16>,
        before: Option<&Self>,
    ) -> Self {
        let numbers: Box<[u16]> = numbers.collect();
        let mut places: Vec<_> = numbers.iter().copied().zip(0..).collect();
        places.sort_unstable();
        Self {
            keys: Keys::stable(&config.key),
            ttl_s: micros(config.ttl).div_ceil(1_000_000),
            numbers,
            places: places.into(),
            cells: match before {
                Some(stick) => Arc::clone(&stick.cells),
                None => (0..CELLS).map(|_| Shared::new(Cell::default())).collect(),
            },
        }
    }

    /// The key of a request that has one.
    pub(crate) fn key(&self, facts: &dyn Facts) -> Option<u64> {
        self.keys.of(facts)
    }

    /// Where the client of a key sticks at `now`.
    pub(crate) fn place(&self, key: u64, now: Time) -> Option<u16> {
        let (tag, cells) = self.set(key);
        let mine = |cell: &Cell| cell.tag == tag && seconds(now) < u64::from(cell.until_s);
        let number = cells.iter().map(Shared::get).find(mine)?.number;
        let nth = self.places.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        Some(self.places[nth].1)
    }

    /// The client of a key was served at `place`.
    pub(crate) fn remember(&self, key: u64, place: u16, now: Time) {
        let (tag, cells) = self.set(key);
        let until = (seconds(now) + self.ttl_s).min(UNTIL_MAX);
        let until_s = u32::try_from(until).expect("24 bits");
        let seen = cells.iter().map(Shared::get).enumerate();
        // Its own cell, else that of whoever would be forgotten first.
        let (way, _) = seen.min_by_key(|(_, cell)| (cell.tag != tag, cell.until_s)).expect("some");
        let cell = Cell { tag, number: self.numbers[usize::from(place)], until_s };
        // Another thread that writes here at the same time is as right as this one.
        cells[way].step(|before| (before != cell).then_some(cell));
    }

    fn set(&self, key: u64) -> (u32, &[Shared<Cell>]) {
        let set = usize::try_from(key % (CELLS / WAYS) as u64).expect("an index") * WAYS;
        // Zero is the tag of cells that are nobody's.
        let tag = u32::try_from(key >> (u64::BITS - TAG_BITS)).expect("24 bits").max(1);
        (tag, &self.cells[set..set + WAYS])
    }
}

const fn seconds(now: Time) -> u64 {
    now.as_micros() / 1_000_000
}

impl Word for Cell {
    fn pack(self) -> u64 {
        (u64::from(self.tag) << 40) | (u64::from(self.number) << 24) | u64::from(self.until_s)
    }

    fn unpack(bits: u64) -> Self {
        let low =
            |bits: u64, width: u32| u32::try_from(bits & ((1 << width) - 1)).expect("few bits");
        Self {
            tag: low(bits >> 40, 24),
            number: u16::try_from(low(bits >> 24, 16)).expect("16 bits"),
            until_s: low(bits, 24),
        }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::hash::stable_hash;

    fn table() -> Stick {
        let config = StickConfig { ttl: Duration::from_secs(60), ..StickConfig::default() };
        Stick::new(&config, 0..10, None)
    }

    fn key(nth: u32) -> u64 {
        stable_hash(&nth.to_be_bytes())
    }

    fn secs(secs: u64) -> Time {
        Time::from_millis(secs * 1_000)
    }

    #[test]
    fn a_client_is_remembered_for_a_while_after_each_answer() {
        let stick = table();
        assert_eq!(stick.place(key(1), secs(0)), None);
        stick.remember(key(1), 7, secs(0));
        assert_eq!(stick.place(key(1), secs(59)), Some(7));
        stick.remember(key(1), 8, secs(59));
        assert_eq!(stick.place(key(1), secs(118)), Some(8));
        assert_eq!(stick.place(key(1), secs(119)), None);
        assert_eq!(stick.place(key(2), secs(60)), None);
    }

    #[test]
    fn a_key_of_zeros_is_a_key_like_any_other() {
        let stick = table();
        (0..5).for_each(|place| stick.remember(0, place, secs(place.into())));
        assert_eq!(stick.place(0, secs(10)), Some(4));
        assert_eq!(stick.cells.iter().filter(|cell| cell.get().until_s > 0).count(), 1);
    }

    #[test]
    fn who_is_remembered_stays_with_the_backend_wherever_it_stands() {
        let stick = table();
        (0..3).for_each(|nth| stick.remember(key(nth), u16::try_from(nth).unwrap(), secs(0)));
        let config = StickConfig { ttl: Duration::from_secs(60), ..StickConfig::default() };
        let places = |stick: &Stick| [0, 1, 2].map(|nth| stick.place(key(nth), secs(1)));
        let next = Stick::new(&config, [2, 7, 0].into_iter(), Some(&stick));
        assert_eq!(places(&next), [Some(2), None, Some(0)]);
        assert!(
            Arc::ptr_eq(&next.cells, &stick.cells),
            "however often that is, there is one table"
        );
        // What an exchange learns that began before is known to those who came since, and the other way.
        stick.remember(key(0), 2, secs(0));
        assert_eq!(places(&next), [Some(0), None, Some(0)]);
        let back = Stick::new(&config, 0..3, Some(&next));
        assert_eq!(places(&back), [Some(2), Some(1), Some(2)]);
    }

    /// A million clients: the table is as large as before, and remembers the last of them.
    #[test]
    fn a_crowd_makes_the_table_forgetful_and_no_larger() {
        let stick = table();
        (0..1_000_000).for_each(|nth| stick.remember(key(nth), 3, secs(u64::from(nth / 10_000))));
        assert_eq!(size_of_val(&*stick.cells), 512 * 1024);
        let known = (990_000..1_000_000).filter(|nth| stick.place(key(*nth), secs(100)).is_some());
        assert!(known.count() > 9_500);
    }
}
