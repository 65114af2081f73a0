//! A request of the workload, as the core asks about it.

use std::net::{IpAddr, Ipv4Addr};

use lb_core::{Facts, Request, Scheme};

use crate::scenario::crowd::{self, Crowd};

/// A request, and who sends it.
pub(super) struct Asked<'a> {
    pub(super) host: &'a str,
    pub(super) post: bool,
    pub(super) user: Option<&'a User>,
    pub(super) cookie: Option<&'a [u8]>,
    /// Those whom the user is one of, if a service tells them apart.
    pub(super) crowd: Option<&'a Crowd>,
}

/// Where all clients come from: behind one address, as in the other engine.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 1));

/// A user's number, and how it is written.
pub(super) struct User {
    number: u32,
    /// As a path: behind a slash.
    path: [u8; 11],
    begins: usize,
}

impl User {
    pub(super) fn new(number: u32) -> Self {
        let (mut path, mut left, mut at) = ([b'/'; 11], number, 11);
        loop {
            at -= 1;
            path[at] = b'0' + u8::try_from(left % 10).expect("a digit");
            left /= 10;
            if left == 0 {
                return Self { number, path, begins: at };
            }
        }
    }

    fn digits(&self) -> &[u8] {
        &self.path[self.begins..]
    }

    fn path(&self) -> &str {
        std::str::from_utf8(&self.path[self.begins - 1..]).expect("a slash and digits")
    }
}

impl Asked<'_> {
    /// The user's number, if there is one and `is_asked` for it.
    fn number(&self, is_asked: impl FnOnce(&Crowd) -> bool) -> Option<&User> {
        self.user.filter(|_| self.crowd.is_some_and(is_asked))
    }
}

impl Facts for Asked<'_> {
    fn client(&self) -> Option<IpAddr> {
        Some(self.number(|_| true).map_or(CLIENT, |user| crowd::address(user.number)))
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        match (name, self.crowd, self.user) {
            ("host", ..) => Some(self.host.as_bytes()),
            ("x-user", ..) => self.user.map(User::digits),
            ("cookie", ..) => self.cookie,
            (_, Some(crowd), Some(user)) if crowd.numbers_header(name) => Some(user.digits()),
            (_, Some(crowd), Some(user)) => crowd.place(name, user.number).map(str::as_bytes),
            _ => None,
        }
    }

    fn path(&self) -> &str {
        self.number(Crowd::numbers_path).map_or("/", User::path)
    }

    fn query(&self) -> Option<&str> {
        self.number(Crowd::numbers_query).map(|user| &user.path()[1..])
    }

    fn cookie(&self, name: &str) -> Option<&[u8]> {
        match self.number(|crowd| crowd.numbers_cookie(name)) {
            Some(user) => Some(user.digits()),
            None => lb_core::find_cookie(self.cookie?, name),
        }
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.number(|crowd| crowd.numbers_parameter(name)).map(|user| &user.path()[1..])
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_written_in_digits() {
        for (number, path) in [(0, "/0"), (10, "/10"), (u32::MAX, "/4294967295")] {
            let user = User::new(number);
            assert_eq!((user.path(), user.digits()), (path, &path.as_bytes()[1..]));
        }
    }
}
