//! A table picks the route that trying all of them picks, and one that is hidden is never picked.

use core::cmp::Reverse;

use lb_core::config::{Conditions, FieldTest, PathPattern, RouteConfig, Test};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::support::{Asked, literal_router, route};

/// Where a path differs from what else takes it: what is less goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Said,
    Any,
    Rest,
    Below,
}

/// How `pattern`, which is a prefix if it ends in `..`, takes `path`; nothing is shared with the
/// implementation but the words.
fn ranks(pattern: &str, path: &str) -> Option<Vec<Rank>> {
    let (pattern, is_prefix) = match pattern.strip_suffix("..") {
        Some(prefix) => (prefix, true),
        None => (pattern, false),
    };
    let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let pattern: Vec<&str> =
        pattern.split('/').skip(1).filter(|it| !it.is_empty() || !is_prefix).collect();
    let mut ranks = Vec::new();
    for (place, wanted) in pattern.iter().enumerate() {
        let segment = segments.get(place)?;
        match *wanted {
            "{*r}" => {
                ranks.push(Rank::Rest);
                return Some(ranks);
            }
            "{x}" | "{y}" if !segment.is_empty() => ranks.push(Rank::Any),
            wanted if wanted == *segment => ranks.push(Rank::Said),
            _ => return None,
        }
    }
    ranks.push(if is_prefix { Rank::Below } else { Rank::Said });
    (is_prefix || segments.len() == pattern.len()).then_some(ranks)
}

fn host_rank(pattern: &str, host: &str) -> Option<(u8, Reverse<usize>)> {
    match pattern.strip_prefix('*') {
        Some("") => Some((2, Reverse(0))),
        Some(parent) => host.ends_with(parent).then_some((1, Reverse(parent.len()))),
        None => (pattern == host).then_some((0, Reverse(0))),
    }
}

/// Tries all.
fn reference(routes: &[(String, RouteConfig)], asked: &Asked) -> Option<usize> {
    let keys = routes.iter().enumerate().filter_map(|(place, (pattern, route))| {
        let host = route.hosts.iter().filter_map(|host| host_rank(host, &asked.host)).min()?;
        let path = ranks(pattern, &asked.path)?;
        let conditions = &route.conditions;
        conditions.hold(asked).then_some((host, path, Reverse(conditions.count()), place))
    });
    keys.min().map(|(.., place)| place)
}

fn some_hosts() -> impl Strategy<Value = Vec<String>> {
    let all = ["a.x", "b.x", "c.a.x", "*.x", "*.a.x", "*"].map(String::from).to_vec();
    subsequence(all, 1..3)
}

fn some_pattern() -> impl Strategy<Value = String> {
    let piece = select(vec!["a", "b", "{x}"]);
    let tail = select(vec!["", "..", "/{*r}", "/{y}", "/"]);
    (prop::collection::vec(piece, 0..4), tail).prop_filter_map("is one", |(pieces, tail)| {
        let has_twice = pieces.iter().filter(|piece| **piece == "{x}").count() > 1;
        let text: String = pieces.iter().flat_map(|piece| ["/", piece]).chain([tail]).collect();
        let text = if text.starts_with('/') { text } else { format!("/{text}") };
        (!has_twice && pattern(&text).is_some()).then_some(text)
    })
}

fn pattern(text: &str) -> Option<PathPattern> {
    match text.strip_suffix("..") {
        Some(prefix) => PathPattern::prefix(prefix).ok(),
        None => PathPattern::exact(text).ok(),
    }
}

fn some_conditions() -> impl Strategy<Value = Conditions> {
    let methods = subsequence(vec!["GET".to_owned(), "POST".to_owned(), "HEAD".to_owned()], 0..3);
    let value = || select(vec!["", "a", "ab", "b"]).prop_map(String::from);
    let test = prop_oneof![
        Just(Test::Present),
        value().prop_map(Test::Equals),
        value().prop_map(Test::Prefix),
        value().prop_map(Test::Contains),
    ];
    let test = (select(vec!["k", "l"]), test)
        .prop_map(|(name, test)| FieldTest { name: name.into(), test });
    let tests = prop::collection::vec(test, 0..3);
    let sources = subsequence(vec!["192.0.2.0/24", "192.0.2.0/25", "10.0.0.0/8"], 0..3);
    (methods, tests.clone(), tests, sources).prop_map(|(methods, headers, query, sources)| {
        let sources = sources.iter().map(|text| text.parse().expect("a range")).collect();
        Conditions { methods, scheme: None, headers, query, sources }
    })
}

pub(crate) fn some_route() -> impl Strategy<Value = (String, RouteConfig)> {
    let conditions = prop_oneof![Just(Conditions::default()), some_conditions()];
    (some_hosts(), some_pattern(), conditions).prop_map(|(hosts, text, conditions)| {
        let path = pattern(&text).expect("it is one");
        (text, RouteConfig { hosts, conditions, ..route("", path) })
    })
}

fn some_request() -> impl Strategy<Value = Asked> {
    let host = select(vec!["a.x", "b.x", "c.a.x", "d.c.a.x", "x", "y"]);
    let method = select(vec!["GET", "HEAD", "POST", "PUT"]);
    let segments = prop::collection::vec(select(vec!["a", "b", "c", ""]), 1..5);
    let value = || prop::option::of(select(vec!["", "a", "ab", "b", "cab"]));
    let client = prop::option::of(select(vec!["192.0.2.1", "192.0.2.200", "10.1.1.1"]));
    (host, method, segments, value(), value(), client).prop_map(
        |(host, method, segments, header, query, client)| {
            let asked = Asked::get(&format!("{host}/{}", segments.join("/")));
            let headers = header.map(|value| ("k".to_owned(), value.to_owned()));
            Asked {
                method: method.into(),
                query: query.map(|value| format!("l={value}")),
                headers: headers.into_iter().collect(),
                client: client.map(|client| client.parse().expect("an address")),
                ..asked
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_table_picks_what_trying_all_routes_picks(
        routes in prop::collection::vec(some_route(), 0..24),
        requests in prop::collection::vec(some_request(), 1..12),
    ) {
        let table = literal_router(routes.iter().map(|(_, route)| route.clone()).collect());
        for request in &requests {
            let found = table.find(request).ok().map(|found| found.place().expect("a route"));
            prop_assert_eq!(found, reference(&routes, request), "{:?} {:#?}", request, routes);
        }
    }

    #[test]
    fn what_is_hidden_is_never_picked(
        first in some_conditions(),
        second in some_conditions(),
        requests in prop::collection::vec(some_request(), 1..40),
    ) {
        let with = |conditions| RouteConfig { conditions, ..route("", PathPattern::any()) };
        let routes = vec![with(first), with(second)];
        let is_hidden = routes[0].hides(&routes[1]);
        let table = literal_router(routes);
        for request in requests {
            let found = table.find(&request).ok().and_then(|found| found.place());
            prop_assert!(!is_hidden || found != Some(1), "{:?}", request);
        }
    }

    #[test]
    fn a_pattern_is_written_as_it_is_read(text in r"(/|a|%2F|\{x\}|\{\*y\}|\{|\PC){0,10}") {
        for read in [PathPattern::exact, PathPattern::prefix] {
            if let Ok(pattern) = read(&text) {
                prop_assert_eq!(pattern.to_string(), &*text);
                prop_assert!(text.starts_with('/'));
            }
        }
    }

    #[test]
    fn captures_put_back_give_the_path(request in some_request(), text in some_pattern()) {
        let table = literal_router(vec![route("", pattern(&text).expect("it is one"))]);
        if let Ok(found) = table.find(&request) {
            let mut path = text.trim_end_matches("..").to_owned();
            let names: Vec<&str> = found.route().path.captures().collect();
            for (place, name) in names.iter().enumerate() {
                let capture = found.capture(place, &request);
                path = path.replace(&format!("{{{name}}}"), capture);
                path = path.replace(&format!("{{*{name}}}"), capture);
            }
            let is_prefix = text.ends_with("..");
            prop_assert!(request.path == path || (is_prefix && request.path.starts_with(&path)));
        }
    }
}

#[test]
fn the_order_of_patterns_is_that_of_the_table() {
    let ordered = [
        "/a",
        "/a/b",
        "/a/{x}/b",
        "/a/{x}/{*r}",
        "/a/{x}..",
        "/a/{*r}",
        "/a..",
        "/{x}",
        "/{x}..",
        "/{*r}",
        "/..",
    ];
    let patterns: Vec<_> = ordered.iter().map(|text| pattern(text).expect("one")).collect();
    assert!(patterns.is_sorted(), "{ordered:?}");
    assert_eq!(pattern("/{x}/a"), pattern("/{y}/a"), "a name is no part of the order");
}
