//! A place in line, for an exchange that finds all places taken.

use crate::event::{Event, Rejection};
use crate::exchange::{Exchange, Step};
use crate::input::Input;
use crate::limit::{Place, Rank};
use crate::time::Time;

/// A wait for a place. The driver keeps those of a service in the order of their ranks, and wakes the
/// first when something of the service has ended, and after each that was served; and each when its
/// time is up.
#[must_use]
#[derive(Debug)]
pub struct Queue<'c> {
    pub(super) exchange: Exchange<'c>,
    pub(super) place: Place,
    pub(super) rank: Rank,
    pub(super) until: Time,
}

impl<'c> Queue<'c> {
    /// Where in line it stands: less is sooner.
    pub const fn rank(&self) -> Rank {
        self.rank
    }

    /// When its time is up.
    pub const fn until(&self) -> Time {
        self.until
    }

    /// Looks for a place once more. Without one it waits on, or is answered 503 when its time is up.
    pub fn wake(self, now: Time) -> Step<'c> {
        let Self { mut exchange, place, rank, until } = self;
        exchange.hear(now, Input::Woken { exchange: exchange.id });
        if exchange.enter() {
            match exchange.pick(now) {
                Some((lease, choice)) => {
                    drop(place);
                    return exchange.attempt_at(lease, choice, now);
                }
                // Nobody is fit any longer: a place would not help.
                None if !exchange.service.is_full(now) => {
                    return exchange.reject(Rejection::NoFitBackend, now);
                }
                None => exchange.running = None,
            }
        }
        if now >= until {
            return exchange.reject(Rejection::QueueTimeout, now);
        }
        Step::Queue(Self { exchange, place, rank, until })
    }
}

impl<'c> Exchange<'c> {
    /// Has all places taken: waits in line, if there is room.
    pub(super) fn line_up(self, waits: Option<(Place, Rank)>, now: Time) -> Step<'c> {
        let Some((place, rank)) = waits else {
            return self.reject(Rejection::Overloaded, now);
        };
        let until = (now + self.service.limits.config().queue_timeout).min(self.deadline);
        self.tell(now, Event::Queued { exchange: self.id, until });
        Step::Queue(Queue { exchange: self, place, rank, until })
    }

    /// Takes a place among what is in flight, if there is one.
    pub(super) fn enter(&mut self) -> bool {
        let place = self.service.limits.enter();
        let entered = place.is_some();
        self.running = place.flatten();
        entered
    }
}
