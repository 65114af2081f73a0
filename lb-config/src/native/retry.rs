//! `[service.retry]`: what may be tried again, how often, and after how long.

use lb_core::config::{
    ATTEMPTS_MAX, BUDGET_PERCENT_MAX, BUDGET_RETRIES_MAX, BackoffConfig, BudgetConfig, FailureSet,
    HedgeAfter, Jitter, Methods, RetryConfig, WhenSpent,
};

use crate::native::policy::require_ascending;
use crate::native::statuses::statuses;
use crate::native::{DURATIONS, KIB, MIB};
use crate::read::{Mistake, Table, Value};

/// Each concurrent exchange may hold this much memory.
const REPLAY_BUFFER_MAX: usize = 16 * MIB;

/// What may be tried again, and how many bytes of a body are kept for it.
pub(super) fn retry(mut table: Table<'_>) -> (RetryConfig, usize) {
    let default = RetryConfig::default();
    let attempts_max = table.integer("attempts_max", 1..=ATTEMPTS_MAX).or(default.attempts_max);
    let attempts_per_backend = table
        .integer("attempts_per_backend", 1..=ATTEMPTS_MAX)
        .or_given(default.attempts_per_backend);
    let failures = failures(&mut table);
    let statuses = statuses(&mut table, "statuses", default.statuses);
    let methods =
        [("safe", Methods::Safe), ("idempotent", Methods::Idempotent), ("any", Methods::Any)];
    let methods = table.choice("methods", &methods).or(default.methods);
    let retry_after_max = table.duration("retry_after_max", DURATIONS).or(default.retry_after_max);
    let when_spent = [("pass", WhenSpent::Pass), ("replace", WhenSpent::Replace)];
    let when_spent = table.choice("when_spent", &when_spent).or(default.when_spent);
    let replay_buffer = table.size("replay_buffer", 0..=REPLAY_BUFFER_MAX).or(64 * KIB);
    let budget_table = table.table("budget");
    let budget_at = budget_table.at();
    let budget = budget(budget_table);
    let backoff = backoff(table.table("backoff"));
    let hedge = hedge(table.table("hedge"));

    if attempts_max == 1 {
        let others = [
            "attempts_per_backend",
            "on",
            "statuses",
            "methods",
            "retry_after_max",
            "when_spent",
            "replay_buffer",
            "budget",
            "backoff",
            "hedge",
        ];
        table.warn_without_effect(&others, "with attempts_max = 1: nothing is tried again");
    } else if budget.burst == 0 {
        // Whatever fills the budget, it holds no retry.
        let what = "a budget with burst = 0 allows no retry at all";
        table.report().warn(budget_at, what, "raise burst, or write attempts_max = 1 instead");
    } else if attempts_per_backend.value >= attempts_max {
        let what = format!(
            "attempts_per_backend {} leaves none of {attempts_max} attempts for another backend",
            attempts_per_backend.value
        );
        let remedy = "raise attempts_max or lower attempts_per_backend";
        table.report().warn(attempts_per_backend.at, what, remedy);
    }
    let retry = RetryConfig {
        attempts_max,
        attempts_per_backend: attempts_per_backend.value,
        methods,
        failures,
        statuses,
        retry_after_max,
        when_spent,
        budget,
        backoff,
        hedge,
    };
    (retry, replay_buffer)
}

/// The failures that are worth another attempt, in groups.
fn failures(table: &mut Table<'_>) -> FailureSet {
    let groups = [
        ("connect", FailureSet::CONNECT),
        ("refused-stream", FailureSet::REFUSED_STREAM),
        ("reset", FailureSet::RESET),
        ("timeout", FailureSet::TIMEOUT),
        ("malformed", FailureSet::MALFORMED),
    ];
    let mut set = FailureSet::NONE;
    let read = |item: Value<'_>| {
        let group = item.choice(&groups)?;
        let more = set.and(group);
        if more == set {
            item.wrong(&Mistake::new("is there twice", "remove one of the two"));
            return None;
        }
        set = more;
        Some(())
    };
    match table.list("on", read).given() {
        Some(_) => set,
        None => RetryConfig::default().failures,
    }
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

fn hedge(mut table: Table<'_>) -> Option<HedgeAfter> {
    let (said, at, report) = (table.said(), table.at(), table.report());
    let after = table.duration("after", DURATIONS).given();
    let percentile = table.integer("percentile", 50..=99).given();
    match (after, percentile) {
        (Some(after), None) => Some(HedgeAfter::Fixed(after.value)),
        (None, Some(percentile)) => Some(HedgeAfter::Percentile(percentile.value)),
        (Some(_), Some(percentile)) => {
            let what = "hedge has an after and a percentile";
            report.error(percentile.at, what, "remove one of the two");
            None
        }
        (None, None) if said => {
            let what = "hedge does not say when";
            report.error(at, what, "add after = \"50ms\" or percentile = 95");
            None
        }
        (None, None) => None,
    }
}

fn backoff(mut table: Table<'_>) -> BackoffConfig {
    let default = BackoffConfig::default();
    let base = table.duration("base", DURATIONS).or_given(default.base);
    let max = table.duration("max", DURATIONS).or_given(default.max);
    require_ascending(&table, ("base", base), ("max", max));
    let jitters = [
        ("full", Jitter::Full),
        ("equal", Jitter::Equal),
        ("decorrelated", Jitter::Decorrelated),
        ("none", Jitter::None),
    ];
    let jitter = table.choice("jitter", &jitters).or(default.jitter);
    BackoffConfig { base: base.value, max: max.value, jitter }
}
