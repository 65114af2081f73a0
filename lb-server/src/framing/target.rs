//! Where a request is sent: its target and its `Host`, in the forms that everybody reads alike.
//!
//! hyper takes `GET example.com` for a request to that host, cuts a `#fragment` off without a word,
//! and answers a bare 400 to what its URIs cannot hold. So what passes here is what RFC 9112 §3.2
//! defines, and of that only what an `http::Uri` takes as it is.

use std::net::Ipv6Addr;

use super::kind::{NAME, PATH, QUERY};

/// Bytes of a target. An `http::Uri` counts its own in 16 bits and keeps one value for "none".
pub(crate) const TARGET_BYTES_MAX: usize = 0xfffe;

/// Whether `target` is one that `method` can have (RFC 9112 §3.2.1–4).
pub(crate) fn is_target(method: &[u8], target: &[u8]) -> bool {
    match target {
        _ if method == b"CONNECT" => is_host(target) && has_port(target),
        [b'/', ..] => is_path_and_query(target),
        b"*" => method == b"OPTIONS",
        _ => after_scheme(target).is_some_and(|rest| {
            let end = rest.iter().position(|byte| b"/?".contains(byte)).unwrap_or(rest.len());
            is_host(&rest[..end]) && is_path_and_query(&rest[end..])
        }),
    }
}

/// What follows `http://` or `https://`. Other schemes are for other proxies.
fn after_scheme(target: &[u8]) -> Option<&[u8]> {
    let colon = target.iter().take(6).position(|byte| *byte == b':')?;
    let (scheme, rest) = target.split_at(colon);
    let known = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
    rest.strip_prefix(b"://").filter(|_| known)
}

/// Visible bytes but for those that only ever stand between URIs, and no fragment. What is not
/// ASCII should have been escaped; browsers send it, and it passes where it is UTF-8.
fn is_path_and_query(bytes: &[u8]) -> bool {
    let question = memchr::memchr(b'?', bytes).unwrap_or(bytes.len());
    let (path, query) = bytes.split_at(question);
    PATH.are(path) && QUERY.are(query) && (bytes.is_ascii() || std::str::from_utf8(bytes).is_ok())
}

/// Whether a host names a port: one that asks for a tunnel must (RFC 9110 §9.3.6).
pub(crate) fn has_port(host: &[u8]) -> bool {
    let colon = host.iter().rposition(|byte| *byte == b':');
    colon.is_some_and(|colon| colon + 1 < host.len() && !host[colon..].contains(&b']'))
}

/// `host` or `host:port`, with the characters that RFC 3986 §3.2.2 allows. User names have no place in it
/// (RFC 9110 §4.2.4), and what is escaped has none in an `http::Authority`.
pub(crate) fn is_host(value: &[u8]) -> bool {
    let (host, port) = match value.iter().rposition(|byte| *byte == b':') {
        Some(colon) if !value[colon..].contains(&b']') => {
            (&value[..colon], Some(&value[colon + 1..]))
        }
        _ => (value, None),
    };
    port.is_none_or(is_port) && is_name_or_address(host)
}

/// Nothing, or a number of 16 bits.
fn is_port(port: &[u8]) -> bool {
    let number = port.iter().try_fold(0_u16, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u16::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    });
    number.is_some()
}

fn is_name_or_address(host: &[u8]) -> bool {
    match host {
        [] => false,
        [b'[', literal @ .., b']'] => {
            let text = std::str::from_utf8(literal).unwrap_or_default();
            text.parse::<Ipv6Addr>().is_ok()
        }
        name => NAME.are(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Uri;
    use http::uri::Authority;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    #[test]
    fn a_target_has_the_form_its_method_asks_for() {
        for (method, target) in [
            ("GET", "/"),
            ("GET", "/a/../b?c=d&e=\u{e9}"),
            ("GET", "//a"),
            ("GET", "http://example.com"),
            ("GET", "HTTPS://example.com:8443/a?b"),
            ("GET", "http://[::1]:80?b"),
            ("OPTIONS", "*"),
            ("CONNECT", "example.com:443"),
            ("CONNECT", "[::1]:443"),
        ] {
            assert!(is_target(method.as_bytes(), target.as_bytes()), "{method} {target}");
        }
        for (method, target) in [
            ("GET", ""),
            ("GET", "*"),
            ("GET", "a"),
            ("GET", "example.com:80"),
            ("GET", "/a#b"),
            ("GET", "/a b"),
            ("GET", "/a\tb"),
            ("GET", "ftp://example.com/"),
            ("GET", "http:/a"),
            ("GET", "http://"),
            ("GET", "http:///a"),
            ("GET", "http://user@example.com/"),
            ("GET", "http://example.com#a"),
            ("CONNECT", "http://example.com:443"),
            ("CONNECT", "/"),
            ("CONNECT", "example.com"),
            ("CONNECT", "example.com:"),
            ("CONNECT", "[::1]"),
        ] {
            assert!(!is_target(method.as_bytes(), target.as_bytes()), "{method} {target}");
        }
        assert!(!is_target(b"GET", b"/\xff"), "not UTF-8");
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_port() {
        for host in [
            "a",
            "A-1.example.com.",
            "10.0.0.1:80",
            "a:000080",
            "[::1]",
            "[::ffff:10.0.0.1]:65535",
            "a:",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "", ":80", "a b", "a/b", "a?b", "a@b", "a:b", "a:-1", "a:+1", "a:65536", "a:80:80",
            "::1", "[::1", "[]", "[a]", "[::1]x", "[::1]:x", "a\\b", "\u{e9}", "a%2eb", "%61",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(7),
            ..ProptestConfig::default()
        })]

        #[test]
        fn http2_takes_every_host_that_passes_and_as_it_is(
            host in prop_oneof!["[ -~]{1,9}", "[a%._~!$&'()*+,;=:-]{1,9}(:[0-9]{0,6})?", "\\[[0-9a-f:.]{2,9}\\](:[0-9]{0,6})?"],
        ) {
            if is_host(host.as_bytes()) {
                let authority = Authority::try_from(host.as_bytes());
                prop_assert!(authority.is_ok_and(|it| it.as_str() == host), "{host:?}");
            }
        }

        #[test]
        fn hyper_takes_every_target_that_passes_and_as_it_is(
            connect in any::<bool>(),
            begin in "(/|http://|HTTPS://a|http://\\[|)",
            rest in prop::collection::vec(
                prop_oneof![3 => b' '..0x7f, 1 => any::<u8>(), 2 => prop::sample::select(b"/?:@[]a1%*#".to_vec())],
                0..12,
            ),
        ) {
            let target = [begin.as_bytes(), &rest].concat();
            let method: &[u8] = if connect { b"CONNECT" } else { b"OPTIONS" };
            if is_target(method, &target) {
                let uri = Uri::try_from(&target[..]);
                prop_assert!(uri.is_ok(), "{:?}: {uri:?}", target.escape_ascii().to_string());
                let kept = uri.unwrap().to_string().len();
                prop_assert!(kept >= target.len(), "{:?}", target.escape_ascii().to_string());
            }
        }
    }
}
