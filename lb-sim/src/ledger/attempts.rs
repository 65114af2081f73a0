//! The attempts of an exchange, as the ledger knows them.
//!
//! There mostly is one, so the first needs no memory of its own: a ledger keeps thousands of exchanges, and
//! looks at each several times.

use lb_core::{BackendId, Choice, Outcome, Time};

/// The attempts of an exchange, of which there mostly is one.
#[derive(Debug, Default)]
pub struct Attempts {
    first: Option<Attempt>,
    more: Vec<Attempt>,
}

impl Attempts {
    /// In order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Attempt> {
        self.first.iter().chain(&self.more)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The newest.
    pub fn last(&self) -> Option<&Attempt> {
        self.more.last().or(self.first.as_ref())
    }

    pub(super) fn push(&mut self, attempt: Attempt) {
        match self.first {
            None => self.first = Some(attempt),
            Some(_) => self.more.push(attempt),
        }
    }

    /// The attempt of this number, counted from 1.
    pub(super) fn numbered(&mut self, number: u8) -> Option<&mut Attempt> {
        match usize::from(number).checked_sub(2) {
            None => self.first.as_mut(),
            Some(at) => self.more.get_mut(at),
        }
    }
}

/// One attempt.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// At which backend.
    pub backend: BackendId,
    /// Why there.
    pub choice: Choice,
    /// Until when a head must have come.
    pub deadline: Time,
    /// What came of it.
    pub outcome: Option<Outcome>,
    /// Whether another one beside it was sooner.
    pub overtaken: bool,
}

impl Attempt {
    /// Whether it is still under way.
    pub const fn is_running(&self) -> bool {
        self.outcome.is_none() && !self.overtaken
    }
}
