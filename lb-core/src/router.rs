//! Which route takes a request: of all that match, the most exact.
//!
//! The order does not depend on what else is in the file:
//!
//! 1. the most exact host: a name, then the longest wildcard, then `*`;
//! 2. the most exact path, as [`PathPattern`](crate::config::PathPattern) orders them;
//! 3. more conditions before fewer ([`Conditions::count`](crate::config::Conditions::count));
//! 4. what stands first in the file.
//!
//! A route whose conditions do not hold is as if it were not there: the next one in the order is
//! looked at, up to `*`. So a host's routes are an overlay over what a wildcard says.
//!
//! ```
//! use lb_core::config::{Action, PathPattern, RouteConfig, RoutingConfig};
//! use lb_core::{Facts, Request, Router, Scheme};
//! # use core::net::IpAddr;
//! struct Get(&'static str);
//! impl Request for Get {
//!     fn method(&self) -> &str { "GET" }
//!     fn host(&self) -> &str { "example.com:8080" }
//!     fn scheme(&self) -> Scheme { Scheme::Http }
//! }
//! impl Facts for Get {
//!     fn client(&self) -> Option<IpAddr> { None }
//!     fn header(&self, _name: &str) -> Option<&[u8]> { None }
//!     fn path(&self) -> &str { self.0 }
//!     fn query(&self) -> Option<&str> { None }
//! }
//!
//! let all = RouteConfig::catch_all("all", vec!["example.com".into()], Action::Service(0));
//! let user = RouteConfig {
//!     name: "user".into(),
//!     path: PathPattern::exact("/users/{id}")?,
//!     ..RouteConfig::catch_all("", vec!["*.com".into(), "example.com".into()], Action::Service(1))
//! };
//! let router = Router::new(&RoutingConfig { routes: vec![all, user], ..Default::default() });
//!
//! let request = Get("/users/%37");
//! let found = router.find(&request).expect("it is for a host of ours");
//! assert_eq!((&*found.route().name, found.capture(0, &request)), ("user", "7"));
//! assert_eq!(router.find(&Get("/")).unwrap().route().name, "all");
//! # Ok::<(), lb_core::config::BadPath>(())
//! ```
//!
//! Where some servers read a path otherwise than it is compared here, and that would be for another route,
//! the request is [ambiguous](Unrouted::AmbiguousPath): no other spelling walks around a route.
//!
//! Looking up costs some steps for each label of the host and each segment of the path, whatever the
//! number of routes, and allocates nothing unless the path is not in its normal form or could be read
//! otherwise. Routes that differ in their conditions alone are looked at one by one.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use crate::config::{
    Action, AmbiguousPaths, CAPTURES_MAX, HttpsConfig, PathPattern, RouteConfig, RoutingConfig,
    Scheme,
};
use crate::host::Hosts;
use crate::path::{Piece, Tail};
use crate::percent::{has_dot_segments, normal_path};
use crate::reading;
use crate::request::Request;

/// All routes of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Router {
    routes: Box<[RouteConfig]>,
    hosts: Hosts<Node>,
    https: Option<Https>,
    ambiguous_paths: AmbiguousPaths,
}

/// Why no route takes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrouted {
    /// None has its host and path, or none whose conditions hold.
    NoRoute,
    /// One has its path, and to some servers that is the path of another one, or leads out of what a
    /// route is for.
    AmbiguousPath,
}

/// Who is sent away before any route is looked for.
#[derive(Clone, Debug)]
struct Https {
    route: RouteConfig,
    hosts: Hosts<()>,
    except: Node,
}

/// A place in the tree of paths: what may come next, and who takes a path that ends here.
#[derive(Clone, Debug, Default)]
struct Node {
    literals: BTreeMap<Box<str>, Node>,
    capture: Option<Box<Node>>,
    ends: Vec<usize>,
    rests: Vec<usize>,
    below: Vec<usize>,
}

/// A route that takes a request, and what of its path was captured.
#[derive(Clone, Debug)]
pub struct Match<'t> {
    route: &'t RouteConfig,
    place: Option<usize>,
    /// The path in its normal form, if the request says it in another.
    normal: Option<String>,
    captures: Captures,
}

/// From where to where captures reach, in the normal form of the path.
#[derive(Clone, Copy, Debug, Default)]
struct Captures {
    ranges: [(u32, u32); CAPTURES_MAX],
    count: usize,
}

impl Router {
    /// A table of these routes.
    pub fn new(config: &RoutingConfig) -> Self {
        let mut hosts = Hosts::<Node>::default();
        let mut order: Vec<usize> = (0..config.routes.len()).collect();
        // Stable, so that the order of the file decides between those that are alike.
        order.sort_by_key(|place| core::cmp::Reverse(config.routes[*place].conditions.count()));
        for place in order {
            let route = &config.routes[place];
            for host in &route.hosts {
                hosts.entry(host).add(&route.path, place);
            }
        }
        Self {
            routes: config.routes.as_slice().into(),
            hosts,
            https: config.https.as_ref().map(Https::new),
            ambiguous_paths: config.ambiguous_paths,
        }
    }

    /// The route that takes `request`.
    ///
    /// # Errors
    /// Why none does.
    pub fn find(&self, request: &dyn Request) -> Result<Match<'_>, Unrouted> {
        let path = normal_path(request.path());
        let (place, captures) = self.look(request, &path).ok_or(Unrouted::NoRoute)?;
        let is_alike =
            |other: &str| self.look(request, other).is_some_and(|(found, _)| found == place);
        if self.ambiguous_paths == AmbiguousPaths::Refuse && !reading::are_alike(&path, is_alike) {
            return Err(Unrouted::AmbiguousPath);
        }
        let normal = match path {
            Cow::Borrowed(_) => None,
            Cow::Owned(normal) => Some(normal),
        };
        let route = match (place, &self.https) {
            (None, Some(https)) => &https.route,
            (place, _) => &self.routes[place.expect("who is not sent away has a route")],
        };
        Ok(Match { route, place, normal, captures })
    }

    /// The place of the route that takes a path in its normal form, or `None` for the redirect to HTTPS.
    fn look(&self, request: &dyn Request, path: &str) -> Option<(Option<usize>, Captures)> {
        let mut search = Search { request, path, captures: Captures::default() };
        let place = match &self.https {
            Some(https) if https.takes(&mut search) => None,
            _ => Some(self.hosts.find_map(request.host(), |node| search.find(node, &self.routes))?),
        };
        Some((place, search.captures))
    }
}

impl<'t> Match<'t> {
    /// The route.
    pub const fn route(&self) -> &'t RouteConfig {
        self.route
    }

    /// Its place in [`RoutingConfig::routes`]; `None` for the redirect to HTTPS.
    pub const fn place(&self) -> Option<usize> {
        self.place
    }

    /// The path in its normal form. `request` is the one that was asked about.
    pub fn path<'s>(&'s self, request: &'s dyn Request) -> &'s str {
        self.normal.as_deref().unwrap_or_else(|| request.path())
    }

    /// The path that a backend is asked for in place of the one that the request says, where that has
    /// dots that were followed to find the route: they would be followed once more, and perhaps
    /// otherwise (RFC 3986 §5.2.4). `request` is the one that was asked about.
    pub fn followed(&self, request: &dyn Request) -> Option<&str> {
        self.normal.as_deref().filter(|_| has_dot_segments(request.path()))
    }

    /// What the capture at `place` of the route's pattern took, as it stands in the path, encoded;
    /// empty if there is no such capture. `request` is the one that was asked about.
    pub fn capture<'s>(&'s self, place: usize, request: &'s dyn Request) -> &'s str {
        let taken = &self.captures.ranges[..self.captures.count];
        let range = taken.get(place).map(|(start, end)| *start as usize..*end as usize);
        range.and_then(|range| self.path(request).get(range)).unwrap_or_default()
    }
}

impl Https {
    fn new(config: &HttpsConfig) -> Self {
        let action = Action::Redirect { to: config.to.clone(), status: config.status };
        let mut hosts = Hosts::<()>::default();
        config.hosts.iter().for_each(|host| *hosts.entry(host) = ());
        let mut except = Node::default();
        config.except.iter().for_each(|path| except.add(path, 0));
        Self { route: RouteConfig::catch_all("https", config.hosts.clone(), action), hosts, except }
    }

    fn takes(&self, search: &mut Search<'_>) -> bool {
        search.request.scheme() == Scheme::Http
            && self.hosts.find_map(search.request.host(), Some).is_some()
            && search.walk(&self.except, search.start(), &|_| true).is_none()
    }
}

impl Node {
    fn add(&mut self, pattern: &PathPattern, place: usize) {
        let mut node = self;
        for piece in &pattern.pieces {
            node = match piece {
                Piece::Literal(literal) => {
                    node.literals.entry(literal.as_str().into()).or_default()
                }
                Piece::Capture(_) => node.capture.get_or_insert_default(),
            };
        }
        match pattern.tail {
            Tail::End => node.ends.push(place),
            Tail::Rest(_) => node.rests.push(place),
            Tail::Below => node.below.push(place),
        }
    }
}

/// A request on its way through the tree.
struct Search<'r> {
    request: &'r dyn Request,
    path: &'r str,
    captures: Captures,
}

impl Search<'_> {
    fn find(&mut self, node: &Node, routes: &[RouteConfig]) -> Option<usize> {
        let request = self.request;
        let holds = |place: usize| routes[place].conditions.hold(request);
        self.captures = Captures::default();
        self.walk(node, self.start(), &holds)
    }

    /// Where the first segment begins, if there is one.
    fn start(&self) -> Option<usize> {
        self.path.starts_with('/').then_some(1)
    }

    /// The first route below `node` that takes what of the path begins at `rest`; `None` there means
    /// that the path has ended. No deeper than patterns are, and at no node twice.
    fn walk(
        &mut self,
        node: &Node,
        rest: Option<usize>,
        holds: &dyn Fn(usize) -> bool,
    ) -> Option<usize> {
        let first = |places: &[usize]| places.iter().copied().find(|place| holds(*place));
        let Some(start) = rest else { return first(&node.ends).or_else(|| first(&node.below)) };
        let end = self.path[start..].find('/').map_or(self.path.len(), |slash| start + slash);
        let next = (end < self.path.len()).then_some(end + 1);
        if let Some(child) = node.literals.get(&self.path[start..end])
            && let Some(found) = self.walk(child, next, holds)
        {
            return Some(found);
        }
        if let Some(child) = node.capture.as_deref().filter(|_| start < end) {
            self.captures.push(start, end);
            if let Some(found) = self.walk(child, next, holds) {
                return Some(found);
            }
            self.captures.count -= 1;
        }
        if let Some(found) = first(&node.rests) {
            self.captures.push(start, self.path.len());
            return Some(found);
        }
        first(&node.below)
    }
}

impl Captures {
    fn push(&mut self, start: usize, end: usize) {
        let place = |at| u32::try_from(at).expect("no path has 4 GiB");
        // Several patterns share the tree, none of which has more.
        self.ranges[self.count] = (place(start), place(end));
        self.count += 1;
    }
}
