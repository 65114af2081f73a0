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
use crate::headers::{self, Forward};

/// The head of a request, and whose it is.
pub(crate) struct Asking<'r> {
    pub(crate) head: &'r Parts,
    /// What it is for, with a port if one was said; empty if nothing was.
    pub(crate) host: &'r str,
    /// Its IP address, unless it came by a Unix socket.
    pub(crate) client: Option<IpAddr>,
    pub(crate) scheme: Scheme,
    /// What its claims are replaced by, if that has not been done.
    pub(crate) claims: Option<&'r Claims<'r>>,
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
        match self.claims {
            Some(claims) if is_about_client(name) => claims.told(self),
            _ => &self.head.headers,
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
        self.headers_of(name).get(name).map(http::HeaderValue::as_bytes)
    }

    fn each_line(&self, name: &str, tell: &mut dyn FnMut(&[u8])) {
        self.headers_of(name).get_all(name).iter().for_each(|value| tell(value.as_bytes()));
    }

    fn each_header(&self, tell: &mut dyn FnMut(&str, &[u8])) {
        let headers = self.claims.map_or(&self.head.headers, |claims| claims.told(self));
        headers.iter().for_each(|(name, value)| tell(name.as_str(), value.as_bytes()));
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
}
