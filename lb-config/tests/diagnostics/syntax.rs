//! Text that is not TOML, and where in it the mistakes are.

use expect_test::expect;

use crate::{SOUND, check, check_backends, check_hosts, check_top};

#[test]
fn syntax_that_leaves_the_structure_intact_hides_no_other_mistake() {
    check_top(
        "[server]\ndrain_timeout = 30s\nworkers = \nheaders_max = 0\nheaders_max = 10\nheader_bytes_max = 64KiB",
        expect![[r#"
            lb.toml:2:17: 30s is not a TOML value; write "30s", in quotes
            lb.toml:3:11: a value is missing; write one or remove the key
            lb.toml:4:15: headers_max 0 is out of range; use 1..=1000
            lb.toml:5:1: headers_max is set twice; keep one of the two
            lb.toml:6:20: 64KiB is not a TOML value; write "64KiB", in quotes
        "#]],
    );
    check_backends(
        "[\n{ url = 'http://a' }\n{ url = 'ftp://b' },\n]",
        expect![[r#"
        lb.toml:11:1: missing comma between array elements; TOML expects `,` here
    "#]],
    );
    check(
        "[[service.pool]]\nbackends = []\n[[service]]\nname = 'a'",
        expect![[r#"
            lb.toml:1:1: listener is missing at the top of the file; add [[listener]] with bind = "0.0.0.0:8080"
            lb.toml:1:3: hosts is missing in [[service]]; add hosts = ["*"] for any host, or a route that leads here
            lb.toml:1:3: name is missing in [[service]]; add name = "web"
            lb.toml:1:3: service is a single table; write [[service]] for each, with two brackets
            lb.toml:2:12: backends is empty; add { url = "http://10.0.0.1:3000" }
            lb.toml:3:3: service is set twice; keep one of the two
        "#]],
    );
}

#[test]
fn syntax_that_breaks_the_structure_is_all_that_is_reported() {
    check_top(
        "[server\nworkers = 0",
        expect![[r#"
        lb.toml:1:8: unclosed table; TOML expects `]` here
    "#]],
    );
    check_top(
        "[server]\nworkers\nheaders_max = 0",
        expect![[r#"
        lb.toml:2:8: key with no value; TOML expects `=` here
    "#]],
    );
    check_hosts(
        "['a', 'b'",
        expect![[r#"
        lb.toml:8:1: missing comma between array elements; TOML expects `,` here
        lb.toml:9:1: missing comma between array elements; TOML expects `,` here
    "#]],
    );
    check(
        "[[listener]]\nbind = \"0.0.0.0:80",
        expect![[r#"
        lb.toml:2:19: invalid basic string; TOML expects `"` here
    "#]],
    );
    check(
        "name = 'é' x\r\n\u{1}",
        expect![[r#"
        lb.toml:1:12: unexpected key or value; TOML expects newline, `#` here
        lb.toml:2:1: invalid unquoted key; TOML expects letters, numbers, `-`, `_` here
    "#]],
    );
}

#[test]
fn columns_count_characters() {
    check_top(
        "[server] # été\n'é' = 1\n[admin]\nenabled = false # é\n[access_log]\n\"日本\" = 1",
        expect![[r#"
            lb.toml:2:1: unknown key é in [server]; what can be set here is workers, watch, shutdown_delay, drain_timeout, drain_idle_timeout, connections_max, connections_per_client_max, requests_per_connection_max, header_timeout, keep_alive_timeout, header_bytes_max, target_bytes_max, headers_max, unread_bytes_max, splice, http2, ambiguous_paths, trusted_proxies, client_address
            lb.toml:6:1: unknown key 日本 in [access_log]; what can be set here is enabled, level
        "#]],
    );
    check(
        &SOUND.replace("\"web\"", "'日本'").replace('\n', "\r\n"),
        expect![[r#"
        lb.toml:5:8: name "日本" is not a name; use 1..=63 of a-z, 0-9, - and _
    "#]],
    );
}
