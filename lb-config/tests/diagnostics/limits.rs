//! `[service.limits]`, `[service.outliers]` and `[service.slow_start]`.

use expect_test::expect;

use crate::check_service;

#[test]
fn limits_that_limit_nothing_and_numbers_out_of_range_are_told() {
    check_service(
        "limits = { queue_max = 10, client = ['path'] }",
        expect![[r#"
        lb.toml:7:12: warning: queue_max has no effect without per_backend, per_service or [service.limits.adaptive]; remove it
        lb.toml:7:28: warning: client has no effect without per_client; remove it
    "#]],
    );
    check_service(
        "limits = { per_backend = 0, per_service = 1_000_000_000, urgency = true }",
        expect![[r#"
            lb.toml:7:26: per_backend 0 is out of range; use 1..=1000000
            lb.toml:7:43: per_service 1000000000 is out of range; use 1..=1000000
            lb.toml:7:58: warning: urgency has no effect without per_backend, per_service or [service.limits.adaptive]; remove it
        "#]],
    );
    check_service(
        "limits = { per_service = 5, adaptive = { enabled = true, min = 9, max = 3 } }",
        expect![[r#"
            lb.toml:7:26: per_service and [service.limits.adaptive] limit the same; remove one of the two
            lb.toml:7:73: min 9 is above max 3; use min ≤ max
        "#]],
    );
    check_service(
        "limits = { adaptive = { min = 9 }, per_client = -1 }",
        expect![[r#"
        lb.toml:7:25: warning: min has no effect without enabled = true; remove it
        lb.toml:7:49: per_client -1 is out of range; use 1..=1000000
    "#]],
    );
}

#[test]
fn outliers_and_slow_starts_have_bounds() {
    check_service(
        "outliers = { enabled = true, eject_for = '10m', min_backends = 1, deviations = 0, failure_percent = 101 }",
        expect![[r#"
            lb.toml:7:42: eject_for "10m" is more than eject_for_max, which is "5m" by default; lower eject_for or set eject_for_max too
            lb.toml:7:64: min_backends 1 is out of range; use 2..=1000
            lb.toml:7:80: deviations 0 is out of range; use 0.001..=10
            lb.toml:7:101: failure_percent 101 is out of range; use 1..=100
        "#]],
    );
    check_service(
        "outliers = { deviations = 1.5 }\nslow_start = { window = '1s' }",
        expect![[r#"
            lb.toml:7:14: warning: deviations has no effect without enabled = true; remove it
            lb.toml:8:16: warning: window has no effect without enabled = true; remove it
        "#]],
    );
    check_service(
        "slow_start = { enabled = true, floor_percent = 0 }",
        expect![[r#"
        lb.toml:7:48: floor_percent 0 is out of range; use 1..=100
    "#]],
    );
}
