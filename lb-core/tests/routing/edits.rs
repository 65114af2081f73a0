//! What edits make of a head: text in, text out.

use expect_test::{Expect, expect};
use lb_core::config::{
    EditConfig, HeaderEdits, PathEdit, PathPattern, QueryEdits, RequestEdits, ResponseEdits,
    RouteConfig, Slot, Template,
};
use lb_core::edit::{Change, TARGET_BYTES_MAX, TargetTooLong, has_body, host, target};

use crate::support::{Asked, route, router, values};

const CAPTURES: [&str; 2] = ["id", "rest"];

fn template(text: &str, slot: Slot) -> Template {
    Template::parse(text, slot, &CAPTURES).expect("a template")
}

fn prefix(strip: Option<&str>, add: Option<&str>) -> PathEdit {
    PathEdit::Prefix { strip: strip.map(String::from), add: add.map(String::from) }
}

fn replace(text: &str) -> PathEdit {
    PathEdit::Replace(template(text, Slot::Path))
}

fn query(remove: &[&str], set: &[(&str, &str)]) -> QueryEdits {
    let set = set.iter().map(|(name, value)| ((*name).into(), template(value, Slot::Parameter)));
    QueryEdits { remove: remove.iter().map(|name| (*name).into()).collect(), set: set.collect() }
}

/// The route's edits and the service's, on requests for `/users/{id}/{*rest}` or anything else.
fn edited(layers: &[RequestEdits], url: &str) -> Result<String, TargetTooLong> {
    let with = |path| RouteConfig { name: "users".into(), ..route("", path) };
    let users = PathPattern::exact("/users/{id}/{*rest}").expect("a pattern");
    let table = router(vec![with(users), with(PathPattern::any())]);
    let request = Asked::get(url);
    let found = table.find(&request).expect("all are taken");
    let layers: Vec<&RequestEdits> = layers.iter().collect();
    let target = target(&layers, &values(&request, &found))?;
    Ok(target.unwrap_or_else(|| "as it came".into()))
}

#[expect(clippy::needless_pass_by_value, reason = "calls read best with the text in place")]
fn check(layers: &[RequestEdits], urls: &[&str], expected: Expect) {
    let line = |url: &&str| {
        let edited = edited(layers, url).expect("it is short enough");
        format!("{url} -> {edited}\n")
    };
    expected.assert_eq(&urls.iter().map(line).collect::<String>());
}

fn path(path: PathEdit) -> RequestEdits {
    RequestEdits { path, ..RequestEdits::default() }
}

fn in_query(query: QueryEdits) -> RequestEdits {
    RequestEdits { query, ..RequestEdits::default() }
}

#[test]
fn a_prefix_is_stripped_at_the_end_of_a_segment() {
    check(
        &[path(prefix(Some("/api"), None))],
        &[
            "h/api",
            "h/api/",
            "h/api/x?y",
            "h/apis",
            "h/%61pi/x",
            "h/x/../api/y",
            "h/api//e.example",
        ],
        expect![[r#"
            h/api -> /
            h/api/ -> /
            h/api/x?y -> /x?y
            h/apis -> /apis
            h/%61pi/x -> /x
            h/x/../api/y -> /y
            h/api//e.example -> //e.example
        "#]],
    );
}

#[test]
fn a_prefix_is_added_after_one_was_stripped() {
    check(
        &[path(prefix(Some("/api"), Some("/v2")))],
        &["h/api", "h/api/x", "h/other", "h/"],
        expect![[r#"
            h/api -> /v2/
            h/api/x -> /v2/x
            h/other -> /v2/other
            h/ -> /v2/
        "#]],
    );
}

#[test]
fn a_path_is_replaced_by_what_was_captured() {
    check(
        &[path(replace("/accounts/{id}.json/{rest}"))],
        &["h/users/7/posts/1?q=1", "h/users/a%2Fb/", "h/users/%37/x?", "h/users/a;b@c/..x"],
        expect![[r#"
            h/users/7/posts/1?q=1 -> /accounts/7.json/posts/1?q=1
            h/users/a%2Fb/ -> /accounts/a%2Fb.json/
            h/users/%37/x? -> /accounts/7.json/x?
            h/users/a;b@c/..x -> /accounts/a;b@c.json/..x
        "#]],
    );
    check(
        &[path(replace("/{host}/{scheme}{path}"))],
        &["[::1]:80/a", "H.example:8080/x/%2e%2e/y", "not a host/"],
        expect![[r#"
            [::1]:80/a -> /%5B::1%5D/http/a
            H.example:8080/x/%2e%2e/y -> /H.example/http/y
            not a host/ -> //http/
        "#]],
    );
}

#[test]
fn a_replaced_path_cannot_climb_out_of_what_was_written() {
    check(
        &[path(replace("/safe/.{id}/x"))],
        &["h/users/./x", "h/users/a/../b", "h/users/%2e/x/y", "h/users/.x/y"],
        expect![[r#"
            h/users/./x -> /safe/x
            h/users/a/../b -> /safe/x
            h/users/%2e/x/y -> /safe/.x/x
            h/users/.x/y -> /safe/..x/x
        "#]],
    );
}

#[test]
fn parameters_are_set_once_and_removed_wherever_they_are() {
    check(
        &[in_query(query(&["debug", "a b"], &[("user", "{id}"), ("via", "x&y=z")]))],
        &[
            "h/users/7/x",
            "h/users/7/x?q=1&debug&q=2",
            "h/users/7/x?user=1&q&user=2&d%65bug=1&a+b=2&a%20b",
            "h/users/a+b%26c/x?&",
            "h/users/7/x?%zz=%",
        ],
        expect![[r#"
            h/users/7/x -> /users/7/x?user=7&via=x%26y%3Dz
            h/users/7/x?q=1&debug&q=2 -> /users/7/x?q=1&q=2&user=7&via=x%26y%3Dz
            h/users/7/x?user=1&q&user=2&d%65bug=1&a+b=2&a%20b -> /users/7/x?user=7&q&via=x%26y%3Dz
            h/users/a+b%26c/x?& -> /users/a+b%26c/x?user=a%2Bb%26c&via=x%26y%3Dz
            h/users/7/x?%zz=% -> /users/7/x?%zz=%&user=7&via=x%26y%3Dz
        "#]],
    );
    check(
        &[in_query(query(&["debug"], &[]))],
        &["h/%61?debug", "h/a?debug=1&x", "h/a"],
        expect![[r#"
            h/%61?debug -> /%61
            h/a?debug=1&x -> /a?x
            h/a -> /a
        "#]],
    );
}

#[test]
fn the_routes_edits_come_before_the_services() {
    let of_route = RequestEdits {
        path: prefix(Some("/shop"), None),
        query: query(&[], &[("from", "route")]),
        ..RequestEdits::default()
    };
    let of_service = RequestEdits {
        path: prefix(None, Some("/v2")),
        query: query(&["from"], &[]),
        ..RequestEdits::default()
    };
    check(
        &[of_route, of_service],
        &["h/shop/cart?x", "h/shop"],
        expect![[r#"
            h/shop/cart?x -> /v2/cart?x
            h/shop -> /v2/
        "#]],
    );
}

#[test]
fn the_host_that_is_nearest_to_the_backend_is_said() {
    let says = |host: Option<&str>| RequestEdits {
        host: host.map(String::from),
        ..RequestEdits::default()
    };
    let said = |route, service| host(&[&says(route), &says(service)]).map(String::from);
    assert_eq!(said(Some("a"), Some("b")).as_deref(), Some("b"));
    assert_eq!(said(Some("a"), None).as_deref(), Some("a"));
    assert_eq!(said(None, None), None);
}

#[test]
fn edits_are_empty_until_anything_is_said() {
    assert!(RequestEdits::default().is_empty() && ResponseEdits::default().is_empty());
    let one = |name: &str| HeaderEdits { remove: vec![name.into()], ..HeaderEdits::default() };
    for said in [
        path(prefix(None, Some("/a"))),
        in_query(query(&["a"], &[])),
        in_query(query(&[], &[("a", "b")])),
        RequestEdits { host: Some("a".into()), ..RequestEdits::default() },
        RequestEdits { headers: one("a"), ..RequestEdits::default() },
    ] {
        assert!(!said.is_empty(), "{said:?}");
    }
    assert!(!ResponseEdits { status: Some(404), ..ResponseEdits::default() }.is_empty());
    assert!(!ResponseEdits { headers: one("a"), ..ResponseEdits::default() }.is_empty());
}

#[test]
fn without_edits_a_target_stays_byte_for_byte() {
    check(
        &[RequestEdits::default(), RequestEdits::default()],
        &["h/%61/b?x=%zz", "h/%61%2f//b;c?x=/.."],
        expect![[r#"
            h/%61/b?x=%zz -> as it came
            h/%61%2f//b;c?x=/.. -> as it came
        "#]],
    );
}

#[test]
fn dots_that_were_followed_are_not_followed_again() {
    check(
        &[in_query(query(&["d"], &[])), RequestEdits::default()],
        &["h/%61/../b%2a?x=%zz&d", "h/%61/%2e/b"],
        expect![[r#"
            h/%61/../b%2a?x=%zz&d -> /b%2A?x=%zz
            h/%61/%2e/b -> /a/b
        "#]],
    );
}

#[test]
fn a_target_that_would_be_too_long_is_none() {
    let edits = path(replace("/{path}{path}{path}"));
    let long =
        |count: usize| edited(std::slice::from_ref(&edits), &format!("h/{}", "a".repeat(count)));
    assert_eq!(long(TARGET_BYTES_MAX / 3 - 1).map(|target| target.len()), Ok(TARGET_BYTES_MAX - 1));
    assert_eq!(long(TARGET_BYTES_MAX / 3), Err(TargetTooLong));
}

#[test]
fn headers_change_in_a_fixed_order_with_what_is_known() {
    let set = |name: &str, value| (name.into(), template(value, Slot::ResponseHeader));
    let edits = EditConfig {
        response: ResponseEdits {
            status: Some(299),
            headers: HeaderEdits {
                append: vec![set("via", "{{lb}} {method} {service}")],
                set: vec![
                    set("x-from", "{backend}; {route}"),
                    set("x-id", "{request_id}"),
                    set("x-client", "{client_ip} {scheme}://{host}{path}{query}"),
                    set("x-user", "{id}"),
                    set("x-empty", ""),
                ],
                remove: vec!["server".into()],
            },
        },
        ..EditConfig::default()
    };
    let pattern = PathPattern::exact("/users/{id}/{*rest}").expect("a pattern");
    let table = router(vec![route("users", pattern)]);
    let request = Asked::get("h:80/users/%C3%A9%0D%0A/x?a=b c");
    let found = table.find(&request).expect("it is taken");
    let values = values(&request, &found);
    let line = |(name, change): (&str, Change)| match change {
        Change::Remove => format!("remove {name}\n"),
        Change::Set(value) => format!("set {name}: {value}\n"),
        Change::Append(value) => format!("append {name}: {value}\n"),
    };
    let lines: String = edits.response.headers.changes(&values).map(line).collect();
    expect![[r#"
        remove server
        set x-from: http://10.0.0.1:3000; users
        set x-id: 00c0ffee
        set x-client: 192.0.2.7 http://h/users/%C3%A9%0D%0A/x?a=b%20c
        set x-user: %C3%A9%0D%0A
        set x-empty: 
        append via: {lb} GET api
    "#]]
    .assert_eq(&lines);
}

#[test]
fn a_status_is_edited_where_the_message_ends_the_same_way() {
    let edits = ResponseEdits { status: Some(404), ..ResponseEdits::default() };
    for (came, goes) in [(200, 404), (503, 404), (101, 101), (204, 204), (205, 205), (304, 304)] {
        assert_eq!(edits.status(came), goes);
        assert_eq!(has_body(came), goes == 404);
    }
    assert_eq!(ResponseEdits::default().status(503), 503);
}
