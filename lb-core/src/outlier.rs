//! Who does so much worse than the others of its pool that it is taken out for a while.
//!
//! A breaker sees one backend; an outlier is seen beside the others. Every interval the success rates
//! of those with enough requests are compared, and whoever is below their mean by some standard
//! deviations is out, or whoever fails more than a share (both as Envoy's). Only so much of a pool may
//! be out at once: when all are ill nobody is an outlier.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::config::OutlierConfig;
use crate::time::{Time, micros};
use crate::word::{Shared, Word};

/// Requests and failures of a backend in the interval under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) requests: u32,
    pub(crate) failures: u32,
}

/// Why a backend was ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlier {
    /// Its success rate is far below the mean. All in hundredths of a percent.
    SuccessRate {
        /// Its own.
        own: u16,
        /// The mean.
        mean: u16,
        /// Below which one is out.
        least: u16,
    },
    /// It fails too many requests.
    FailurePercent(u8),
}

/// When the backends of a service are compared next.
#[derive(Debug)]
pub(crate) struct Outliers {
    pub(crate) config: OutlierConfig,
    /// Shared with those before and after it: what they compare is the same.
    due: Arc<Shared<Due>>,
}

#[derive(Clone, Copy, Debug)]
struct Due(Time);

impl Tally {
    pub(crate) const fn after(self, failed: bool) -> Self {
        Self {
            requests: self.requests.saturating_add(1),
            failures: self.failures.saturating_add(if failed { 1 } else { 0 }),
        }
    }

    fn success(self) -> f64 {
        1.0 - f64::from(self.failures) / f64::from(self.requests.max(1))
    }
}

impl Outliers {
    /// The first comparison is an interval after `now`.
    pub(crate) fn new(config: OutlierConfig, now: Time) -> Self {
        Self { config, due: Arc::new(Shared::new(Due(now + config.interval))) }
    }

    /// The same by `config` from `now` on. A comparison that is due stays due, and comes no later than it
    /// would if the interval began now.
    pub(crate) fn succeed(&self, config: OutlierConfig, now: Time) -> Self {
        let latest = now + config.interval;
        self.due.step(|due| (due.0 > latest).then_some(Due(latest)));
        Self { config, due: Arc::clone(&self.due) }
    }

    /// Whether the caller is the one to compare now.
    pub(crate) fn is_due(&self, now: Time) -> bool {
        now >= self.due.get().0
            && self
                .due
                .step(|due| (now >= due.0).then(|| Due(now + self.config.interval)))
                .is_some()
    }

    /// Who of a pool is out, the worst first, without regard to how many may be.
    pub(crate) fn among(&self, tallies: &[Tally]) -> Vec<(usize, Outlier)> {
        let config = &self.config;
        let judged = || {
            let all = tallies.iter().enumerate();
            all.filter(|(_, tally)| tally.requests >= config.min_requests)
        };
        let count = judged().count();
        if count < usize::from(config.min_backends) {
            return Vec::new();
        }
        #[expect(clippy::cast_precision_loss, reason = "there are few backends")]
        let count = count as f64;
        let mean = judged().map(|(_, tally)| tally.success()).sum::<f64>() / count;
        let square = |tally: &Tally| (tally.success() - mean) * (tally.success() - mean);
        let variance = judged().map(|(_, tally)| square(tally)).sum::<f64>() / count;
        let deviation = libm::sqrt(variance);
        let least = config.deviations.map(|it| mean - deviation * f64::from(it) / 1_000.0);
        let mut found: Vec<_> = judged()
            .filter_map(|(nth, tally)| {
                let failed = u64::from(tally.failures) * 100;
                let share =
                    |percent: &u8| failed >= u64::from(*percent) * u64::from(tally.requests);
                let why = match (config.failure_percent.filter(share), least) {
                    (Some(percent), _) => Outlier::FailurePercent(percent),
                    // Equals have no deviation, and none of them is out.
                    (None, Some(least)) if tally.success() < least - 1e-9 => Outlier::SuccessRate {
                        own: hundredths(tally.success()),
                        mean: hundredths(mean),
                        least: hundredths(least),
                    },
                    _ => return None,
                };
                Some((nth, tally.success(), why))
            })
            .collect();
        found.sort_by(|a, b| a.1.total_cmp(&b.1));
        found.into_iter().map(|(nth, _, why)| (nth, why)).collect()
    }

    /// Backends of a pool of `count` that may be out at once.
    pub(crate) fn most_of(&self, count: usize) -> usize {
        (count * usize::from(self.config.eject_percent_max) / 100).max(1)
    }

    /// How long one is taken out that was out `before` times without calm in between.
    pub(crate) fn span(&self, before: u8) -> Duration {
        let doubled = micros(self.config.eject_for).saturating_mul(1 << before.min(20));
        Duration::from_micros(doubled).min(self.config.eject_for_max)
    }
}

/// Hundredths of a percent.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in 0..=10,000")]
fn hundredths(rate: f64) -> u16 {
    (rate.clamp(0.0, 1.0) * 10_000.0 + 0.5) as u16
}

impl Word for Tally {
    fn pack(self) -> u64 {
        (u64::from(self.requests) << 32) | u64::from(self.failures)
    }

    fn unpack(bits: u64) -> Self {
        let low = u32::try_from(bits & u64::from(u32::MAX)).expect("32 bits");
        Self { requests: u32::try_from(bits >> 32).expect("32 bits"), failures: low }
    }
}

impl Word for Due {
    fn pack(self) -> u64 {
        self.0.as_micros()
    }

    fn unpack(bits: u64) -> Self {
        Self(Time::from_micros(bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(requests: u32, failures: u32) -> Tally {
        Tally { requests, failures }
    }

    fn places(config: OutlierConfig, tallies: &[Tally]) -> Vec<usize> {
        Outliers::new(config, Time::ZERO).among(tallies).into_iter().map(|(nth, _)| nth).collect()
    }

    #[test]
    fn whoever_is_far_below_the_mean_is_out_the_worst_first() {
        let config = OutlierConfig { min_backends: 2, ..OutlierConfig::default() };
        let mut tallies = [of(1_000, 1); 20];
        (tallies[3], tallies[7]) = (of(1_000, 300), of(1_000, 400));
        assert_eq!(places(config, &tallies), [7, 3]);
        let (_, why) = Outliers::new(config, Time::ZERO).among(&tallies)[0];
        assert_eq!(why, Outlier::SuccessRate { own: 6_000, mean: 9_641, least: 7_629 });
        assert_eq!(places(config, &[of(1_000, 500); 20]), [], "equals have no outlier");
        // Of four none can be 1.9 deviations off the mean.
        assert_eq!(places(config, &[of(100, 0), of(100, 0), of(100, 0), of(100, 100)]), []);
    }

    #[test]
    fn whoever_fails_too_large_a_share_is_out() {
        let config = OutlierConfig {
            min_backends: 2,
            deviations: None,
            failure_percent: Some(50),
            ..OutlierConfig::default()
        };
        assert_eq!(places(config, &[of(100, 49), of(100, 50), of(1_000, 900)]), [2, 1]);
    }

    #[test]
    fn too_few_requests_or_backends_say_nothing() {
        let config = OutlierConfig::default();
        let many = [of(100, 0), of(100, 0), of(100, 0), of(100, 0), of(99, 99), of(100, 0)];
        assert_eq!(places(config, &many), []);
        assert_eq!(places(config, &many[..5]), [], "four backends have enough requests");
    }

    #[test]
    fn one_may_always_be_out_and_each_time_for_longer() {
        let outliers = Outliers::new(OutlierConfig::default(), Time::ZERO);
        assert_eq!([1, 5, 10, 29, 100].map(|count| outliers.most_of(count)), [1, 1, 1, 2, 10]);
        let secs = [0, 1, 2, 3, 4, 255].map(|before| outliers.span(before).as_secs());
        assert_eq!(secs, [30, 60, 120, 240, 300, 300]);
    }

    #[test]
    fn one_thread_compares_in_each_interval() {
        let outliers = Outliers::new(OutlierConfig::default(), Time::ZERO);
        let at = |ms| outliers.is_due(Time::from_millis(ms));
        assert_eq!(
            [9_999, 10_000, 10_000, 19_999, 20_000].map(at),
            [false, true, false, false, true]
        );
    }

    #[test]
    fn a_comparison_is_due_when_it_is_however_often_lists_change() {
        let of = |secs| OutlierConfig { interval: Duration::from_secs(secs), ..Default::default() };
        let at = |secs: u64| Time::from_millis(secs * 1_000);
        let mut outliers = Outliers::new(of(10), Time::ZERO);
        for now in 1..10 {
            outliers = outliers.succeed(of(10), at(now));
            assert!(!outliers.is_due(at(now)), "{now}");
        }
        let before = outliers.succeed(of(10), at(10));
        assert!(outliers.is_due(at(10)));
        assert!(!before.is_due(at(10)), "one compares, whichever it is");
        assert!(!outliers.succeed(of(60), at(11)).is_due(at(19)), "a longer one begins after it");
        assert!(outliers.succeed(of(2), at(12)).is_due(at(14)), "a shorter one begins at once");
    }
}
