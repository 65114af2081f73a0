//! How long a backend takes to answer: an estimate that rises at once and falls slowly.
//!
//! A backend that turns slow should lose traffic with its first slow answer, and one that was slow
//! once should get it back in time (peak EWMA: Finagle, 2015). Two things are added. A failure
//! counts as at least a penalty, so that a backend which fails in a millisecond does not look fast
//! and draw all traffic (linkerd/linkerd2-proxy#4537). And an estimate that is not renewed falls
//! towards nothing, so that a backend without traffic is asked again instead of being remembered
//! as slow for ever (traefik/traefik#12306).
//!
//! The weight of the past halves with each `half_life`. In whole numbers: powers of two are shifts,
//! and lie on straight lines in between.

use core::time::Duration;

use crate::config::{DURATION_MAX, LatencyConfig};
use crate::learned::Measured;
use crate::time::{Time, micros};
use crate::word::Word;

/// The estimate as one word: 28 bits of microseconds (4 minutes), 36 bits of milliseconds for when
/// it was made (2 years).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Latency {
    /// 0: nothing is known.
    micros: u64,
    at_ms: u64,
}

const MICROS_BITS: u32 = 28;
const MICROS_MAX: u64 = (1 << MICROS_BITS) - 1;
const MS_MAX: u64 = (1 << (64 - MICROS_BITS)) - 1;
/// Half-lives after which nothing is left.
const HALVINGS_MAX: u64 = 32;

impl Latency {
    /// An answer took `took`, or a failure was as good as that.
    pub(crate) fn observe(self, took: Duration, now: Time, config: &LatencyConfig) -> Self {
        let sample = micros(took).clamp(1, MICROS_MAX);
        let above = self.micros.saturating_sub(sample);
        let at_ms = millis(now);
        let kept = faded(above, at_ms.saturating_sub(self.at_ms), config);
        Self { micros: sample + kept, at_ms }
    }

    /// The same, where what it takes of late counts and not what it took at its worst: an eighth of the
    /// way to each sample.
    pub(crate) fn approach(self, took: Duration, now: Time) -> Self {
        let sample = micros(took).clamp(1, MICROS_MAX);
        let micros = match self.micros {
            0 => sample,
            before => (7 * before + sample).div_ceil(8),
        };
        Self { micros, at_ms: millis(now) }
    }

    /// What to reckon with at `now`, in microseconds; `None` where nothing was ever measured.
    pub(crate) fn estimate(self, now: Time, config: &LatencyConfig) -> Option<u64> {
        let age_ms = millis(now).saturating_sub(self.at_ms);
        (self.micros > 0).then(|| faded(self.micros, age_ms, config).max(1))
    }

    /// As it can outlive the process, as of `now`.
    pub(crate) fn measured(self, now: Time) -> Option<Measured> {
        let age = Duration::from_millis(millis(now).saturating_sub(self.at_ms));
        (self.micros > 0).then(|| Measured { took: Duration::from_micros(self.micros), age })
    }

    /// What another process measured, `away` ago. There was no such time by this one's clock, so it is
    /// what is left of it now.
    pub(crate) fn recalled(
        measured: Measured,
        away: Duration,
        now: Time,
        config: &LatencyConfig,
    ) -> Self {
        let micros_then = micros(measured.took).clamp(1, MICROS_MAX);
        let age_ms = micros(measured.age.saturating_add(away)) / 1_000;
        Self { micros: faded(micros_then, age_ms, config).max(1), at_ms: millis(now) }
    }

    /// What it was when it was last renewed, in microseconds, however long ago.
    pub(crate) fn last(self) -> Option<u64> {
        (self.micros > 0).then_some(self.micros)
    }
}

fn millis(now: Time) -> u64 {
    (now.as_micros() / 1_000).min(MS_MAX)
}

/// What is left of `whole` after `age_ms`.
fn faded(whole: u64, age_ms: u64, config: &LatencyConfig) -> u64 {
    let half_life = config.half_life.min(DURATION_MAX);
    let half_life = (half_life.as_secs() * 1_000 + u64::from(half_life.subsec_millis())).max(1);
    let (halvings, rest) = (age_ms / half_life, age_ms % half_life);
    if halvings >= HALVINGS_MAX {
        return 0;
    }
    let left = whole >> halvings;
    // Below 2²⁸ µs times DURATION_MAX in ms: 58 bits.
    left - left * rest / (2 * half_life)
}

impl Word for Latency {
    fn pack(self) -> u64 {
        (self.at_ms << MICROS_BITS) | self.micros
    }

    fn unpack(bits: u64) -> Self {
        Self { micros: bits & MICROS_MAX, at_ms: bits >> MICROS_BITS }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, RngSeed};

    use super::*;

    const CONFIG: LatencyConfig = LatencyConfig {
        half_life: Duration::from_secs(10),
        failure_penalty: Duration::from_secs(1),
    };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn at(secs: u64) -> Time {
        Time::from_millis(secs * 1_000)
    }

    #[test]
    fn it_rises_at_once_and_halves_every_half_life() {
        let slow =
            Latency::default().observe(ms(5), at(1), &CONFIG).observe(ms(1_000), at(1), &CONFIG);
        let estimate = |secs: u64| slow.estimate(at(1 + secs), &CONFIG);
        assert_eq!(estimate(0), Some(1_000_000));
        assert_eq!(estimate(10), Some(500_000));
        assert_eq!(estimate(15), Some(375_000), "on a straight line in between");
        assert_eq!(estimate(20), Some(250_000));
        assert_eq!(estimate(3_600), Some(1), "and never to nothing: it was measured");
        let renewed = slow.observe(ms(5), at(11), &CONFIG);
        assert_eq!(renewed.estimate(at(11), &CONFIG), Some(5_000 + 497_500));
        assert_eq!(Latency::default().estimate(at(1), &CONFIG), None);
    }

    #[test]
    fn the_longest_times_saturate() {
        let most = Latency::default().observe(Duration::MAX, Time::MAX, &CONFIG);
        assert_eq!(most.estimate(Time::MAX, &CONFIG), Some(MICROS_MAX));
        assert_eq!(Latency::unpack(most.pack()), most);
        let least = LatencyConfig { half_life: Duration::ZERO, ..CONFIG };
        assert_eq!(most.estimate(Time::MAX, &least), Some(MICROS_MAX));
        let longest = LatencyConfig { half_life: Duration::MAX, ..CONFIG };
        assert!(most.estimate(Time::MAX, &longest).is_some());
    }

    proptest! {
        #![proptest_config(Config {
            cases: 2_000,
            rng_seed: RngSeed::Fixed(7),
            failure_persistence: None,
            ..Config::default()
        })]

        #[test]
        fn it_lies_between_the_last_sample_and_the_peak_and_only_falls_by_itself(
            samples in prop::collection::vec((0..20_000_u64, 0..5_000_000_u64), 1..40),
            later in 0..100_000_u64,
        ) {
            let (mut latency, mut now, mut peak) = (Latency::default(), 1, 0);
            for (after, sample) in samples {
                now += after;
                let time = Time::from_millis(now);
                latency = latency.observe(Duration::from_micros(sample), time, &CONFIG);
                prop_assert_eq!(Latency::unpack(latency.pack()), latency);
                peak = peak.max(sample.max(1));
                let estimate = latency.estimate(time, &CONFIG).expect("it was measured");
                prop_assert!(sample.max(1) <= estimate && estimate <= peak);
            }
            let then = latency.estimate(Time::from_millis(now), &CONFIG);
            prop_assert!(latency.estimate(Time::from_millis(now + later), &CONFIG) <= then);
        }
    }
}
