//! What a backend has cost of time in vain, where requests are given up as soon as another one is quicker.
//!
//! A backend that is gone never gets to fail where requests are hedged: each attempt there is given up
//! before its time. So the time that those have waited is added up until it answers somebody, and once that
//! is as long as one attempt may wait, it has not answered in time.

use core::time::Duration;

use crate::time::micros;
use crate::word::Word;

/// How long attempts have waited that were given up, since one was answered: microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Silence(u64);

impl Silence {
    /// One more has waited.
    pub(crate) fn after(self, waited: Duration) -> Self {
        Self(self.0.saturating_add(micros(waited)))
    }

    /// Whether that is as long as one attempt may wait.
    pub(crate) fn lasts(self, most: Duration) -> bool {
        self.0 >= micros(most)
    }
}

impl Word for Silence {
    fn pack(self) -> u64 {
        self.0
    }

    fn unpack(bits: u64) -> Self {
        Self(bits)
    }
}
