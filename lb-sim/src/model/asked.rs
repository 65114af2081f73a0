//! A request of the workload, as the core asks about it.

use std::net::{IpAddr, Ipv4Addr};

use lb_core::{Facts, Request, Scheme};

/// A request, and who sends it.
pub(super) struct Asked<'a> {
    pub(super) host: &'a str,
    pub(super) post: bool,
    /// The digits of the user's number, if it has one.
    pub(super) user: Option<&'a [u8]>,
    pub(super) cookie: Option<&'a [u8]>,
}

/// Where all clients come from: behind one address, as in the other engine.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 1));

impl Facts for Asked<'_> {
    fn client(&self) -> Option<IpAddr> {
        Some(CLIENT)
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        match name {
            "host" => Some(self.host.as_bytes()),
            "x-user" => self.user,
            "cookie" => self.cookie,
            _ => None,
        }
    }

    fn path(&self) -> &str {
        "/"
    }

    fn query(&self) -> Option<&str> {
        None
    }
}

impl Request for Asked<'_> {
    fn method(&self) -> &str {
        if self.post { "POST" } else { "GET" }
    }

    fn host(&self) -> &str {
        self.host
    }

    fn scheme(&self) -> Scheme {
        Scheme::Http
    }
}
