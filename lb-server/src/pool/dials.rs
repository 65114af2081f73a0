//! Connections that are being made and that others can share.
//!
//! Who comes meanwhile waits for them, as many as they will carry; for whoever comes then another one is
//! made at the same time. How many that is, the last one has told.

use std::cell::Cell;

use tokio::sync::Notify;

use super::room::Here;

pub(super) struct Dials {
    under_way: Cell<usize>,
    /// How many wait for them.
    waiting: Cell<usize>,
    /// How many exchanges at a time the last one carried.
    carries: Cell<usize>,
    ended: Notify,
}

impl Dials {
    /// None. The first will carry all, as far as is known.
    pub(super) fn new() -> Self {
        let carries = Cell::new(usize::MAX);
        Self { under_way: Cell::default(), waiting: Cell::default(), carries, ended: Notify::new() }
    }

    /// Whether those under way will have a place for one more who waits. Whoever makes one has the first.
    pub(super) fn suffice(&self) -> bool {
        let others = self.carries.get().saturating_sub(1);
        self.waiting.get() < self.under_way.get().saturating_mul(others)
    }

    /// One was made that carries so many.
    pub(super) fn learn(&self, carries: usize) {
        self.carries.set(carries);
    }

    /// Until the next one is made, or cannot be.
    pub(super) async fn one(&self) {
        let _waiting = Here::begin(&self.waiting);
        self.ended.notified().await;
    }

    pub(super) fn begin(&self) -> Dialing<'_> {
        self.under_way.set(self.under_way.get() + 1);
        Dialing(self)
    }
}

/// A connection is being made. Dropping it tells those who wait for it.
pub(super) struct Dialing<'d>(&'d Dials);

impl Drop for Dialing<'_> {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get() - 1);
        self.0.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn as_many_are_made_as_those_who_come_will_need() {
        let dials = Dials::new();
        assert!(!dials.suffice(), "none is being made");
        let first = dials.begin();
        assert!(dials.suffice(), "nobody knows how many it will carry");
        dials.learn(3);
        let now = &mut Context::from_waker(Waker::noop());
        let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(dials.one())).collect();
        for one in &mut waiting {
            assert!(dials.suffice());
            assert!(one.as_mut().poll(now).is_pending());
        }
        assert!(!dials.suffice(), "it will be full");
        let second = dials.begin();
        assert!(dials.suffice());
        drop(first);
        assert!(waiting.iter_mut().all(|one| one.as_mut().poll(now).is_ready()));
        dials.learn(1);
        assert!(!dials.suffice(), "who makes one has all of it");
        drop(second);
        assert!(!dials.suffice());
    }
}
