//! A request as routes and edits see it: its facts, and what it is addressed to.

use crate::facts::Facts;

/// A request, with what its target says.
pub trait Request: Facts {
    /// The method, as in `GET`.
    fn method(&self) -> &str;
    /// The host it is for as the client said it, with a port if that was said. Empty if none was.
    fn host(&self) -> &str;
    /// How the client came.
    fn scheme(&self) -> Scheme;
}

/// How a client came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// As urls write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The name or address of `host:port`, without the dot that ends a fully qualified name. `None` if
/// there is none, or if what there is could not be a host: nothing that a client makes up may lead
/// it to somebody's route, or end up in the authority of a redirect.
pub(crate) fn plain_host(host: &str) -> Option<&str> {
    let (name, port) = match host.rfind(':') {
        // The colons inside `[::1]` are not the one before a port.
        Some(colon) if !host[colon..].contains(']') => (&host[..colon], &host[colon + 1..]),
        _ => (host, ""),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_host = match name.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(inner) => inner.bytes().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte)),
        None => name.bytes().all(good),
    };
    (is_host && !name.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_host_leads_nowhere() {
        for (said, host) in [
            ("a.example.com", "a.example.com"),
            ("a.example.com.:8080", "a.example.com"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("10.0.0.1:", "10.0.0.1"),
            ("under_score", "under_score"),
        ] {
            assert_eq!(plain_host(said), Some(host), "{said:?}");
        }
        for said in ["", ":80", ".", "evil.example/.example.com", "a@b", "a b", "a:b", "[a/b]", "é"]
        {
            assert_eq!(plain_host(said), None, "{said:?}");
        }
    }
}
