//! Which route takes what, by example.

use lb_core::config::{
    Action, Conditions, FieldTest, HttpsConfig, PathPattern, RouteConfig, RoutingConfig, Slot,
    Template, Test,
};
use lb_core::{Router, Scheme, Unrouted};

use crate::support::{Asked, route, router};

fn exact(text: &str) -> RouteConfig {
    route(text, PathPattern::exact(text).expect("a path"))
}

fn prefix(text: &str) -> RouteConfig {
    let path = PathPattern::prefix(text).expect("a prefix");
    RouteConfig { name: format!("{text}.."), ..route("", path) }
}

/// The name of the route, and what it captured.
fn found(router: &Router, request: &Asked) -> String {
    let found = match router.find(request) {
        Ok(found) => found,
        Err(Unrouted::NoRoute) => return "none".into(),
        Err(Unrouted::AmbiguousPath) => return "ambiguous".into(),
    };
    let captures = found.route().path.captures().count();
    let captures = (0..captures).map(|place| found.capture(place, request));
    [&*found.route().name].into_iter().chain(captures).collect::<Vec<_>>().join(" ")
}

fn check(routes: Vec<RouteConfig>, cases: &[(&str, &str)]) {
    let router = router(routes);
    for (url, expected) in cases {
        assert_eq!(found(&router, &Asked::get(url)), *expected, "{url}");
    }
}

#[test]
fn a_path_goes_to_the_most_exact_pattern_from_its_left() {
    let routes = vec![
        prefix("/"),
        prefix("/api"),
        prefix("/api/v1"),
        exact("/api/v1"),
        exact("/api/{version}"),
        exact("/api/{version}/users/{id}"),
        exact("/api/v1/users/me"),
        exact("/files/{*rest}"),
        exact("/files/"),
        prefix("/files"),
        prefix("/{tenant}/admin"),
    ];
    check(
        routes,
        &[
            ("h/", "/.."),
            ("h/apis", "/.."),
            ("h/api", "/api.."),
            ("h/api/", "/api.."),
            ("h/api/v1", "/api/v1"),
            ("h/api/v1/", "/api/v1.."),
            ("h/api/v2", "/api/{version} v2"),
            ("h/api/v2/users/7", "/api/{version}/users/{id} v2 7"),
            ("h/api/v2/users/7/posts", "/api.."),
            // `v1` stands there, so the prefix that says so goes before the pattern that does not.
            ("h/api/v1/users/7", "/api/v1.."),
            ("h/api/v1/users/me", "/api/v1/users/me"),
            ("h/api//users/7", "/api.."),
            ("h/files", "/files.."),
            ("h/files/", "/files/"),
            ("h/files/a/b", "/files/{*rest} a/b"),
            ("h/acme/admin/x", "/{tenant}/admin.. acme"),
            ("h/acme/admins", "/.."),
        ],
    );
}

#[test]
fn a_path_is_taken_however_it_is_written() {
    let routes = vec![exact("/admin"), exact("/a/{x}"), prefix("/public"), exact("/%C3%A9")];
    check(
        routes,
        &[
            ("h/%61dmin", "/admin"),
            ("h/public/../admin", "/admin"),
            ("h/public/%2e%2E/admin", "/admin"),
            ("h/./public", "/public.."),
            ("h/a/b%2fc", "ambiguous"),
            ("h/public/b%2fc", "/public.."),
            ("h/%c3%a9", "/%C3%A9"),
            ("h/admin/", "none"),
            ("h//admin", "none"),
            ("h/public%2f..%2fadmin", "none"),
        ],
    );
}

#[test]
fn a_host_is_an_overlay_over_its_wildcards() {
    let on = |host: &str, route: RouteConfig| {
        let name = format!("{host}{}", route.name);
        RouteConfig { name, hosts: vec![host.into()], ..route }
    };
    let routes = vec![
        on("*", prefix("/")),
        on("*.example.com", exact("/health")),
        on("*.b.example.com", exact("/b")),
        on("a.example.com", prefix("/app")),
        on("[::1]", prefix("/")),
    ];
    check(
        routes,
        &[
            ("a.example.com/app/x", "a.example.com/app.."),
            ("A.Example.COM.:8080/app", "a.example.com/app.."),
            ("a.example.com/health", "*.example.com/health"),
            ("a.example.com/else", "*/.."),
            ("x.b.example.com/b", "*.b.example.com/b"),
            ("x.b.example.com/health", "*.example.com/health"),
            ("example.com/health", "*/.."),
            (".example.com/health", "*/.."),
            ("[::1]:80/x", "[::1]/.."),
            ("a@a.example.com/health", "*/.."),
            ("/x", "*/.."),
        ],
    );
}

#[test]
fn an_address_is_the_same_however_it_is_written() {
    let on = |host: &str| RouteConfig { hosts: vec![host.into()], ..prefix("/") };
    for said in ["[2001:db8::1]", "[2001:0DB8:0:0::0:1]"] {
        check(
            vec![on(said)],
            &[
                ("[2001:db8::1]/", "/.."),
                ("[2001:DB8:0::1]:80/", "/.."),
                ("[2001:0db8:0000:0000:0000:0000:0000:0001]/", "/.."),
                ("[2001:db8::0.0.0.1]/", "/.."),
                ("[2001:db8::2]/", "none"),
                ("[2001:db8::1::]/", "none"),
                ("2001:db8::1/", "none"),
            ],
        );
    }
}

#[test]
fn a_path_that_is_none_belongs_to_whoever_takes_all() {
    let router = router(vec![exact("/{x}"), prefix("/")]);
    let options = Asked { method: "OPTIONS".into(), path: "*".into(), ..Asked::get("h/") };
    assert_eq!(found(&router, &options), "/..");
    let empty = Asked { path: String::new(), ..options };
    assert_eq!(found(&router, &empty), "/..");
}

fn test(name: &str, test: Test) -> FieldTest {
    FieldTest { name: name.into(), test }
}

#[test]
fn conditions_hold_or_the_next_route_is_asked() {
    let ranges = |text: &str| vec![text.parse().expect("a range")];
    let with =
        |name: &str, conditions| RouteConfig { conditions, ..route(name, PathPattern::any()) };
    let none = Conditions::default;
    let text = |text: &str| text.to_owned();
    let post = Conditions { methods: vec![text("POST"), text("GET")], ..none() };
    let beta =
        vec![test("x-user", Test::Prefix(text("be"))), test("x-user", Test::Contains(text("ta")))];
    let beta =
        Conditions { headers: beta, query: vec![test("v", Test::Equals(text("1 2")))], ..none() };
    let office =
        Conditions { sources: ranges("192.0.2.0/24"), methods: vec![text("PUT")], ..none() };
    let tls = Conditions { scheme: Some(Scheme::Https), ..none() };
    let flag = Conditions {
        query: vec![test("flag", Test::Present)],
        methods: vec![text("DELETE")],
        ..none()
    };
    let router = router(vec![
        with("all", none()),
        with("post", post),
        with("beta", beta),
        with("office", office),
        with("tls", tls),
        with("flag", flag),
    ]);
    let by = |method: &str, url: &str| Asked { method: method.into(), ..Asked::get(url) };
    for (request, expected) in [
        (by("PATCH", "h/"), "all"),
        (by("HEAD", "h/"), "post"),
        (by("get", "h/"), "all"),
        (by("PUT", "h/"), "office"),
        (Asked { client: None, ..by("PUT", "h/") }, "all"),
        (by("GET", "h/?v=1+2").with("x-user", "beta"), "beta"),
        (by("GET", "h/?%76=1%202&v=3").with("x-user", "beta"), "beta"),
        (by("GET", "h/?v=3&v=1+2").with("x-user", "beta"), "post"),
        (by("GET", "h/?v=1+2").with("x-user", "bet").with("x-user", "beta"), "post"),
        (Asked { scheme: Scheme::Https, ..by("PATCH", "h/") }, "tls"),
        (by("DELETE", "h/?a&flag"), "flag"),
        (by("DELETE", "h/?flags"), "all"),
    ] {
        assert_eq!(found(&router, &request), expected, "{request:?}");
    }
}

#[test]
fn a_protocol_is_the_same_in_any_case() {
    let asks = vec![test("upgrade", Test::Equals("websocket".into()))];
    let conditions = Conditions { headers: asks, ..Conditions::default() };
    let router = router(vec![RouteConfig { conditions, ..prefix("/") }]);
    for (said, expected) in [("websocket", "/.."), ("WebSocket", "/.."), ("web", "none")] {
        let request = Asked::get("h/").with("upgrade", said);
        assert_eq!(found(&router, &request), expected, "{said}");
    }
}

#[test]
fn who_comes_without_tls_is_sent_to_tls_before_any_route() {
    let to = Template::parse("https://{host}:8443{path}{query}", Slot::Redirect, &[]);
    let https = HttpsConfig {
        status: 308,
        to: to.expect("a url"),
        hosts: vec!["*.example.com".into()],
        except: vec![PathPattern::prefix("/.well-known/acme-challenge").expect("a prefix")],
    };
    let routes = vec![exact("/{x}"), prefix("/")];
    let router =
        Router::new(&RoutingConfig { https: Some(https), routes, ..RoutingConfig::default() });
    for (url, expected) in [
        ("a.example.com/x", "https"),
        ("a.example.com/.well-known/acme-challenge/token", "/.."),
        ("a.example.com/.well-known/acme-challenge/../x", "https"),
        ("b.example.org/x", "/{x} x"),
    ] {
        let request = Asked::get(url);
        assert_eq!(found(&router, &request), expected, "{url}");
        let with_tls = Asked { scheme: Scheme::Https, ..request };
        assert_ne!(found(&router, &with_tls), "https", "{url}");
    }
    let request = Asked::get("a.example.com/x?y");
    let found = router.find(&request).expect("all are taken");
    let Action::Redirect { to, status: 308 } = &found.route().action else {
        panic!("it redirects")
    };
    let to = to.fill(&crate::support::values(&request, &found));
    assert_eq!(to.as_deref(), Some("https://a.example.com:8443/x?y"));
    assert_eq!(found.place(), None);
}
