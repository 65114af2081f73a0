//! Edits: what may not be touched, and variables that there are not.

use expect_test::{Expect, expect};

use crate::{SOUND, check, check_service};

/// A route for `/users/{id}` with these lines, from line 15 on.
fn check_edits(lines: &str, expected: Expect) {
    let route = "[[route]]\nname = 'a'\nhosts = ['*']\npath = '/users/{id}'\nservice = 'web'\n";
    check(&format!("{SOUND}{route}{lines}"), expected);
}

#[test]
fn an_unknown_variable_is_answered_with_those_there_are() {
    check_edits(
        "request.path = '/{uid}'\nrequest.headers.set.a = '{backend}'\n\
         request.query.set.a = '{query}'\nresponse.headers.append.a = '{ip}'",
        expect![[r#"
            lb.toml:15:16: path "/{uid}" has the unknown variable {uid}; use {client_ip}, {host}, {path}, {method}, {scheme}, {request_id}, {service}, {route}, {id}
            lb.toml:16:25: a "{backend}" has {backend}, which is not known here; use {client_ip}, {host}, {path}, {query}, {method}, {scheme}, {request_id}, {service}, {route}, {id}
            lb.toml:17:23: a "{query}" has {query}, which is not known here; use {client_ip}, {host}, {path}, {method}, {scheme}, {request_id}, {service}, {route}, {id}
            lb.toml:18:29: a "{ip}" has the unknown variable {ip}; use {client_ip}, {host}, {path}, {query}, {method}, {scheme}, {request_id}, {backend}, {service}, {route}, {id}
        "#]],
    );
    check_service(
        "request.path = '/{id}'\nresponse.headers.set.a = '{backend'",
        expect![[r#"
        lb.toml:7:16: path "/{id}" has the unknown variable {id}; use {client_ip}, {host}, {path}, {method}, {scheme}, {request_id}, {service}, {route}
        lb.toml:8:26: a "{backend" has a brace that is not part of a variable; write {name} for a variable, and {{ or }} for a brace
    "#]],
    );
}

#[test]
fn what_frames_a_message_cannot_be_edited() {
    check_edits(
        "[route.request.headers]\nremove = ['Content-Length', 'a b']\n\
         set = { host = 'x', Connection = 'close', te = 'trailers' }\n\
         [route.response.headers]\nappend = { transfer-encoding = 'chunked' }\nremove = ['upgrade']",
        expect![[r#"
            lb.toml:16:11: remove "Content-Length" frames messages or is for one connection, and cannot be edited; remove it
            lb.toml:16:29: remove "a b" is no name of a header; use letters, digits and -
            lb.toml:17:9: "host" has a key of its own; write host = ".." beside headers
            lb.toml:17:21: "Connection" frames messages or is for one connection, and cannot be edited; remove it
            lb.toml:17:43: "te" frames messages or is for one connection, and cannot be edited; remove it
            lb.toml:19:12: "transfer-encoding" frames messages or is for one connection, and cannot be edited; remove it
            lb.toml:20:11: remove "upgrade" frames messages or is for one connection, and cannot be edited; remove it
        "#]],
    );
}

#[test]
fn a_value_has_nothing_that_ends_a_line() {
    check_edits(
        "request.headers.set = { a = \"x\\r\\ny\", b = \"x\\u0000\", c = ' x', d = 'é', e = 7 }\n\
         request.query.set.f = \"x\\ny\"\nrequest.path = '/a b'",
        expect![[r#"
            lb.toml:15:29: a "x  y" has '\r', which cannot stand here; use visible ASCII and spaces
            lb.toml:15:43: b "x " has '\0', which cannot stand here; use visible ASCII and spaces
            lb.toml:15:58: c " x" begins or ends with a space; remove the space
            lb.toml:15:68: d "é" has 'é', which cannot stand here; use visible ASCII and spaces
            lb.toml:15:77: e 7 is a number; write a text in quotes
            lb.toml:16:23: f "x y" has '\n', which cannot stand here; use visible ASCII and spaces
            lb.toml:17:16: path "/a b" has ' ', which cannot stand here; percent-encode it, as in %20 for a space
        "#]],
    );
}

#[test]
fn a_name_is_edited_once() {
    check_edits(
        "request.headers = { set = { X-A = '1', x-a = '2' }, remove = ['x-a'], append = { x-a = '3' } }",
        expect![[r#"
            lb.toml:15:40: "x-a" is there twice: upper and lower case are the same; keep one of the two
            lb.toml:15:63: warning: remove "x-a" has no effect: it is set as well; keep one of the two
        "#]],
    );
}

#[test]
fn a_path_is_edited_in_one_way_that_has_an_effect() {
    check_edits(
        "request = { strip_prefix = '/api', add_prefix = '/v2', path = '/x' }",
        expect![[r#"
            lb.toml:15:28: path replaces what strip_prefix and add_prefix edit; keep one of the two
            lb.toml:15:28: warning: strip_prefix "/api" has no effect on the path of the route; remove it, or write how the path begins
        "#]],
    );
    check_edits(
        "request = { strip_prefix = 'users', add_prefix = '/' }",
        expect![[r#"
        lb.toml:15:28: strip_prefix "users" does not begin with /; write a path such as "/api", percent-encoded where it has to be
        lb.toml:15:50: add_prefix "/" ends in /; write a path such as "/api", percent-encoded where it has to be
    "#]],
    );
    check_edits(
        "request = { strip_prefix = '/%75sers', add_prefix = '/a?b', path = 'x' }",
        expect![[r#"
            lb.toml:15:28: strip_prefix "/%75sers" is not in the form in which paths are compared; write a path such as "/api", percent-encoded where it has to be
            lb.toml:15:53: add_prefix "/a?b" has '?', which no path has; write a path such as "/api", percent-encoded where it has to be
            lb.toml:15:68: path "x" does not begin like what belongs here; begin with / or {path}
        "#]],
    );
    check_edits("request.strip_prefix = '/users/7'", expect![[""]]);
}

#[test]
fn a_host_is_a_host() {
    for host in ["a b", "http://x", "x/", "x:0", "me@x", ""] {
        let text = format!("request.host = '{host}'");
        let route = "[[route]]\nname = 'a'\nhosts = ['*']\npath = '/x'\nservice = 'web'\n";
        let source = format!("{SOUND}{route}{text}");
        let (config, found) =
            lb_config::load(&lb_config::Source { name: "lb.toml", text: &source });
        assert!(config.is_none() && found.len() == 1, "{host:?}: {found:?}");
    }
    check_edits(
        "request.host = 'x:port'",
        expect![[r#"
        lb.toml:15:16: host "x:port" has a port that is not a number in 1..=65535; write a host such as "app.internal:80"
    "#]],
    );
}

#[test]
fn an_answer_keeps_its_body() {
    check_edits(
        "response.status = 204",
        expect![[r#"
        lb.toml:15:19: status 204 says that there is no body, which an answer may have; use another status
    "#]],
    );
    check_edits(
        "response.status = 101",
        expect![[r#"
        lb.toml:15:19: status 101 is out of range; use 200..=599
    "#]],
    );
}

#[test]
fn what_no_backend_sees_is_not_edited() {
    let route = "[[route]]\nname = 'a'\nhosts = ['*']\npath = '/x'\nrespond = { status = 404 }\n";
    check(
        &format!(
            "{SOUND}{route}request.host = 'x'\nmirror.service = 'web'\nresponse.status = 403\n\
             response.headers.set.a = '{{backend}}'"
        ),
        expect![[r#"
            lb.toml:15:1: warning: request has no effect without service: nothing is sent to a backend; remove it
            lb.toml:16:1: warning: mirror has no effect without service: nothing is sent to a backend; remove it
            lb.toml:17:10: warning: status has no effect on an answer that the route gives itself; remove it
            lb.toml:18:26: a "{backend}" has {backend}, which is not known here; use {client_ip}, {host}, {path}, {query}, {method}, {scheme}, {request_id}, {route}
        "#]],
    );
}

#[test]
fn unknown_keys_are_found_in_edits_too() {
    check_edits(
        "request.header = {}\nresponse.body = 'x'\nrequest.query.add = {}\nrequest.headers.delete = []",
        expect![[r#"
            lb.toml:15:9: unknown key header in [route.request]; did you mean headers?
            lb.toml:16:10: unknown key body in [route.response]; what can be set here is status, headers
            lb.toml:17:15: unknown key add in [route.request.query]; what can be set here is remove, set
            lb.toml:18:17: unknown key delete in [route.request.headers]; what can be set here is remove, set, append
        "#]],
    );
}
