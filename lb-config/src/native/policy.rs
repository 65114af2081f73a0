//! The policies of a service: balance, breaker, retry, timeouts, kept connections.
//!
//! What is written and can have no effect is warned about, here beside the fields; a default that
//! has none is nobody's mistake.

use std::time::Duration;

use lb_core::config::{
    ATTEMPTS_MAX, BUDGET_PERCENT_MAX, BUDGET_RETRIES_MAX, BackoffConfig, BreakerConfig,
    BudgetConfig, CONSECUTIVE_FAILURES_MAX, Jitter, Policy, RetryConfig, StatusSet, TRIALS_MAX,
    Timeouts,
};

use crate::config::KeepAlive;
use crate::native::statuses::statuses;
use crate::native::{DURATIONS, KIB, MIB};
use crate::quantity::show_duration;
use crate::read::{Given, Table};

/// Each concurrent exchange may hold this much memory.
const REPLAY_BUFFER_MAX: usize = 16 * MIB;
/// Per backend and worker.
const IDLE_MAX: usize = 10_000;

pub(super) fn balance(mut table: Table<'_>) -> Policy {
    let policies = [
        ("round-robin", Policy::RoundRobin),
        ("weighted-random", Policy::WeightedRandom),
        ("least-request", Policy::LeastRequest),
    ];
    table.choice("policy", &policies).or(Policy::LeastRequest)
}

pub(super) fn breaker(mut table: Table<'_>) -> Option<BreakerConfig> {
    let default = BreakerConfig::default();
    let enabled = table.boolean("enabled").or(true);
    let consecutive_failures = table
        .integer("consecutive_failures", 1..=CONSECUTIVE_FAILURES_MAX)
        .or(default.consecutive_failures);
    let open_for = table.duration("open_for", DURATIONS).or_given(default.open_for);
    let open_for_max = table.duration("open_for_max", DURATIONS).or_given(default.open_for_max);
    let half_open_trials =
        table.integer("half_open_trials", 1..=TRIALS_MAX).or(default.half_open_trials);
    let half_open_successes =
        table.integer("half_open_successes", 1..=TRIALS_MAX).or(default.half_open_successes);
    require_ascending(&table, ("open_for", open_for), ("open_for_max", open_for_max));
    if !enabled {
        let others = [
            "consecutive_failures",
            "open_for",
            "open_for_max",
            "half_open_trials",
            "half_open_successes",
        ];
        table.warn_without_effect(&others, "with enabled = false");
    }
    enabled.then_some(BreakerConfig {
        consecutive_failures,
        open_for: open_for.value,
        open_for_max: open_for_max.value,
        half_open_trials,
        half_open_successes,
    })
}

/// What may be tried again, and how many bytes of a body are kept for it.
pub(super) fn retry(mut table: Table<'_>) -> (RetryConfig, usize) {
    let attempts_max =
        table.integer("attempts_max", 1..=ATTEMPTS_MAX).or(RetryConfig::default().attempts_max);
    let statuses = statuses(&mut table, "statuses", StatusSet::RETRIED);
    let replay_buffer = table.size("replay_buffer", 0..=REPLAY_BUFFER_MAX).or(64 * KIB);
    let budget_table = table.table("budget");
    let budget_at = budget_table.at();
    let budget = budget(budget_table);
    let backoff = backoff(table.table("backoff"));

    if attempts_max == 1 {
        let others = ["statuses", "replay_buffer", "budget", "backoff"];
        table.warn_without_effect(&others, "with attempts_max = 1: nothing is tried again");
    } else if budget.burst == 0 {
        // Whatever fills the budget, it holds no retry.
        let what = "a budget with burst = 0 allows no retry at all";
        table.report().warn(budget_at, what, "raise burst, or write attempts_max = 1 instead");
    }
    (RetryConfig { attempts_max, statuses, budget, backoff }, replay_buffer)
}

fn budget(mut table: Table<'_>) -> BudgetConfig {
    let default = BudgetConfig::default();
    BudgetConfig {
        percent: table.integer("percent", 0..=BUDGET_PERCENT_MAX).or(default.percent),
        min_per_second: table
            .integer("min_per_second", 0..=BUDGET_RETRIES_MAX)
            .or(default.min_per_second),
        burst: table.integer("burst", 0..=BUDGET_RETRIES_MAX).or(default.burst),
    }
}

fn backoff(mut table: Table<'_>) -> BackoffConfig {
    let default = BackoffConfig::default();
    let base = table.duration("base", DURATIONS).or_given(default.base);
    let max = table.duration("max", DURATIONS).or_given(default.max);
    require_ascending(&table, ("base", base), ("max", max));
    let jitters = [("full", Jitter::Full), ("equal", Jitter::Equal), ("none", Jitter::None)];
    let jitter = table.choice("jitter", &jitters).or(default.jitter);
    BackoffConfig { base: base.value, max: max.value, jitter }
}

pub(super) fn timeouts(mut table: Table<'_>) -> Timeouts {
    let default = Timeouts::default();
    let connect = table.duration("connect", DURATIONS).or_given(default.connect);
    let first_byte = table.duration("first_byte", DURATIONS).or_given(default.first_byte);
    let body_idle = table.duration("body_idle", DURATIONS).or_given(default.body_idle);
    let exchange = table.duration("exchange", DURATIONS).or_given(default.exchange);

    let whole = ("exchange", exchange);
    // An attempt's time to the first byte includes connecting, so it may end that first.
    let ends_first =
        if first_byte.value < exchange.value { ("first_byte", first_byte) } else { whole };
    warn_if_longer(&table, ("connect", connect), ends_first);
    warn_if_longer(&table, ("first_byte", first_byte), whole);
    warn_if_longer(&table, ("body_idle", body_idle), whole);
    Timeouts {
        connect: connect.value,
        first_byte: first_byte.value,
        body_idle: body_idle.value,
        exchange: exchange.value,
    }
}

pub(super) fn keep_alive(mut table: Table<'_>) -> KeepAlive {
    let idle_max = table.integer("idle_max", 0..=IDLE_MAX).or(32);
    let idle_timeout = table.duration("idle_timeout", DURATIONS).or(Duration::from_secs(15));
    if idle_max == 0 {
        table.warn_without_effect(&["idle_timeout"], "with idle_max = 0: no connection is kept");
    }
    KeepAlive { idle_max, idle_timeout }
}

/// A duration and the key that it is under.
type Named<'k> = (&'k str, Given<Duration>);

/// Reports a lower bound above its upper bound, where it was written (one of them was: the
/// defaults ascend).
fn require_ascending(table: &Table<'_>, (low_key, low): Named<'_>, (high_key, high): Named<'_>) {
    if low.value <= high.value {
        return;
    }
    let (low_shown, high_shown) = (show_duration(low.value), show_duration(high.value));
    let (at, what, remedy) = if high.said {
        let what = format!("{high_key} {high_shown:?} is less than {low_key} {low_shown:?}");
        (high.at, what, format!("raise {high_key} or lower {low_key}"))
    } else {
        let what = format!(
            "{low_key} {low_shown:?} is more than {high_key}, which is {high_shown:?} by default"
        );
        (low.at, what, format!("lower {low_key} or set {high_key} too"))
    };
    table.report().error(at, what, remedy);
}

/// Warns about a timeout that was written and that another always runs out before.
fn warn_if_longer(table: &Table<'_>, (key, inner): Named<'_>, (outer_key, outer): Named<'_>) {
    if inner.said && inner.value > outer.value {
        let (shown, outer_shown) = (show_duration(inner.value), show_duration(outer.value));
        let what =
            format!("{key} {shown:?} has no effect: {outer_key} {outer_shown:?} runs out first");
        table.report().warn(inner.at, what, format!("lower {key} or raise {outer_key}"));
    }
}
