//! Which service a host name leads to: the most exact pattern wins.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;

/// Host patterns and the services they lead to.
///
/// An exact name beats a wildcard, a longer wildcard beats a shorter one, and `*` comes last.
/// A wildcard stands for one or more whole labels.
///
/// ```
/// use lb_core::Routes;
///
/// let routes = Routes::new([("*", 0), ("*.example.com", 1), ("api.example.com", 2)]);
/// assert_eq!(routes.find("API.example.com:8080"), Some(2));
/// assert_eq!(routes.find("a.b.example.com"), Some(1));
/// assert_eq!(routes.find("example.com"), Some(0));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Routes {
    exact: BTreeMap<String, usize>,
    /// By what follows the `*.`.
    wildcards: BTreeMap<String, usize>,
    any: Option<usize>,
}

impl Routes {
    /// Routes from pairs of pattern and service.
    pub fn new<'h>(pairs: impl IntoIterator<Item = (&'h str, usize)>) -> Self {
        let mut routes = Self::default();
        for (pattern, service) in pairs {
            let pattern = pattern.to_ascii_lowercase();
            if pattern == "*" {
                routes.any = Some(service);
            } else if let Some(parent) = pattern.strip_prefix("*.") {
                routes.wildcards.insert(parent.to_owned(), service);
            } else {
                routes.exact.insert(pattern, service);
            }
        }
        routes
    }

    /// The service that `host` leads to. A port does not matter, nor does the case, nor the dot
    /// that ends a fully qualified name.
    pub fn find(&self, host: &str) -> Option<usize> {
        if self.exact.is_empty() && self.wildcards.is_empty() {
            return self.any;
        }
        let host = without_port(host).to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let wildcard =
            || host.match_indices('.').find_map(|(dot, _)| self.wildcards.get(&host[dot + 1..]));
        self.exact.get(host).or_else(wildcard).copied().or(self.any)
    }
}

/// `host` of `host:port`; the colons inside `[::1]` are not that colon.
fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}
