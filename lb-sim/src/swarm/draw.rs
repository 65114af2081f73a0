//! Chance, as a swarm uses it: a stream for each thing that is drawn, so that no draw shifts another's.

use std::ops::RangeInclusive;

use toml::{Table, Value};

use crate::dice::{Chance, Dice};

/// A stream of chance.
pub(super) struct Draw(Dice);

impl Draw {
    pub(super) fn new(seed: u64, what: &str, number: u64) -> Self {
        Self(Dice::new(seed, &format!("swarm {what}"), number))
    }

    /// Whether something happens that does so in this share of the cases.
    pub(super) fn happens(&mut self, share: f64) -> bool {
        self.0.unit() < share
    }

    /// Any of some, each as likely.
    pub(super) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        let count = u32::try_from(all.len()).expect("lists are written by hand");
        all[self.0.below(count) as usize]
    }

    /// Any number of a range.
    pub(super) fn count(&mut self, range: RangeInclusive<u32>) -> u32 {
        range.start() + self.0.below(range.end() - range.start() + 1)
    }

    /// Some of them, and at least one, in their order.
    pub(super) fn some_of<'a>(&mut self, all: &[&'a str]) -> Vec<&'a str> {
        let sure = self.one_of(all);
        all.iter().copied().filter(|it| *it == sure || self.happens(0.5)).collect()
    }

    /// Adds `key` to a table in this share of the cases, with any of some values.
    pub(super) fn maybe<T: Copy + Into<Value>>(
        &mut self,
        table: &mut Table,
        share: f64,
        key: &str,
        all: &[T],
    ) {
        let value = self.one_of(all);
        if self.happens(share) {
            table.insert(key.to_owned(), value.into());
        }
    }

    /// Anybody's order.
    pub(super) fn shuffled<T>(&mut self, mut all: Vec<T>) -> Vec<T> {
        for left in (1..all.len()).rev() {
            let bound = u32::try_from(left + 1).expect("lists are short");
            all.swap(left, self.0.below(bound) as usize);
        }
        all
    }
}

/// A list of texts.
pub(super) fn texts(all: &[&str]) -> Value {
    Value::Array(all.iter().map(|it| Value::String((*it).to_owned())).collect())
}
