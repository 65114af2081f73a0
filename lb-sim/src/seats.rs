//! How many answers an origin of the net engine works on at a time: seats, and a line in front of them.
//!
//! A semaphore would do if their number stayed as it is. A fault may take seats away: who has one keeps it
//! until he is done, and nobody is let in before fewer are taken than there are left.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use tokio::sync::Notify;

/// All seats of an origin.
pub(crate) struct Seats {
    /// How many there are, if they are bounded, and how many may wait for one.
    most: Option<usize>,
    queue: usize,
    /// What faults leave of them.
    left: Cell<Option<usize>>,
    taken: Cell<usize>,
    /// Who waits, in the order in which they came.
    line: RefCell<VecDeque<u64>>,
    came: Cell<u64>,
    changed: Notify,
}

/// A seat that is taken until it is dropped.
pub(crate) struct Seat<'s>(&'s Seats);

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.taken.set(self.0.taken.get() - 1);
        self.0.changed.notify_waiters();
    }
}

/// A place in the line, until it is dropped.
struct InLine<'s>(&'s Seats, u64);

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.line.borrow_mut().retain(|number| *number != self.1);
        self.0.changed.notify_waiters();
    }
}

impl Seats {
    pub(crate) fn new(most: Option<usize>, queue: usize) -> Self {
        let (left, taken, line) = (Cell::default(), Cell::default(), RefCell::default());
        Self { most, queue, left, taken, line, came: Cell::default(), changed: Notify::new() }
    }

    /// From now on there are no more than so many, or as many as ever.
    pub(crate) fn leave(&self, most: Option<usize>) {
        self.left.set(most);
        self.changed.notify_waiters();
    }

    /// A seat, after those who came before; `None`: too many wait already.
    pub(crate) async fn take(&self) -> Option<Seat<'_>> {
        if !self.line.borrow().is_empty() || !self.has_one() {
            if self.line.borrow().len() >= self.queue {
                return None;
            }
            let number = self.came.get();
            self.came.set(number + 1);
            self.line.borrow_mut().push_back(number);
            let waits = InLine(self, number);
            while !(self.line.borrow().front() == Some(&waits.1) && self.has_one()) {
                self.changed.notified().await;
            }
        }
        self.taken.set(self.taken.get() + 1);
        Some(Seat(self))
    }

    fn has_one(&self) -> bool {
        let most = [self.most, self.left.get()].into_iter().flatten().min();
        most.is_none_or(|most| self.taken.get() < most)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn who_sits_keeps_his_seat_and_the_line_waits_until_enough_are_free() {
        let mut context = Context::from_waker(Waker::noop());
        let seats = Seats::new(Some(2), 2);
        let taken: Vec<Seat<'_>> = (0..2)
            .map(|_| match pin!(seats.take()).poll(&mut context) {
                Poll::Ready(Some(seat)) => seat,
                _ => panic!("two are free"),
            })
            .collect();
        seats.leave(Some(1));
        let (mut first, mut second) = (pin!(seats.take()), pin!(seats.take()));
        assert!(first.as_mut().poll(&mut context).is_pending());
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert!(matches!(pin!(seats.take()).poll(&mut context), Poll::Ready(None)));
        let mut taken = taken.into_iter();
        drop(taken.next());
        assert!(first.as_mut().poll(&mut context).is_pending(), "one is left, and taken");
        drop(taken.next());
        let seat = first.as_mut().poll(&mut context);
        assert!(matches!(seat, Poll::Ready(Some(_))));
        assert!(second.as_mut().poll(&mut context).is_pending());
        seats.leave(None);
        assert!(matches!(second.as_mut().poll(&mut context), Poll::Ready(Some(_))));
    }
}
