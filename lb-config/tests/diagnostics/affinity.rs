//! `[service.affinity]`.

use expect_test::expect;

use crate::check_service;

#[test]
fn a_cookie_that_browsers_refuse_or_others_guess_is_refused() {
    check_service(
        "affinity = { by = 'cookie', cookie = 'a b', path = 'x', secret = 'hunter2', same_site = 'none', max_age = '401d' }",
        expect![[r#"
            lb.toml:7:38: cookie "a b" is no name of a cookie; use 1..=64 of a-z, 0-9, - and _
            lb.toml:7:52: path "x" is no path of a cookie; begin with / and leave out ; and spaces
            lb.toml:7:66: secret is too short to be one; use at least 16 bytes, as from: openssl rand -hex 32
            lb.toml:7:89: same_site "none" without secure: browsers refuse such a cookie; add secure = true and serve over TLS
            lb.toml:7:107: max_age "401d" is out of range; use 1s..=400d
        "#]],
    );
    check_service(
        "affinity = { by = 'cookie', value = 'hostname', secret = 'sixteen bytes, or more' }",
        expect![[r#"
            lb.toml:7:49: warning: secret has no effect with a value in clear: there is nothing to hide; remove it
        "#]],
    );
    check_service("affinity = {}", expect![[""]]);
    check_service(
        "affinity.cookie = 'lb'",
        expect![[r#"
        lb.toml:7:10: warning: cookie has no effect without by = "cookie"; remove it
    "#]],
    );
}
