//! Which service a host name leads to: the most exact pattern wins.

use crate::host::Hosts;

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
    hosts: Hosts<usize>,
}

impl Routes {
    /// Routes from pairs of pattern and service.
    pub fn new<'h>(pairs: impl IntoIterator<Item = (&'h str, usize)>) -> Self {
        let mut hosts = Hosts::default();
        pairs.into_iter().for_each(|(pattern, service)| *hosts.entry(pattern) = service);
        Self { hosts }
    }

    /// The service that `host` leads to. A port does not matter, nor does the case, nor the dot
    /// that ends a fully qualified name.
    pub fn find(&self, host: &str) -> Option<usize> {
        self.hosts.find_map(host, |service| Some(*service))
    }
}
