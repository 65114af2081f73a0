//! Those who wait for a place at a service, in the order that the core says.
//!
//! Whoever is first in line is called when something of the service has ended, and when the one
//! before has left the line, served or not. A call that comes early is not lost, and a call that finds
//! no place waits for the next.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lb_core::{Queue, Rank, Service, Step};
use tokio::sync::Notify;
use tokio::time::sleep_until;

use crate::platform::Clock;

/// Those who wait at one service, over all workers. As many as the core lets wait.
#[derive(Debug, Default)]
pub(crate) struct Line(Mutex<BTreeMap<Rank, Arc<Notify>>>);

/// Somebody in line. Dropping it leaves the line and calls the next.
struct Standing<'l> {
    line: &'l Line,
    rank: Rank,
    call: Arc<Notify>,
}

/// Calls the next when it is dropped: after what it was declared before has been given back.
pub(crate) struct CallsNext<'l> {
    pub(crate) line: &'l Line,
    pub(crate) service: &'l Service,
}

impl Line {
    /// Something of `service` has ended: whoever is first in line may look for a place.
    pub(crate) fn call_next(&self, service: &Service) {
        if service.waiting() > 0 {
            self.call_first();
        }
    }

    fn call_first(&self) {
        if let Some((_, call)) = self.standing().first_key_value() {
            call.notify_one();
        }
    }

    fn join(&self, rank: Rank) -> Standing<'_> {
        let call = Arc::new(Notify::new());
        self.standing().insert(rank, Arc::clone(&call));
        Standing { line: self, rank, call }
    }

    fn standing(&self) -> MutexGuard<'_, BTreeMap<Rank, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits in line until there is a place or time is up, and says what comes next.
    pub(crate) async fn wait<'c>(&self, mut queue: Queue<'c>, clock: &Clock) -> Step<'c> {
        let standing = self.join(queue.rank());
        let until = clock.instant(queue.until());
        loop {
            // Whoever is first looks before it waits: what ended before it stood here called nobody.
            if standing.is_first() || clock.now() >= queue.until() {
                match queue.wake(clock.now()) {
                    Step::Queue(again) => queue = again,
                    step => return step,
                }
            }
            tokio::select! {
                biased;
                () = standing.call.notified() => {}
                () = sleep_until(until) => {}
            }
        }
    }
}

impl Standing<'_> {
    fn is_first(&self) -> bool {
        self.line.standing().first_key_value().is_some_and(|(rank, _)| *rank == self.rank)
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.line.standing().remove(&self.rank);
        self.line.call_first();
    }
}

impl Drop for CallsNext<'_> {
    fn drop(&mut self) {
        self.line.call_next(self.service);
    }
}
