//! Routes: who they take, what becomes of it, and those that nothing gets to.

use expect_test::{Expect, expect};

use crate::{SOUND, check, check_each, check_top};

/// [`SOUND`] with these lines behind it, from line 10 on.
fn check_behind(lines: &str, expected: Expect) {
    check(&format!("{SOUND}{lines}"), expected);
}

/// A route for `/x` of any host with these lines, from line 14 on.
fn check_route(lines: &str, expected: Expect) {
    check_behind(&format!("[[route]]\nname = 'a'\nhosts = ['*']\n{lines}"), expected);
}

/// The same, and it leads to the service.
fn check_conditions(lines: &str, expected: Expect) {
    check_route(&format!("service = 'web'\n{lines}"), expected);
}

#[test]
fn all_kinds_of_routes_are_sound() {
    check_behind(
        r#"
[https_redirect]
enabled = true
status = 301
port = 8443
hosts = ["*.example.com"]
except = ["/.well-known/acme-challenge", "/health"]

[[service]]
name = "shadow"
[[service.pool]]
backends = [{ url = "http://10.0.0.9" }]
[service.request]
strip_prefix = "/api"
[service.response.headers]
remove = ["server"]

[[route]]
name = "user"
hosts = ["api.example.com", "*.example.org"]
path = "/users/{id}/{*rest}"
methods = ["GET", "PURGE"]
scheme = "https"
sources = ["10.0.0.0/8", "2001:db8::/32"]
headers = { x-beta = true, x-version = "2", x-app = { prefix = "a", contains = "b" } }
query = { "q x" = { equals = "" } }
service = "web"
mirror = { service = "shadow", percent = 10 }
[route.request]
path = "/u/{id}{path}"
host = "Users.internal:81"
query = { set = { via = "{route} {id}" }, remove = ["debug"] }
headers = { set = { x-user = "{id} {client_ip}" }, append = { x-via = "{host}" }, remove = ["cookie"] }
[route.response]
status = 299
headers = { set = { x-backend = "{backend}" } }

[[route]]
name = "old"
hosts = ["old.example.com"]
path_prefix = "/old"
redirect = { to = "https://{host}/new{query}", status = 308 }
response.headers.set.x-why = "{route}"

[[route]]
name = "robots"
hosts = ["*"]
path = "/robots.txt"
respond = { status = 200, body = "User-agent: *\n", content_type = "text/plain" }
"#,
        expect![[""]],
    );
}

#[test]
fn a_route_does_exactly_one_thing() {
    check_route(
        "path = '/x'",
        expect![[r#"
        lb.toml:10:1: the route does nothing; add service = "web", redirect = { to = ".." } or respond = { status = 404 }
    "#]],
    );
    check_route(
        "path = '/x'\nservice = 'web'\nredirect = { to = '/y' }\nrespond = { status = 404 }",
        expect![[r#"
            lb.toml:15:12: the route has both service and redirect; keep one of the two
        "#]],
    );
    check_route(
        "path = '/x'\nredirect = {}\nmirror = {}",
        expect![[r#"
        lb.toml:14:12: to is missing in [route.redirect]; add to = "https://{host}{path}{query}"
        lb.toml:15:10: service is missing in [route.mirror]; add service = "shadow"
    "#]],
    );
    check_route(
        "path = '/x'\nrespond = {}\nredirect = 'https'",
        expect![[r#"
        lb.toml:14:11: status is missing in [route.respond]; add status = 404
        lb.toml:15:12: redirect "https" is a text; write a table, as in [route.redirect]
    "#]],
    );
    check_behind(
        "[[route]]",
        expect![[r#"
        lb.toml:10:1: hosts is missing in [[route]]; add hosts = ["*"] for any host of which nothing else is said
        lb.toml:10:1: name is missing in [[route]]; add name = "static"
        lb.toml:10:1: the route does nothing; add service = "web", redirect = { to = ".." } or respond = { status = 404 }
    "#]],
    );
}

#[test]
fn a_route_leads_to_a_service_that_there_is() {
    check_route(
        "path = '/x'\nservice = 'wbe'\nmirror = { service = 'shadow', percent = 0 }",
        expect![[r#"
            lb.toml:14:11: service "wbe" is unknown; did you mean "web"?
            lb.toml:15:22: service "shadow" is unknown; write the name of a [[service]] of this file
            lb.toml:15:42: percent 0 is out of range; use 1..=100
        "#]],
    );
    check_behind(
        "[[service]]\nname = 'lost'\npool = [{ backends = [{ url = 'http://a' }] }]",
        expect![[r#"
            lb.toml:10:1: hosts is missing in [[service]]; add hosts = ["*"] for any host, or a route that leads here
        "#]],
    );
    check_top(
        "[[route]]\nname = 'a'\nhosts = ['x.y']\nservice = 'web'\npool = 'main'",
        expect![[r#"
            lb.toml:5:1: unknown key pool in [[route]]; what can be set here is name, hosts, path, path_prefix, methods, scheme, sources, headers, query, service, redirect, respond, request, response, mirror
        "#]],
    );
}

#[test]
fn names_are_unique_among_routes_and_hosts_within_one() {
    check_behind(
        "[[route]]\nname = 'a'\nhosts = ['x.y', 'X.Y', 'x:80']\nservice = 'web'\n\
         [[route]]\nname = 'a'\nhosts = []\nservice = 'web'",
        expect![[r#"
            lb.toml:12:17: host "x.y" is in this route twice; remove one of the two
            lb.toml:12:24: hosts "x:80" has a port; write "x": a service is found by host alone
            lb.toml:15:8: name "a" is taken by the route at lb.toml:11:8; give each route a name of its own
            lb.toml:16:9: hosts has 0 items; use 1..=1000; ["*"] is any host
        "#]],
    );
}

#[test]
fn a_bad_pattern_says_what_to_write() {
    let lines = [
        "path = 'x'",
        "path = '/a b'",
        "path = '/é'",
        "path = '/a?b'",
        "path = '/%61'",
        "path = '/a/../b'",
        "path = '/%2'",
        "path = '/a{id}'",
        "path = '/{id'",
        "path = '/{Id}'",
        "path = '/{}'",
        "path = '/{path}'",
        "path = '/{a}/{a}'",
        "path = '/{*a}/b'",
        "path = '/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}'",
        "path_prefix = '/a/'",
        "path_prefix = '/{*a}'",
        "path_prefix = '/a'\npath = '/a'",
        "path = 7",
    ];
    let route = "[[route]]\nname = 'a'\nhosts = ['*']\nservice = 'web'\n";
    let texts: Vec<String> = lines.iter().map(|line| format!("{SOUND}{route}{line}")).collect();
    check_each(
        &texts,
        expect![[r#"
            lb.toml:14:8: path "x" does not begin with /; begin with /
            lb.toml:14:8: path "/a b" has ' ', which no path has; percent-encode it, as in %20 for a space
            lb.toml:14:8: path "/é" has 'é', which no path has; percent-encode it, as in %20 for a space
            lb.toml:14:8: path "/a?b" has '?', which no path has; percent-encode it, as in %20 for a space
            lb.toml:14:8: path "/%61" is not in the form in which paths are compared; write "/a"
            lb.toml:14:8: path "/a/../b" is not in the form in which paths are compared; write "/b"
            lb.toml:14:8: path "/%2" has '%', which no path has; percent-encode it, as in %20 for a space
            lb.toml:14:8: path "/a{id}" has "a{id}", where a capture is a whole segment; write /{name}/ for one segment, /{*name} for all the rest
            lb.toml:14:8: path "/{id" has "{id", where a capture is a whole segment; write /{name}/ for one segment, /{*name} for all the rest
            lb.toml:14:8: path "/{Id}" captures under "Id", which is no name; use up to 32 of a-z, 0-9 and _, not beginning with a digit
            lb.toml:14:8: path "/{}" captures under "", which is no name; use up to 32 of a-z, 0-9 and _, not beginning with a digit
            lb.toml:14:8: path "/{path}" captures under "path", which is a variable; use another name
            lb.toml:14:8: path "/{a}/{a}" captures twice under "a"; use another name
            lb.toml:14:8: path "/{*a}/b" goes on behind what captures all the rest; use {*name} once, at the end of path
            lb.toml:14:8: path "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}" has more than 32 segments or 8 captures; make it shorter
            lb.toml:14:15: path_prefix "/a/" ends in / and is a prefix; write "/a", which is that and all below it
            lb.toml:14:15: path_prefix "/{*a}" goes on behind what captures all the rest; use {*name} once, at the end of path
            lb.toml:14:15: the route has both path and path_prefix; keep one of the two
            lb.toml:14:8: path 7 is a number; write a text in quotes
        "#]],
    );
}

#[test]
fn after_a_bad_pattern_nothing_is_said_of_its_captures() {
    check_conditions(
        "path = '/{Id}'\nrequest.path = '/{id}'\nmirror = { service = 'x' }",
        expect![[r#"
            lb.toml:14:8: path "/{Id}" captures under "Id", which is no name; use up to 32 of a-z, 0-9 and _, not beginning with a digit
            lb.toml:16:22: service "x" is unknown; write the name of a [[service]] of this file
        "#]],
    );
}

#[test]
fn conditions_ask_for_what_a_request_can_say() {
    check_conditions(
        "path = '/x'\nmethods = ['get', 'G T', 'connect']\nscheme = 'ws'\n\
         sources = ['10.0.0.1/8', '10.0.0.0/33', 'office', 7]",
        expect![[r#"
            lb.toml:15:12: methods "get" is not how the method is written; write "GET"
            lb.toml:15:19: methods "G T" is no method; write one such as "GET"
            lb.toml:15:26: methods "connect" is not how the method is written; write "CONNECT"
            lb.toml:16:10: scheme "ws" is unknown; use one of "http", "https"
            lb.toml:17:12: sources "10.0.0.1/8" has an address with bits beyond its prefix; write the first address of the range, with zeros behind its bits
            lb.toml:17:26: sources "10.0.0.0/33" has a number of bits that its address does not have; use 0..=32 bits for IPv4 and 0..=128 for IPv6
            lb.toml:17:41: sources "office" is not an address; write one such as "10.0.0.0/8", "192.0.2.1" or "2001:db8::/32"
            lb.toml:17:51: sources 7 is a number; write a text in quotes
        "#]],
    );
    check_conditions(
        "headers = { Host = 'a.example' }\nquery = { host = 'a.example' }",
        expect![[r#"
            lb.toml:14:13: "Host" has a key of its own; write hosts = [".."] in the route
        "#]],
    );
    check_conditions(
        "methods = []\nsources = []\n\
         headers = { 'x y' = true, b = false, c = {}, d = { suffix = 'x' }, e = 7, f = { prefix = 'a', equals = 2 } }\n\
         query = { a = \"\\u0000\" }",
        expect![[r#"
            lb.toml:14:11: methods has 0 items; use 1..=64, or leave it out for any
            lb.toml:15:11: sources has 0 items; use 1..=64, or leave it out for any
            lb.toml:16:13: "x y" is no name of a header; use letters, digits and -
            lb.toml:16:31: b false cannot be asked; write true if it must be there, or leave it out
            lb.toml:16:42: the condition asks for nothing; write true if it must be there, or as in { prefix = "a" }
            lb.toml:16:52: unknown key suffix in [route.headers.d]; what can be set here is equals, prefix, contains
            lb.toml:16:72: e 7 is a number; write true or false, without quotes
            lb.toml:16:104: equals 2 is a number; write a text in quotes
            lb.toml:17:15: a " " is nothing that a request could say; use at most 1024 visible characters
        "#]],
    );
}

#[test]
fn a_route_for_connect_leads_to_a_service_that_allows_it() {
    let route = "[[route]]\nname = 'a'\nhosts = ['*']\nmethods = ['GET', 'CONNECT']\n";
    let allowing = SOUND.replace("name = ", "allow_connect = true\nname = ");
    let text = |sound: &str, lines: &str| format!("{sound}{route}{lines}");
    check(&text(&allowing, "service = 'web'"), expect![[""]]);
    check_each(
        &[text(SOUND, "service = 'web'"), text(&allowing, "respond = { status = 404 }")],
        expect![[r#"
            lb.toml:10:1: warning: "CONNECT" in methods has no effect: it is refused where this route leads; remove it, or lead it to a service with allow_connect = true
            lb.toml:11:1: warning: "CONNECT" in methods has no effect: it is refused where this route leads; remove it, or lead it to a service with allow_connect = true
        "#]],
    );
    check(
        &SOUND.replace("name = ", "allow_connect = 'db:5432'\nname = "),
        expect![[r#"
        lb.toml:5:17: allow_connect "db:5432" is a text; write true or false, without quotes
    "#]],
    );
}

#[test]
fn a_route_that_nothing_gets_to_is_a_mistake() {
    let routes = |all: &[&str]| -> String {
        let route = |(place, lines): (usize, &&str)| {
            format!("[[route]]\nname = 'r{place}'\nservice = 'web'\n{lines}\n")
        };
        all.iter().enumerate().map(route).collect()
    };
    // Equal, also under other names and in other words.
    check_behind(
        &routes(&["hosts = ['a.b']\npath = '/{x}'", "hosts = ['A.B']\npath = '/{y}'"]),
        expect![[r#"
            lb.toml:15:1: route "r1" is never reached: route "r0" at lb.toml:10:1 takes all of it; remove one of the two, or tell them apart
        "#]],
    );
    // One host of several.
    check_behind(
        &routes(&["hosts = ['a.b']\npath = '/x'", "hosts = ['c.d', 'a.b']\npath = '/x'"]),
        expect![[r#"
            lb.toml:18:17: host "a.b" never leads here: route "r0" at lb.toml:10:1 takes all of it; remove it here, or tell the two apart
        "#]],
    );
    // Less is asked for before.
    check_behind(
        &routes(&[
            "hosts = ['a.b']\nmethods = ['GET', 'PUT']",
            "hosts = ['a.b']\nmethods = ['HEAD']",
            "hosts = ['a.b']\nsources = ['10.0.0.0/8']",
            "hosts = ['a.b']\nsources = ['10.1.0.0/16', '10.2.3.4']",
            "hosts = ['a.b']\nheaders.x = { prefix = 'a' }",
            "hosts = ['a.b']\nheaders.X = 'ab'",
        ]),
        expect![[r#"
            lb.toml:15:1: route "r1" is never reached: route "r0" at lb.toml:10:1 takes all of it; remove one of the two, or tell them apart
            lb.toml:25:1: route "r3" is never reached: route "r2" at lb.toml:20:1 takes all of it; remove one of the two, or tell them apart
            lb.toml:35:1: route "r5" is never reached: route "r4" at lb.toml:30:1 takes all of it; remove one of the two, or tell them apart
        "#]],
    );
    // A service whose host is taken from it.
    check_behind(
        &routes(&["hosts = ['*']"]),
        expect![[r#"
            lb.toml:6:9: no host leads to service "web" by itself: route "r0" at lb.toml:10:1 takes all of it; remove one of the two, or tell them apart
        "#]],
    );
    // Where more is asked for, or something else, both are reached.
    check_behind(
        &routes(&[
            "hosts = ['a.b']\npath = '/x'",
            "hosts = ['a.b']\npath = '/x'\nmethods = ['GET']",
            "hosts = ['a.b']\npath_prefix = '/x'",
            "hosts = ['*.b']\npath = '/x'",
            "hosts = ['a.b']\npath = '/x'\nscheme = 'http'",
            "hosts = ['a.b']\npath = '/x'\nheaders.x = 'ab'",
            "hosts = ['a.b']\npath = '/x'\nheaders.x = { contains = 'b' }",
        ]),
        expect![[r#""#]],
    );
}

#[test]
fn a_route_for_any_host_that_is_not_asked_for_some_is_pointed_at() {
    let file = |hosts: &str, routes: &str| format!("{}\n{routes}", SOUND.replace("[\"*\"]", hosts));
    let deny = "[[route]]\nname = 'deny'\nhosts = ['*']\npath_prefix = '/admin'\nrespond = { status = 403 }\n";
    let leads = "[[route]]\nname = 'leads'\nhosts = ['*']\npath_prefix = '/a'\nservice = 'web'\n";
    let there = deny.replace("'deny'", "'there'").replace("'*'", "'a.example'");
    let plain = "[[route]]\nname = 'plain'\nhosts = ['*']\nrespond = { status = 404 }\n";
    let both = deny.replace("'*'", "'*', 'a.example'");
    check_each(
        &[
            file("['*', 'a.example', 'b.example']", deny),
            file("['a.example']", deny),
            file("['*', '*.example']", leads),
        ],
        expect![[r#"
            lb.toml:13:10: warning: route "deny" is not asked for host "a.example": service "web" at lb.toml:6:9 takes all of it; add "a.example" to these hosts, or a route for it that says what becomes of that path
            lb.toml:13:10: warning: route "deny" is not asked for host "a.example": service "web" at lb.toml:6:9 takes all of it; add "a.example" to these hosts, or a route for it that says what becomes of that path
            lb.toml:13:10: warning: route "leads" is not asked for host "*.example": service "web" at lb.toml:6:9 takes all of it; add "*.example" to these hosts, or a route for it that says what becomes of that path
        "#]],
    );
    for sound in [
        file("['*']", deny),
        file("['*', 'a.example']", &both),
        file("['*', 'a.example']", &format!("{deny}{there}")),
        file("['a.example']", plain),
        file("['a.example']", leads),
    ] {
        check(&sound, expect![[""]]);
    }
}

#[test]
fn a_redirect_leads_where_it_says() {
    check_route(
        "path = '/x'\nredirect = { to = 'example.com', status = 300 }",
        expect![[r#"
        lb.toml:14:19: to "example.com" does not begin like what belongs here; begin with https://, http:// and a host, with one /, or with {path}
        lb.toml:14:43: status 300 is no status of a redirect; use one of 301, 302, 303, 307, 308
    "#]],
    );
    check_route(
        "path = '/{x}'\nredirect = { to = 'https://{x}.example.com/' }",
        expect![[r#"
        lb.toml:14:19: to "https://{x}.example.com/" lets a client say which host it leads to; write the host out or use {host}, and a / behind it
    "#]],
    );
    check_route(
        "path = '/{x}'\nredirect = { to = 'https://example.com{y}', status = '301' }",
        expect![[r#"
            lb.toml:14:19: to "https://example.com{y}" has the unknown variable {y}; use {client_ip}, {host}, {path}, {query}, {method}, {scheme}, {request_id}, {route}, {x}
            lb.toml:14:54: status "301" is a text; write a whole number
        "#]],
    );
    check_route(
        "path = '/{x}'\nredirect = { to = '{path}?a{query}' }",
        expect![[r#"
        lb.toml:14:19: to "{path}?a{query}" has a ? before {query}, which brings its own; remove one of the two
    "#]],
    );
    check_top(
        "[https_redirect]\nenabled = true\nstatus = 303\nport = 0\nhosts = []\nexcept = ['x']",
        expect![[r#"
            lb.toml:3:10: status 303 is no status of a redirect; use one of 301, 302, 307, 308
            lb.toml:4:8: port 0 is out of range; use 1..=65535
            lb.toml:5:9: hosts is empty; leave it out for any host
            lb.toml:6:11: except "x" does not begin with /; begin with /
        "#]],
    );
    check_top(
        "[https_redirect]\nstatus = 301\nport = 8443",
        expect![[r#"
        lb.toml:2:1: warning: status has no effect without enabled = true; remove it
        lb.toml:3:1: warning: port has no effect without enabled = true; remove it
    "#]],
    );
}

#[test]
fn a_fixed_response_is_one() {
    check_route(
        "path = '/x'\nrespond = { status = 204, body = 'x', content_type = 'text' }",
        expect![[r#"
            lb.toml:14:34: an answer with status 204 has no body; remove body or use another status
            lb.toml:14:54: content_type "text" is no media type; write one such as "text/html"
        "#]],
    );
    check_route(
        "path = '/x'\nrespond = { status = 100, content_type = 'text/html' }",
        expect![[r#"
            lb.toml:14:22: status 100 is out of range; use 200..=599
            lb.toml:14:27: warning: content_type has no effect without a body; remove it
        "#]],
    );
    let body = "x".repeat(65_537);
    check_route(
        &format!("path = '/x'\nrespond = {{ status = 200, body = '{body}' }}"),
        expect![[r#"
            lb.toml:14:34: body "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..." has 65537 bytes; use at most 65536, or a backend for more
        "#]],
    );
}
