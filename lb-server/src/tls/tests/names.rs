//! Which certificate is shown to whom.

use expect_test::{Expect, expect};
use rcgen::PKCS_ED25519;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

use super::*;

/// Asks `server` for each host, and writes down what it shows.
async fn check(server: &ServerTls, hosts: &[&str], expected: Expect) {
    let client = Arc::new(anybody(rustls::ALL_VERSIONS));
    let mut text = String::new();
    for host in hosts {
        let seen = visit(server, &client, host).await.unwrap();
        text += &format!("{host}: {}\n", seen.subject);
    }
    expected.assert_eq(&text);
}

#[tokio::test]
async fn an_exact_name_goes_before_a_wildcard_and_the_first_certificate_is_for_the_rest() {
    let (disk, authority) = usual();
    disk.write_pair("wild", &authority.issue("wild", &["*.b.example", "*.c.example"]));
    disk.write_pair("exact", &authority.issue("exact", &["X.b.example", "10.0.0.1"]));
    check(
        &disk.server(&listener(&["a", "wild", "exact"])),
        &[
            "a.example",
            "y.b.example",
            "x.b.example",
            "X.B.EXAMPLE",
            "y.c.example",
            "b.example",
            "x.y.b.example",
            "d.example",
            "10.0.0.1",
        ],
        expect![[r#"
            a.example: CN=a
            y.b.example: CN=wild
            x.b.example: CN=exact
            X.B.EXAMPLE: CN=exact
            y.c.example: CN=wild
            b.example: CN=a
            x.y.b.example: CN=a
            d.example: CN=a
            10.0.0.1: CN=a
        "#]],
    )
    .await;
}

#[test]
fn a_dot_at_the_end_of_a_name_makes_no_difference() {
    let (disk, authority) = usual();
    disk.write_pair("b", &authority.issue("b", &["b.example", "*.c.example"]));
    let certified = |name: &str| {
        let pair = pair(name);
        let contents =
            disk.with(|files| files::Contents::read([&pair.cert, &pair.key].into_iter(), files));
        contents.certified(&pair, &provider(), &mut Vec::new()).unwrap()
    };
    let (first, other) = (certified("a"), certified("b"));
    let mut names = super::super::names::Names::new(first);
    names.add(&other);
    for name in ["b.example", "b.example.", "x.c.example", "X.C.EXAMPLE."] {
        assert!(Arc::ptr_eq(&names.named(name).expect(name)[0], &other), "{name}");
    }
    for name in ["d.example.", "b.example..", "."] {
        assert!(names.named(name).is_none(), "{name}");
    }
}

#[tokio::test]
async fn the_common_name_of_a_certificate_is_no_host() {
    let (disk, authority) = usual();
    disk.write_pair("b", &authority.issue("b.example", &["c.example"]));
    let server = disk.server(&listener(&["a", "b"]));
    check(
        &server,
        &["b.example", "c.example"],
        expect![[r#"
        b.example: CN=a
        c.example: CN=b.example
    "#]],
    )
    .await;
}

#[tokio::test]
async fn of_two_certificates_for_a_name_the_first_that_the_client_can_check_is_shown() {
    let (disk, authority) = usual();
    let modern = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    disk.write_pair("modern", &authority.sign(&params("modern", &["b.example"]), &modern));
    disk.write_pair("old", &authority.issue("old", &["b.example"]));
    let server = disk.server(&listener(&["a", "modern", "old"]));
    check(
        &server,
        &["b.example"],
        expect![[r#"
        b.example: CN=modern
    "#]],
    )
    .await;

    let mut frugal = anybody(rustls::ALL_VERSIONS);
    frugal.dangerous().set_certificate_verifier(Arc::new(EcdsaOnly(Anybody(provider()))));
    let seen = visit(&server, &Arc::new(frugal), "b.example").await.unwrap();
    assert_eq!(seen.subject, "CN=old");
}

#[tokio::test]
async fn a_backend_is_asked_for_by_its_name_and_not_by_its_address() {
    let (disk, authority) = usual();
    disk.write_pair("b", &authority.issue("b", &["b.example"]));
    disk.write_pair("first", &authority.issue("first", &["first.example", "127.0.0.1"]));
    // Each is believed only if it is shown: "first" where no name is asked for (RFC 6066 §3).
    let (server, client) = (disk.server(&listener(&["first", "b"])), disk.client(&service()));
    for host in ["B.Example", "127.0.0.1"] {
        let (accepted, _) = meet(&server, &client, host).await;
        assert_eq!(accepted.client_subject, None, "nobody was asked who they are");
    }
}

/// A client that knows ECDSA and nothing else.
#[derive(Debug)]
struct EcdsaOnly(Anybody);

impl ServerCertVerifier for EcdsaOnly {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.0.verify_server_cert(leaf, others, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
