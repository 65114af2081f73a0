//! An origin as a queue: so many requests at a time, the others in the order in which they came.
//!
//! What a request is given up on is worked on nevertheless, as by a server that is not told. When each of
//! its places is free next is all that has to be known: the start of a request follows from that.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use lb_core::Time;

/// An origin at work.
#[derive(Debug, Default)]
pub(super) struct Server {
    /// How many at a time, if that is bounded, and how many may wait.
    bounds: Option<(usize, usize)>,
    /// When each place that is taken is free again.
    busy: BinaryHeap<Reverse<Time>>,
    /// Where faults take places away: when each place is free again, and which was given last.
    places: Vec<Time>,
    given: usize,
    /// When those who wait begin, in order.
    waiting: VecDeque<Time>,
    /// Kept connections, and when one was used last.
    pub(super) idle: u32,
    pub(super) used: Time,
}

impl Server {
    pub(super) fn new(concurrency: Option<usize>, queue: usize) -> Self {
        Self { bounds: concurrency.map(|most| (most, queue)), ..Self::default() }
    }

    /// When a request that comes at `at` begins; `None`: it is turned away. [`Self::works`] must follow.
    pub(super) fn begins(&mut self, at: Time) -> Option<Time> {
        let Some((most, queue)) = self.bounds else { return Some(at) };
        while self.waiting.front().is_some_and(|begins| *begins <= at) {
            self.waiting.pop_front();
        }
        if self.busy.len() < most {
            return Some(at);
        }
        let free = self.busy.peek().map_or(at, |Reverse(free)| *free);
        if free <= at {
            self.busy.pop();
            return Some(at);
        }
        if self.waiting.len() >= queue {
            return None;
        }
        self.busy.pop();
        self.waiting.push_back(free);
        Some(free)
    }

    /// The same where faults take places away: the place of a number is there at a time or, as `opens` says,
    /// later. Whoever has one keeps it until he is done.
    pub(super) fn begins_among(
        &mut self,
        at: Time,
        opens: impl Fn(usize, Time) -> Time,
    ) -> Option<Time> {
        let Some((most, queue)) = self.bounds else { return Some(at) };
        while self.waiting.front().is_some_and(|begins| *begins <= at) {
            self.waiting.pop_front();
        }
        self.places.resize(most, Time::ZERO);
        let begins = self.places.iter().enumerate().map(|(nth, free)| opens(nth, at.max(*free)));
        let (begins, given) = begins.zip(0..).min().expect("a bounded server has a place");
        if begins > at {
            if self.waiting.len() >= queue {
                return None;
            }
            self.waiting.push_back(begins);
        }
        self.given = given;
        Some(begins)
    }

    /// The request that begins at `begins` takes so long.
    pub(super) fn works(&mut self, begins: Time, takes: Duration) {
        if let Some(place) = self.places.get_mut(self.given) {
            *place = begins + takes;
        } else if self.bounds.is_some() {
            self.busy.push(Reverse(begins + takes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_begin_in_order_as_places_get_free_and_those_beyond_the_queue_are_turned_away() {
        let mut server = Server::new(Some(2), 1);
        let at = Time::from_millis;
        let mut serve = |ms, takes| {
            let begins = server.begins(at(ms))?;
            server.works(begins, Duration::from_millis(takes));
            Some(begins.as_millis_ceil())
        };
        assert_eq!(serve(0, 10), Some(0));
        assert_eq!(serve(0, 20), Some(0));
        assert_eq!(serve(1, 10), Some(10), "the first place is free at 10");
        assert_eq!(serve(2, 10), None, "one waits already");
        assert_eq!(serve(10, 10), Some(20), "who waited has begun");
        assert_eq!(serve(40, 10), Some(40), "all is done");
    }

    #[test]
    fn who_has_a_place_keeps_it_and_the_others_wait_until_faults_give_it_back() {
        let mut server = Server::new(Some(2), 9);
        let at = Time::from_millis;
        // From 5 to 50 the second place is not there.
        let opens = |place, from: Time| {
            let is_gone = place == 1 && (at(5)..at(50)).contains(&from);
            if is_gone { at(50) } else { from }
        };
        let mut serve = |ms, takes| {
            let begins = server.begins_among(at(ms), opens)?;
            server.works(begins, Duration::from_millis(takes));
            Some(begins.as_millis_ceil())
        };
        assert_eq!([serve(0, 10), serve(0, 20)], [Some(0), Some(0)]);
        assert_eq!([serve(1, 15), serve(2, 30)], [Some(10), Some(25)], "one after the other");
        assert_eq!([serve(3, 10), serve(4, 10)], [Some(50), Some(55)], "the second is back at 50");
        assert_eq!(serve(100, 1), Some(100));
    }

    #[test]
    fn a_server_without_bounds_begins_at_once() {
        let mut server = Server::new(None, 0);
        for _ in 0..100 {
            let begins = server.begins(Time::ZERO);
            assert_eq!(begins, Some(Time::ZERO));
            server.works(Time::ZERO, Duration::from_secs(1));
        }
    }
}
