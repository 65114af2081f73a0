//! Elements of `Forwarded` (RFC 7239 §4): what one proxy says about the request it got.
//!
//! A line is read from its left end, because a comma in quotes separates nothing, and as a whole or
//! not at all: a client that opens a quote to swallow what its proxy adds makes the line unreadable
//! and nothing else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::HeaderValue;

use super::{Hop, Seen, authority};
use crate::headers::written;

/// The elements of a line in its order. `None`: it is not written as it must be.
pub(super) fn hops(line: &str) -> Option<Vec<Hop>> {
    let mut rest = line;
    let mut hops = Vec::new();
    loop {
        let (hop, after) = hop(rest)?;
        hops.extend(hop);
        match after.strip_prefix(',') {
            Some(after) => rest = after,
            None if after.is_empty() => return Some(hops),
            None => return None,
        }
    }
}

/// One element up to the comma after it; no hop if it is empty (RFC 9110 §5.6.1.2).
fn hop(text: &str) -> Option<(Option<Hop>, &str)> {
    let (mut by_for, mut proto, mut host, mut other) = (None, None, None, false);
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(BLANK);
        if !rest.is_empty() && !rest.starts_with([',', ';']) {
            let (name, value, after) = pair(rest)?;
            rest = after.trim_start_matches(BLANK);
            let place = match () {
                () if name.eq_ignore_ascii_case("for") => &mut by_for,
                () if name.eq_ignore_ascii_case("proto") => &mut proto,
                () if name.eq_ignore_ascii_case("host") => &mut host,
                // `by`, and extensions.
                () => &mut None,
            };
            other = true;
            // Each may be there once (§4).
            if place.replace(value).is_some() {
                return None;
            }
        }
        match rest.strip_prefix(';') {
            Some(after) => rest = after,
            None => break,
        }
    }
    let hop = Hop {
        address: by_for.map(|node| address(&node)).unwrap_or(Some(None))?,
        scheme: proto.as_deref().and_then(super::scheme),
        host: host.as_deref().and_then(authority),
    };
    Some((other.then_some(hop), rest))
}

const BLANK: [char; 2] = [' ', '\t'];

/// `name=value` and what follows it.
fn pair(text: &str) -> Option<(&str, String, &str)> {
    let (name, rest) = token(text)?;
    let rest = rest.strip_prefix('=')?;
    let Some(quoted) = rest.strip_prefix('"') else {
        let (value, rest) = token(rest)?;
        return Some((name, value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((name, value, &quoted[at + 1..])),
            '\\' => value.push(letters.next()?.1),
            _ => value.push(letter),
        }
    }
    None
}

/// A token (RFC 9110 §5.6.2) and what follows it.
fn token(text: &str) -> Option<(&str, &str)> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let end = text.bytes().position(|byte| !is_part(byte)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// The address of a node (§6); inside `None` for one that is unknown or has a made-up name.
fn address(node: &str) -> Option<Option<IpAddr>> {
    let (name, port) = match node.strip_prefix('[') {
        Some(inner) => {
            let (inner, port) = inner.split_once(']')?;
            (Some(IpAddr::V6(inner.parse::<Ipv6Addr>().ok()?)), port)
        }
        None => {
            let (name, port) = node.split_at(node.find(':').unwrap_or(node.len()));
            let hidden = name.eq_ignore_ascii_case("unknown") || is_made_up(name);
            let address = || name.parse::<Ipv4Addr>().ok().map(IpAddr::V4);
            (if hidden { None } else { Some(address()?) }, port)
        }
    };
    let is_port = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            (1..=5).contains(&digits.len())
        }
        Some(name) => is_made_up(name),
    };
    is_port.then_some(name.map(|address| address.to_canonical()))
}

/// `_` and then letters, digits, `.`, `_` and `-` (§6.3).
fn is_made_up(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    name.strip_prefix('_').is_some_and(|rest| !rest.is_empty() && rest.bytes().all(is_part))
}

/// What we say about the request that we got.
pub(super) fn ours(seen: &Seen<'_>) -> HeaderValue {
    let scheme = seen.scheme.as_str();
    written(&match seen.peer.to_canonical() {
        IpAddr::V4(peer) => format!("for={peer};proto={scheme}"),
        IpAddr::V6(peer) => format!("for=\"[{peer}]\";proto={scheme}"),
    })
}
