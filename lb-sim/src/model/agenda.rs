//! What is to happen, in the order of time.

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
    Turn(u32, u32),
    /// A check begins, or has found something.
    Check(u32),
    /// A client asks again: its place among those who will.
    Again(u32),
}

/// Everything that is to happen. What is due at the same time comes in the order in which it was put down,
/// whatever it is: so a run is the same wherever it runs.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    heap: BinaryHeap<Reverse<(Time, u64, Due)>>,
    put: u64,
}

impl Agenda {
    pub(super) fn put(&mut self, at: Time, due: Due) {
        self.put += 1;
        self.heap.push(Reverse((at, self.put, due)));
    }

    /// When the next thing happens.
    pub(super) fn next(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    pub(super) fn take(&mut self) -> Option<(Time, Due)> {
        self.heap.pop().map(|Reverse((at, _, due))| (at, due))
    }

    pub(super) fn clear_checks(&mut self) {
        self.heap.retain(|Reverse((.., due))| !matches!(due, Due::Check(_)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_at_once_comes_in_the_order_in_which_it_was_put_down() {
        let mut agenda = Agenda::default();
        let at = Time::from_millis;
        agenda.put(at(2), Due::Turn(1, 1));
        agenda.put(at(1), Due::Turn(9, 1));
        agenda.put(at(1), Due::FaultBegins(0));
        assert_eq!(agenda.next(), Some(at(1)));
        let all: Vec<_> = std::iter::from_fn(|| agenda.take()).map(|(_, due)| due).collect();
        assert_eq!(all, [Due::Turn(9, 1), Due::FaultBegins(0), Due::Turn(1, 1)]);
    }
}
