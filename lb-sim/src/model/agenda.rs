//! What is to happen, in the order of time.
//!
//! A request waits for one thing at a time, and there are many of them: such a turn is one number of 128 bits,
//! of which the higher half is the time. Everything else is rare, and may take its time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use lb_core::Time;

/// Something that is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// A fault begins, by its place in the scenario.
    FaultBegins(u32),
    /// A fault is over.
    FaultEnds(u32),
    /// Something is done to the proxy.
    Action(u32),
    /// A request goes on, if it has not gone on since: its slot, and the turn it waits for.
    Turn(u32, u64),
    /// A check begins, or has found something.
    Check(u32),
    /// A client asks again: its place among those who will.
    Again(u32),
}

/// Requests that are open at a time: 24 bits tell them apart.
pub(super) const SLOTS_MAX: u32 = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 24;

/// Everything that is to happen. What is due at the same time comes in the order in which it was put down,
/// whatever it is: so a run is the same wherever it runs.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// Time, number and slot: 64, 40 and 24 bits.
    turns: BinaryHeap<Reverse<u128>>,
    rest: BinaryHeap<Reverse<(Time, u64, Due)>>,
    /// How much was put down: 40 bits are enough for a million things in each of a million seconds.
    put: u64,
}

impl Agenda {
    /// The turn of the request in a slot. Returns the number by which it is known.
    pub(super) fn put_turn(&mut self, at: Time, slot: u32) -> u64 {
        assert!(slot < SLOTS_MAX, "so many requests are never open at a time");
        self.put += 1;
        let low = (self.put << SLOT_BITS) | u64::from(slot);
        self.turns.push(Reverse((u128::from(at.as_micros()) << 64) | u128::from(low)));
        self.put
    }

    pub(super) fn put(&mut self, at: Time, due: Due) {
        self.put += 1;
        self.rest.push(Reverse((at, self.put, due)));
    }

    /// When the next thing happens.
    pub(super) fn next(&self) -> Option<Time> {
        let turn = self.turns.peek().map(|Reverse(turn)| time(*turn));
        let other = self.rest.peek().map(|Reverse((at, ..))| *at);
        match (turn, other) {
            (Some(turn), Some(other)) => Some(turn.min(other)),
            (turn, other) => turn.or(other),
        }
    }

    pub(super) fn take(&mut self) -> Option<(Time, Due)> {
        let turn = self.turns.peek().map(|Reverse(turn)| (time(*turn), number(*turn)));
        let other = self.rest.peek().map(|Reverse((at, put, _))| (*at, *put));
        if other.is_some_and(|other| turn.is_none_or(|turn| other < turn)) {
            return self.rest.pop().map(|Reverse((at, _, due))| (at, due));
        }
        let Reverse(turn) = self.turns.pop()?;
        Some((time(turn), Due::Turn(slot(turn), number(turn))))
    }

    pub(super) fn clear_checks(&mut self) {
        self.rest.retain(|Reverse((.., due))| !matches!(due, Due::Check(_)));
    }
}

fn time(turn: u128) -> Time {
    Time::from_micros((turn >> 64) as u64)
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half of 128 bits")]
fn number(turn: u128) -> u64 {
    (turn as u64) >> SLOT_BITS
}

#[expect(clippy::cast_possible_truncation, reason = "the lowest 24 bits")]
fn slot(turn: u128) -> u32 {
    (turn as u32) & (SLOTS_MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_at_once_comes_in_the_order_in_which_it_was_put_down() {
        let mut agenda = Agenda::default();
        let at = Time::from_millis;
        let last = agenda.put_turn(at(2), 1);
        let first = agenda.put_turn(at(1), SLOTS_MAX - 1);
        agenda.put(at(1), Due::FaultBegins(0));
        let second = agenda.put_turn(at(1), 0);
        assert_eq!(agenda.next(), Some(at(1)));
        let all: Vec<_> = std::iter::from_fn(|| agenda.take()).map(|(_, due)| due).collect();
        let turns = [Due::Turn(SLOTS_MAX - 1, first), Due::Turn(0, second), Due::Turn(1, last)];
        assert_eq!(all, [turns[0], Due::FaultBegins(0), turns[1], turns[2]]);
    }

    #[test]
    fn never_is_a_time_like_any_other() {
        let mut agenda = Agenda::default();
        let turn = agenda.put_turn(Time::MAX, 7);
        assert_eq!(agenda.take(), Some((Time::MAX, Due::Turn(7, turn))));
    }
}
