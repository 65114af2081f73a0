//! `[service.limits]`: how much may be in flight.

use lb_core::config::{ADAPTIVE_MAX, AdaptiveConfig, IN_FLIGHT_MAX, LimitConfig, TOLERANCE_MAX};

use crate::native::DURATIONS;
use crate::native::balance::source;
use crate::read::Table;

pub(super) fn limits(mut table: Table<'_>) -> LimitConfig {
    let default = LimitConfig::default();
    let mut count = |key| table.integer(key, 1..=IN_FLIGHT_MAX).given();
    let per_backend = count("per_backend");
    let per_service = count("per_service");
    let per_client = count("per_client");
    let client = table.list("client", |item| item.parsed(source)).or(default.client);
    let queue_max = table.integer("queue_max", 0..=IN_FLIGHT_MAX).or(default.queue_max);
    let queue_timeout = table.duration("queue_timeout", DURATIONS).or(default.queue_timeout);
    let urgency = table.boolean("urgency").or(default.urgency);
    let adaptive = adaptive(table.table("adaptive"));
    if per_client.is_none() {
        table.warn_without_effect(&["client"], "without per_client");
    }
    if per_backend.is_none() && per_service.is_none() && adaptive.is_none() {
        let why = "without per_backend, per_service or [service.limits.adaptive]";
        table.warn_without_effect(&["queue_max", "queue_timeout", "urgency"], why);
    } else if queue_max == 0 {
        table.warn_without_effect(&["queue_timeout", "urgency"], "without queue_max");
    }
    if let (Some(per_service), Some(_)) = (&per_service, &adaptive) {
        let what = "per_service and [service.limits.adaptive] limit the same";
        table.report().error(per_service.at, what, "remove one of the two");
    }
    LimitConfig {
        per_backend: per_backend.map(|most| most.value),
        per_service: per_service.map(|most| most.value),
        per_client: per_client.map(|most| most.value),
        client,
        adaptive,
        queue_max,
        queue_timeout,
        urgency,
    }
}

fn adaptive(mut table: Table<'_>) -> Option<AdaptiveConfig> {
    let default = AdaptiveConfig::default();
    let enabled = table.boolean("enabled").or(false);
    let min = table.integer("min", 1..=ADAPTIVE_MAX).or_given(default.min);
    let max = table.integer("max", 1..=ADAPTIVE_MAX).or_given(default.max);
    let tolerance_percent =
        table.integer("tolerance_percent", 100..=TOLERANCE_MAX).or(default.tolerance_percent);
    if min.value > max.value {
        let at = if max.said { max.at } else { min.at };
        let what = format!("min {} is above max {}", min.value, max.value);
        table.report().error(at, what, "use min ≤ max");
    }
    if !enabled {
        let others = ["min", "max", "tolerance_percent"];
        table.warn_without_effect(&others, "without enabled = true");
    }
    enabled.then_some(AdaptiveConfig { min: min.value, max: max.value, tolerance_percent })
}
