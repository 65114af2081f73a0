//! A request as the core asks about it.

use std::net::IpAddr;

use http::request::Parts;
use lb_core::Facts;

/// The head of a request, and whose it is.
pub(crate) struct Asking<'r> {
    pub(crate) head: &'r Parts,
    pub(crate) client: IpAddr,
}

impl Facts for Asking<'_> {
    fn client(&self) -> Option<IpAddr> {
        Some(self.client)
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.headers.get(name).map(http::HeaderValue::as_bytes)
    }

    fn path(&self) -> &str {
        self.head.uri.path()
    }

    fn query(&self) -> Option<&str> {
        self.head.uri.query()
    }
}
