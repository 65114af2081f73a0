//! A request in a few words.

use core::net::IpAddr;

use lb_core::config::{Action, AmbiguousPaths, PathPattern, RouteConfig, RoutingConfig, Values};
use lb_core::{Facts, Match, Request, Router, Scheme};

/// A request, of which nothing is checked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) scheme: Scheme,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) client: Option<IpAddr>,
}

impl Asked {
    /// A GET of `host/path?query` by 192.0.2.7.
    pub(crate) fn get(url: &str) -> Self {
        let (host, target) = url.split_at(url.find('/').expect("a url has a path"));
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        Self {
            method: "GET".into(),
            host: host.into(),
            scheme: Scheme::Http,
            path: path.into(),
            query,
            headers: Vec::new(),
            client: Some([192, 0, 2, 7].into()),
        }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

impl Facts for Asked {
    fn client(&self) -> Option<IpAddr> {
        self.client
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        let mut headers = self.headers.iter();
        headers.find(|(is, _)| is == name).map(|(_, value)| value.as_bytes())
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }
}

impl Request for Asked {
    fn method(&self) -> &str {
        &self.method
    }

    fn host(&self) -> &str {
        &self.host
    }

    fn scheme(&self) -> Scheme {
        self.scheme
    }
}

/// A route to the first service for any host.
pub(crate) fn route(name: &str, path: PathPattern) -> RouteConfig {
    RouteConfig { path, ..RouteConfig::catch_all(name, vec!["*".into()], Action::Service(0)) }
}

pub(crate) fn router(routes: Vec<RouteConfig>) -> Router {
    Router::new(&RoutingConfig { routes, ..RoutingConfig::default() })
}

/// A table that takes paths as they are written, whoever reads them otherwise.
pub(crate) fn literal_router(routes: Vec<RouteConfig>) -> Router {
    let ambiguous_paths = AmbiguousPaths::Pass;
    Router::new(&RoutingConfig { routes, ambiguous_paths, ..RoutingConfig::default() })
}

/// What is filled in for `found`.
pub(crate) fn values<'v>(request: &'v Asked, found: &'v Match<'v>) -> Values<'v> {
    let (service, backend) = ("api", "http://10.0.0.1:3000");
    Values { request, found, request_id: &"00c0ffee", service, backend }
}
