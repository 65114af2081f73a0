//! A request as the core asks about it.
//!
//! What it claims about where it came from is read as the backend will be told it: a route that asks who
//! the client has proved to be must not take the client's word for it.

use std::cell::OnceCell;
use std::net::IpAddr;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Uri};
use lb_core::{Facts, Request, Scheme};

use crate::error::is_call;
use crate::forwarded::is_about_client;
use crate::headers::{self, Added, Forward};

/// The head of a request, and whose it is.
pub(crate) struct Asking<'r> {
    pub(crate) head: &'r Parts,
    /// What it is for, with a port if one was said; empty if nothing was.
    pub(crate) host: &'r str,
    /// Its IP address, unless it came by a Unix socket.
    pub(crate) client: Option<IpAddr>,
    pub(crate) scheme: Scheme,
    pub(crate) word: Word<'r>,
}

/// Whose word it is where it came from.
pub(crate) enum Word<'r> {
    /// Its client's, which these are to replace.
    Client(&'r Claims<'r>),
    /// Ours, and that of it which does not stand in the head.
    Ours(Option<&'r Added>),
}

/// What a request says of where it came from, worked out where somebody asks.
pub(crate) struct Claims<'r> {
    pub(crate) forward: Forward<'r>,
    told: OnceCell<HeaderMap>,
}

impl<'r> Claims<'r> {
    pub(crate) const fn new(forward: Forward<'r>) -> Self {
        Self { forward, told: OnceCell::new() }
    }

    /// What the backend of a request will be told.
    fn told(&self, asking: &Asking<'_>) -> &HeaderMap {
        self.told.get_or_init(|| {
            let mut head = asking.head.clone();
            headers::to_backend(&mut head, asking.host, &self.forward);
            head.headers
        })
    }
}

impl Asking<'_> {
    /// The headers in which one of this name is to be read.
    fn headers_of(&self, name: &str) -> &HeaderMap {
        match self.word {
            Word::Client(claims) if is_about_client(name) => claims.told(self),
            _ => &self.head.headers,
        }
    }

    /// What stands beside the head.
    pub(crate) fn added(&self) -> Option<&Added> {
        match self.word {
            Word::Client(_) => None,
            Word::Ours(added) => added,
        }
    }
}

impl Request for Asking<'_> {
    fn method(&self) -> &str {
        self.head.method.as_str()
    }

    fn host(&self) -> &str {
        self.host
    }

    fn scheme(&self) -> Scheme {
        self.scheme
    }
}

impl Facts for Asking<'_> {
    fn client(&self) -> Option<IpAddr> {
        self.client
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        let added = || self.added()?.get(name);
        self.headers_of(name).get(name).or_else(added).map(http::HeaderValue::as_bytes)
    }

    fn each_line(&self, name: &str, tell: &mut dyn FnMut(&[u8])) {
        let added = self.added().and_then(|added| added.get(name));
        let lines = self.headers_of(name).get_all(name).iter().chain(added);
        lines.for_each(|value| tell(value.as_bytes()));
    }

    fn each_header(&self, tell: &mut dyn FnMut(&str, &[u8])) {
        let headers = match self.word {
            Word::Client(claims) => claims.told(self),
            Word::Ours(_) => &self.head.headers,
        };
        let fields = headers.iter().chain(self.added().into_iter().flat_map(Added::iter));
        fields.for_each(|(name, value)| tell(name.as_str(), value.as_bytes()));
    }

    fn path(&self) -> &str {
        path(&self.head.method, &self.head.uri)
    }

    fn query(&self) -> Option<&str> {
        self.head.uri.query()
    }

    fn patience(&self) -> Option<Duration> {
        let said = is_call(self.head).then(|| self.head.headers.get(GRPC_TIMEOUT)).flatten();
        said.and_then(|said| grpc_timeout(said.as_bytes()))
    }
}

/// The path that a request asks for. A CONNECT names none, and routes take it as one for the root.
pub(crate) fn path<'r>(method: &Method, uri: &'r Uri) -> &'r str {
    if *method == Method::CONNECT { "/" } else { uri.path() }
}

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Up to eight digits and a unit (gRPC over HTTP/2, "Timeout").
fn grpc_timeout(said: &[u8]) -> Option<Duration> {
    let (unit, digits) = said.split_last()?;
    let is_number = (1..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let count: u64 = is_number.then(|| std::str::from_utf8(digits).ok()?.parse().ok())??;
    match unit {
        b'H' => Some(Duration::from_secs(count * 3_600)),
        b'M' => Some(Duration::from_secs(count * 60)),
        b'S' => Some(Duration::from_secs(count)),
        b'm' => Some(Duration::from_millis(count)),
        b'u' => Some(Duration::from_micros(count)),
        b'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_grpc_timeout_has_a_unit_and_at_most_eight_digits() {
        let secs = |secs| Some(Duration::from_secs(secs));
        assert_eq!(grpc_timeout(b"2H"), secs(7_200));
        assert_eq!(grpc_timeout(b"99999999S"), secs(99_999_999));
        assert_eq!(grpc_timeout(b"1500m"), Some(Duration::from_millis(1_500)));
        assert_eq!(grpc_timeout(b"7n"), Some(Duration::from_nanos(7)));
        for wrong in ["", "S", "5", "5s", "-5S", "123456789S", "5 S", "1.5S"] {
            assert_eq!(grpc_timeout(wrong.as_bytes()), None, "{wrong:?}");
        }
    }

    #[test]
    fn what_stands_beside_a_head_is_asked_as_if_it_stood_there() {
        let (address, id) = (HeaderValue::from_static("192.0.2.1"), HeaderValue::from_static("7"));
        let forward = || Forward { client: Some(&address), id: &id, secure: None, trusted: None };
        for (name, is_apart) in [("accept", true), ("via", true), ("x-request-id", false)] {
            let request = http::Request::get("/a").header("host", "a").header(name, "1.0 it");
            let (mut whole, ()) = request.body(()).unwrap().into_parts();
            let mut head = whole.clone();
            headers::to_backend(&mut whole, "a", &forward());
            let added = headers::apart(&mut head, "a", &forward());
            assert_eq!(added.is_some(), is_apart, "{name}");
            let facts = |head, added| {
                let (client, word) = (None, Word::Ours(added));
                let asking = Asking { head, host: "a", client, scheme: Scheme::Http, word };
                let mut told = Vec::new();
                asking.each_header(&mut |name, value| told.push((name.to_owned(), value.to_vec())));
                for (name, _) in told.clone() {
                    let first = asking.header(&name).map(<[u8]>::to_vec);
                    told.push((format!("first {name}"), first.expect("it was told")));
                    asking.each_line(&name, &mut |line| told.push((name.clone(), line.to_vec())));
                }
                assert_eq!(asking.header("x-other"), None);
                told.sort();
                told
            };
            let told = facts(&head, added.as_ref());
            assert_eq!(told, facts(&whole, None), "{name}");
            assert!(told.contains(&("via".to_owned(), b"1.1 lb".to_vec())));
            for (name, value) in added.iter().flat_map(Added::iter) {
                head.headers.append(name, value.clone());
            }
            assert_eq!(head.headers, whole.headers, "what is written is what stood there");
        }
    }
}
