//! Values of the wrong type, out of range, or not in the list.

use expect_test::expect;

use crate::{check_backends, check_service, check_top};

#[test]
fn a_value_of_another_type_is_named_with_what_to_write() {
    check_top(
        "[server]\nworkers = 1.5\ndrain_timeout = true\nheaders_max = [1]\nheader_bytes_max = {}\n\
         header_timeout = 1.5\nkeep_alive_timeout = 2024-01-01",
        expect![[r#"
            lb.toml:2:11: workers 1.5 is a number; write a whole number
            lb.toml:3:17: drain_timeout true is a boolean; write a duration, such as "30s"
            lb.toml:4:15: headers_max is an array; write a whole number
            lb.toml:5:20: header_bytes_max is a table; write a size, such as "64KiB"
            lb.toml:6:18: header_timeout 1.5 has no unit; write "1.5s"
            lb.toml:7:22: keep_alive_timeout 2024-01-01 is a date; write a duration, such as "30s"
        "#]],
    );
    check_top(
        "server = 1\naccess_log = { enabled = 'yes' }\nadmin = []",
        expect![[r#"
        lb.toml:1:10: server 1 is a number; write a table, as in [server]
        lb.toml:2:26: enabled "yes" is a text; write true or false, without quotes
        lb.toml:3:9: admin is an array; write a table, as in [admin]
    "#]],
    );
    check_top(
        "[server]\nheader_bytes_max = 65536\ndrain_timeout = -5",
        expect![[r#"
        lb.toml:2:20: header_bytes_max 65536 has no unit; write "64KiB"
        lb.toml:3:17: drain_timeout -5 has no unit; write "30s"
    "#]],
    );
    check_service(
        "host = 1\nbalance = 'round-robin'\nretry = { statuses = 503 }",
        expect![[r#"
        lb.toml:7:8: host 1 is a number; use one of "client", "backend"
        lb.toml:8:11: balance "round-robin" is a text; write a table, as in [service.balance]
        lb.toml:9:22: statuses 503 is a number; write an array, as in statuses = [..]
    "#]],
    );
    check_backends(
        "'http://a'",
        expect![[r#"
        lb.toml:9:12: backends "http://a" is a text; write an array, as in backends = [..]
    "#]],
    );
    check_backends(
        "['http://a', 3]",
        expect![[r#"
            lb.toml:9:13: backends "http://a" is a text and not a table; write { url = ".." }
            lb.toml:9:25: backends 3 is a number; write a table, as in [[service.pool.backends]]
        "#]],
    );
    check_backends(
        "{ url = 'http://a' }",
        expect![[r#"
        lb.toml:9:12: backends is a table; write an array, as in backends = [..]
    "#]],
    );
}

#[test]
fn numbers_out_of_range_are_reported_with_the_range() {
    check_top(
        "[server]\nworkers = 0\nconnections_max = 1_000_001\nheaders_max = 1001\n\
         header_bytes_max = \"4KiB\"\ndrain_timeout = \"8d\"\nheader_timeout = \"0s\"\n\
         keep_alive_timeout = \"7d1s\"",
        expect![[r#"
            lb.toml:2:11: workers 0 is out of range; use 1..=256
            lb.toml:3:19: connections_max 1000001 is out of range; use 1..=1000000
            lb.toml:4:15: headers_max 1001 is out of range; use 1..=1000
            lb.toml:5:20: header_bytes_max "4KiB" is out of range; use 8KiB..=1MiB
            lb.toml:6:17: drain_timeout "8d" is out of range; use 1us..=7d
            lb.toml:7:18: header_timeout "0s" is out of range; use 1us..=7d
            lb.toml:8:22: keep_alive_timeout "7d1s" is out of range; use 1us..=7d
        "#]],
    );
    check_top(
        "[server]\nworkers = 257\nheader_bytes_max = \"2MiB\"",
        expect![[r#"
        lb.toml:2:11: workers 257 is out of range; use 1..=256
        lb.toml:3:20: header_bytes_max "2MiB" is out of range; use 8KiB..=1MiB
    "#]],
    );
    check_top(
        "[server]\nworkers = -1\nheaders_max = 99999999999999999999999999999999999999999999",
        expect![[r#"
            lb.toml:2:11: workers -1 is out of range; use 1..=256
            lb.toml:3:15: headers_max 99999999999999999999999999999999999999999999 is out of range; use 1..=1000
        "#]],
    );
    check_service(
        "breaker = { consecutive_failures = 1001, half_open_trials = 0, half_open_successes = 101 }\n\
         keep_alive = { idle_max = 10001, connections_max = 0 }\n\
         [service.retry]\nattempts_max = 0\nreplay_buffer = \"17MiB\"\nstatuses = [200, 600, 503]\n\
         budget = { percent = 1001, min_per_second = 100001, burst = 100001 }",
        expect![[r#"
            lb.toml:7:36: consecutive_failures 1001 is out of range; use 1..=1000
            lb.toml:7:61: half_open_trials 0 is out of range; use 1..=100
            lb.toml:7:86: half_open_successes 101 is out of range; use 1..=100
            lb.toml:8:27: idle_max 10001 is out of range; use 0..=10000
            lb.toml:8:52: connections_max 0 is out of range; use 1..=1000000
            lb.toml:10:16: attempts_max 0 is out of range; use 1..=8
            lb.toml:11:17: replay_buffer "17MiB" is out of range; use 0B..=16MiB
            lb.toml:12:13: statuses 200 is out of range; use 400..=599
            lb.toml:12:18: statuses 600 is out of range; use 400..=599
            lb.toml:13:22: percent 1001 is out of range; use 0..=1000
            lb.toml:13:45: min_per_second 100001 is out of range; use 0..=100000
            lb.toml:13:61: burst 100001 is out of range; use 0..=100000
        "#]],
    );
}

#[test]
fn durations_and_sizes_need_a_unit_they_have() {
    check_top(
        "[server]\ndrain_timeout = \"30\"\nheader_timeout = \"30 s\"\n\
         keep_alive_timeout = \"1s1m\"\nheader_bytes_max = \"64k\"",
        expect![[r#"
            lb.toml:2:17: drain_timeout "30" has no unit; write "30s"
            lb.toml:3:18: header_timeout "30 s" is not a duration; write a number with us, ms, s, m, h or d, as in "250ms", "30s" or "1m30s"
            lb.toml:4:22: keep_alive_timeout "1s1m" has its units out of order; write the longest unit first, each once
            lb.toml:5:20: header_bytes_max "64k" is not a size; write a number with B, kB, MB, GB, KiB, MiB or GiB, as in "64KiB"
        "#]],
    );
    check_top(
        "[server]\ndrain_timeout = \"0.1us\"\nheader_bytes_max = \"65536\"",
        expect![[r#"
        lb.toml:2:17: drain_timeout "0.1us" is finer than a microsecond; write a multiple of "1us"
        lb.toml:3:20: header_bytes_max "65536" has no unit; write "64KiB"
    "#]],
    );
}

#[test]
fn words_are_chosen_from_a_list() {
    check_service(
        "host = \"clients\"\nwhen_all_unfit = \"panic\"\nbalance.policy = \"round_robin\"\n\
         retry.backoff.jitter = \"Full\"",
        expect![[r#"
            lb.toml:7:8: host "clients" is unknown; did you mean "client"?
            lb.toml:8:18: when_all_unfit "panic" is unknown; use one of "ask-answering", "fail-fast", "fail-open", "fallback-pool", "reset"
            lb.toml:9:18: policy "round_robin" is unknown; did you mean "round-robin"?
            lb.toml:10:24: jitter "Full" is unknown; did you mean "full"?
        "#]],
    );
}

#[test]
fn statuses_are_listed_once() {
    check_service(
        "retry.statuses = [503, 504, 503]",
        expect![[r#"
        lb.toml:7:29: statuses 503 is there twice; remove one of the two
    "#]],
    );
    check_service("retry.statuses = []", expect![[""]]);
    check_service(
        "failure_statuses = ['5xx', 503, '40x', '6xx', '5x']\nretry.statuses = [503, '50x', '50x']",
        expect![[r#"
            lb.toml:7:28: failure_statuses 503 is there twice; remove one of the two
            lb.toml:7:40: failure_statuses "6xx" is no class of statuses; write a number, or as in "5xx" or "52x"
            lb.toml:7:47: failure_statuses "5x" is no class of statuses; write a number, or as in "5xx" or "52x"
            lb.toml:8:31: statuses "50x" is there twice; remove one of the two
        "#]],
    );
}

#[test]
fn lower_bounds_are_below_upper_ones() {
    check_service(
        "breaker = { open_for = '1m', open_for_max = '30s' }",
        expect![[r#"
        lb.toml:7:45: open_for_max "30s" is less than open_for "1m"; raise open_for_max or lower open_for
    "#]],
    );
    check_service(
        "breaker = { open_for = '10m' }",
        expect![[r#"
        lb.toml:7:24: open_for "10m" is more than open_for_max, which is "5m" by default; lower open_for or set open_for_max too
    "#]],
    );
    check_service(
        "breaker = { open_for_max = '1s' }",
        expect![[r#"
        lb.toml:7:28: open_for_max "1s" is less than open_for "10s"; raise open_for_max or lower open_for
    "#]],
    );
    check_service(
        "retry.backoff = { base = '2s', max = '1s' }",
        expect![[r#"
        lb.toml:7:38: max "1s" is less than base "2s"; raise max or lower base
    "#]],
    );
}

#[test]
fn long_values_are_not_repeated_whole() {
    check_service(
        &format!("host = {:?}\n{} = 1", "x".repeat(1_000), "y".repeat(1_000)),
        expect![[r#"
            lb.toml:7:8: host "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..." is unknown; use one of "client", "backend"
            lb.toml:8:1: unknown key yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy... in [[service]]; what can be set here is name, hosts, allow_connect, host, protocol, proxy_protocol, breaker, outliers, slow_start, body_bytes_max, retry, failure_statuses, affinity, health, steering, balance, rate_limit, limits, timeouts, keep_alive, tcp_keepalive, pool, tls, when_all_unfit, panic_below, fallback_pool, request, response
        "#]],
    );
}
