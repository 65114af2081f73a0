//! `[service.outliers]` and `[service.slow_start]`.

use std::time::Duration;

use lb_core::config::{
    DEVIATIONS_MAX, OUTLIER_BACKENDS_MAX, OUTLIER_REQUESTS_MAX, OutlierConfig, SlowStartConfig,
};

use crate::native::DURATIONS;
use crate::native::policy::require_ascending;
use crate::read::Table;

pub(super) fn outliers(mut table: Table<'_>) -> Option<OutlierConfig> {
    let default = OutlierConfig::default();
    let enabled = table.boolean("enabled").or(false);
    let interval = table.duration("interval", DURATIONS).or(default.interval);
    let eject_for = table.duration("eject_for", DURATIONS).or_given(default.eject_for);
    let eject_for_max = table.duration("eject_for_max", DURATIONS).or_given(default.eject_for_max);
    require_ascending(&table, ("eject_for", eject_for), ("eject_for_max", eject_for_max));
    let eject_percent_max =
        table.integer("eject_percent_max", 1..=100).or(default.eject_percent_max);
    let min_requests =
        table.integer("min_requests", 1..=OUTLIER_REQUESTS_MAX).or(default.min_requests);
    let min_backends =
        table.integer("min_backends", 2..=OUTLIER_BACKENDS_MAX).or(default.min_backends);
    let deviations = table.number("deviations", 0.001..=f64::from(DEVIATIONS_MAX) / 1_000.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in range")]
    let deviations = deviations.given().map(|it| (it.value * 1_000.0).round() as u32);
    let failure_percent = table.integer("failure_percent", 1..=100).given().map(|it| it.value);
    if !enabled {
        let others = [
            "interval",
            "eject_for",
            "eject_for_max",
            "eject_percent_max",
            "min_requests",
            "min_backends",
            "deviations",
            "failure_percent",
        ];
        table.warn_without_effect(&others, "without enabled = true");
    }
    enabled.then_some(OutlierConfig {
        interval,
        eject_for: eject_for.value,
        eject_for_max: eject_for_max.value,
        eject_percent_max,
        min_requests,
        min_backends,
        // Who asks for a share of failures asks for nothing else.
        deviations: deviations.or(default.deviations.filter(|_| failure_percent.is_none())),
        failure_percent,
    })
}

pub(super) fn slow_start(mut table: Table<'_>) -> Option<SlowStartConfig> {
    const WINDOW: Duration = Duration::from_secs(30);
    let enabled = table.boolean("enabled").or(false);
    let window = table.duration("window", DURATIONS).or(WINDOW);
    let floor_percent = table.integer("floor_percent", 1..=100).or(10);
    if !enabled {
        table.warn_without_effect(&["window", "floor_percent"], "without enabled = true");
    }
    enabled.then_some(SlowStartConfig { window, floor_percent })
}
