//! Who counts as the client, and what backends are told: headers in, text out.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

/// Trusts 10.0.0.0/8 and `2001:db8::/32`.
fn trust(client_address: ClientAddress) -> Trust {
    let proxies = ["10.0.0.0/8", "2001:db8::/32"].map(|range| range.parse().unwrap());
    Trust { proxies: proxies.to_vec(), client_address }
}

/// Headers from lines such as `x-forwarded-for: 192.0.2.1`.
fn headers(lines: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap();
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, HeaderValue::from_bytes(value.trim().as_bytes()).unwrap());
    }
    headers
}

/// Who is the client of a request from `peer` with these lines.
fn client(by: ClientAddress, peer: &str, lines: &str) -> String {
    caller(&trust(by), peer.parse().unwrap(), &headers(lines)).address.to_string()
}

/// The same by a list that our trusted peer 10.0.0.1 sent.
fn by_list(list: &str) -> String {
    client(ClientAddress::XForwardedFor, "10.0.0.1", &format!("x-forwarded-for: {list}"))
}

fn by_elements(line: &str) -> String {
    client(ClientAddress::Forwarded, "10.0.0.1", &format!("forwarded: {line}"))
}

#[test]
fn nobody_is_believed_who_is_not_trusted() {
    let claims = "x-forwarded-for: 192.0.2.1\nforwarded: for=192.0.2.1\nx-real-ip: 192.0.2.1\n\
                  cf-connecting-ip: 192.0.2.1\ntrue-client-ip: 192.0.2.1";
    for by in [
        ClientAddress::XForwardedFor,
        ClientAddress::Forwarded,
        ClientAddress::CfConnectingIp,
        ClientAddress::XRealIp,
        ClientAddress::TrueClientIp,
    ] {
        assert_eq!(client(by, "203.0.113.9", claims), "203.0.113.9");
        assert_eq!(client(by, "10.0.0.1", claims), "192.0.2.1", "{by:?}");
        assert_eq!(client(by, "::ffff:10.0.0.1", claims), "192.0.2.1", "a peer of IPv4 as IPv6");
    }
    let nobody = caller(&Trust::default(), "10.0.0.1".parse().unwrap(), &headers(claims));
    assert_eq!(nobody.address.to_string(), "10.0.0.1");
    assert!(!nobody.through_proxy);
}

#[test]
fn the_client_is_the_first_from_the_right_that_is_not_trusted() {
    assert_eq!(by_list("192.0.2.1"), "192.0.2.1");
    assert_eq!(by_list("1.1.1.1, 192.0.2.1, 10.0.0.3, 10.0.0.2"), "192.0.2.1");
    assert_eq!(by_list("1.1.1.1, 192.0.2.1, 2001:db8::7"), "192.0.2.1");
    assert_eq!(by_list("192.0.2.1:4711, [2001:db8::7]:80,[2001:db8::8]"), "192.0.2.1");
    assert_eq!(by_list("::ffff:192.0.2.1, ::ffff:10.0.0.2"), "192.0.2.1");
    assert_eq!(by_list(",, 192.0.2.1 ,,"), "192.0.2.1", "empty entries are none");
    assert_eq!(by_list("10.0.0.3, 10.0.0.2"), "10.0.0.3", "a client inside");
    assert_eq!(by_list(""), "10.0.0.1");
    let lines = "x-forwarded-for: 1.1.1.1\nx-forwarded-for: 192.0.2.1\nx-forwarded-for: 10.0.0.2";
    assert_eq!(client(ClientAddress::XForwardedFor, "10.0.0.1", lines), "192.0.2.1");
}

#[test]
fn an_entry_that_is_no_address_ends_the_walk_at_the_last_trusted_one() {
    for entry in ["unknown", "_hidden", "1.2.3", "192.0.2.01", "192.0.2.1:x", "\"", "[::1", "été"]
    {
        assert_eq!(by_list(&format!("192.0.2.1, {entry}, 10.0.0.2")), "10.0.0.2", "{entry}");
        assert_eq!(by_list(&format!("192.0.2.1, {entry}")), "10.0.0.1", "{entry}");
    }
}

#[test]
fn elements_are_read_as_rfc_7239_writes_them() {
    assert_eq!(by_elements("for=192.0.2.43, for=\"[2001:db8:cafe::17]:4711\""), "192.0.2.43");
    assert_eq!(by_elements("For=\"[2606:4700::1]\""), "2606:4700::1");
    assert_eq!(by_elements("for=192.0.2.60;proto=http;by=203.0.113.43"), "192.0.2.60");
    assert_eq!(by_elements("for=\"192.0.2.1:_port\" , by=10.0.0.9;for=10.0.0.2;"), "192.0.2.1");
    assert_eq!(by_elements("for=\"1\\92.0.2.1\";x=\"a, for=1.1.1.1\\\"\""), "192.0.2.1");
    // A name that tells nothing ends the walk, and so does an element that says nothing of a client.
    assert_eq!(by_elements("for=192.0.2.1, for=_gazonk, for=10.0.0.2"), "10.0.0.2");
    assert_eq!(by_elements("for=192.0.2.1, for=unknown"), "10.0.0.1");
    assert_eq!(by_elements("for=192.0.2.1, proto=https"), "10.0.0.1");
}

#[test]
fn a_line_of_elements_counts_as_a_whole_or_not_at_all() {
    for line in [
        "for=192.0.2.1, for=\"",
        "for=192.0.2.1, x=\", for=10.0.0.2",
        "for=2001:db8::1",
        "for=[2001:db8::1]",
        "for=\"2001:db8::1\"",
        "for=192.0.2.1;for=192.0.2.2",
        "for =192.0.2.1",
        "for= 192.0.2.1",
        "for=\"192.0.2.1\"x",
        "for=192.0.2.1 for=192.0.2.2",
        "for=\"192.0.2.1:\"",
        "for=\"192.0.2.1:123456\"",
        "for=example.com",
        "for=",
        "=1",
    ] {
        assert_eq!(by_elements(line), "10.0.0.1", "{line}");
        // What our proxy says in a line of its own is read all the same.
        let lines = format!("forwarded: {line}\nforwarded: for=10.0.0.2");
        assert_eq!(client(ClientAddress::Forwarded, "10.0.0.1", &lines), "10.0.0.2", "{line}");
    }
}

#[test]
fn a_field_with_one_address_is_there_once() {
    let by = |lines: &str| client(ClientAddress::CfConnectingIp, "10.0.0.1", lines);
    assert_eq!(by("cf-connecting-ip: 2606:4700::1"), "2606:4700::1");
    assert_eq!(by("cf-connecting-ip: 1.1.1.1\ncf-connecting-ip: 192.0.2.1"), "10.0.0.1");
    assert_eq!(by("cf-connecting-ip: 1.1.1.1, 192.0.2.1"), "10.0.0.1");
    assert_eq!(by("cf-connecting-ip: unknown"), "10.0.0.1");
    assert_eq!(by("x-forwarded-for: 192.0.2.1"), "10.0.0.1", "nobody said to look there");
}

#[test]
fn scheme_and_host_are_what_our_proxy_says_and_not_what_it_lets_pass() {
    let said = |by, lines: &str| {
        let Caller { scheme, host, .. } =
            caller(&trust(by), "10.0.0.1".parse().unwrap(), &headers(lines));
        let host = host.map_or("nothing".to_owned(), |host| host.to_string());
        format!("{} {host}", scheme.map_or("nothing", Scheme::as_str))
    };
    let lists = |lines: &str| said(ClientAddress::XForwardedFor, lines);
    let list = "x-forwarded-for: 192.0.2.1\n";
    assert_eq!(lists(list), "nothing nothing");
    let two = "x-forwarded-proto: http, HTTPS\nx-forwarded-host: evil.example\n\
               x-forwarded-host: a.example:8443";
    assert_eq!(lists(&format!("{list}{two}")), "https a.example:8443");
    assert_eq!(lists("x-forwarded-proto: https"), "https nothing", "without a list too");
    assert_eq!(lists("x-forwarded-proto: ftp\nx-forwarded-host: u@a.example"), "nothing nothing");
    for (said, scheme) in
        [("wss", "https"), ("WS", "http"), ("https,", "https"), ("http, wss, ,", "https")]
    {
        assert_eq!(lists(&format!("x-forwarded-proto: {said}")), format!("{scheme} nothing"));
    }
    assert_eq!(lists("x-forwarded-proto: https\nx-forwarded-proto:"), "https nothing");
    // In elements it is the word of whoever named the client.
    let elements = |line: &str| said(ClientAddress::Forwarded, &format!("forwarded: {line}"));
    let line = "for=1.1.1.1;proto=http;host=evil, for=192.0.2.1;proto=https;host=\"a.example:1\", \
                for=10.0.0.2;proto=http;host=inner";
    assert_eq!(elements(line), "https a.example:1");
    assert_eq!(elements("for=_hidden;proto=https"), "https nothing");
    assert_eq!(elements("for=_hidden;proto=wss"), "https nothing");
}

fn check(by: ClientAddress, peer: &str, lines: &str, expected: &Expect) {
    let (mut headers, trust) = (headers(lines), trust(by));
    let peer = peer.parse().unwrap();
    let caller = caller(&trust, peer, &headers);
    let seen = Seen { peer, scheme: Scheme::Http, host: "seen.example" };
    tell_backend(&mut headers, &trust, &caller, &seen);
    let lines =
        headers.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()));
    expected.assert_eq(&lines.collect::<String>());
}

/// All that can be claimed.
const CLAIMS: &str = "x-forwarded-for: 1.1.1.1, 192.0.2.1
    x-forwarded-for: 10.0.0.2
    x-forwarded-proto: https
    x-forwarded-host: a.example
    x-forwarded-port: 443
    x-forwarded-client-cert: subject=root
    forwarded: for=192.0.2.7;proto=https;host=b.example
    x-real-ip: 192.0.2.8
    cf-connecting-ip: 192.0.2.9
    accept: */*";

#[test]
fn of_a_stranger_backends_learn_what_we_see() {
    check(
        ClientAddress::XForwardedFor,
        "192.0.2.200",
        CLAIMS,
        &expect![[r#"
        accept: */*
        cf-connecting-ip: 192.0.2.9
        x-forwarded-host: seen.example
        x-real-ip: 192.0.2.200
        x-forwarded-for: 192.0.2.200
        x-forwarded-proto: http
    "#]],
    );
    check(
        ClientAddress::CfConnectingIp,
        "192.0.2.200",
        CLAIMS,
        &expect![[r#"
        accept: */*
        x-forwarded-host: seen.example
        x-real-ip: 192.0.2.200
        x-forwarded-for: 192.0.2.200
        x-forwarded-proto: http
    "#]],
    );
}

#[test]
fn of_a_trusted_proxy_backends_learn_what_it_says_and_who_it_is() {
    check(
        ClientAddress::XForwardedFor,
        "10.0.0.1",
        CLAIMS,
        &expect![[r#"
        accept: */*
        cf-connecting-ip: 192.0.2.9
        x-forwarded-port: 443
        x-forwarded-host: a.example
        x-real-ip: 192.0.2.1
        x-forwarded-for: 1.1.1.1, 192.0.2.1, 10.0.0.2, 10.0.0.1
        x-forwarded-proto: https
    "#]],
    );
    check(
        ClientAddress::Forwarded,
        "2001:db8::1",
        CLAIMS,
        &expect![[r#"
        accept: */*
        cf-connecting-ip: 192.0.2.9
        x-forwarded-port: 443
        x-forwarded-host: b.example
        x-real-ip: 192.0.2.7
        x-forwarded-for: 192.0.2.7, 2001:db8::1
        x-forwarded-proto: https
        forwarded: for=192.0.2.7;proto=https;host=b.example
        forwarded: for="[2001:db8::1]";proto=http
    "#]],
    );
    check(
        ClientAddress::CfConnectingIp,
        "10.0.0.1",
        CLAIMS,
        &expect![[r#"
        accept: */*
        x-forwarded-port: 443
        x-forwarded-host: a.example
        x-real-ip: 192.0.2.9
        x-forwarded-for: 192.0.2.9, 10.0.0.1
        x-forwarded-proto: https
        cf-connecting-ip: 192.0.2.9
    "#]],
    );
    check(
        ClientAddress::XRealIp,
        "10.0.0.1",
        "accept: */*",
        &expect![[r#"
        accept: */*
        x-forwarded-host: seen.example
        x-real-ip: 10.0.0.1
        x-forwarded-for: 10.0.0.1
        x-forwarded-proto: http
    "#]],
    );
}

proptest! {
    #![proptest_config(crate::dice::replayed())]

    #[test]
    fn what_a_client_writes_does_not_change_who_it_is(claim in "[ -~]{0,40}", lines in any::<bool>()) {
        let separator = if lines { "\nx-forwarded-for: " } else { ", " };
        let list = format!("{claim}{separator}192.0.2.1, 10.0.0.2");
        prop_assert_eq!(by_list(&list), "192.0.2.1");
    }

    #[test]
    fn whatever_a_client_opens_its_proxys_element_is_read_or_nothing(
        claim in "[ -~]{0,20}(for=1\\.1\\.1\\.1)?[\";, =\\\\a-z]{0,10}",
        lines in any::<bool>(),
    ) {
        let ours = "for=192.0.2.1;proto=https, for=\"10.0.0.2\"";
        let found = match lines {
            true => by_elements(&format!("{claim}\nforwarded: {ours}")),
            false => by_elements(&format!("{claim}, {ours}")),
        };
        prop_assert!(found == "192.0.2.1" || (found == "10.0.0.1" && !lines), "{}", found);
    }

    #[test]
    fn any_bytes_are_read_or_passed_over(bytes in proptest::collection::vec(32_u8..=255, 0..60)) {
        let bytes: Vec<u8> = bytes.into_iter().filter(|byte| *byte != 127).collect();
        let mut headers = HeaderMap::new();
        let names = [X_FORWARDED_FOR, header::FORWARDED, X_FORWARDED_HOST, X_FORWARDED_PROTO];
        for name in names {
            headers.append(name, HeaderValue::from_bytes(&bytes).unwrap());
        }
        let peer = "10.0.0.1".parse().unwrap();
        for by in [ClientAddress::XForwardedFor, ClientAddress::Forwarded] {
            let trust = trust(by);
            let caller = caller(&trust, peer, &headers);
            let seen = Seen { peer, scheme: Scheme::Http, host: "" };
            tell_backend(&mut headers.clone(), &trust, &caller, &seen);
        }
    }
}
