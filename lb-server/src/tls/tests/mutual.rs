//! Who clients prove to be (mTLS), on both sides.

use expect_test::{Expect, expect};
use lb_config::config::{ClientAuth, ClientAuthMode};
use rcgen::{DnType, DnValue};

use super::*;

fn asking(mode: ClientAuthMode) -> ListenerTls {
    let ca = "clients-ca.pem".into();
    ListenerTls { client_auth: Some(ClientAuth { mode, ca }), ..listener(&["a"]) }
}

/// As [`usual`], with an authority for clients and what two of them show: `known` and `stranger`.
fn with_clients() -> (Disk, Authority) {
    let (disk, _) = usual();
    let authority = Authority::new("the clients' authority");
    disk.write("clients-ca.pem", authority.pem());
    disk.write_pair("known", &authority.issue("known", &[]));
    disk.write_pair("stranger", &Authority::new("nobody").issue("stranger", &[]));
    (disk, authority)
}

fn showing(name: &str) -> ServiceTls {
    ServiceTls { identity: Some(pair(name)), ..service() }
}

#[tokio::test]
async fn a_client_is_who_its_certificate_says_in_a_resumed_session_too() {
    let (disk, _) = with_clients();
    for mode in [ClientAuthMode::Optional, ClientAuthMode::Required] {
        let (server, client) = (disk.server(&asking(mode)), disk.client(&showing("known")));
        for resumed in [false, true] {
            let (accepted, _) = meet(&server, &client, "a.example").await;
            assert_eq!(accepted.client_subject.as_deref(), Some("CN=known"), "{mode:?}");
            assert_eq!(accepted.resumed, resumed);
        }
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_nobody_or_refused() {
    let (disk, _) = with_clients();
    let client = disk.client(&service());
    let optional = disk.server(&asking(ClientAuthMode::Optional));
    let (accepted, _) = meet(&optional, &client, "a.example").await;
    assert_eq!(accepted.client_subject, None);

    let required = disk.server(&asking(ClientAuthMode::Required));
    let (accepted, connected) = try_meet(&required, &client, "a.example").await;
    assert_eq!(accepted.err().map(|error| error.why), Some(Why::NoCertificate));
    assert_refused_late(connected).await;
}

#[tokio::test]
async fn a_client_that_a_stranger_vouches_for_is_refused_even_if_it_need_not_show_anything() {
    let (disk, _) = with_clients();
    for mode in [ClientAuthMode::Optional, ClientAuthMode::Required] {
        let (server, client) = (disk.server(&asking(mode)), disk.client(&showing("stranger")));
        let (accepted, connected) = try_meet(&server, &client, "a.example").await;
        assert_eq!(accepted.err().map(|error| error.why), Some(Why::NotTrusted), "{mode:?}");
        assert_refused_late(connected).await;
    }
}

/// With TLS 1.3 a client hears that it is refused where it expects an answer.
async fn assert_refused_late(connected: Result<Connected, HandshakeError>) {
    let error = connected.unwrap().io.read_u8().await.unwrap_err();
    assert_eq!(HandshakeError::refusal(&error).map(|refusal| refusal.why), Some(Why::Refused));
    let broken = io::Error::from(io::ErrorKind::ConnectionReset);
    assert_eq!(HandshakeError::refusal(&broken), None);
}

#[tokio::test]
async fn a_client_whose_name_does_not_fit_into_a_header_is_refused() {
    let (disk, authority) = with_clients();
    disk.write_pair("long", &authority.issue(&"x".repeat(4_094), &[]));
    let server = disk.server(&asking(ClientAuthMode::Required));
    let (accepted, _) = try_meet(&server, &disk.client(&showing("long")), "a.example").await;
    assert_eq!(
        accepted.err().map(|error| error.to_string()).as_deref(),
        Some(
            "tls handshake failed (broken): the subject of the client's certificate is longer than \
             4 KiB"
        )
    );
}

#[tokio::test]
async fn more_authorities_than_a_message_has_room_for_are_not_named_and_believed_all_the_same() {
    let (disk, authority) = with_clients();
    let mut pem = authority.pem();
    for nth in 0..300 {
        pem += &Authority::new(&format!("{nth} {}", "x".repeat(250))).pem();
    }
    disk.write("clients-ca.pem", pem);
    let (server, client) =
        (disk.server(&asking(ClientAuthMode::Required)), disk.client(&showing("known")));
    let (accepted, _) = meet(&server, &client, "a.example").await;
    assert_eq!(accepted.client_subject.as_deref(), Some("CN=known"));
}

/// The subject of a certificate with these attributes, as text.
#[expect(clippy::needless_pass_by_value, reason = "calls read best with the text in place")]
fn check(attributes: &[(DnType, DnValue)], expected: Expect) {
    let mut params = params("", &["a.example"]);
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in attributes {
        params.distinguished_name.push(kind.clone(), value.clone());
    }
    let cert = params.self_signed(&key()).unwrap();
    expected.assert_eq(&subject::text(files::parse(cert.der()).unwrap().subject()));
}

#[test]
fn a_subject_is_printable_text_whatever_is_in_it() {
    let text = |text: &str| DnValue::Utf8String(text.to_owned());
    check(&[], expect![[""]]);
    check(
        &[
            (DnType::CountryName, text("DE")),
            (DnType::OrganizationName, text("Example, Inc.")),
            (DnType::CommonName, text("a+b=c")),
        ],
        expect![[r#"CN=a\+b=c,O=Example\, Inc.,C=DE"#]],
    );
    check(&[(DnType::CommonName, text(" #\"\\<>; "))], expect![[r#"CN=\ #\"\\\<\>\;\ "#]]);
    check(&[(DnType::CommonName, text("#x"))], expect![[r#"CN=\#x"#]]);
    check(
        &[(DnType::CommonName, text("a\r\nX-Admin: 1\0"))],
        expect![[r#"CN=a\0d\0aX-Admin: 1\00"#]],
    );
    check(&[(DnType::CommonName, text("Zoë"))], expect![[r#"CN=Zo\c3\ab"#]]);
    check(&[(DnType::from_oid(&[1, 2, 3, 4]), text("odd"))], expect!["1.2.3.4=#0c036f6464"]);
}
