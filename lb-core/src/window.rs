//! Requests and failures over a sliding window, in one word.
//!
//! The window is two halves: the one under way and the one before. What is counted is between half a
//! window and a whole one old, which is as exact as a breaker needs, and nothing has to be kept of
//! single requests.

use crate::config::ErrorRateConfig;
use crate::time::{Time, micros};
use crate::word::Word;

/// Four counts of 14 bits, and 8 bits of the half's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    half: u8,
    now: Counts,
    before: Counts,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    requests: u16,
    failures: u16,
}

const COUNT_BITS: u32 = 14;
const COUNT_MAX: u16 = (1 << COUNT_BITS) - 1;

impl Window {
    /// One more request, which failed or did not.
    pub(crate) fn record(self, failed: bool, now: Time, config: &ErrorRateConfig) -> Self {
        let mut window = self.advanced(now, config);
        // A full half is halved, so that shares stay right.
        if window.now.requests == COUNT_MAX {
            window.now.requests /= 2;
            window.now.failures /= 2;
        }
        window.now.requests += 1;
        window.now.failures += u16::from(failed);
        window
    }

    /// Whether too many failed, of enough.
    pub(crate) fn is_bad(self, config: &ErrorRateConfig) -> bool {
        let sum = |of: fn(Counts) -> u16| u32::from(of(self.now)) + u32::from(of(self.before));
        let (requests, failures) = (sum(|it| it.requests), sum(|it| it.failures));
        requests >= u32::from(config.min_requests)
            && failures * 100 >= requests * u32::from(config.percent)
    }

    fn advanced(self, now: Time, config: &ErrorRateConfig) -> Self {
        let half_us = (micros(config.window) / 2).max(1);
        let half = u8::try_from(now.as_micros() / half_us % 256).expect("a byte");
        // After 256 halves of silence an old count may look like a fresh one: it is of calm times,
        // and is gone half a window later.
        match half.wrapping_sub(self.half) {
            // One behind: another thread read the clock before the edge of a half, and is late.
            0 | u8::MAX => self,
            1 => Self { half, now: Counts::default(), before: self.now },
            _ => Self { half, ..Self::default() },
        }
    }
}

impl Word for Window {
    fn pack(self) -> u64 {
        let counts =
            [self.now.requests, self.now.failures, self.before.requests, self.before.failures];
        counts
            .into_iter()
            .fold(u64::from(self.half), |bits, count| bits << COUNT_BITS | u64::from(count))
    }

    fn unpack(bits: u64) -> Self {
        let count = |nth: u32| {
            u16::try_from(bits >> (nth * COUNT_BITS) & u64::from(COUNT_MAX)).expect("14 bits")
        };
        Self {
            half: u8::try_from(bits >> (4 * COUNT_BITS)).expect("8 bits"),
            now: Counts { requests: count(3), failures: count(2) },
            before: Counts { requests: count(1), failures: count(0) },
        }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    const CONFIG: ErrorRateConfig =
        ErrorRateConfig { percent: 50, window: Duration::from_secs(10), min_requests: 10 };

    fn secs(secs: u64) -> Time {
        Time::from_millis(secs * 1_000)
    }

    fn after(window: Window, requests: u32, failures: u32, at: Time) -> Window {
        (0..requests).fold(window, |window, nth| {
            let next = window.record(nth < failures, at, &CONFIG);
            assert_eq!(Window::unpack(next.pack()), next);
            next
        })
    }

    #[test]
    fn a_record_from_just_before_an_edge_that_comes_late_wipes_nothing() {
        let config = ErrorRateConfig { min_requests: 20, ..ErrorRateConfig::default() };
        let edge = Time::from_micros(micros(config.window) / 2);
        let before = Time::from_micros(edge.as_micros() - 1);
        let full = (0..18).fold(Window::default(), |it, _| it.record(true, before, &config));
        let swapped = full.record(true, edge, &config).record(true, before, &config);
        assert!(swapped.is_bad(&config), "twenty of twenty failed");
    }

    #[test]
    fn it_takes_enough_requests_and_a_large_enough_share() {
        assert!(!after(Window::default(), 9, 9, secs(1)).is_bad(&CONFIG), "too few");
        assert!(after(Window::default(), 10, 5, secs(1)).is_bad(&CONFIG));
        assert!(!after(Window::default(), 10, 4, secs(1)).is_bad(&CONFIG));
        let both = after(after(Window::default(), 6, 5, secs(1)), 6, 1, secs(6));
        assert!(both.is_bad(&CONFIG), "both halves count");
    }

    #[test]
    fn what_is_older_than_the_window_does_not_count() {
        let bad = after(Window::default(), 10, 10, secs(1));
        assert!(after(bad, 1, 0, secs(9)).is_bad(&CONFIG), "the half before");
        assert!(!after(bad, 1, 0, secs(11)).is_bad(&CONFIG), "the half before that");
        assert!(!after(bad, 1, 0, secs(3_600)).is_bad(&CONFIG));
    }

    #[test]
    fn more_requests_than_fit_keep_their_share() {
        let many = after(Window::default(), 100_000, 100_000, secs(1));
        assert!(many.is_bad(&CONFIG));
        let well = (0..300_000)
            .fold(Window::default(), |window, nth| window.record(nth % 100 < 40, secs(1), &CONFIG));
        assert!(!well.is_bad(&CONFIG));
    }
}
