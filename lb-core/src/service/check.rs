//! What a configuration must not say.

use core::fmt;

use crate::config::{
    ADAPTIVE_MAX, ATTEMPTS_MAX, BACKENDS_MAX, BUDGET_PERCENT_MAX, BUDGET_RETRIES_MAX, BudgetConfig,
    CHOICES_MAX, CONSECUTIVE_FAILURES_MAX, DEVIATIONS_MAX, HedgeAfter, IN_FLIGHT_MAX, LimitConfig,
    MIN_REQUESTS_MAX, OUTLIER_BACKENDS_MAX, OUTLIER_REQUESTS_MAX, POOLS_MAX, RATE_MAX, RetryConfig,
    STREAK_MAX, ServiceConfig, TOLERANCE_MAX, TRIALS_MAX, WEIGHT_MAX, WhenAllUnfit,
};

/// What makes a [`ServiceConfig`] meaningless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaningless {
    /// There is no pool.
    NoPool,
    /// There are more than [`BACKENDS_MAX`] backends.
    TooManyBackends,
    /// A weight is outside `1..=WEIGHT_MAX`.
    Weight(u32),
    /// A count (attempts, failures, trials, successes) is zero or beyond its bound, or a number of
    /// the budget is beyond its own.
    Count(u32),
}

impl fmt::Display for Meaningless {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPool => write!(out, "there is no pool"),
            Self::TooManyBackends => write!(out, "more than {BACKENDS_MAX} backends"),
            Self::Weight(weight) => write!(out, "weight {weight} is not in 1..={WEIGHT_MAX}"),
            Self::Count(count) => write!(out, "a count of {count} is zero or beyond its bound"),
        }
    }
}

impl core::error::Error for Meaningless {}

pub(super) fn check(config: &ServiceConfig) -> Result<(), Meaningless> {
    if config.pools.is_empty() {
        return Err(Meaningless::NoPool);
    }
    let backends = config.pools.iter().flat_map(|pool| &pool.backends);
    if backends.clone().count() > BACKENDS_MAX {
        return Err(Meaningless::TooManyBackends);
    }
    if let WhenAllUnfit::FallbackPool(pool) = config.when_all_unfit
        && (usize::from(pool) >= config.pools.len() || config.pools.len() < 2)
    {
        return Err(Meaningless::Count(pool.into()));
    }
    let size = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
    count(size(config.pools.len()), size(POOLS_MAX))?;
    count(u32::from(config.panic_below).max(1), 100)?;
    if let Some(wrong) = backends.map(|said| said.weight).find(|w| !(1..=WEIGHT_MAX).contains(w)) {
        return Err(Meaningless::Weight(wrong));
    }
    // A choice among one is none.
    count(u32::from(config.choices).saturating_sub(1), u32::from(CHOICES_MAX) - 1)?;
    check_retry(&config.retry)?;
    if let Some(rate) = &config.rate {
        count(rate.requests, RATE_MAX)?;
        count(rate.burst, RATE_MAX)?;
    }
    if let Some(probe) = &config.probe {
        count(probe.rise.into(), STREAK_MAX.into())?;
        count(probe.fall.into(), STREAK_MAX.into())?;
    }
    if let Some(outliers) = config.outliers {
        count(outliers.eject_percent_max.into(), 100)?;
        count(outliers.min_requests, OUTLIER_REQUESTS_MAX)?;
        count(u32::from(outliers.min_backends).saturating_sub(1), OUTLIER_BACKENDS_MAX.into())?;
        count(outliers.deviations.unwrap_or(1), DEVIATIONS_MAX)?;
        count(outliers.failure_percent.unwrap_or(1).into(), 100)?;
    }
    check_limits(&config.limits)?;
    if let Some(slow_start) = config.slow_start {
        count(slow_start.floor_percent.into(), 100)?;
    }
    if let Some(breaker) = config.breaker {
        count(breaker.consecutive_failures.into(), CONSECUTIVE_FAILURES_MAX.into())?;
        if let Some(rate) = breaker.error_rate {
            count(rate.percent.into(), 100)?;
            count(rate.min_requests.into(), MIN_REQUESTS_MAX.into())?;
        }
        count(breaker.half_open_trials.into(), TRIALS_MAX.into())?;
        count(breaker.half_open_successes.into(), TRIALS_MAX.into())?;
    }
    Ok(())
}

fn count(count: u32, max: u32) -> Result<(), Meaningless> {
    match count {
        0 => Err(Meaningless::Count(0)),
        _ if count > max => Err(Meaningless::Count(count)),
        _ => Ok(()),
    }
}

fn check_retry(retry: &RetryConfig) -> Result<(), Meaningless> {
    count(retry.attempts_max.into(), ATTEMPTS_MAX.into())?;
    count(retry.attempts_per_backend.into(), ATTEMPTS_MAX.into())?;
    if let Some(HedgeAfter::Percentile(percent)) = retry.hedge {
        count(u32::from(percent).saturating_sub(49), 50)?;
    }
    let BudgetConfig { percent, min_per_second, burst } = retry.budget;
    // A budget may be zero.
    count(percent.max(1), BUDGET_PERCENT_MAX)?;
    count(min_per_second.max(1), BUDGET_RETRIES_MAX)?;
    count(burst.max(1), BUDGET_RETRIES_MAX)
}

fn check_limits(limits: &LimitConfig) -> Result<(), Meaningless> {
    let LimitConfig { per_backend, per_service, per_client, .. } = limits;
    for most in [per_backend, per_service, per_client].into_iter().flatten() {
        count(*most, IN_FLIGHT_MAX)?;
    }
    count(limits.queue_max.max(1), IN_FLIGHT_MAX)?;
    if let Some(adaptive) = limits.adaptive {
        count(adaptive.max, ADAPTIVE_MAX)?;
        count(adaptive.min, adaptive.max)?;
        count(adaptive.tolerance_percent.saturating_sub(99), TOLERANCE_MAX - 99)?;
    }
    Ok(())
}
