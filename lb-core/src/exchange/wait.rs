//! The time between two attempts.

use crate::event::BackendId;
use crate::exchange::{Exchange, Last, Step};
use crate::input::Input;
use crate::retry::Withheld;
use crate::time::Time;

/// A wait before another attempt. Keep the answer that came, if one did, until there is a new
/// attempt: should nobody be there to take one, it is the answer that goes out.
#[must_use]
#[derive(Debug)]
pub struct Wait<'c> {
    pub(super) exchange: Exchange<'c>,
    pub(super) until: Time,
    pub(super) last: Last,
    /// The backend that is asked once more, before another one is.
    pub(super) same: Option<u16>,
}

impl<'c> Wait<'c> {
    /// When to wake it.
    pub const fn until(&self) -> Time {
        self.until
    }

    /// Whose answer is kept meanwhile, if the last attempt came to one.
    pub fn keeps_answer_of(&self) -> Option<BackendId> {
        match &self.last {
            Last::Answered(lease, _) => Some(lease.id()),
            Last::Failed(_) => None,
        }
    }

    /// Makes the next attempt.
    pub fn wake(self, now: Time) -> Step<'c> {
        let Self { exchange, last, same, .. } = self;
        exchange.hear(now, Input::Woken { exchange: exchange.id });
        if now >= exchange.deadline {
            return exchange.withhold(Withheld::DeadlineNear, last, now);
        }
        exchange.attempt(same, last, now)
    }
}
