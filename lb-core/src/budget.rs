//! The retry budget of one service: a bucket that requests fill and retries empty.
//!
//! Retries help when one backend fails and harm when all do: three attempts each turn an overload
//! into three times the load (SRE book, ch. 22). So a retry takes a token, and tokens come from
//! requests (`percent` of one each), from time (`min_per_second`), and never pile up beyond
//! `burst`. While nothing fails the bucket is full, and a request that finds it full writes
//! nothing: the budget costs a healthy service one load per request.

use crate::config::BudgetConfig;
use crate::time::Time;
use crate::word::Word;

/// The bucket as one word: 24 bits of hundredths of a token, 40 bits of milliseconds (34 years).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Hundredths of a retry.
    saved: u64,
    /// When time last added to it.
    filled_ms: u64,
}

/// A retry, in hundredths.
const RETRY: u64 = 100;
/// How long one retry per second takes to earn a hundredth of a retry.
const BEAT_MS: u64 = 1_000 / RETRY;
const SAVED_BITS: u32 = 24;
const MS_MAX: u64 = (1 << (64 - SAVED_BITS)) - 1;

impl Budget {
    /// A full bucket.
    pub(crate) fn full(config: &BudgetConfig) -> Self {
        Self { saved: capacity(config), filled_ms: 0 }
    }

    /// Hundredths of retries that are left at `now`.
    pub(crate) fn left(self, now: Time, config: &BudgetConfig) -> u64 {
        self.filled(now, config).saved
    }

    /// A request came in. `None` while the bucket is full.
    pub(crate) fn deposit(self, now: Time, config: &BudgetConfig) -> Option<Self> {
        let full = capacity(config);
        if self.saved == full {
            return None;
        }
        let filled = self.filled(now, config);
        Some(Self { saved: (filled.saved + u64::from(config.percent)).min(full), ..filled })
    }

    /// A retry wants to go out. `None` when it may not.
    pub(crate) fn withdraw(self, now: Time, config: &BudgetConfig) -> Option<Self> {
        let filled = self.filled(now, config);
        let saved = filled.saved.checked_sub(RETRY)?;
        // What a begun beat would have brought to a full bucket has run over: it must not make up
        // for what is taken now.
        let now_ms = now.as_millis_ceil().min(MS_MAX);
        let begun_ms = now_ms.saturating_sub(filled.filled_ms);
        let brought = (begun_ms * u64::from(config.min_per_second)).div_ceil(BEAT_MS);
        let runs_over = filled.saved + brought > capacity(config);
        Some(Self { saved, filled_ms: if runs_over { now_ms } else { filled.filled_ms } })
    }

    /// What time added. Only whole beats count and the clock moves on by those alone, so nothing
    /// is lost however often somebody looks: the bucket is at most two beats late (one begun, one
    /// run over, and the rounding of each), and never early.
    fn filled(self, now: Time, config: &BudgetConfig) -> Self {
        let now_ms = (now.as_micros() / 1_000).min(MS_MAX);
        let beats = now_ms.saturating_sub(self.filled_ms) / BEAT_MS;
        // n per second are n hundredths per beat.
        let earned = beats.saturating_mul(u64::from(config.min_per_second));
        Self {
            saved: self.saved.saturating_add(earned).min(capacity(config)),
            filled_ms: self.filled_ms + beats * BEAT_MS,
        }
    }
}

fn capacity(config: &BudgetConfig) -> u64 {
    u64::from(config.burst) * RETRY
}

impl Word for Budget {
    fn pack(self) -> u64 {
        (self.saved << (64 - SAVED_BITS)) | self.filled_ms
    }

    fn unpack(bits: u64) -> Self {
        Self { saved: bits >> (64 - SAVED_BITS), filled_ms: bits & MS_MAX }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;
    use proptest::test_runner::{Config, RngSeed};

    use super::*;

    /// The bucket in exact arithmetic: 10⁸ parts are a retry, so that a microsecond of one per
    /// second and a request's percent are whole. It follows the decisions of the one under test.
    struct Exact {
        parts: u64,
        filled: Time,
    }

    const PART: u64 = 100_000_000;
    /// How late the bucket may be: two beats, each with a millisecond of rounding,
    const LATE_US: u64 = 22_000;
    /// and a hundredth of a retry, rounded as well.
    const LATE: u64 = PART / 100;

    impl Exact {
        fn fill(&mut self, now: Time, config: &BudgetConfig) {
            let span = now.as_micros() - self.filled.as_micros();
            self.filled = now;
            self.add(span * u64::from(config.min_per_second) * (PART / 1_000_000), config);
        }

        fn add(&mut self, parts: u64, config: &BudgetConfig) {
            self.parts = (self.parts + parts).min(u64::from(config.burst) * PART);
        }
    }

    /// Requests and wishes to retry, each after some microseconds.
    fn check(config: &BudgetConfig, events: &[(u64, bool)]) -> Result<(), TestCaseError> {
        let mut budget = Budget::full(config);
        let mut exact = Exact { parts: u64::from(config.burst) * PART, filled: Time::ZERO };
        let late = u64::from(config.min_per_second) * LATE_US * (PART / 1_000_000) + LATE;
        let mut now = 0;
        for (after, is_request) in events {
            now += after;
            let at = Time::from_micros(now);
            exact.fill(at, config);
            let left = budget.left(at, config) * (PART / RETRY);
            prop_assert!(left <= exact.parts, "early at {now} µs: {left} > {}", exact.parts);
            prop_assert!(left + late >= exact.parts, "late at {now} µs: {left}");
            let next = if *is_request {
                exact.add(u64::from(config.percent) * (PART / 100), config);
                budget.deposit(at, config)
            } else {
                let granted = budget.withdraw(at, config);
                prop_assert_eq!(granted.is_some(), left >= PART);
                exact.parts -= if granted.is_some() { PART } else { 0 };
                granted
            };
            budget = Budget::unpack(next.unwrap_or(budget).pack());
            prop_assert_eq!(budget.pack(), next.unwrap_or(budget).pack());
        }
        Ok(())
    }

    fn config() -> impl Strategy<Value = BudgetConfig> {
        let max = crate::config::BUDGET_RETRIES_MAX;
        let percent = prop_oneof![Just(0), Just(20), 0..=crate::config::BUDGET_PERCENT_MAX];
        let min_per_second = prop_oneof![Just(0), 0..20_u32, 0..1_000_u32, 0..=max];
        let burst = prop_oneof![Just(0), Just(1), 1..5_u32, 0..=max];
        (percent, min_per_second, burst).prop_map(|(percent, min_per_second, burst)| BudgetConfig {
            percent,
            min_per_second,
            burst,
        })
    }

    fn events() -> impl Strategy<Value = Vec<(u64, bool)>> {
        let after = prop_oneof![Just(0), 0..1_000_u64, 0..20_000_u64, 0..10_000_000_u64];
        prop::collection::vec((after, prop::bool::weighted(0.4)), 1..200)
    }

    proptest! {
        #![proptest_config(Config {
            cases: 3_000,
            rng_seed: RngSeed::Fixed(7),
            failure_persistence: None,
            ..Config::default()
        })]

        #[test]
        fn a_budget_is_never_early_and_at_most_two_beats_late(config in config(), events in events()) {
            check(&config, &events)?;
        }
    }

    #[test]
    fn a_budget_that_is_looked_at_all_the_time_earns_what_it_promises() {
        for min_per_second in 1..=30 {
            let config = BudgetConfig { percent: 0, min_per_second, burst: 100_000 };
            let mut budget = Budget { saved: 0, filled_ms: 0 };
            for ms in 1..=10_000 {
                budget = budget.deposit(Time::from_millis(ms), &config).expect("it is not full");
            }
            let earned = budget.left(Time::from_millis(10_000), &config);
            assert_eq!(earned, u64::from(min_per_second) * 10 * RETRY, "{min_per_second}/s");
        }
    }

    #[test]
    fn a_full_budget_is_not_written_and_a_spent_one_grants_nothing() {
        let config = BudgetConfig { percent: 70, min_per_second: 0, burst: 1 };
        let full = Budget::full(&config);
        assert_eq!(full.deposit(Time::MAX, &config), None);
        let spent = full.withdraw(Time::ZERO, &config).expect("one was there");
        assert_eq!(spent.withdraw(Time::MAX, &config), None);
        let partly = spent.deposit(Time::MAX, &config).expect("there is room");
        assert_eq!(partly.withdraw(Time::MAX, &config), None);
        // Two requests bring more than there is room for.
        let whole = partly.deposit(Time::MAX, &config).expect("there is room");
        assert_eq!(whole.deposit(Time::MAX, &config), None, "full again, and not written");
        assert!(whole.withdraw(Time::MAX, &config).is_some());
    }
}
