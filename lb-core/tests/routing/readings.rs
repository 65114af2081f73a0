//! However a server reads the path that it is asked for, it is that of the route that was taken.

use lb_core::config::{PathPattern, RequestEdits, RouteConfig};
use lb_core::edit::target;
use lb_core::{Router, Unrouted};
use proptest::prelude::*;
use proptest::sample::select;

use crate::precedence::some_route;
use crate::support::{Asked, literal_router, route, router, values};

/// The path that a backend is asked for by a route that edits nothing, or why it is not asked.
fn forwarded(router: &Router, asked: &Asked) -> Result<(usize, String), Unrouted> {
    let found = router.find(asked)?;
    let target = target(&[&RequestEdits::default()], &values(asked, &found)).expect("it is short");
    let target = target.unwrap_or_else(|| asked.path.clone());
    let path = target.split('?').next().expect("there is a first");
    Ok((found.place().expect("nobody is sent away"), path.into()))
}

/// What servers make of a path that they are asked for; nothing is shared with the implementation.
fn readings(path: &str) -> Vec<String> {
    let slashes = |path: &str| {
        let mut out = path.to_owned();
        ["%2f", "%2F", "%5c", "%5C", "\\"].iter().for_each(|it| out = out.replace(it, "/"));
        out
    };
    let bare = |path: &str| {
        let segments = path.split('/').map(|it| it.split_once(';').map_or(it, |(first, _)| first));
        segments.collect::<Vec<_>>().join("/")
    };
    let merged = |path: &str| {
        let mut out = path.to_owned();
        while out.contains("//") {
            out = out.replace("//", "/");
        }
        out
    };
    let mut all = vec![path.to_owned(), slashes(path), bare(path)];
    all.extend([bare(&slashes(path)), slashes(&bare(path))]);
    all.extend(all.clone().iter().map(|path| merged(path)));
    all
}

fn some_path() -> impl Strategy<Value = String> {
    let pieces =
        ["/", "/", "/", "a", "b", ".", "..", "%2e", "%61", "%2F", "%2f", "%5C", "\\", ";", "%00"];
    let pieces = prop::collection::vec(select(pieces.to_vec()), 0..10);
    pieces.prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_forwarded_its_other_readings_are_routed_the_same(
        routes in prop::collection::vec(some_route(), 1..12),
        host in select(vec!["a.x", "c.a.x", "y"]),
        paths in prop::collection::vec(some_path(), 1..12),
    ) {
        let routes: Vec<RouteConfig> = routes.into_iter().map(|(_, route)| route).collect();
        let as_written = literal_router(routes.clone());
        let router = router(routes);
        for path in paths {
            let asked = Asked::get(&format!("{host}{path}"));
            let Ok((place, forwarded)) = forwarded(&router, &asked) else { continue };
            for reading in readings(&forwarded) {
                let dots = |it: &str| matches!(&*it.to_lowercase().replace("%2e", "."), "." | "..");
                prop_assert!(!reading.contains("%00"), "{} as {}", path, forwarded);
                prop_assert!(!forwarded.split('/').any(dots), "{} as {}", path, forwarded);
                prop_assert!(!reading.contains("/../") && !reading.ends_with("/.."), "{} as {}", path, reading);
                let read = as_written.find(&Asked { path: reading.clone(), ..asked.clone() });
                let read = read.ok().and_then(|found| found.place());
                prop_assert_eq!(read, Some(place), "{} as {}", path, reading);
            }
        }
    }

    #[test]
    fn a_path_of_which_there_is_one_reading_is_never_refused(
        routes in prop::collection::vec(some_route(), 1..12),
        path in "(/|/a|/b|/[.]|/[.][.]|/%61|/%20|/:@,=+){1,8}",
    ) {
        let router = router(routes.into_iter().map(|(_, route)| route).collect());
        let is_doubled = path.contains("//");
        let refused = router.find(&Asked::get(&format!("a.x{path}"))).err() == Some(Unrouted::AmbiguousPath);
        prop_assert!(is_doubled || !refused, "{}", path);
    }
}

fn prefix(text: &str) -> RouteConfig {
    route(text, PathPattern::prefix(text).expect("a prefix"))
}

#[test]
fn no_spelling_walks_around_a_route() {
    let router = router(vec![prefix("/admin"), prefix("/")]);
    for path in [
        "/admin%2fsecret",
        "/admin%5csecret",
        "/admin\\secret",
        "//admin/secret",
        "/%2fadmin",
        "/admin;x=1/secret",
        "/x;/..;/admin",
        "/x/..%2fadmin",
        "/x%2f..%2fadmin",
        "/;/admin",
        "/x%00",
    ] {
        let refused = forwarded(&router, &Asked::get(&format!("h{path}")));
        assert_eq!(refused, Err(Unrouted::AmbiguousPath), "{path}");
    }
}

#[test]
fn what_leads_to_one_place_in_all_readings_passes_as_it_came() {
    let router = router(vec![prefix("/admin"), prefix("/bucket"), prefix("/")]);
    for (path, place) in [
        ("/@scope%2fname", 2),
        ("/a//b;c=1/%5C", 2),
        ("/bucket//key%2Fwith;all", 1),
        ("/admin/a;x//b%2f", 0),
        ("/admin%2", 2),
        ("/%61dmin%7e/%2a", 2),
    ] {
        let found = forwarded(&router, &Asked::get(&format!("h{path}?q=/..")));
        assert_eq!(found, Ok((place, path.into())), "{path}");
    }
}

#[test]
fn a_path_whose_dots_were_followed_goes_on_without_them() {
    let router = router(vec![prefix("/admin"), prefix("/")]);
    for (path, place, goes_on) in [
        ("/x/../admin/%61%2a", 0, "/admin/a%2A"),
        ("/admin/%2e%2E/public", 1, "/public"),
        ("/admin/../public/.", 1, "/public/"),
        ("/x//../y", 1, "/x/y"),
        ("/../../y", 1, "/y"),
        ("/.well-known/..a/%2e%2e%2e", 1, "/.well-known/..a/%2e%2e%2e"),
    ] {
        let found = forwarded(&router, &Asked::get(&format!("h{path}")));
        assert_eq!(found, Ok((place, goes_on.into())), "{path}");
    }
    let asked = Asked::get("h/a/../b?c=/../d");
    let found = router.find(&asked).expect("all are taken");
    let asks = target(&[], &values(&asked, &found));
    assert_eq!(asks, Ok(Some("/b?c=/../d".into())), "its query stays");
}

#[test]
fn who_says_so_has_ambiguous_paths_pass_as_they_are_written() {
    let router = literal_router(vec![prefix("/admin"), prefix("/")]);
    for path in ["/admin%2fsecret", "//admin", "/admin;x", "/x%00"] {
        let found = forwarded(&router, &Asked::get(&format!("h{path}")));
        assert_eq!(found, Ok((1, path.into())), "{path}");
    }
}
