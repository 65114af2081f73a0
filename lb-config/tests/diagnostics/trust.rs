//! Trusted proxies, where they name the client, and the PROXY protocol.

use expect_test::expect;

use crate::{SOUND, check, check_service, check_top};

#[test]
fn a_range_that_could_mean_another_is_refused() {
    check_top(
        "server.trusted_proxies = ['10.0.0.1/8', '10.0.0.0/33', 'cdn.example.com', 7]",
        expect![[r#"
            lb.toml:1:27: trusted_proxies "10.0.0.1/8" has an address with bits beyond its prefix; set the bits behind the prefix to zero, or lengthen it
            lb.toml:1:41: trusted_proxies "10.0.0.0/33" has a number of bits that its address does not have; use 0..=32 for IPv4 and 0..=128 for IPv6
            lb.toml:1:56: trusted_proxies "cdn.example.com" is not an address; write one such as "10.0.0.0/8" or "2001:db8::/32"
            lb.toml:1:75: trusted_proxies 7 is a number; write a text in quotes
        "#]],
    );
}

#[test]
fn whoever_believes_nobody_need_not_say_what_to_believe() {
    check_top(
        "server.client_address = 'forwarded'",
        expect![[r#"
        lb.toml:1:8: warning: client_address has no effect without trusted_proxies: nobody is believed; remove it
    "#]],
    );
    check_top(
        "server = { trusted_proxies = [], client_address = 'x-real-ip' }",
        expect![[r#"
        lb.toml:1:34: warning: client_address has no effect without trusted_proxies: nobody is believed; remove it
    "#]],
    );
    check_top(
        "server = { trusted_proxies = ['10.0.0.0/8'], client_address = 'cf-connection-ip' }",
        expect![[r#"
            lb.toml:1:63: client_address "cf-connection-ip" is unknown; did you mean "cf-connecting-ip"?
        "#]],
    );
}

#[test]
fn a_listener_for_proxies_alone_needs_proxies() {
    let listener = SOUND.replace("[[service]]", "proxy_protocol = true\n\n[[service]]");
    check(
        &listener,
        expect![[r#"
        lb.toml:4:18: proxy_protocol without trusted_proxies refuses every connection; add trusted_proxies = ["10.0.0.0/8"] to [server] for who may connect
    "#]],
    );
    check(&format!("server.trusted_proxies = ['10.0.0.0/8']\n{listener}"), expect![[""]]);
    // The mistake in the ranges is told, and not that there is none.
    check(
        &format!("server.trusted_proxies = ['10.0.0.0/88']\n{listener}"),
        expect![[r#"
        lb.toml:1:27: trusted_proxies "10.0.0.0/88" has a number of bits that its address does not have; use 0..=32 for IPv4 and 0..=128 for IPv6
    "#]],
    );
    check(
        &listener.replace("true", "'v1'"),
        expect![[r#"
        lb.toml:4:18: proxy_protocol "v1" is a text; write true or false, without quotes
    "#]],
    );
}

#[test]
fn a_header_for_one_client_is_not_sent_where_many_share_a_connection() {
    check_service(
        "proxy_protocol = 'v3'",
        expect![[r#"
        lb.toml:7:18: proxy_protocol "v3" is unknown; did you mean "v1"?
    "#]],
    );
    check_service(
        "proxy_protocol = true",
        expect![[r#"
        lb.toml:7:18: proxy_protocol true is a boolean; use one of "v1", "v2"
    "#]],
    );
    check_service(
        "proxy_protocol = 'v2'\nprotocol = 'h2'",
        expect![[r#"
        lb.toml:7:18: proxy_protocol names one client per connection, and with protocol = "h2" many share one; remove one of the two
    "#]],
    );
}
