//! `discover = { .. }`, the list in a file, `[dns]`, `[state]` and `[record]`.

use expect_test::{Expect, expect};
use lb_config::config::Format;
use lb_config::{Source, load_backends};

use crate::{check, check_pools, check_top};

/// One pool that discovers by these, at line 8.
fn check_discover(said: &str, expected: Expect) {
    check_pools(&format!("[{{ discover = {{ {said} }} }}]"), expected);
}

/// All that is said about a list of backends.
#[expect(clippy::needless_pass_by_value, reason = "calls read best with the text in place")]
fn check_list(format: Format, text: &str, expected: Expect) {
    let (found, diagnostics) = load_backends(&Source { name: "list", text }, format);
    let found = found.map(|found| format!("{} found\n", found.len()));
    let lines = diagnostics.iter().map(|found| format!("{found}\n"));
    expected.assert_eq(&lines.chain(found).collect::<String>());
}

#[test]
fn a_pool_needs_no_backends_where_it_finds_some() {
    check_discover("dns = 'app.internal:8080'", expect![[""]]);
    check_discover("srv = '_http._tcp.app.internal', priority = 'others'", expect![[""]]);
    check_discover("file = 'backends.json', every = '5s', empty = 'accept'", expect![[""]]);
    check_pools(
        "[{ discover = { dns = 'a' }, backends = [{ url = 'http://b', weight = 2 }], min_fit = 3 }]",
        expect![[""]],
    );
}

#[test]
fn a_source_is_one_and_what_it_should_be() {
    check_discover(
        "empty = 'keep'",
        expect![[r#"
        lb.toml:8:22: discover says nobody to ask; add dns = "app.internal:8080", srv = "_http._tcp.app.internal" or file = "backends.json"
    "#]],
    );
    check_discover(
        "dns = 'a', srv = 'b'",
        expect![[r#"
        lb.toml:8:22: discover has several sources; keep one of dns, srv and file, and make a pool for each other
    "#]],
    );
    check_discover(
        "dns = '10.0.0.1:80'",
        expect![[r#"
        lb.toml:8:30: dns "10.0.0.1:80" is an address and not a name; write backends = [{ url = "http://10.0.0.1:80" }] instead
    "#]],
    );
    check_discover(
        "dns = 'http://a/path'",
        expect![[r#"
        lb.toml:8:30: dns "http://a/path" has more than a host and a port; write "http://a"
    "#]],
    );
    check_discover(
        "srv = 'a:80'",
        expect![[r#"
        lb.toml:8:30: srv "a:80" is more than a name; write the name alone, as in "_http._tcp.app.internal": its records say ports
    "#]],
    );
    check_discover(
        "srv = '10.0.0.1'",
        expect![[r#"
        lb.toml:8:30: srv "10.0.0.1" is an address and not a name; write the name of SRV records
    "#]],
    );
    check_discover(
        "file = 'backends.yaml'",
        expect![[r#"
        lb.toml:8:31: file "backends.yaml" ends in neither .json nor .toml; rename it: the ending says how it is written
    "#]],
    );
    check_discover(
        "dsn = 'a'",
        expect![[r#"
        lb.toml:8:22: discover says nobody to ask; add dns = "app.internal:8080", srv = "_http._tcp.app.internal" or file = "backends.json"
        lb.toml:8:24: unknown key dsn in [service.pool.discover]; did you mean dns?
    "#]],
    );
    check_pools(
        "[{ discover = 'a' }]",
        expect![[r#"
        lb.toml:8:22: discover "a" is a text; write a table, as in [service.pool.discover]
    "#]],
    );
}

#[test]
fn what_another_source_would_go_by_has_no_effect() {
    check_discover(
        "dns = 'a', priority = 'all', every = '1s'",
        expect![[r#"
        lb.toml:8:35: warning: priority has no effect without srv; remove it
        lb.toml:8:53: warning: every has no effect without file: the answer says how often; remove it
    "#]],
    );
    check_discover(
        "srv = 'a', family = 'ipv4', refresh_min = '2m'",
        expect![[r#"
        lb.toml:8:35: warning: family has no effect without dns; remove it
        lb.toml:8:66: refresh_min is more than refresh_max; lower one or raise the other
    "#]],
    );
    check_discover(
        "file = 'a.toml', refresh_max = '1s'",
        expect![[r#"
        lb.toml:8:41: warning: refresh_max has no effect with file: write every; remove it
    "#]],
    );
    check_discover(
        "dns = 'a', refresh_max = '1ms'",
        expect![[r#"
        lb.toml:8:49: refresh_max "1ms" is out of range; use 50ms..=1d
    "#]],
    );
}

#[test]
fn addresses_of_names_grow_stale_within_bounds_and_where_there_are_names() {
    check_top(
        "dns.stale_max = '8d'",
        expect![[r#"
            lb.toml:1:5: warning: stale_max has no effect without a backend that is known by its name, or a pool that discovers some; remove it
            lb.toml:1:17: stale_max "8d" is out of range; use 0s..=7d
        "#]],
    );
    check_top(
        "dns = { stale_max = '0s', timeout = '1s' }",
        expect![[r#"
        lb.toml:1:9: warning: stale_max has no effect without a backend that is known by its name, or a pool that discovers some; remove it
        lb.toml:1:27: warning: timeout has no effect without a backend that is known by its name, or a pool that discovers some; remove it
    "#]],
    );
    check(
        "[dns]\nservers = ['10.0.0.2']\nstale_max = '0s'\n[[listener]]\nbind = '0.0.0.0:80'\n\
         [[service]]\nname = 'web'\nhosts = ['*']\npool = [{ backends = [{ url = 'http://a' }] }]",
        expect![[""]],
    );
}

#[test]
fn name_servers_and_state_are_where_they_can_be() {
    check_top(
        "dns.servers = ['10.0.0.2', '::1', 'ns.internal', '[::1]:53']",
        expect![[r#"
        lb.toml:1:5: warning: servers has no effect without a backend that is known by its name, or a pool that discovers some; remove it
        lb.toml:1:35: servers "ns.internal" is not the address of a name server; write one such as "10.0.0.2", "10.0.0.2:53" or "[::1]:53"
    "#]],
    );
    check_top(
        "state = { every = '1s' }",
        expect![[r#"
        lb.toml:1:11: warning: every has no effect without file; remove it
    "#]],
    );
    check_top(
        "state = { file = '' }",
        expect![[r#"
        lb.toml:1:18: file "" is empty; write a path, as in "/var/lib/lb/state.json"
    "#]],
    );
    check_top(
        "state = { file = 'a', max_age = '1s' }",
        expect![[r#"
        lb.toml:1:33: every is more than max_age: the file is too old before it is written again; lower every or raise max_age
    "#]],
    );
}

#[test]
fn a_record_is_a_file_of_bounded_size() {
    check_top(
        "record = { when_full = 'rotate' }",
        expect![[r#"
        lb.toml:1:12: warning: when_full has no effect without file; remove it
    "#]],
    );
    check_top(
        "record = { file = '', bytes_max = '1KiB', when_full = 'grow' }",
        expect![[r#"
            lb.toml:1:19: file "" is empty; write a path, as in "/var/lib/lb/record.lb"
            lb.toml:1:35: bytes_max "1KiB" is out of range; use 1MiB..=1024GiB
            lb.toml:1:55: when_full "grow" is unknown; use one of "stop", "rotate"
        "#]],
    );
}

#[test]
fn a_list_has_the_diagnostics_of_the_main_file() {
    check_list(
        Format::Toml,
        "[[backends]]\nurl = 'http://a'\nweight = 2",
        expect![[r#"
        1 found
    "#]],
    );
    check_list(
        Format::Toml,
        "backends = []",
        expect![[r#"
        0 found
    "#]],
    );
    check_list(
        Format::Toml,
        "",
        expect![[r#"
        list:1:1: backends is missing at the top of the file; add backends = [{ url = "http://10.0.0.1:3000" }]
    "#]],
    );
    check_list(
        Format::Toml,
        "[[backends]]\nurl = 'http://a'\nwieght = 2\n[[backends]]\nurl = 'HTTP://A:80'\nweight = 0",
        expect![[r#"
            list:3:1: unknown key wieght in [[backends]]; did you mean weight?
            list:5:7: backend http://a:80 is in this service already, at list:2:7; remove one of the two, and use weight for a larger share
            list:6:10: weight 0 gets no traffic; remove the backend or use 1..=1000
        "#]],
    );
}

#[test]
fn a_list_in_json_has_them_too() {
    let json = r#"{ "backends": [
  { "url": "http://10.0.0.1:3000", "weight": 3, "region": "eu-west", "draining": true },
  { "url": "http://10.0.0.2:3000" }
] }"#;
    check_list(
        Format::Json,
        json,
        expect![[r#"
        2 found
    "#]],
    );
    check_list(
        Format::Json,
        &json.replace("3,", "0.5,"),
        expect![[r#"
        list:2:46: weight 0.5 is a number; write a whole number
    "#]],
    );
    check_list(
        Format::Json,
        &json.replace("\"weight\"", "\"wieght\""),
        expect![[r#"
        list:2:36: unknown key wieght in [[backends]]; did you mean weight?
    "#]],
    );
    check_list(
        Format::Json,
        "[]",
        expect![[r#"
        0 found
    "#]],
    );
    check_list(
        Format::Json,
        r#"[{ "url": "ftp://a" }, 7, { "url": null }]"#,
        expect![[r#"
        list:1:36: null is not a value here; remove the key
    "#]],
    );
    check_list(
        Format::Json,
        r#"[{ "url": "ftp://a" }, 7, {}]"#,
        expect![[r#"
            list:1:11: url "ftp://a" has an unknown scheme; use http:// or https://
            list:1:24: backends 7 is a number; write a table, as in [[backends]]
            list:1:27: url is missing in [[backends]]; add url = "http://10.0.0.1:3000"
        "#]],
    );
}

#[test]
fn json_that_is_none_is_told_of_where_it_ends() {
    for (text, expected) in [
        (
            "",
            expect![[r#"
            list:1:1: the file is empty; write { "backends": [..] }
        "#]],
        ),
        (
            "7",
            expect![[r#"
            list:1:1: the file is neither an array nor an object; write { "backends": [..] }
        "#]],
        ),
        (
            "[{ \"url\": \"http://a\" }",
            expect![[r#"
            list:1:1: unterminated array; correct the JSON here
        "#]],
        ),
        (
            "[{ \"url\": \"http://a\", }]",
            expect![[r#"
            list:1:21: trailing commas are not allowed; correct the JSON here
        "#]],
        ),
        (
            "[{ url: \"http://a\" }]",
            expect![[r#"
            list:1:4: expected string for object property; correct the JSON here
        "#]],
        ),
        (
            "// no\n[]",
            expect![[r#"
            list:1:1: comments are not allowed; correct the JSON here
        "#]],
        ),
        (
            "{ \"backends\": [], \"backends\": [] }",
            expect![[r#"
            list:1:19: "backends" is set twice; keep one of the two
        "#]],
        ),
        (
            "[{ \"url\": \"http://a\", \"weight\": 1e999 }]",
            expect![[r#"
            list:1:33: weight 1e999 is a number; write a whole number
        "#]],
        ),
    ] {
        check_list(Format::Json, text, expected);
    }
}
