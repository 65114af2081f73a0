//! A limit on what is in flight that finds itself: it falls when answers take longer than usual.
//!
//! Beyond what a service can do at once requests wait in it, and answers take longer. So the limit
//! falls by the ratio of the usual time to the present one, and grows by its root as long as nothing
//! gets slower (a gradient, as in Netflix' concurrency-limits, 2018; Vegas before it). A limit that is
//! not made use of says nothing and stays as it is. Failures take a tenth off.
//!
//! What is usual must not be learned from a service that is asked too much, or slowness becomes usual
//! and the limit has no end. So it falls whenever answers are quicker, and rises only where nothing
//! can wait: with half of the limit idle, or with the limit at its least.

use core::time::Duration;

use crate::config::AdaptiveConfig;
use crate::time::micros;
use crate::word::Word;

/// 20 bits of limit in units of 1/16, 22 bits each for the usual time and the present one in units of
/// 16 µs (67 s).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Adaptive {
    /// 0: nothing was said yet.
    limit: u64,
    usual: u64,
    present: u64,
}

const LIMIT_BITS: u32 = 20;
const SPAN_BITS: u32 = 22;
const SPAN_MAX: u64 = (1 << SPAN_BITS) - 1;
const UNIT: u64 = 16;
/// Answers that the present time goes by.
const PRESENT_OF: u64 = 16;
/// How much of a new limit is taken over with each answer.
const SMOOTHING: u64 = 32;

impl Adaptive {
    /// What may be in flight.
    pub(crate) fn limit(self, config: &AdaptiveConfig) -> u32 {
        self.within(config.min, config.max)
    }

    /// The same between any bounds.
    pub(crate) fn within(self, least: u32, most: u32) -> u32 {
        let limit = match self.limit {
            0 => least,
            limit => u32::try_from(limit / UNIT).expect("20 bits"),
        };
        limit.clamp(least, most)
    }

    /// The same after an answer that took `took`, or a failure, with so much in flight.
    pub(crate) fn after(
        self,
        took: Option<Duration>,
        in_flight: u32,
        config: &AdaptiveConfig,
    ) -> Self {
        let whole = u64::from(self.limit(config));
        let limit = whole * UNIT + self.limit % UNIT;
        // Half of it lies idle: that says nothing about the other half.
        let used = u64::from(in_flight) * 2 > whole;
        let Some(took) = took else {
            let limit = if used { limit - limit / 10 } else { limit };
            return self.with(limit, config);
        };
        let sample = (micros(took) / 16).clamp(1, SPAN_MAX);
        let present = near(self.present, sample, PRESENT_OF);
        let idle = !used || whole <= u64::from(config.min);
        let usual = match self.usual {
            0 => sample,
            usual if present < usual => near(usual, present, 8),
            usual if idle => near(usual, present, 32),
            usual => usual,
        };
        let next = if used { self.next(limit, usual, present, config) } else { limit };
        Self { usual, present, ..self.with(next, config) }
    }

    fn next(self, limit: u64, usual: u64, present: u64, config: &AdaptiveConfig) -> u64 {
        let tolerated = usual * u64::from(config.tolerance_percent) / 100;
        // In 1/1,024: never more than all of it, never less than half at once.
        let gradient = (tolerated * 1_024 / present.max(1)).clamp(512, 1_024);
        match gradient {
            1_024 => limit + ((limit / UNIT).isqrt() * UNIT).div_ceil(SMOOTHING),
            _ => limit - (limit - limit * gradient / 1_024).div_ceil(SMOOTHING),
        }
    }

    fn with(self, limit: u64, config: &AdaptiveConfig) -> Self {
        let (min, max) = (u64::from(config.min) * UNIT, u64::from(config.max) * UNIT);
        Self { limit: limit.clamp(min, max), ..self }
    }
}

/// `from` a part of the way to `to`, by one at least.
const fn near(from: u64, to: u64, part: u64) -> u64 {
    if from == 0 {
        to
    } else if to >= from {
        from + (to - from).div_ceil(part)
    } else {
        from - (from - to).div_ceil(part)
    }
}

impl Word for Adaptive {
    fn pack(self) -> u64 {
        (self.limit << (2 * SPAN_BITS)) | (self.usual << SPAN_BITS) | self.present
    }

    fn unpack(bits: u64) -> Self {
        Self {
            limit: bits >> (2 * SPAN_BITS),
            usual: bits >> SPAN_BITS & SPAN_MAX,
            present: bits & SPAN_MAX,
        }
    }
}

const _: () = assert!(LIMIT_BITS + 2 * SPAN_BITS == u64::BITS);

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: AdaptiveConfig = AdaptiveConfig { min: 4, max: 1_000, tolerance_percent: 150 };

    /// A service that answers `capacity` requests at once in `base`, and more of them later. Driven
    /// as far as the limit goes.
    fn settle(mut adaptive: Adaptive, capacity: u32, base: Duration, rounds: u32) -> Adaptive {
        for _ in 0..rounds {
            let in_flight = adaptive.limit(&CONFIG);
            let took = base * in_flight.max(capacity) / capacity;
            adaptive = adaptive.after(Some(took), in_flight, &CONFIG);
            assert_eq!(Adaptive::unpack(adaptive.pack()), adaptive);
        }
        adaptive
    }

    #[test]
    fn it_settles_a_little_above_what_a_service_can_do_at_once() {
        for (capacity, most) in [(10, 25), (50, 110), (200, 400)] {
            let adaptive = settle(Adaptive::default(), capacity, Duration::from_millis(20), 2_000);
            let limit = adaptive.limit(&CONFIG);
            assert!((capacity..most).contains(&limit), "{limit} for {capacity}");
        }
    }

    #[test]
    fn it_follows_a_service_that_loses_or_gains_capacity() {
        let many = settle(Adaptive::default(), 200, Duration::from_millis(20), 2_000);
        let slow = (0..200).fold(many, |it, _| {
            it.after(Some(Duration::from_millis(200)), it.limit(&CONFIG), &CONFIG)
        });
        assert!(slow.limit(&CONFIG) < many.limit(&CONFIG) / 3, "{slow:?} after {many:?}");
        let back = settle(slow, 200, Duration::from_millis(20), 2_000);
        assert!(back.limit(&CONFIG) >= 200, "{back:?}");
        // Slower for good: at its least it learns what is usual now, and grows again.
        let for_good = settle(many, 200, Duration::from_millis(100), 20_000);
        assert!(for_good.limit(&CONFIG) >= 200, "{for_good:?}");
    }

    #[test]
    fn what_lies_idle_changes_nothing_and_bounds_are_kept() {
        let start = Adaptive::default();
        let idle = start.after(Some(Duration::from_secs(9)), 1, &CONFIG);
        assert_eq!((start.limit(&CONFIG), idle.limit(&CONFIG)), (4, 4));
        let failing = (0..100).fold(start, |it, _| it.after(None, it.limit(&CONFIG), &CONFIG));
        assert_eq!(failing.limit(&CONFIG), CONFIG.min);
        let fast = settle(start, 1_000_000, Duration::from_millis(1), 2_000);
        assert_eq!(fast.limit(&CONFIG), CONFIG.max);
    }
}
