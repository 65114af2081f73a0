//! `[service.health]`.

use expect_test::expect;

use crate::check_service;

#[test]
fn what_cannot_be_checked_is_told() {
    check_service(
        "health = { enabled = true, interval = '1m', interval_max = '30s', initial = 'up', \
         headers = { Host = 'x', 'a b' = 'x', x-ok = 'é', X-Fine = 'Basic Zm9v' } }",
        expect![[r#"
            lb.toml:7:60: interval_max is below interval; raise interval_max or lower interval
            lb.toml:7:77: initial "up" is unknown; use one of "healthy", "unhealthy"
            lb.toml:7:95: Host cannot be a header of a check; use a name of letters, digits and -, not host or connection
            lb.toml:7:107: a b cannot be a header of a check; use a name of letters, digits and -, not host or connection
            lb.toml:7:127: the value of a header has other than visible ASCII; change it
        "#]],
    );
    check_service(
        "health = { interval_max = '1h', initial = 'unhealthy', headers = { x = 'y' } }",
        expect![[r#"
            lb.toml:7:12: warning: interval_max has no effect without enabled = true; remove it
            lb.toml:7:33: warning: initial has no effect without enabled = true; remove it
            lb.toml:7:56: warning: headers has no effect without enabled = true; remove it
        "#]],
    );
    check_service(
        "health = { enabled = true, type = 'tcp', headers = { x = 'y' } }",
        expect![[r#"
            lb.toml:7:42: warning: headers has no effect with type = "tcp": only a connection is made; remove it
        "#]],
    );
}
