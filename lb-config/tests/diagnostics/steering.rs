//! `[service.steering]`, what pools and backends say for it, and panic.

use expect_test::expect;

use crate::check_service;

#[test]
fn a_policy_that_is_not_told_what_it_goes_by_is_an_error() {
    check_service(
        "steering = { policy = 'geo' }",
        expect![[r#"
        lb.toml:7:12: policy "geo" is not told where clients are; add country_header or region_header
    "#]],
    );
    check_service(
        "steering = { policy = 'proximity', latitude_header = 'x-lat' }",
        expect![[r#"
            lb.toml:7:12: policy "proximity" is not told where clients are; add latitude_header and longitude_header
            lb.toml:9:1: warning: the pool is nowhere: policy "proximity" asks those with coordinates first; add latitude and longitude
        "#]],
    );
    check_service(
        "steering = { policy = 'fastest' }",
        expect![[r#"
        lb.toml:7:23: policy "fastest" goes by health checks, and there are none; add [service.health] with enabled = true
    "#]],
    );
    check_service(
        "balance = { policy = 'fastest' }",
        expect![[r#"
        lb.toml:7:22: policy "fastest" goes by health checks, and there are none; add [service.health] with enabled = true
    "#]],
    );
}

#[test]
fn names_of_headers_regions_and_countries_are_checked() {
    check_service(
        "steering = { policy = 'geo', country_header = 'cf ip', region_header = '', zone = 'a--b', countries = { DEU = 'x', DE = '-' } }",
        expect![[r#"
            lb.toml:7:12: policy "geo" is not told where clients are; add country_header or region_header
            lb.toml:7:47: country_header "cf ip" is no name of a header; write "cf-ipcountry" or the like
            lb.toml:7:72: region_header "" is no name of a header; write "cf-ipcountry" or the like
            lb.toml:7:83: zone "a--b" is no region; use up to 63 letters and digits in parts joined by -, as in "us-west-2"
            lb.toml:7:105: DEU is no country; use two letters, as in DE (ISO 3166-1)
            lb.toml:7:121: DE "-" is no region; use up to 63 letters and digits in parts joined by -, as in "us-west-2"
        "#]],
    );
    check_service(
        "steering = { latitude_header = 'x', overprovision_percent = 99, countries = { DE = 1 } }",
        expect![[r#"
            lb.toml:7:14: warning: latitude_header has no effect with this policy: proximity goes by coordinates; remove it
            lb.toml:7:61: overprovision_percent 99 is out of range; use 100..=1000
            lb.toml:7:84: DE 1 is a number; write a text in quotes
        "#]],
    );
}

#[test]
fn panic_names_a_pool_that_there_is() {
    check_service(
        "when_all_unfit = 'fallback-pool'",
        expect![[r#"
        lb.toml:7:18: when_all_unfit = "fallback-pool" names no pool; add fallback_pool = "NAME"
    "#]],
    );
    check_service(
        "when_all_unfit = 'fallback-pool'\nfallback_pool = 'sorry'",
        expect![[r#"
        lb.toml:8:17: fallback_pool "sorry" is no pool of this service; use one of default
    "#]],
    );
    check_service(
        "when_all_unfit = 'fallback-pool'\nfallback_pool = 'default'",
        expect![[r#"
        lb.toml:8:17: fallback_pool is the only pool; add a pool that serves otherwise
    "#]],
    );
    check_service(
        "fallback_pool = 'default'\npanic_below = 101",
        expect![[r#"
        lb.toml:7:1: warning: fallback_pool has no effect without when_all_unfit = "fallback-pool"; remove it
        lb.toml:8:1: warning: panic_below has no effect without when_all_unfit = "fail-open"; remove it
        lb.toml:8:15: panic_below 101 is out of range; use 0..=100
    "#]],
    );
}
