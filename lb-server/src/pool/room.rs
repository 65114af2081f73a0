//! Room for one more connection, where a backend may have no more.
//!
//! Who finds no room waits for the first that comes free: a slot, or a connection of this worker whose
//! exchange is over, or a place on one that is shared. Nobody passes those who wait here. Where others wait at other workers, every second
//! connection that comes free makes room for them, and idle ones make room at once.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use lb_core::Time;
use tokio::sync::Notify;

use super::shared::Stream;
use super::{Speaker, Stack};
use crate::gateway::Gateway;
use crate::slots::{Slot, Slots};

/// Who waits for room at one worker.
pub(super) struct Queue {
    pub(super) slots: Arc<Slots>,
    /// How many wait for whatever comes free.
    here: Cell<usize>,
    /// Told of a connection that is idle again, and of a place on one that is shared.
    pub(super) returned: Rc<Notify>,
    /// Whether the next one that comes free makes room for others.
    yields: Cell<bool>,
}

/// What somebody who waited may use.
pub(super) enum Room {
    Slot(Slot),
    Kept(Speaker),
}

impl Queue {
    pub(super) fn new(slots: Arc<Slots>) -> Self {
        Self { slots, here: Cell::new(0), returned: Rc::default(), yields: Cell::new(false) }
    }

    /// Whether somebody waits, whom nobody should pass.
    pub(super) const fn has_waiting(&self) -> bool {
        self.here.get() > 0
    }
}

/// One who waits here, until this is dropped.
pub(super) struct Here<'q>(&'q Cell<usize>);

impl<'q> Here<'q> {
    pub(super) fn begin(here: &'q Cell<usize>) -> Self {
        here.set(here.get() + 1);
        Self(here)
    }
}

impl Drop for Here<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Stack {
    /// A slot, or a connection that comes free. It may wait for ever: the caller has the deadline.
    pub(super) async fn room(&self, gateway: &Gateway) -> Room {
        let Queue { slots, here, returned, .. } = &self.queue;
        if let Some(slot) = slots.take() {
            return Room::Slot(slot);
        }
        if !self.queue.has_waiting()
            && let Some(kept) = self.take_any(gateway.now())
        {
            return Room::Kept(kept);
        }
        let _waiting = (slots.wait(), Here::begin(here));
        gateway.call_for_room();
        let mut next = std::pin::pin!(slots.next());
        loop {
            tokio::select! {
                biased;
                slot = next.as_mut() => return Room::Slot(slot),
                () = returned.notified() => {
                    if let Some(kept) = self.take_any(gateway.now()) {
                        if self.shares.get() {
                            // It may have a place for the next one, too.
                            returned.notify_one();
                        }
                        return Room::Kept(kept);
                    }
                }
            }
        }
    }

    /// What is kept, and may do where there can be no other: not all that is sent has a body.
    fn take_any(&self, now: Time) -> Option<Speaker> {
        self.take(now).or_else(|| {
            let shared = self.shared.borrow();
            let place = shared.iter().find(|it| it.has_place()).map(Stream::begin);
            place.map(|place| Speaker::Http2(place, None))
        })
    }

    /// A slot for a connection that has to be new; an idle one makes room for it.
    pub(super) async fn slot(&self, gateway: &Gateway) -> Slot {
        let slots = &self.queue.slots;
        if let Some(slot) = slots.take() {
            return slot;
        }
        let _waiting = slots.wait();
        let oldest = {
            let mut idle = self.idle.borrow_mut();
            (!idle.is_empty()).then(|| idle.remove(0))
        };
        if oldest.is_none() || slots.waiting() > 1 {
            gateway.call_for_room();
        }
        drop(oldest);
        slots.next().await
    }

    /// A connection came back while somebody waits for one.
    pub(super) fn hand_on(&self) {
        let Queue { slots, here, returned, yields } = &self.queue;
        let elsewhere = slots.waiting() > here.get();
        let is_theirs = elsewhere && (here.get() == 0 || yields.replace(!yields.get()));
        if is_theirs {
            let mut idle = self.idle.borrow_mut();
            let oldest = (!idle.is_empty()).then(|| idle.remove(0));
            drop(oldest);
        } else {
            returned.notify_one();
        }
    }

    /// Closes as many idle connections as others wait for.
    pub(crate) fn make_room(&self) {
        let Queue { slots, here, .. } = &self.queue;
        let mut wanted = slots.waiting().saturating_sub(here.get());
        if wanted == 0 {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let count = wanted.min(idle.len());
        idle.drain(..count);
        wanted -= count;
        self.shared.borrow_mut().retain(|it| {
            let stays = it.streams.get() > 0 || wanted == 0;
            wanted -= usize::from(!stays);
            stays
        });
    }
}
