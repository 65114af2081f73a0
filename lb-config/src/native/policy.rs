//! The policies of a service: breaker, timeouts, kept connections.
//!
//! What is written and can have no effect is warned about, here beside the fields; a default that
//! has none is nobody's mistake.

use std::time::Duration;

use lb_core::config::{
    BreakerConfig, CONSECUTIVE_FAILURES_MAX, ErrorRateConfig, MIN_REQUESTS_MAX, TRIALS_MAX,
    Timeouts,
};

use crate::config::KeepAlive;
use crate::native::DURATIONS;
use crate::quantity::show_duration;
use crate::read::{Given, Table};

/// Per backend and worker.
const IDLE_MAX: usize = 10_000;
/// Per backend. One address of ours has fewer than 65,536 ports.
const CONNECTIONS_MAX: usize = 1_000_000;

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
    let error_rate = error_rate(&mut table);
    if !enabled {
        let others = [
            "consecutive_failures",
            "open_for",
            "open_for_max",
            "half_open_trials",
            "half_open_successes",
            "error_percent",
            "window",
            "min_requests",
        ];
        table.warn_without_effect(&others, "with enabled = false");
    }
    enabled.then_some(BreakerConfig {
        consecutive_failures,
        open_for: open_for.value,
        open_for_max: open_for_max.value,
        half_open_trials,
        half_open_successes,
        error_rate,
    })
}

/// The share of failures that opens a breaker as well, if one was said.
fn error_rate(table: &mut Table<'_>) -> Option<ErrorRateConfig> {
    let default = ErrorRateConfig::default();
    let percent = table.integer("error_percent", 1..=100).given().map(|percent| percent.value);
    let window = table.duration("window", DURATIONS).or(default.window);
    let min_requests = table.integer("min_requests", 1..=MIN_REQUESTS_MAX).or(default.min_requests);
    if percent.is_none() {
        table.warn_without_effect(&["window", "min_requests"], "without error_percent");
    }
    percent.map(|percent| ErrorRateConfig { percent, window, min_requests })
}

pub(super) fn timeouts(mut table: Table<'_>) -> Timeouts {
    let default = Timeouts::default();
    let connect = table.duration("connect", DURATIONS).or_given(default.connect);
    let first_byte = table.duration("first_byte", DURATIONS).or_given(default.first_byte);
    let body_idle = table.duration("body_idle", DURATIONS).or_given(default.body_idle);
    let exchange = table.duration("exchange", DURATIONS).or_given(default.exchange);

    let tunnel_idle = table.duration("tunnel_idle", DURATIONS).or(default.tunnel_idle);

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
        tunnel_idle,
    }
}

pub(super) fn keep_alive(mut table: Table<'_>) -> KeepAlive {
    let connections_max = table.integer("connections_max", 1..=CONNECTIONS_MAX).or(10_000);
    let idle_max = table.integer("idle_max", 0..=IDLE_MAX).or(32);
    let idle_timeout = table.duration("idle_timeout", DURATIONS).or(Duration::from_secs(15));
    let age_max = table.duration("age_max", DURATIONS).or(Duration::from_secs(3_600));
    if idle_max == 0 {
        let why = "with idle_max = 0: no connection is kept";
        table.warn_without_effect(&["idle_timeout", "age_max"], why);
    }
    KeepAlive { connections_max, idle_max, idle_timeout, age_max }
}

/// A duration and the key that it is under.
pub(super) type Named<'k> = (&'k str, Given<Duration>);

/// Reports a lower bound above its upper bound, where it was written (one of them was: the
/// defaults ascend).
pub(super) fn require_ascending(
    table: &Table<'_>,
    (low_key, low): Named<'_>,
    (high_key, high): Named<'_>,
) {
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
