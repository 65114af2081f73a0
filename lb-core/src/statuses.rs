//! Sets of response statuses, and the two that hold where nothing else is said.

use core::fmt;

/// The statuses a set can speak of: no other asks for a decision.
const FIRST: u16 = 100;
const LAST: u16 = 599;
const BITS: u16 = 64;

/// A set of statuses from 100 to 599.
///
/// ```
/// use lb_core::config::StatusSet;
///
/// let set: StatusSet = [503, 429].into_iter().collect();
/// assert!(set.contains(429) && !set.contains(200));
/// assert_eq!(set.iter().collect::<Vec<_>>(), [429, 503]);
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StatusSet([u64; 8]);

impl StatusSet {
    /// No status.
    pub const NONE: Self = Self([0; 8]);

    /// What counts against a backend: server errors, but for 501 and 505. Those two say that the
    /// request asks for what the server never offers (RFC 9110 §15.6.2, §15.6.6), which any client
    /// can make every healthy backend answer.
    pub const FAILURES: Self = Self::NONE.with_all(500, LAST).without(501).without(505);

    /// What a health check is content with: success and redirection.
    pub const GOOD: Self = Self::NONE.with_all(200, 399);

    /// What another backend may do better: 502–504, and what edge networks answer for an origin
    /// they could not reach (52x).
    pub const RETRIED: Self = Self::NONE.with_all(502, 504).with_all(520, 529);

    /// Whether `status` is in the set.
    pub const fn contains(self, status: u16) -> bool {
        match place(status) {
            Some((word, bit)) => self.0[word] & bit != 0,
            None => false,
        }
    }

    /// The set and `status`; one that no set can speak of changes nothing.
    #[must_use]
    pub const fn with(mut self, status: u16) -> Self {
        if let Some((word, bit)) = place(status) {
            self.0[word] |= bit;
        }
        self
    }

    /// The set without `status`.
    #[must_use]
    pub const fn without(mut self, status: u16) -> Self {
        if let Some((word, bit)) = place(status) {
            self.0[word] &= !bit;
        }
        self
    }

    /// The set and all from `first` to `last`.
    #[must_use]
    pub const fn with_all(mut self, first: u16, last: u16) -> Self {
        let mut status = first;
        while status <= last {
            self = self.with(status);
            status += 1;
        }
        self
    }

    /// Its statuses in order.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        (FIRST..=LAST).filter(move |status| self.contains(*status))
    }
}

const fn place(status: u16) -> Option<(usize, u64)> {
    if status < FIRST || status > LAST {
        return None;
    }
    let bit = status - FIRST;
    Some(((bit / BITS) as usize, 1 << (bit % BITS)))
}

impl FromIterator<u16> for StatusSet {
    fn from_iter<I: IntoIterator<Item = u16>>(statuses: I) -> Self {
        statuses.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for StatusSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut spans = out.debug_set();
        let mut statuses = self.iter().peekable();
        while let Some(first) = statuses.next() {
            let mut last = first;
            while let Some(next) = statuses.next_if(|next| *next == last + 1) {
                last = next;
            }
            spans.entry(&(first..=last));
        }
        spans.finish()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in_and_nothing_else() {
        for status in 0..=1_000 {
            let known = (FIRST..=LAST).contains(&status);
            let one: Vec<u16> = StatusSet::NONE.with(status).iter().collect();
            assert_eq!(one, if known { alloc::vec![status] } else { Vec::new() });
            let all = StatusSet::NONE.with_all(FIRST, LAST);
            assert_eq!(all.iter().count() - all.without(status).iter().count(), usize::from(known));
            assert_eq!(all.contains(status), known);
        }
    }
}
