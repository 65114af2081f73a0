//! Who a request is from when proxies stand in between, and what a backend is told about it.
//!
//! Anybody can write `X-Forwarded-For: 10.0.0.1`. What makes the field worth reading is that each proxy
//! adds its peer at the right end: the rightmost entry is our peer's word, and if our peer is trusted,
//! it is true. If the address it names is trusted as well, the entry left of it is that proxy's word,
//! and so on. The walk ends at the first address that is not trusted: that is the client, and what
//! stands further left is the client's own word. It ends as well where an entry is no address, and
//! then the last trusted address is the client, which is the worst that is certain.
//!
//! [`caller`] says who counts, [`is_claim`] what nobody's word is taken for otherwise, and [`Told`]
//! writes what a backend sees: at once where nobody is trusted, and by [`tell_backend`] where somebody
//! is. Not here: routing, which goes by the `Host` that we were sent and not by one that somebody
//! forwards.

mod element;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::Authority;
use lb_config::config::{ClientAddress, Trust};
use lb_core::Scheme;

use crate::headers::written;

/// Who a request is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The client's address; IPv4 is never written as IPv6.
    pub(crate) address: IpAddr,
    /// How it spoke to the first proxy, if that says so; otherwise as we see it.
    pub(crate) scheme: Option<Scheme>,
    /// What it asked the first proxy for, if that says so.
    pub(crate) host: Option<Authority>,
    /// Whether our peer is a trusted proxy, and so what it wrote is passed on.
    pub(crate) through_proxy: bool,
}

/// What we see of a request ourselves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'r> {
    /// Who is connected: the source in a PROXY header, or the other end of the socket.
    pub(crate) peer: IpAddr,
    /// How.
    pub(crate) scheme: Scheme,
    /// What was asked for; empty if nothing.
    pub(crate) host: &'r str,
}

/// What a backend is told of where a request came from.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// What was asked for, if anything.
    pub(crate) host: Option<HeaderValue>,
    /// Who asked; whoever came by a Unix socket has no address.
    pub(crate) client: Option<HeaderValue>,
    /// Through whom, the client first.
    pub(crate) chain: Option<HeaderValue>,
    /// How.
    pub(crate) scheme: Scheme,
}

/// One proxy's word about its peer: from the right, the next hop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Hop {
    address: Option<IpAddr>,
    scheme: Option<Scheme>,
    host: Option<Authority>,
}

pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(crate) const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const CF_CONNECTING_IP: HeaderName = HeaderName::from_static("cf-connecting-ip");
const TRUE_CLIENT_IP: HeaderName = HeaderName::from_static("true-client-ip");

/// What a trusted proxy may say besides, and is passed on. All else that begins so is removed, such as
/// `X-Forwarded-Client-Cert`: most proxies let it through as their own client wrote it.
const PASSED_ON: [HeaderName; 2] =
    [HeaderName::from_static("x-forwarded-port"), HeaderName::from_static("x-forwarded-prefix")];

/// Who counts as the client of a request that came over a connection from `peer`.
pub(crate) fn caller(trust: &Trust, peer: IpAddr, headers: &HeaderMap) -> Caller {
    let peer = peer.to_canonical();
    let nobody = Caller { address: peer, scheme: None, host: None, through_proxy: false };
    if !trusts(trust, peer) {
        return nobody;
    }
    let forwarded_by = Caller {
        scheme: last(headers, &X_FORWARDED_PROTO).and_then(scheme),
        host: last(headers, &X_FORWARDED_HOST).and_then(authority),
        through_proxy: true,
        ..nobody
    };
    match single(trust.client_address) {
        Some(name) => {
            let address = only(headers, &name).and_then(address).unwrap_or(peer);
            Caller { address, ..forwarded_by }
        }
        None if trust.client_address == ClientAddress::Forwarded => {
            let lines = headers.get_all(header::FORWARDED).iter().rev();
            let hops = lines.flat_map(|line| {
                let hops = line.to_str().ok().and_then(element::hops);
                let hops = hops.map_or(vec![None], |hops| hops.into_iter().map(Some).collect());
                hops.into_iter().rev()
            });
            let unsaid = Caller { scheme: None, host: None, ..forwarded_by };
            walk(trust, unsaid, hops)
        }
        None => {
            let Caller { scheme, host, .. } = forwarded_by.clone();
            let hop = |entry| {
                let (scheme, host) = (scheme, host.clone());
                let address = std::str::from_utf8(entry).ok().and_then(address);
                address.map(|address| Hop { address: Some(address), scheme, host })
            };
            walk(trust, forwarded_by, entries(headers, &X_FORWARDED_FOR).map(hop))
        }
    }
}

/// Follows `hops` from our peer to the first address that is not trusted. `None` is a hop that cannot
/// be read. How long that takes is bounded by the bytes of a head.
fn walk(trust: &Trust, peer: Caller, hops: impl Iterator<Item = Option<Hop>>) -> Caller {
    let mut at = peer;
    for hop in hops {
        let Some(Hop { address, scheme, host }) = hop else { return at };
        (at.scheme, at.host) = (scheme, host);
        let Some(address) = address else { return at };
        at.address = address;
        if !trusts(trust, address) {
            return at;
        }
    }
    at
}

/// Whether `address` is a proxy that is believed.
pub(crate) fn trusts(trust: &Trust, address: IpAddr) -> bool {
    trust.proxies.iter().any(|range| range.contains(address))
}

/// The field that names one client, if the client is not to be found in a list.
const fn single(by: ClientAddress) -> Option<HeaderName> {
    match by {
        ClientAddress::XForwardedFor | ClientAddress::Forwarded => None,
        ClientAddress::CfConnectingIp => Some(CF_CONNECTING_IP),
        ClientAddress::XRealIp => Some(X_REAL_IP),
        ClientAddress::TrueClientIp => Some(TRUE_CLIENT_IP),
    }
}

/// The value of a field that is there once. Twice is a client's and a proxy's, in whatever order.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(())?;
    first.to_str().ok().map(str::trim)
}

/// The last value of a list, which our peer wrote, whatever it let pass before it.
fn last<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    std::str::from_utf8(entries(headers, name).next()?).ok()
}

/// The entries of a list, the last one first. They are cut before they are read, so that what a client wrote
/// cannot spoil what is added to it. An empty entry is no entry (RFC 9110 §5.6.1.2).
fn entries<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    let lines = headers.get_all(name).iter().rev();
    let entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty())
}

/// An address as proxies write it: alone, or with a port; IPv6 with brackets or, alone, without.
fn address(text: &str) -> Option<IpAddr> {
    let alone = || text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|addr| addr.ip());
    let bracketed = || {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        inner.parse().ok().map(IpAddr::V6)
    };
    let address = alone().or_else(with_port).or_else(bracketed)?;
    Some(address.to_canonical())
}

/// A host and perhaps a port, without a user.
fn authority(text: &str) -> Option<Authority> {
    let is_host = !text.is_empty() && !text.contains('@');
    is_host.then(|| text.parse().ok()).flatten()
}

/// How a client spoke. Some proxies say so in words of WebSocket (RFC 6455 §3), whose requests are HTTP.
fn scheme(text: &str) -> Option<Scheme> {
    let is = |known: [&str; 2]| known.iter().any(|known| text.eq_ignore_ascii_case(known));
    match () {
        () if is(["http", "ws"]) => Some(Scheme::Http),
        () if is(["https", "wss"]) => Some(Scheme::Https),
        () => None,
    }
}

/// Writes where a request came from for the backend: what a trusted peer says with the peer behind it,
/// or what we see ourselves and nothing else.
pub(crate) fn tell_backend(
    headers: &mut HeaderMap,
    trust: &Trust,
    caller: &Caller,
    seen: &Seen<'_>,
) {
    let chain = chain(headers, trust, caller, seen);
    let elements = match (caller.through_proxy, trust.client_address) {
        // Each stays in a line of its own: one that cannot be read would swallow what is added to it.
        (true, ClientAddress::Forwarded) => {
            let lines = headers.get_all(header::FORWARDED).iter().cloned();
            lines.chain([element::ours(seen)]).collect()
        }
        _ => Vec::new(),
    };
    remove_claims(headers, trust, caller);
    let host = caller.host.as_ref().map_or(seen.host, Authority::as_str);
    let host = HeaderValue::from_str(host).ok().filter(|host| !host.is_empty());
    let client = written(&caller.address);
    let scheme = caller.scheme.unwrap_or(seen.scheme);
    Told { host, client: Some(client.clone()), chain: Some(chain), scheme }.write(headers);
    if let (true, Some(name)) = (caller.through_proxy, single(trust.client_address)) {
        headers.insert(name, client);
    }
    for element in elements {
        headers.append(header::FORWARDED, element);
    }
}

/// `X-Forwarded-For` for the backend. A list that nobody vouches for is not passed on: then it is the
/// client, and the peer if that is another.
fn chain(headers: &HeaderMap, trust: &Trust, caller: &Caller, seen: &Seen<'_>) -> HeaderValue {
    let peer = seen.peer.to_canonical().to_string();
    let client = caller.address.to_string();
    let mut entries: Vec<&[u8]> = Vec::new();
    match (caller.through_proxy, trust.client_address) {
        (true, ClientAddress::XForwardedFor) => {
            let lines = headers.get_all(&X_FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
            entries.extend(lines.filter(|line| !line.is_empty()));
        }
        (true, _) if client != peer => entries.push(client.as_bytes()),
        _ => {}
    }
    entries.push(peer.as_bytes());
    HeaderValue::from_bytes(&entries.join(&b", "[..])).expect("values with commas are a value")
}

/// Whether a field claims something about where a request came from: all of the names that are believed
/// without being asked for, also as CGI and WSGI read them, to which `_` is as good as `-`.
pub(crate) fn is_claim(name: &str) -> bool {
    name == "forwarded"
        || reads_as(name, "x-real-ip")
        || name.get(..X_FORWARDED.len()).is_some_and(|begin| reads_as(begin, X_FORWARDED))
}

const X_FORWARDED: &str = "x-forwarded-";

/// Whether a backend may take one name of a field for the other, which is written with `-`.
pub(crate) fn reads_as(name: &str, known: &str) -> bool {
    let same = |(said, known): (u8, u8)| said == known || (said, known) == (b'_', b'-');
    name.len() == known.len() && name.bytes().zip(known.bytes()).all(same)
}

/// Whether a field may say who the client is: a claim, or what a trusted proxy may be asked for.
pub(crate) fn is_about_client(name: &str) -> bool {
    is_claim(name) || name == CF_CONNECTING_IP || name == TRUE_CLIENT_IP
}

/// Removes all claims, except what is passed on.
fn remove_claims(headers: &mut HeaderMap, trust: &Trust, caller: &Caller) {
    let is_passed_on = |name| caller.through_proxy && PASSED_ON.contains(name);
    let single = single(trust.client_address);
    let is_single =
        |name: &str| single.as_ref().is_some_and(|single| reads_as(name, single.as_str()));
    let is_removed = |name: &HeaderName| is_claim(name.as_str()) || is_single(name.as_str());
    let claims = headers.keys().filter(|name| is_removed(name) && !is_passed_on(name));
    let claims: Vec<HeaderName> = claims.cloned().collect();
    for name in &claims {
        headers.remove(name);
    }
}

impl Told {
    /// Writes it, over whatever stands there.
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        let Self { host, client, chain, scheme } = self;
        let fields = [(X_FORWARDED_HOST, host), (X_REAL_IP, client), (X_FORWARDED_FOR, chain)];
        for (name, value) in fields {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme.as_str()));
    }
}
