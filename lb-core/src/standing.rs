//! What others say of a backend: probes, the detection of outliers, the operator.
//!
//! The breaker judges a backend by the requests that it was sent. Everything else that can take a
//! backend out of rotation is here, in one word, so that a pick asks with one load.

use crate::time::Time;
use crate::word::Word;

/// What others say of a backend.
///
/// The working: one bit each for unhealthy and draining, 8 for the ejections in a row, 44 for the
/// millisecond at which the ejection ends (557 years).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its probes fail.
    pub unhealthy: bool,
    /// It finishes what it has and takes nothing new.
    pub draining: bool,
    /// Ejections without calm in between.
    pub ejections: u8,
    pub(crate) ejected_until_ms: u64,
}

const UNTIL_BITS: u32 = 44;
const UNTIL_MS_MAX: u64 = (1 << UNTIL_BITS) - 1;

impl Standing {
    /// Until when it is ejected, if it ever was.
    pub const fn ejected_until(self) -> Time {
        Time::from_millis(self.ejected_until_ms)
    }

    /// The same, ejected until `until`.
    #[must_use]
    pub fn ejected(self, until: Time) -> Self {
        Self { ejected_until_ms: until.as_millis_ceil().min(UNTIL_MS_MAX), ..self }
    }

    /// Whether it is ejected at `now`.
    pub fn is_ejected(self, now: Time) -> bool {
        now < self.ejected_until()
    }

    /// Until when it may not be chosen at `now`: [`Time::MAX`] where only somebody's word ends it.
    pub fn out_until(self, now: Time) -> Option<Time> {
        if self.unhealthy || self.draining {
            Some(Time::MAX)
        } else {
            self.is_ejected(now).then(|| self.ejected_until())
        }
    }
}

impl Standing {
    /// The same, for a client that the backend knows: draining finishes what it has, and a session
    /// is something that it has.
    pub fn out_for_its_clients_until(self, now: Time) -> Option<Time> {
        Self { draining: false, ..self }.out_until(now)
    }
}

impl Word for Standing {
    fn pack(self) -> u64 {
        self.ejected_until_ms
            | (u64::from(self.ejections) << UNTIL_BITS)
            | (u64::from(self.unhealthy) << 62)
            | (u64::from(self.draining) << 63)
    }

    fn unpack(bits: u64) -> Self {
        Self {
            unhealthy: bits >> 62 & 1 != 0,
            draining: bits >> 63 != 0,
            ejections: u8::try_from((bits >> UNTIL_BITS) & 0xff).expect("a byte"),
            ejected_until_ms: bits & UNTIL_MS_MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_survives_being_packed() {
        for unhealthy in [false, true] {
            for draining in [false, true] {
                for ejections in [0, 1, 255] {
                    for until in [0, 1, UNTIL_MS_MAX] {
                        let standing =
                            Standing { unhealthy, draining, ejections, ..Standing::default() };
                        let standing = standing.ejected(Time::from_millis(until));
                        assert_eq!(Standing::unpack(standing.pack()), standing);
                    }
                }
            }
        }
    }

    #[test]
    fn an_ejection_ends_by_itself_and_a_word_against_a_backend_does_not() {
        let until = Time::from_millis(5);
        let ejected = Standing::default().ejected(until);
        assert_eq!(ejected.out_until(Time::from_micros(4_999)), Some(until));
        assert_eq!(ejected.out_until(until), None);
        for said in
            [Standing { unhealthy: true, ..ejected }, Standing { draining: true, ..ejected }]
        {
            assert_eq!(said.out_until(until), Some(Time::MAX));
        }
    }
}
