//! Finding a route takes nothing from the heap, however many there are.

#![cfg(not(loom))]

use core::net::IpAddr;
use std::alloc::System;

use lb_core::config::{
    Action, Conditions, FieldTest, PathPattern, RouteConfig, RoutingConfig, Test,
};
use lb_core::{Facts, Request, Router, Scheme};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

struct Asked<'a> {
    host: &'a str,
    path: &'a str,
}

impl Facts for Asked<'_> {
    fn client(&self) -> Option<IpAddr> {
        Some([192, 0, 2, 7].into())
    }

    fn header(&self, _name: &str) -> Option<&[u8]> {
        Some(b"some value")
    }

    fn path(&self) -> &str {
        self.path
    }

    fn query(&self) -> Option<&str> {
        Some("a=1&b=2")
    }
}

impl Request for Asked<'_> {
    fn method(&self) -> &'static str {
        "GET"
    }

    fn host(&self) -> &str {
        self.host
    }

    fn scheme(&self) -> Scheme {
        Scheme::Http
    }
}

/// A thousand routes: ten kinds on each of a hundred hosts.
fn router() -> Router {
    let value = |text: &str| Test::Contains(text.to_owned());
    let test = |name: &str, test| FieldTest { name: name.to_owned(), test };
    let paths = ["/", "/a", "/a/b", "/c", "/users", "/static", "/x/y/z"].map(PathPattern::prefix);
    let patterns = ["/users/{id}", "/users/{id}/{*rest}", "/users/me"].map(PathPattern::exact);
    let mut routes = Vec::new();
    for host in 0..100 {
        for path in paths.iter().chain(&patterns) {
            let conditions = Conditions {
                methods: vec!["GET".to_owned()],
                headers: vec![test("x-some", value("me"))],
                query: vec![test("b", value("2"))],
                sources: vec!["192.0.2.0/24".parse().expect("a range")],
                ..Conditions::default()
            };
            let hosts = vec![format!("h{host}.example.com"), format!("*.w{host}.example.com")];
            let path = path.clone().expect("a path");
            let route = RouteConfig::catch_all("", hosts, Action::Service(0));
            routes.push(RouteConfig { path, conditions, ..route });
        }
    }
    Router::new(&RoutingConfig { routes, ..RoutingConfig::default() })
}

#[test]
fn finding_one_of_a_thousand_routes_takes_nothing_from_the_heap() {
    let region = Region::new(HEAP);
    let router = router();
    assert!(region.change().allocations > 1_000, "the heap is watched");
    let asked = [
        ("H42.Example.com:8080", "/users/7/posts/1", true),
        ("a.b.w99.example.com", "/static/app.js", true),
        ("h0.example.com", "/a%20b", true),
        ("unknown.example.com", "/", false),
        ("[2001:DB8:0::1]:80", "/", false),
    ];
    // The harness has a thread of its own that takes from the heap now and then. What a lookup takes
    // it takes every time.
    let taken = (0..10).map(|_| {
        let region = Region::new(HEAP);
        for (host, path, is_known) in asked {
            assert_eq!(router.find(&Asked { host, path }).is_ok(), is_known);
        }
        region.change().allocations + region.change().reallocations
    });
    assert_eq!(taken.min(), Some(0));
}
