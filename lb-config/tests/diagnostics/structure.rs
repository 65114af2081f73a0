//! What must be there, what is unknown, what is there twice.

use expect_test::expect;

use crate::{SOUND, check, check_backends, check_each, check_pools, check_service, check_top};

#[test]
fn a_sound_file_has_no_diagnostics() {
    check(SOUND, expect![[""]]);
}

#[test]
fn what_must_be_there_is_missed() {
    check(
        "",
        expect![[r#"
            lb.toml:1:1: listener is missing at the top of the file; add [[listener]] with bind = "0.0.0.0:8080"
            lb.toml:1:1: service is missing at the top of the file; add [[service]] with name, hosts and backends in a pool
        "#]],
    );
    check(
        "listener = []\nservice = []",
        expect![[r#"
            lb.toml:1:12: there is no listener; add [[listener]] with bind = "0.0.0.0:8080"
            lb.toml:2:11: there is no service; add [[service]] with name, hosts and backends in a pool
        "#]],
    );
    check(
        "[[listener]]\n[[service]]\n",
        expect![[r#"
            lb.toml:1:1: bind is missing in [[listener]]; add bind = "0.0.0.0:8080"
            lb.toml:2:1: hosts is missing in [[service]]; add hosts = ["*"] for any host, or a route that leads here
            lb.toml:2:1: name is missing in [[service]]; add name = "web"
            lb.toml:2:1: pool is missing in [[service]]; add [[service.pool]] with backends = [{ url = "http://10.0.0.1:3000" }]
        "#]],
    );
    check(
        "[[listener]]\nbind='0.0.0.0:80'\n[[service]]\nname='a'\nhosts=[]\npool=[]\n",
        expect![[r#"
            lb.toml:5:7: hosts is empty; write ["*"] for any host, or leave it out and add a route
            lb.toml:6:6: the service has no pool; add [[service.pool]] with backends = [{ url = "http://10.0.0.1:3000" }]
        "#]],
    );
    check_backends(
        "[]",
        expect![[r#"
        lb.toml:9:12: backends is empty; add { url = "http://10.0.0.1:3000" }
    "#]],
    );
    check_backends(
        "[{}, { weight = 2 }]",
        expect![[r#"
        lb.toml:9:13: url is missing in [[service.pool.backends]]; add url = "http://10.0.0.1:3000"
        lb.toml:9:17: url is missing in [[service.pool.backends]]; add url = "http://10.0.0.1:3000"
    "#]],
    );
}

#[test]
fn unknown_keys_are_reported_with_the_likely_one() {
    check_top(
        "[serverr]",
        expect![[r#"
        lb.toml:1:2: unknown key serverr at the top of the file; did you mean server?
    "#]],
    );
    check_top(
        "[server]\nworker = 2\nmax_connections = 5\ncolour = 'red'",
        expect![[r#"
            lb.toml:2:1: unknown key worker in [server]; did you mean workers?
            lb.toml:3:1: unknown key max_connections in [server]; did you mean connections_max?
            lb.toml:4:1: unknown key colour in [server]; what can be set here is workers, watch, shutdown_delay, drain_timeout, drain_idle_timeout, connections_max, connections_per_client_max, requests_per_connection_max, header_timeout, keep_alive_timeout, header_bytes_max, target_bytes_max, headers_max, unread_bytes_max, splice, http2, ambiguous_paths, trusted_proxies, client_address
        "#]],
    );
    check_top(
        "[admin]\nbnid = '127.0.0.1:1'\n[access_log]\nformat = 'x'",
        expect![[r#"
            lb.toml:2:1: unknown key bnid in [admin]; did you mean bind?
            lb.toml:4:1: unknown key format in [access_log]; what can be set here is enabled, level
        "#]],
    );
    check_service(
        "sticky = true\nretry.budget.percentage = 3",
        expect![[r#"
            lb.toml:7:1: unknown key sticky in [[service]]; what can be set here is name, hosts, allow_connect, host, protocol, proxy_protocol, breaker, outliers, slow_start, body_bytes_max, retry, failure_statuses, affinity, health, steering, balance, rate_limit, limits, timeouts, keep_alive, tcp_keepalive, pool, tls, when_all_unfit, panic_below, fallback_pool, request, response
            lb.toml:8:14: unknown key percentage in [service.retry.budget]; did you mean percent?
        "#]],
    );
    check_backends(
        "[{ url = 'http://a', wieght = 2 }]",
        expect![[r#"
        lb.toml:9:33: unknown key wieght in [[service.pool.backends]]; did you mean weight?
    "#]],
    );
    check_top(
        "[limits]\nx = 1",
        expect![[r#"
            lb.toml:1:2: unknown key limits at the top of the file; what can be set here is server, admin, access_log, tracing, listener, service, https_redirect, route, dns, state, record
        "#]],
    );
}

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_the_file() {
    check(
        r#"[server]
workers = "four"
drain_timeout = 30
connections_max = 0

[[listener]]
bind = 8080

[[service]]
name = "Web"
hosts = ["a.example.com:80", 7]

[service.retry]
attempts_max = 9
backoff = { base = "2s", jitter = "some" }

[[service.pool]]
backends = [
  { url = "https://10.0.0.1", weight = 0 },
  { url = "http://10.0.0.1", weight = 1001 },
]
"#,
        expect![[r#"
            lb.toml:2:11: workers "four" is a text; write a whole number
            lb.toml:3:17: drain_timeout 30 has no unit; write "30s"
            lb.toml:4:19: connections_max 0 is out of range; use 1..=1000000
            lb.toml:7:8: bind 8080 is a number; write a text in quotes
            lb.toml:10:8: name "Web" is not a name; use 1..=63 of a-z, 0-9, - and _
            lb.toml:11:10: hosts "a.example.com:80" has a port; write "a.example.com": a service is found by host alone
            lb.toml:11:30: hosts 7 is a number; write a text in quotes
            lb.toml:14:16: attempts_max 9 is out of range; use 1..=8
            lb.toml:15:20: base "2s" is more than max, which is "1s" by default; lower base or set max too
            lb.toml:15:35: jitter "some" is unknown; use one of "full", "equal", "decorrelated", "none"
            lb.toml:19:40: weight 0 gets no traffic; remove the backend or use 1..=1000
            lb.toml:20:39: weight 1001 is out of range; use 1..=1000
        "#]],
    );
}

#[test]
fn a_single_table_where_many_belong_is_still_read() {
    check(
        "[listener]\nbind = 'x'\n[service]\nname = ''\n[service.pool]\nbackends = []",
        expect![[r#"
            lb.toml:1:1: listener is a single table; write [[listener]] for each, with two brackets
            lb.toml:2:8: bind "x" is not an address with a port; write one such as "0.0.0.0:8080" or "[::]:8080"
            lb.toml:3:1: hosts is missing in [[service]]; add hosts = ["*"] for any host, or a route that leads here
            lb.toml:3:1: service is a single table; write [[service]] for each, with two brackets
            lb.toml:4:8: name "" is not a name; use 1..=63 of a-z, 0-9, - and _
            lb.toml:5:1: pool is a single table; write [[service.pool]] for each, with two brackets
            lb.toml:6:12: backends is empty; add { url = "http://10.0.0.1:3000" }
        "#]],
    );
    check(
        "listener = 1\nservice = 'a'",
        expect![[r#"
        lb.toml:1:12: listener 1 is a number; write tables, as in [[listener]]
        lb.toml:2:11: service "a" is a text; write tables, as in [[service]]
    "#]],
    );
    check_top(
        "[[server]]\nworkers = 2",
        expect![[r#"
        lb.toml:1:1: server is an array; write a table, as in [server]
    "#]],
    );
}

#[test]
fn names_are_labels_and_unique() {
    let texts =
        ["", "My Service", "sixty-four-characters-are-one-too-many-for-a-label-in-the-metrics"]
            .map(|name| SOUND.replace("web", name));
    check_each(
        &texts,
        expect![[r#"
        lb.toml:5:8: name "" is not a name; use 1..=63 of a-z, 0-9, - and _
        lb.toml:5:8: name "My Service" is not a name; use 1..=63 of a-z, 0-9, - and _
        lb.toml:5:8: name "sixty-four-characters-are-one-too-many-for-a-label-in-the-metrics" is not a name; use 1..=63 of a-z, 0-9, - and _
    "#]],
    );
    let second = "[[service]]\nname = 'web'\nhosts = ['a.b']\npool = [{ backends = [{ url = 'http://a' }] }]";
    check(
        &format!("{SOUND}{second}"),
        expect![[r#"
        lb.toml:11:8: name "web" is taken by the service at lb.toml:5:8; give each service a name of its own
    "#]],
    );
    check(
        &format!("{SOUND}[[service.pool]]\nbackends = [{{ url = 'http://a' }}]"),
        expect![[r#"
        lb.toml:8:1: name is missing in [[service.pool]]; add name = "main": only a single pool may go without
        lb.toml:10:1: name is missing in [[service.pool]]; add name = "main": only a single pool may go without
    "#]],
    );
    check_pools(
        "[{ name = 'a', backends = [{ url = 'http://a' }] }, { name = 'a', backends = [{ url = 'http://b' }] }]",
        expect![[r#"
            lb.toml:8:69: name "a" is taken by the pool at lb.toml:8:18; give each pool of a service a name of its own
        "#]],
    );
}

#[test]
fn a_backend_is_in_its_service_once() {
    check_backends(
        "[{ url = 'http://a' }, { url = 'http://A:80/' }]",
        expect![[r#"
        lb.toml:9:43: backend http://a:80 is in this service already, at lb.toml:9:21; remove one of the two, and use weight for a larger share
    "#]],
    );
    check_pools(
        "[{ name = 'a', backends = [{ url = 'http://x' }] }, { name = 'b', backends = [{ url = 'http://x' }] }]",
        expect![[r#"
            lb.toml:8:94: backend http://x:80 is in this service already, at lb.toml:8:43; remove one of the two, and use weight for a larger share
        "#]],
    );
}

#[test]
fn a_service_has_a_bounded_number_of_backends() {
    let backends: Vec<String> =
        (0..=16_384).map(|i| format!("{{ url = 'http://h{i}' }}")).collect();
    check_backends(
        &format!("[{}]", backends.join(",")),
        expect![[r#"
        lb.toml:8:1: the service has 16385 backends; use 1..=16384 over all its pools
    "#]],
    );
}
