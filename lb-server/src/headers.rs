//! Heads on their way: what ends at us is removed, and what we know is added.
//!
//! Fields for one connection only are not forwarded (RFC 9110 §7.6.1). What a client claims about
//! where it came from (`X-Forwarded-*`, `Forwarded`) is replaced by what we saw, unless there are
//! proxies whose claims may be believed (`forwarded.rs`).

mod added;
mod hop;

use std::cell::RefCell;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Method, Request, Version, request, response};
use lb_config::config::Trust;

use crate::forwarded::{Caller, Seen, Told, is_claim, reads_as, tell_backend};
use crate::framing::{Refusal, has_port, is_host};
use crate::whence::Secure;
pub(crate) use added::Added;
use hop::{is_hop_by_hop, remove};

/// What a backend is told about the client.
pub(crate) struct Forward<'r> {
    /// Its address, written once for all requests of a connection. Whoever came by a Unix socket
    /// has none.
    pub(crate) client: Option<&'r HeaderValue>,
    /// The request's name, which the client is told as well.
    pub(crate) id: &'r HeaderValue,
    /// Where it speaks TLS.
    pub(crate) secure: Option<&'r Secure>,
    /// Where somebody is trusted: whom, and who the request is from.
    pub(crate) trusted: Option<(&'r Trust, &'r Caller, IpAddr)>,
}

const X_FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What has no business behind a body: it frames the message, leads it somewhere, says who asks, or
/// how the body is to be read (RFC 9110 §6.5.1).
const NO_TRAILERS: [HeaderName; 10] = [
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::HOST,
    header::SET_COOKIE,
    header::TRAILER,
];

/// The host a request is for: the target's authority before the `Host` field (RFC 9112 §3.2.2).
/// Empty if it names none, as HTTP/1.0 allows.
pub(crate) fn host(head: &request::Parts) -> String {
    match (head.uri.authority(), head.headers.get(header::HOST)) {
        (Some(authority), _) => authority.as_str().to_owned(),
        (None, Some(host)) => host.to_str().unwrap_or_default().to_owned(),
        (None, None) => String::new(),
    }
}

/// How long a target is, beside the host, as it goes out.
pub(crate) fn target_bytes(uri: &Uri) -> usize {
    let target = uri.path_and_query().map_or("", PathAndQuery::as_str);
    target.len() + usize::from(target.starts_with('?'))
}

/// Why a request over HTTP/2 must be refused, if it must: by the rules that the guard keeps over
/// HTTP/1.1. What names no host there could lead past the routes of one that does.
pub(crate) fn refusal_of_http2(head: &request::Parts, headers_max: usize) -> Option<Refusal> {
    if head.version != Version::HTTP_2 {
        return None;
    }
    let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    let host = head.headers.get(header::HOST).map(HeaderValue::as_bytes);
    let are_hosts = authority.into_iter().chain(host).all(is_host);
    let is_target = match head.method {
        Method::CONNECT => authority.is_some_and(has_port),
        Method::OPTIONS => true,
        _ => head.uri.path() != "*",
    };
    // RFC 9113 §8.3.1: it is for somebody, and for one, and said once (RFC 9112 §3.2).
    let is_one = match (authority, host) {
        _ if head.headers.get_all(header::HOST).iter().nth(1).is_some() => false,
        (Some(authority), Some(host)) => authority.eq_ignore_ascii_case(host),
        (authority, host) => authority.is_some() || host.is_some(),
    };
    if !are_hosts || !is_target || !is_one {
        return Some(Refusal::Host);
    }
    (head.headers.len() > headers_max).then_some(Refusal::TooLong)
}

/// Makes a client's head a backend's.
pub(crate) fn to_backend(head: &mut request::Parts, host: &str, forward: &Forward<'_>) {
    if let Some(added) = apart(head, host, forward) {
        added.join(&mut head.headers);
    }
}

/// The same, but that what is added stays beside the head if it takes the place of nothing there.
pub(crate) fn apart(head: &mut request::Parts, host: &str, forward: &Forward<'_>) -> Option<Added> {
    let headers = &mut head.headers;
    // We answer `Expect` ourselves, when the first byte of the body is wanted.
    let claims = forward.trusted.is_none();
    let connects = head.method == Method::CONNECT;
    let is_unwanted = |name: &str| match name {
        "expect" => true,
        // Whoever opens the tunnel asks for it, and we do not (RFC 9110 §11.7.2).
        "proxy-authorization" => !connects,
        "content-length" => connects,
        _ => is_hop_by_hop(name) || (claims && is_claim(name)) || looks_like_ours(name),
    };
    let (mut takes_trailers, mut said, mut has_id) = (false, None, false);
    remove(headers, is_unwanted, |name, value| {
        if *name == header::TE {
            takes_trailers |= names_trailers(value);
        } else if *name == header::HOST && said.is_none() {
            said = Some(value.clone());
        }
        has_id |= *name == X_REQUEST_ID;
    });
    if takes_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    let named = named_host(headers, &head.uri, host, said);
    if let Some(authority) = head.uri.authority() {
        // RFC 9112 §3.2.3: a tunnel is asked for by host and port alone.
        head.uri = if connects { authority.clone().into() } else { origin_form(&head.uri) };
    }
    let scheme = scheme(forward.secure);
    let certificate = forward.secure.and_then(|secure| secure.certificate.clone());
    let id = forward.id.clone();
    match forward.trusted {
        None => {
            let (client, chain) = (forward.client.cloned(), forward.client.cloned());
            let told = Told { host: named, client, chain, scheme };
            if !has_id {
                return Some(Added::new(told, certificate, id));
            }
            told.write(headers);
        }
        Some((trust, caller, peer)) => {
            tell_backend(headers, trust, caller, &Seen { peer, scheme, host });
        }
    }
    if let Some(certificate) = certificate {
        headers.insert(X_FORWARDED_CLIENT_CERT, certificate);
    }
    headers.insert(X_REQUEST_ID, id);
    add_via(headers);
    None
}

/// Whether a backend of CGI or WSGI, to which `_` is as good as `-`, takes a field for what frames the
/// message or for the name that we give it.
fn looks_like_ours(name: &str) -> bool {
    const OURS: [HeaderName; 3] = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, X_REQUEST_ID];
    name.contains('_') && OURS.iter().any(|ours| reads_as(name, ours.as_str()))
}

/// How a client came.
pub(crate) fn scheme(secure: Option<&Secure>) -> lb_core::Scheme {
    if secure.is_some() { lb_core::Scheme::Https } else { lb_core::Scheme::Http }
}

/// Fields that an answer gets more than it has, of which `Connection` mostly goes.
pub(crate) const ADDED_TO_ANSWERS: usize = 1;

/// The host that the request names, of which `said` stands first in `Host`. It stands there once, whatever
/// stood there.
fn named_host(
    headers: &mut HeaderMap,
    uri: &Uri,
    host: &str,
    said: Option<HeaderValue>,
) -> Option<HeaderValue> {
    if host.is_empty() {
        return None;
    }
    let host = match uri.authority() {
        Some(_) => HeaderValue::from_str(host).ok()?,
        None if is_each_single(headers) => return said,
        None => said?,
    };
    headers.insert(header::HOST, host.clone());
    Some(host)
}

/// Whether no name stands there twice.
fn is_each_single(headers: &HeaderMap) -> bool {
    headers.keys_len() == headers.len()
}

/// A client's certificate as backends are told of it: its subject, in Envoy's form of the field, where
/// it is a quoted string.
pub(crate) fn certificate(subject: &str) -> Option<HeaderValue> {
    let quoted = subject.replace('\\', "\\\\").replace('"', "\\\"");
    HeaderValue::try_from(format!("Subject=\"{quoted}\"")).ok()
}

/// Whether whoever asks can do something with trailers: the only part of `TE` that is passed on.
fn names_trailers(te: &HeaderValue) -> bool {
    let mut codings = te.to_str().unwrap_or_default().split(',');
    codings.any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

/// HTTP/2 lets a client cut its cookies into several fields, and HTTP/1.1 does not. They are one to whoever
/// looks at them, before anybody does, and one line of those that a head may have (RFC 9113 §8.2.3, RFC 6265
/// §5.4). Their bytes were counted when they came.
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    if is_each_single(headers) || headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> =
        headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(header::COOKIE, whole);
    }
}

/// Leaves behind a body what may stand there, of whichever side: nothing about a connection, nothing
/// that is only believed of the proxy, and nothing that `is_decided` elsewhere.
pub(crate) fn trailers(trailers: &mut HeaderMap, is_decided: impl Fn(&str) -> bool) {
    let is_unwanted = |name: &str| {
        is_hop_by_hop(name)
            || is_decided(name)
            || is_claim(name)
            || NO_TRAILERS.iter().any(|known| known == name)
            || name == X_REQUEST_ID
            || name == header::VIA
    };
    remove(trailers, is_unwanted, |_, _| {});
}

/// The last of what a request needs to go out over HTTP/2: its host stands in the target (RFC 9113
/// §8.3.1). An error is one of ours: every host that may be asked for can stand there.
pub(crate) fn for_http2<B>(request: &mut Request<B>, scheme: Scheme) -> Result<(), http::Error> {
    *request.version_mut() = Version::HTTP_2;
    let Some(host) = request.headers_mut().remove(header::HOST) else { return Ok(()) };
    let mut target = std::mem::take(request.uri_mut()).into_parts();
    target.scheme = Some(scheme);
    target.authority = Some(Authority::try_from(host.as_bytes())?);
    if target.path_and_query.is_none() {
        target.path_and_query = Some(PathAndQuery::from_static("/"));
    }
    *request.uri_mut() = Uri::from_parts(target)?;
    Ok(())
}

/// Makes a backend's head a client's.
pub(crate) fn to_client(
    head: &mut response::Parts,
    now: impl FnOnce() -> SystemTime,
    id: HeaderValue,
) {
    // A version speaks for one connection: ours is 1.1 whatever the backend's is (RFC 9110 §2.5).
    head.version = Version::HTTP_11;
    let headers = &mut head.headers;
    let (mut chunked, mut lengths_said, mut is_dated) = (false, 0, false);
    let removed = remove(headers, is_hop_by_hop, |name, value| match *name {
        header::TRANSFER_ENCODING => chunked = true,
        header::CONTENT_LENGTH => {
            lengths_said += 1 + usize::from(value.as_bytes().contains(&b','));
        }
        header::DATE => is_dated = true,
        _ => {}
    });
    if chunked {
        // The body was read by its chunks: a length beside them is not its own (RFC 9112 §6.3).
        headers.remove(header::CONTENT_LENGTH);
    } else if lengths_said > 1 {
        // One number said twice is said once to the client (RFC 9110 §8.6).
        let field = headers.get(header::CONTENT_LENGTH);
        let once = field.and_then(|field| lengths(field).next());
        if let Some(Ok(once)) = once.map(HeaderValue::from_bytes) {
            headers.insert(header::CONTENT_LENGTH, once);
        }
    }
    add_via(headers);
    if !is_dated || removed.contains(&header::DATE) {
        headers.insert(header::DATE, date(now()));
    }
    headers.insert(X_REQUEST_ID, id);
}

/// What a client is told of a backend's interim answer, which has no body to frame (RFC 9110 §8.6): nothing
/// that `is_decided` for the answer itself.
pub(crate) fn ahead(headers: &HeaderMap, is_decided: impl Fn(&str) -> bool) -> HeaderMap {
    let mut headers = headers.clone();
    let is_unwanted =
        |name: &str| name == "content-length" || is_hop_by_hop(name) || is_decided(name);
    remove(&mut headers, is_unwanted, |_, _| {});
    add_via(&mut headers);
    headers
}

/// Whether a backend's head, in at most `bytes_max`, frames its body in a way that was asked for. `TE`
/// stays behind, so nobody asked for another coding than chunks (RFC 9112 §6.1), and what comes in one
/// could not be passed on.
pub(crate) fn is_answer(headers: &HeaderMap, bytes_max: usize) -> bool {
    let (mut bytes, mut codings, mut chunked) = (0, 0, true);
    let (mut first, mut one_length) = (None, true);
    for (name, value) in headers {
        bytes += name.as_str().len() + value.len() + ": \r\n".len();
        match *name {
            header::TRANSFER_ENCODING => {
                codings += 1;
                chunked = codings == 1 && value.as_bytes().eq_ignore_ascii_case(b"chunked");
            }
            header::CONTENT_LENGTH => {
                let is_same = |length| *first.get_or_insert(length) == length && is_number(length);
                one_length &= lengths(value).all(is_same);
            }
            _ => {}
        }
    }
    bytes <= bytes_max && chunked && one_length
}

/// Every length that a field says.
fn lengths(field: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    field.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Digits, and no more of them than 64 bits hold.
fn is_number(length: &[u8]) -> bool {
    let number = length.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    });
    number.is_some() && !length.is_empty()
}

/// `Date` at `now` (RFC 9110 §6.6.1), written once per second and thread.
pub(crate) fn date(now: SystemTime) -> HeaderValue {
    thread_local! {
        static WRITTEN: RefCell<(u64, HeaderValue)> =
            const { RefCell::new((u64::MAX, HeaderValue::from_static(""))) };
    }
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    WRITTEN.with_borrow_mut(|(at, value)| {
        if *at != second {
            (*at, *value) = (second, written(&httpdate::fmt_http_date(now)));
        }
        value.clone()
    })
}

/// What is made of digits, colons, commas and letters is a header's value.
pub(crate) fn written(value: &dyn ToString) -> HeaderValue {
    HeaderValue::try_from(value.to_string()).expect("what we write is visible ASCII")
}

/// An address, which each connection has one of: the standard library's way of writing it takes ten times as long.
pub(crate) fn address(ip: IpAddr) -> HeaderValue {
    let IpAddr::V4(ip) = ip else { return written(&ip) };
    let (mut said, mut digits) =
        (Vec::with_capacity("255.255.255.255.".len()), itoa::Buffer::new());
    for octet in ip.octets() {
        said.extend_from_slice(digits.format(octet).as_bytes());
        said.push(b'.');
    }
    said.pop();
    HeaderValue::try_from(said).expect("digits and dots")
}

/// RFC 9110 §7.6.3.
fn add_via(headers: &mut HeaderMap) {
    headers.append(header::VIA, VIA);
}

const VIA: HeaderValue = HeaderValue::from_static("1.1 lb");

/// `/path?query` of a target that names a host as well (RFC 9112 §3.2.1). A path that is empty is `/`, also
/// before a query (RFC 3986 §6.2.3).
fn origin_form(uri: &Uri) -> Uri {
    let Some(target) = uri.path_and_query() else { return Uri::from_static("/") };
    if !target.as_str().starts_with('?') {
        return Uri::from(target.clone());
    }
    let slashed = PathAndQuery::try_from(format!("/{}", target.as_str()));
    // One that is too long for it is too long for us (`target_bytes`).
    Uri::from(slashed.unwrap_or_else(|_too_long| target.clone()))
}

#[cfg(test)]
mod tests;
