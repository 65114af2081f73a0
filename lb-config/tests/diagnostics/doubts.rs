//! Warnings about what only all of a configuration shows.

use expect_test::expect;

use crate::{check_service, check_top};

#[test]
fn what_only_the_whole_of_a_service_shows_is_warned_about() {
    check_service(
        "outliers = { enabled = true }\nretry.hedge = { after = '20s' }\n\
         rate_limit = { enabled = true, key = ['forwarded-for', 'client-ip', 'header:x-key'] }\n\
         affinity = { by = 'cookie', cookie = '__Host-lb', path = '/app', secure = true }",
        expect![[r#"
            lb.toml:4:1: warning: [service.outliers] compares backends of a pool with at least 5 (min_backends), and no pool has more than 2; set min_backends = 2, or remove it
            lb.toml:4:1: warning: [service.rate_limit] key has "forwarded-for", which clients write themselves; use "client-ip", and name proxies in front in [server] trusted_proxies
            lb.toml:4:1: warning: [service.rate_limit] key has sources behind one that every request has; put "client-ip", "path" or a text last
            lb.toml:4:1: warning: [service.retry] hedge.after is no sooner than an attempt ends (first_byte, exchange); lower it
            lb.toml:4:1: warning: browsers refuse __Host-lb without secure = true and path = "/"; add both, or leave out __Host-
        "#]],
    );
    check_service(
        "limits = { per_client = 1, client = ['path', 'client-ip'] }\n\
         affinity = { by = 'key', key = ['client-ip', 'cookie:sid'] }",
        expect![[r#"
            lb.toml:4:1: warning: [service.affinity] key has sources behind one that every request has; put "client-ip", "path" or a text last
            lb.toml:4:1: warning: [service.limits] client has sources behind one that every request has; put "client-ip", "path" or a text last
        "#]],
    );
}

/// Whoever comes by a Unix socket has no address, and the next source says who it is.
#[test]
fn a_source_behind_the_address_is_reached_by_a_unix_socket() {
    check_top(
        "[[listener]]\nbind = 'unix:/run/lb.sock'\n[[service]]\nname = 'api'\nhosts = ['a.example']\n\
         pool = [{ backends = [{ url = 'http://a' }] }]\n\
         rate_limit = { enabled = true, key = ['client-ip', 'header:x-key'] }",
        expect![[r#""#]],
    );
}

#[test]
fn two_services_at_one_host_have_cookies_of_their_own() {
    let services = |other: &str| {
        format!(
            "[[service]]\nname = 'api'\naffinity = {{ by = 'cookie'{other} }}\n\
             pool = [{{ backends = [{{ url = 'http://a' }}, {{ url = 'http://b' }}] }}]\n\
             [[route]]\nname = 'api'\nhosts = ['a.example']\npath_prefix = '/api'\nservice = 'api'\n\
             [[service]]\nname = 'shop'\nhosts = ['a.example']\n\
             affinity = {{ by = 'cookie', value = 'hostname' }}\n\
             pool = [{{ backends = [{{ url = 'http://c:1' }}, {{ url = 'http://c:2' }}] }}]"
        )
    };
    check_top(
        &services(""),
        expect![[r#"
        lb.toml:10:1: warning: services "api" and "shop" answer at one host and set the same cookie lb_affinity: each takes the other's for a stranger's; give one another name: cookie = "lb_shop"
        lb.toml:10:1: warning: several backends are at c: with [service.affinity] value = "hostname" all their clients stick to the first; leave out value, which tells them apart
    "#]],
    );
    check_top(
        &services(", cookie = 'lb_api'"),
        expect![[r#"
        lb.toml:10:1: warning: several backends are at c: with [service.affinity] value = "hostname" all their clients stick to the first; leave out value, which tells them apart
    "#]],
    );
}

#[test]
fn a_service_of_which_nobody_serves_is_warned_about() {
    check_top(
        "[[service]]\nname = 'old'\nhosts = ['old.example']\n\
         pool = [{ backends = [{ url = 'http://a', draining = true }] }]",
        expect![[r#"
            lb.toml:1:1: warning: all backends are draining: nobody new is served; let one of them serve
        "#]],
    );
}
