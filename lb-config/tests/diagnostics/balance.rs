//! `[service.balance]`.

use expect_test::expect;

use crate::check_service;

#[test]
fn a_key_that_nobody_asks_for_and_a_source_that_is_none_are_told() {
    check_service(
        "balance = { hash = ['path'], load_percent = 150 }",
        expect![[r#"
        lb.toml:7:13: warning: hash has no effect with this policy: it goes by no key; remove it
        lb.toml:7:30: warning: load_percent has no effect with this policy: ring, maglev and rendezvous bound the load; remove it
    "#]],
    );
    check_service(
        "balance = { policy = 'first', load_percent = 100 }",
        expect![[r#"
        lb.toml:7:31: warning: load_percent has no effect with this policy: ring, maglev and rendezvous bound the load; remove it
        lb.toml:7:46: load_percent 100 is out of range; use 101..=1000
    "#]],
    );
    check_service(
        "balance = { policy = 'ring', hash = ['header:', 'cookie:a b', 'ip', 'client-ip:4', 'query:x'] }",
        expect![[r#"
            lb.toml:7:38: hash "header:" is no source of a key; use "client-ip", "forwarded-for", "header:NAME", "cookie:NAME", "path", "query", "query:NAME" or "text:SOME"
            lb.toml:7:49: hash "cookie:a b" is no source of a key; use "client-ip", "forwarded-for", "header:NAME", "cookie:NAME", "path", "query", "query:NAME" or "text:SOME"
            lb.toml:7:63: hash "ip" is no source of a key; use "client-ip", "forwarded-for", "header:NAME", "cookie:NAME", "path", "query", "query:NAME" or "text:SOME"
            lb.toml:7:69: hash "client-ip:4" is no source of a key; use "client-ip", "forwarded-for", "header:NAME", "cookie:NAME", "path", "query", "query:NAME" or "text:SOME"
        "#]],
    );
    check_service(
        "balance = { policy = 'maglev', hash = [] }",
        expect![[r#"
        lb.toml:7:39: hash has 0 sources; use 1..=8
    "#]],
    );
}
