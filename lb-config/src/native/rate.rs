//! `[service.rate_limit]`: how many requests each client may make.

use lb_core::config::{KEY_SOURCES_MAX, RATE_MAX, RateConfig};

use crate::native::DURATIONS;
use crate::native::balance::source;
use crate::read::Table;

pub(super) fn rate(mut table: Table<'_>) -> Option<RateConfig> {
    let default = RateConfig::default();
    let enabled = table.boolean("enabled").or(false);
    let requests = table.integer("requests", 1..=RATE_MAX).or(default.requests);
    let per = table.duration("per", DURATIONS).or(default.per);
    let burst = table.integer("burst", 1..=RATE_MAX).or(default.burst);
    let key = table.list("key", |item| item.parsed(source)).or_given(default.key);
    if !(1..=KEY_SOURCES_MAX).contains(&key.value.len()) {
        let what = format!("key has {} sources", key.value.len());
        table.report().error(key.at, what, format!("use 1..={KEY_SOURCES_MAX}"));
    }
    if !enabled {
        let others = ["requests", "per", "burst", "key"];
        table.warn_without_effect(&others, "without enabled = true");
    }
    enabled.then_some(RateConfig { requests, per, burst, key: key.value })
}
