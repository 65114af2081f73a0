//! Another protocol instead of HTTP: how a client asks for it, and whether a backend agrees.
//!
//! Over HTTP/1.1 that is `Upgrade` (RFC 9110 §7.8), over HTTP/2 an extended CONNECT on one stream
//! (RFC 8441), which becomes the former on its way to a backend. HTTP/2 itself is never switched to:
//! whoever could make us carry its bytes unread would speak to the backend behind our back.
//!
//! A plain CONNECT (RFC 9110 §9.3.6) asks for bytes both ways without naming a protocol, and any 2xx
//! grants it. It goes to a backend like any request, with the target that the client wrote: what that
//! names is for the backend to reach or to refuse, and never for us.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode, response};
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use lb_core::Failure;
use sha1::{Digest, Sha1};

use crate::request_id::RequestId;

const SEC_WEBSOCKET_ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");
const SEC_WEBSOCKET_KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const WEBSOCKET: &str = "websocket";

/// What a server of WebSocket adds to a client's key (RFC 6455 §1.3).
const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a client asks for, and where its stream goes on over HTTP/2.
pub(crate) struct Wanted {
    what: What,
    pub(crate) stream: Option<OnUpgrade>,
}

enum What {
    /// To speak one of these.
    Protocols(HeaderValue),
    /// To be connected.
    Tunnel,
}

/// What the client asks for in place of HTTP, if it does. A request over HTTP/1.1 does if what follows
/// it `is_held` back. One for a protocol over HTTP/2 becomes what it would have been over HTTP/1.1.
pub(crate) fn wanted(head: &mut Parts, is_held: bool, id: RequestId) -> Option<Wanted> {
    let connects = head.method == Method::CONNECT;
    if is_held {
        let what = if connects { What::Tunnel } else { What::Protocols(named(&head.headers)?) };
        return Some(Wanted { what, stream: None });
    }
    if !connects {
        return None;
    }
    let Some(protocol) = head.extensions.get::<Protocol>() else {
        let stream = Some(head.extensions.remove::<OnUpgrade>()?);
        return Some(Wanted { what: What::Tunnel, stream });
    };
    let named = HeaderValue::from_str(protocol.as_str()).ok()?;
    // Over HTTP/2 there is none, and whoever asks for one means this.
    head.headers.insert(header::UPGRADE, named.clone());
    // One, and no other, as over HTTP/1.1: what is not for us to carry asks for nothing that is.
    if protocols(&head.headers).next() != Some(protocol.as_str()) {
        return None;
    }
    let stream = Some(head.extensions.remove::<OnUpgrade>()?);
    head.method = Method::GET;
    if named == WEBSOCKET {
        head.headers.insert(SEC_WEBSOCKET_KEY, key(id));
    }
    Some(Wanted { what: What::Protocols(named), stream })
}

impl Wanted {
    /// Asks a backend for the same.
    pub(crate) fn ask(&self, head: &mut Parts) {
        if let What::Protocols(protocols) = &self.what {
            head.headers.insert(header::UPGRADE, protocols.clone());
        }
        head.headers.remove(header::TE);
    }

    /// Whether a backend grants it with this status, if nothing [`misfits`] in its answer.
    pub(crate) fn is_granted(&self, status: StatusCode) -> bool {
        match self.what {
            What::Protocols(_) => status == StatusCode::SWITCHING_PROTOCOLS,
            What::Tunnel => status.is_success(),
        }
    }

    /// Says to the client that it was granted, in its own way; by `protocol`, where one was named.
    pub(crate) fn grant(&self, head: &mut response::Parts, protocol: Option<HeaderValue>) {
        head.headers.remove(header::CONTENT_LENGTH);
        match (&self.what, &self.stream, protocol) {
            (What::Protocols(_), Some(_), _) => {
                head.status = StatusCode::OK;
                head.headers.remove(SEC_WEBSOCKET_ACCEPT);
            }
            (What::Protocols(_), None, Some(protocol)) => {
                head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
                head.headers.insert(header::UPGRADE, protocol);
            }
            _ => {}
        }
    }
}

/// Whether a request, as it goes out, asks for something else than HTTP.
pub(crate) fn is_asked(head: &Parts) -> bool {
    head.method == Method::CONNECT || head.headers.contains_key(header::UPGRADE)
}

/// Forgets how an answer says that it is framed, if it grants a tunnel and nothing is (RFC 9110 §9.3.6).
pub(crate) fn unframe(asked: &Parts, answer: &mut response::Parts) {
    if asked.method == Method::CONNECT && answer.status.is_success() {
        for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
            answer.headers.remove(name);
        }
    }
}

/// What a backend asks a client for that wants a tunnel. We ask nobody, and so it is not for us.
pub(crate) fn challenges(asked: &Parts, answer: &HeaderMap) -> Vec<HeaderValue> {
    let is_asked = asked.method == Method::CONNECT;
    let said = is_asked.then(|| answer.get_all(header::PROXY_AUTHENTICATE));
    said.into_iter().flatten().cloned().collect()
}

/// What an answer comes to that does not speak of protocols as the request, as it went out, allows.
pub(crate) fn misfits(asked: &Parts, answer: &response::Parts) -> Option<Failure> {
    let over_http2 = asked.extensions.get::<Protocol>().is_some();
    match answer.status {
        StatusCode::SWITCHING_PROTOCOLS => {
            let mut granted = protocols(&answer.headers);
            let granted = granted.next().filter(|_| granted.next().is_none());
            let mut wanted = protocols(&asked.headers).peekable();
            if wanted.peek().is_none() {
                return Some(Failure::Malformed);
            }
            // What a backend makes of a protocol that it does not speak is for any client to bring about.
            let is_asked = wanted.any(|it| granted.is_some_and(|by| it.eq_ignore_ascii_case(by)));
            let fits = is_asked && (!over_http2 || accepts(&asked.headers, &answer.headers));
            (!fits).then_some(Failure::NoTunnel)
        }
        // A tunnel to some readers (RFC 9110 §9.3.6) and an answer without a body to others, hyper
        // among them.
        StatusCode::NO_CONTENT if asked.method == Method::CONNECT => Some(Failure::NoTunnel),
        // Over HTTP/2 this would mean 101, and it means that the backend heard a GET, as it may.
        status => {
            (over_http2 && status.is_success() && is_asked(asked)).then_some(Failure::NoTunnel)
        }
    }
}

/// Whether a backend answered the key of a client of HTTP/2, which has none and cannot look.
fn accepts(asked: &HeaderMap, answer: &HeaderMap) -> bool {
    let Some(key) = asked.get(SEC_WEBSOCKET_KEY) else { return true };
    let digest = Sha1::new().chain_update(key).chain_update(ACCEPT_GUID).finalize();
    answer.get(SEC_WEBSOCKET_ACCEPT).is_some_and(|said| *said == STANDARD.encode(digest))
}

/// A key that no other request has.
fn key(id: RequestId) -> HeaderValue {
    let digest = Sha1::digest(id.to_string());
    HeaderValue::try_from(STANDARD.encode(&digest[..16])).expect("base64 is visible ASCII")
}

/// The protocols that a client names, in one line.
fn named(headers: &HeaderMap) -> Option<HeaderValue> {
    HeaderValue::try_from(protocols(headers).collect::<Vec<_>>().join(", ")).ok()
}

/// The protocols that `Upgrade` names and that may be switched to.
fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let fields = headers.get_all(header::UPGRADE).iter();
    let names = fields.filter_map(|field| field.to_str().ok()).flat_map(|said| said.split(','));
    names.map(str::trim).filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("h2c"))
}
