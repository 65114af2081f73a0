//! What a request says of itself and of its client, as far as decisions ask for it.
//!
//! The core does not know HTTP messages: a driver answers these questions from whatever it holds.

use core::net::IpAddr;
use core::time::Duration;

/// A request, seen from the core.
pub trait Facts {
    /// The client's address.
    fn client(&self) -> Option<IpAddr>;
    /// The first value of a header, whose name is written in lower case.
    fn header(&self, name: &str) -> Option<&[u8]>;
    /// The path, beginning with `/`, without the query.
    fn path(&self) -> &str;
    /// The query, without the `?`.
    fn query(&self) -> Option<&str>;

    /// How long its client waits for an answer, where it says so.
    fn patience(&self) -> Option<Duration> {
        None
    }

    /// Tells every header, for whoever writes down what is known of a request.
    fn each_header(&self, tell: &mut dyn FnMut(&str, &[u8])) {
        let _ = tell;
    }

    /// Tells every line of a header, whose name is written in lower case.
    fn each_line(&self, name: &str, tell: &mut dyn FnMut(&[u8])) {
        self.header(name).into_iter().for_each(tell);
    }

    /// The value of a cookie, the first of that exact name (RFC 6265 §4.2.1).
    fn cookie(&self, name: &str) -> Option<&[u8]> {
        find_cookie(self.header("cookie")?, name)
    }

    /// The value of a query parameter, the first of that exact name, as it was written.
    fn parameter(&self, name: &str) -> Option<&str> {
        self.query()?.split('&').find_map(|pair| match pair.split_once('=') {
            Some((key, value)) => (key == name).then_some(value),
            None => (pair == name).then_some(""),
        })
    }
}

/// The first address in `X-Forwarded-For`, which clients may write themselves.
pub(crate) fn forwarded_for(facts: &dyn Facts) -> Option<&[u8]> {
    facts.header("x-forwarded-for")?.split(|byte| *byte == b',').next().map(<[u8]>::trim_ascii)
}

/// The value of a cookie in a header of them, the first of that exact name (RFC 6265 §4.2.1).
pub fn find_cookie<'h>(header: &'h [u8], name: &str) -> Option<&'h [u8]> {
    cookies(header, name).next()
}

/// The values of all cookies of that exact name.
pub(crate) fn cookies<'h>(header: &'h [u8], name: &str) -> impl Iterator<Item = &'h [u8]> {
    let pairs = header.split(|byte| *byte == b';');
    pairs.map(<[u8]>::trim_ascii).filter_map(move |pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        (pair[..equals].trim_ascii_end() == name.as_bytes())
            .then(|| pair[equals + 1..].trim_ascii_start())
    })
}

/// A request of which nothing is known.
#[derive(Clone, Copy, Debug)]
pub struct Unknown;

impl Facts for Unknown {
    fn client(&self) -> Option<IpAddr> {
        None
    }

    fn header(&self, _name: &str) -> Option<&[u8]> {
        None
    }

    fn path(&self) -> &'static str {
        "/"
    }

    fn query(&self) -> Option<&str> {
        None
    }
}

/// A request of which only the client's address is known.
impl Facts for IpAddr {
    fn client(&self) -> Option<IpAddr> {
        Some(*self)
    }

    fn header(&self, _name: &str) -> Option<&[u8]> {
        None
    }

    fn path(&self) -> &str {
        "/"
    }

    fn query(&self) -> Option<&str> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Given {
        cookie: &'static str,
        query: &'static str,
    }

    impl Facts for Given {
        fn client(&self) -> Option<IpAddr> {
            None
        }

        fn header(&self, name: &str) -> Option<&[u8]> {
            (name == "cookie").then_some(self.cookie.as_bytes())
        }

        fn path(&self) -> &'static str {
            "/"
        }

        fn query(&self) -> Option<&str> {
            Some(self.query)
        }
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let facts = Given { cookie: "x_lb=1; lb=2;lb=3; a = b ;empty=", query: "" };
        let found = |name| facts.cookie(name).map(|value| core::str::from_utf8(value).unwrap());
        assert_eq!(found("lb"), Some("2"));
        assert_eq!(found("x_lb"), Some("1"));
        assert_eq!(found("a"), Some("b"));
        assert_eq!(found("empty"), Some(""));
        assert_eq!(found("LB"), None);
        assert_eq!(found("b"), None);
        assert_eq!(Unknown.cookie("lb"), None);
    }

    #[test]
    fn a_parameter_is_found_by_its_whole_name() {
        let facts = Given { cookie: "", query: "xid=1&id=2&id=3&flag&empty=" };
        assert_eq!(facts.parameter("id"), Some("2"));
        assert_eq!(facts.parameter("xid"), Some("1"));
        assert_eq!(facts.parameter("flag"), Some(""));
        assert_eq!(facts.parameter("empty"), Some(""));
        assert_eq!(facts.parameter("d"), None);
    }
}
