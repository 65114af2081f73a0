//! `[listener.tls]` and `[service.tls]`.

use expect_test::{Expect, expect};

use crate::{SOUND, check, check_service};

/// Puts `lines` below the listener of [`SOUND`], from line 3 on.
fn check_listener(lines: &str, expected: Expect) {
    check(&SOUND.replacen("\n\n", &format!("\n{lines}\n\n"), 1), expected);
}

/// Puts `lines` into a service with a backend that speaks TLS, from line 7 on.
fn check_https(lines: &str, expected: Expect) {
    let text = SOUND.replace("http://10.0.0.1", "https://10.0.0.1");
    check(
        &text.replace("\n\n[[service.pool]]", &format!("\n{lines}\n\n[[service.pool]]")),
        expected,
    );
}

const PAIR: &str = "certificates = [{ cert = 'a.pem', key = 'a.key' }]";

#[test]
fn a_listener_with_tls_has_certificates_with_keys() {
    check_listener(&format!("[listener.tls]\n{PAIR}"), expect![[""]]);
    check_listener(
        "[listener.tls]",
        expect![[r#"
        lb.toml:3:1: certificates is missing in [listener.tls]; add certificates = [{ cert = "lb.pem", key = "lb.key" }]
    "#]],
    );
    check_listener(
        "tls.certificates = []",
        expect![[r#"
        lb.toml:3:20: certificates is empty; use 1..=10000
    "#]],
    );
    check_listener(
        "tls.certificates = ['a.pem']",
        expect![[r#"
        lb.toml:3:21: certificates "a.pem" is a text and not a table; write { cert = "lb.pem", key = "lb.key" }
    "#]],
    );
    check_listener(
        "tls.certificates = [{ cert = 'a.pem' }, { key = 'a.key' }, { cert = '', key = 3, kee = 1 }]",
        expect![[r#"
            lb.toml:3:21: key is missing in [[listener.tls.certificates]]; add key = "lb.key"
            lb.toml:3:41: cert is missing in [[listener.tls.certificates]]; add cert = "lb.pem"
            lb.toml:3:69: cert "" is not the path of a file; write one, as in cert = "lb.pem"
            lb.toml:3:79: key 3 is a number; write a text in quotes
            lb.toml:3:82: unknown key kee in [[listener.tls.certificates]]; did you mean key?
        "#]],
    );
}

#[test]
fn settings_of_a_listener_are_words_that_are_known() {
    check_listener(
        &format!(
            "[listener.tls]\n{PAIR}\nmin_version = '1.1'\nalpn = ['h2', 'h3', 'h2']\n\
             handshake_timeout = 10\nsession_tickets = 'no'"
        ),
        expect![[r#"
            lb.toml:5:15: min_version "1.1" is unknown; did you mean "1.2"?
            lb.toml:6:15: alpn "h3" is unknown; did you mean "h2"?
            lb.toml:6:21: alpn "h2" is there already; remove one of the two
            lb.toml:7:21: handshake_timeout 10 has no unit; write "10s"
            lb.toml:8:19: session_tickets "no" is a text; write true or false, without quotes
        "#]],
    );
    check_listener(&format!("[listener.tls]\n{PAIR}\nalpn = []"), expect![[""]]);
}

#[test]
fn http2_is_not_offered_where_it_is_not_spoken() {
    let off = |lines: &str| {
        let text = SOUND.replacen("\n\n", &format!("\n[listener.tls]\n{PAIR}\n{lines}\n\n"), 1);
        format!("{text}\n[server.http2]\nenabled = false\n")
    };
    check(&off("alpn = ['http/1.1']"), expect![[""]]);
    check(
        &off("alpn = ['h2', 'http/1.1']"),
        expect![[r#"
        lb.toml:5:9: alpn "h2" is not spoken: [server.http2] has enabled = false; remove one of the two
    "#]],
    );
    let (config, _) = lb_config::load(&lb_config::Source { name: "lb.toml", text: &off("") });
    let tls = config.and_then(|config| config.listeners[0].tls.clone());
    assert_eq!(tls.map(|tls| tls.alpn), Some(vec![lb_config::config::Alpn::Http1]));
}

#[test]
fn client_auth_says_how_and_by_whom() {
    let with = |auth: &str| format!("[listener.tls]\n{PAIR}\nclient_auth = {auth}");
    check_listener(&with("{ mode = 'optional', ca = 'ca.pem' }"), expect![[""]]);
    check_listener(
        &with("{ ca = 'ca.pem' }"),
        expect![[r#"
        lb.toml:5:15: mode is missing in [listener.tls.client_auth]; add mode = "required"
    "#]],
    );
    check_listener(
        &with("{ mode = 'require' }"),
        expect![[r#"
        lb.toml:5:15: ca is missing in [listener.tls.client_auth]; add ca = "clients.pem"
        lb.toml:5:24: mode "require" is unknown; did you mean "required"?
    "#]],
    );
    check_listener(
        &with("'required'"),
        expect![[r#"
        lb.toml:5:15: client_auth "required" is a text; write a table, as in [listener.tls.client_auth]
    "#]],
    );
}

#[test]
fn tls_with_backends_wants_pairs_and_an_https_url() {
    check_https(
        "tls = { ca = 'ca.pem', cert = 'a.pem', key = 'a.key', server_name = '::1', min_version = '1.3' }",
        expect![[""]],
    );
    check_https(
        "[service.tls]\ncert = 'a.pem'",
        expect![[r#"
        lb.toml:8:8: cert is given without its key; add key = "lb.key", or remove it
    "#]],
    );
    check_https(
        "[service.tls]\nkey = 'a.key'",
        expect![[r#"
        lb.toml:8:7: key is given without its certificate; add cert = "lb.pem", or remove it
    "#]],
    );
    check_https(
        "[service.tls]\nserver_name = '*.a.b'\nca = ''",
        expect![[r#"
        lb.toml:8:15: server_name "*.a.b" has a *; write each name in full
        lb.toml:9:6: ca "" is not the path of a file; write one, as in cert = "lb.pem"
    "#]],
    );
    check_service(
        "[service.tls]\nca = 'ca.pem'\nmin_version = '1.3'",
        expect![[r#"
        lb.toml:8:1: warning: ca has no effect without a backend that has an https:// url; remove it
        lb.toml:9:1: warning: min_version has no effect without a backend that has an https:// url; remove it
    "#]],
    );
}

#[test]
fn skipping_verification_is_warned_about() {
    check_https(
        "[service.tls]\ninsecure_skip_verify = true\nca = 'ca.pem'",
        expect![[r#"
        lb.toml:8:24: warning: insecure_skip_verify = true: anybody on the way can pose as the backend; name the certificate that vouches for it in ca instead
        lb.toml:9:1: warning: ca has no effect with insecure_skip_verify = true: no certificate is checked; remove it
    "#]],
    );
}
