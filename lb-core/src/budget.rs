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
        Some(Self { saved: filled.saved.checked_sub(RETRY)?, ..filled })
    }

    /// What time added. Whole hundredths are taken, and the clock moves on by what they took,
    /// rounded up: the bucket may be a millisecond late, never early.
    fn filled(self, now: Time, config: &BudgetConfig) -> Self {
        let now_ms = (now.as_micros() / 1_000).min(MS_MAX);
        let rate = u64::from(config.min_per_second) * RETRY; // hundredths per 1,000 ms
        let full = capacity(config);
        let earned = now_ms.saturating_sub(self.filled_ms).saturating_mul(rate) / 1_000;
        if self.saved == full || earned >= full - self.saved {
            return Self { saved: full, filled_ms: now_ms.max(self.filled_ms) };
        }
        if earned == 0 {
            return self;
        }
        Self {
            saved: self.saved + earned,
            filled_ms: self.filled_ms + (earned * 1_000).div_ceil(rate),
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
