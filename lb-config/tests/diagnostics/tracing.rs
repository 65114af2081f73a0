//! `[tracing]`.

use expect_test::expect;

use crate::check_top;

#[test]
fn a_collector_is_a_host_near_by() {
    check_top(
        "tracing = { enabled = true, endpoint = 'https://otel.example' }",
        expect![[r#"
        lb.toml:1:40: endpoint "https://otel.example" asks for TLS, in which spans are not sent; use http:// to a collector that is near
    "#]],
    );
    check_top(
        "tracing = { enabled = true, endpoint = 'http://otel.example:4318/v1/traces' }",
        expect![[r#"
            lb.toml:1:40: endpoint "http://otel.example:4318/v1/traces" has more than a host and a port; write "http://otel.example:4318"
        "#]],
    );
    check_top(
        "tracing = { enabled = true, endpoint = '127.0.0.1:4318' }",
        expect![[r#"
            lb.toml:1:40: endpoint "127.0.0.1:4318" has no scheme; begin with http:// or https://
        "#]],
    );
    check_top("tracing = { enabled = true, endpoint = 'http://[::1]:4318' }", expect![[""]]);
}

#[test]
fn a_share_is_counted_in_millionths() {
    check_top(
        "tracing = { enabled = true, sample = 1.5 }",
        expect![[r#"
        lb.toml:1:38: sample 1.5 is out of range; use 0..=1
    "#]],
    );
    check_top(
        "tracing = { enabled = true, sample = '1%' }",
        expect![[r#"
        lb.toml:1:38: sample "1%" is a text; write a number
    "#]],
    );
    check_top(
        "tracing = { enabled = true, sample = 1e-9, service_name = '' }",
        expect![[r#"
        lb.toml:1:38: sample 1e-9 is less than one request in a million; use 0 for none, or 0.000001 or more
        lb.toml:1:59: service_name "" is not a name; use 1..=255 bytes on one line
    "#]],
    );
    check_top("tracing = { enabled = true, sample = 0 }", expect![[""]]);
    check_top("tracing = { enabled = true, sample = -0.0 }", expect![[""]]);
    check_top("tracing = { enabled = true, sample = 1 }", expect![[""]]);
}

#[test]
fn tracing_is_asked_for_by_name() {
    check_top(
        "tracing = { sample = 0.5, service_name = 'edge' }",
        expect![[r#"
        lb.toml:1:13: warning: sample has no effect without enabled = true; remove it
        lb.toml:1:27: warning: service_name has no effect without enabled = true; remove it
    "#]],
    );
}
