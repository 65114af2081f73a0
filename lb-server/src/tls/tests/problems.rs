//! What is said about every file that cannot be used, or that will disappoint.

use expect_test::{Expect, expect};
use lb_config::config::{ClientAuth, ClientAuthMode};
use nix::errno::Errno;
use rcgen::{KeyUsagePurpose, date_time_ymd};

use super::*;

/// Loads a listener that asks clients who they are, and a service that shows who it is, after
/// `spoil` had its way with their files.
#[expect(clippy::needless_pass_by_value, reason = "calls read best with the text in place")]
fn check(spoil: impl FnOnce(&Disk, &Authority), expected: Expect) {
    let (disk, authority) = usual();
    disk.write_pair("b", &authority.issue("b", &["b.example"]));
    spoil(&disk, &authority);
    let auth = ClientAuth { mode: ClientAuthMode::Required, ca: "ca.pem".into() };
    let asked = ListenerTls { client_auth: Some(auth), ..listener(&["a", "b"]) };
    let outward = ServiceTls { identity: Some(pair("b")), ..service() };
    let said = disk.with(|files| {
        let inward = ServerTls::load(&asked, files).map(|loaded| loaded.warnings);
        let outward =
            ClientTls::load(&outward, Protocol::Auto, files).map(|loaded| loaded.warnings);
        [("listener", inward), ("service", outward)]
    });
    let mut text = String::new();
    for (whose, said) in said {
        let (kind, problems) = match said {
            Ok(warnings) => ("warning", warnings),
            Err(problems) => ("error", problems),
        };
        for problem in problems {
            text += &format!("{whose} {kind}: {problem}\n");
        }
    }
    expected.assert_eq(&text);
}

#[test]
fn sound_files_are_no_problem() {
    check(|_, _| (), expect![[""]]);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    check(
        |disk, _| disk.remove("a.pem"),
        expect![[r#"
        listener error: a.pem does not exist; correct the path
    "#]],
    );
    check(
        |disk, _| disk.remove("b.key"),
        expect![[r#"
        listener error: b.key does not exist; correct the path
        service error: b.key does not exist; correct the path
    "#]],
    );
    check(
        |disk, _| disk.remove("ca.pem"),
        expect![[r#"
        listener error: ca.pem does not exist; correct the path
        service error: ca.pem does not exist; correct the path
    "#]],
    );

    let denied = Files {
        read: &|_| Err(io::ErrorKind::PermissionDenied.into()),
        now: SystemTime::UNIX_EPOCH,
    };
    let problems = ServerTls::load(&listener(&["a"]), &denied).unwrap_err();
    expect!["a.pem may not be read; let the user that the proxy runs as read it, and nobody else"]
        .assert_eq(&problems[0].to_string());
    let broken = Files { read: &|_| Err(io::Error::other("bad sector")), ..denied };
    let problems = ServerTls::load(&listener(&["a"]), &broken).unwrap_err();
    expect!["a.pem cannot be read: bad sector; correct the path"]
        .assert_eq(&problems[0].to_string());
    let remedies = [
        (Errno::EMFILE, "raise the limit on open files, or wait until there are fewer"),
        (Errno::EIO, "look after the disk, or the network, that it is on"),
        (Errno::ESTALE, "look after the disk, or the network, that it is on"),
        (Errno::ELOOP, "correct the path"),
    ];
    for (number, remedy) in remedies {
        let files = Files { read: &|_| Err(number.into()), ..denied };
        let problems = ServerTls::load(&listener(&["a"]), &files).unwrap_err();
        assert_eq!(problems[0].remedy, remedy);
    }
}

#[test]
fn all_problems_are_told_at_once() {
    check(
        |disk, _| {
            disk.remove("a.key");
            disk.remove("b.key");
            disk.write("ca.pem", "");
        },
        expect![[r#"
            listener error: a.key does not exist; correct the path
            listener error: b.key does not exist; correct the path
            listener error: ca.pem has no certificate; put the certificate in it as PEM: -----BEGIN CERTIFICATE-----
            service error: ca.pem has no certificate; put the certificate in it as PEM: -----BEGIN CERTIFICATE-----
            service error: b.key does not exist; correct the path
        "#]],
    );
}

#[test]
fn a_file_with_something_else_in_it_is_told_what_is_missing() {
    check(
        |disk, _| disk.write("a.pem", "hello\n"),
        expect![[r#"
        listener error: a.pem has no certificate; put the certificate in it as PEM: -----BEGIN CERTIFICATE-----
    "#]],
    );
    check(
        |disk, _| disk.write("a.key", ""),
        expect![[r#"
        listener error: a.key has no private key; put the key in it as PEM: -----BEGIN PRIVATE KEY-----
    "#]],
    );
    check(
        |disk, authority| {
            let Pair { cert, key } = authority.issue("a", &["a.example"]);
            disk.write_pair("a", &Pair { cert: key, key: cert });
        },
        expect![[r#"
            listener error: a.pem has a key and no certificate; swap cert and key
        "#]],
    );
    check(
        |disk, authority| disk.write("a.key", authority.pem()),
        expect![[r#"
        listener error: a.key has a certificate and no key; swap cert and key
    "#]],
    );
    check(
        |disk, authority| disk.write("a.pem", authority.0.der().to_vec()),
        expect![[r#"
        listener error: a.pem is DER and not PEM; convert it: openssl x509 (or pkey) -inform der -in FILE -out FILE.pem
    "#]],
    );
    check(
        |disk, _| disk.write("ca.pem", vec![b' '; 9 << 20]),
        expect![[r#"
        listener error: ca.pem is too large for certificates; keep what is needed, at most 8 MiB
        service error: ca.pem is too large for certificates; keep what is needed, at most 8 MiB
    "#]],
    );
}

#[test]
fn broken_pem_is_told_from_pem_of_something_broken() {
    check(
        |disk, authority| {
            let pem = authority.pem();
            disk.write("a.pem", &pem[..pem.len() / 2]);
        },
        expect![[r#"
            listener error: a.pem is broken PEM; copy it again, from the first -----BEGIN to the last -----END with its dashes
        "#]],
    );
    let of_garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    check(
        |disk, _| disk.write("a.pem", of_garbage),
        expect![[r#"
        listener error: a.pem begins with a certificate that cannot be understood; issue it again as an X.509 certificate, version 3
    "#]],
    );
    check(
        |disk, _| disk.write("ca.pem", of_garbage),
        expect![[r#"
        listener error: ca.pem has a certificate (number 1) that cannot vouch; keep only certificates of authorities in it
        service error: ca.pem has a certificate (number 1) that cannot vouch; keep only certificates of authorities in it
    "#]],
    );
    let garbage = of_garbage.replace("CERTIFICATE", "PRIVATE KEY");
    check(
        |disk, _| disk.write("a.key", garbage),
        expect![[r#"
        listener error: a.key has a private key of a kind that is not supported; use RSA of 2048..=8192 bits, P-256, P-384 or Ed25519
    "#]],
    );
}

#[test]
fn a_certificate_that_may_not_vouch_for_others_is_no_authority() {
    check(
        |disk, authority| {
            disk.write("ca.pem", authority.pem() + &authority.issue("leaf", &[]).cert)
        },
        expect![[r#"
            listener error: ca.pem has a certificate (number 2) that is of no authority (basicConstraints without CA:TRUE) (CN=leaf); keep only certificates of authorities in it
            service error: ca.pem has a certificate (number 2) that is of no authority (basicConstraints without CA:TRUE) (CN=leaf); keep only certificates of authorities in it
        "#]],
    );
    check(
        |disk, authority| {
            let mut params = params("signs no others", &[]);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            disk.write("ca.pem", authority.sign(&params, &key()).cert);
        },
        expect![[r#"
            listener error: ca.pem has a certificate (number 1) that may not sign others (keyUsage without keyCertSign) (CN=signs no others); keep only certificates of authorities in it
            service error: ca.pem has a certificate (number 1) that may not sign others (keyUsage without keyCertSign) (CN=signs no others); keep only certificates of authorities in it
        "#]],
    );
    check(
        |disk, _| {
            let mut params = params("signs others", &[]);
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            disk.write("ca.pem", params.self_signed(&key()).unwrap().pem());
        },
        expect![[""]],
    );
    // Who has the key of a client's own certificate could be anybody else.
    check(
        |disk, _| {
            disk.write("ca.pem", params("own", &[]).self_signed(&key()).unwrap().pem());
        },
        expect![[r#"
            listener error: ca.pem has a certificate (number 1) that is of no authority (basicConstraints without CA:TRUE) (CN=own); keep only certificates of authorities in it
        "#]],
    );
}

#[test]
fn an_encrypted_key_is_told_how_to_be_decrypted() {
    let modern =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    check(
        |disk, _| disk.write("a.key", modern),
        expect![[r#"
        listener error: a.key has a key that is encrypted; decrypt it with openssl pkey -in a.key -out FILE, and let nobody else read that
    "#]],
    );
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n\
               AAAA\n-----END RSA PRIVATE KEY-----\n";
    check(
        |disk, _| disk.write("b.key", old),
        expect![[r#"
        listener error: b.key has a key that is encrypted; decrypt it with openssl pkey -in b.key -out FILE, and let nobody else read that
        service error: b.key has a key that is encrypted; decrypt it with openssl pkey -in b.key -out FILE, and let nobody else read that
    "#]],
    );
}

#[test]
fn a_key_of_another_certificate_is_told_so() {
    check(
        |disk, authority| disk.write("b.key", authority.issue("c", &[]).key),
        expect![[r#"
        listener error: b.key is not the key of the certificate in b.pem; name the two that were made together; the certificate of the server comes first in its file
        service error: b.key is not the key of the certificate in b.pem; name the two that were made together; the certificate of the server comes first in its file
    "#]],
    );
    check(
        |disk, authority| {
            let Pair { cert, key } = authority.issue("b", &["b.example"]);
            disk.write_pair("b", &Pair { cert: authority.pem() + &cert, key });
        },
        expect![[r#"
            listener error: b.key is not the key of the certificate in b.pem; name the two that were made together; the certificate of the server comes first in its file
            service error: b.key is not the key of the certificate in b.pem; name the two that were made together; the certificate of the server comes first in its file
        "#]],
    );
}

#[test]
fn what_does_not_count_now_is_warned_about() {
    check(
        |disk, authority| {
            let mut params = params("b", &["b.example"]);
            params.not_after = date_time_ymd(2026, 11, 20);
            disk.write_pair("b", &authority.sign(&params, &key()));
            params.not_after = date_time_ymd(2036, 1, 1);
            params.not_before = date_time_ymd(2026, 11, 22);
            disk.write_pair("a", &authority.sign(&params, &key()));
        },
        expect![[r#"
            listener warning: a.pem has a certificate (CN=b) that begins on Nov 22 00:00:00 2026 +00:00; check the clock, or wait: peers refuse it
            listener warning: b.pem has a certificate (CN=b) that expired on Nov 20 00:00:00 2026 +00:00; renew it: peers will refuse it
            service warning: b.pem has a certificate (CN=b) that expired on Nov 20 00:00:00 2026 +00:00; renew it: peers will refuse it
        "#]],
    );
}

#[test]
fn a_certificate_that_nobody_can_ask_for_is_warned_about_unless_it_is_the_first() {
    check(
        |disk, authority| {
            disk.write_pair("a", &authority.issue("a", &[]));
            disk.write_pair("b", &authority.issue("b", &["10.0.0.1"]));
        },
        expect![[r#"
            listener warning: b.pem has a certificate without a host name (subjectAltName), so nobody asks for it; issue it for the names that it serves
        "#]],
    );
}

#[test]
fn a_fingerprint_tells_contents_and_names_apart() {
    let of = |disk: &Disk, names: &[&str]| {
        let asked: Vec<_> = names.iter().map(|name| std::path::PathBuf::from(*name)).collect();
        let paths: Vec<_> = asked.iter().collect();
        disk.with(|files| files::Contents::read(asked.iter(), files).fingerprint(&paths))
    };
    let disk = Disk::default();
    disk.write("a", "12");
    disk.write("b", "3");
    let before = of(&disk, &["a", "b"]);
    assert_eq!(of(&disk, &["b", "a"]), before);
    disk.write("a", "1");
    disk.write("b", "23");
    assert_ne!(of(&disk, &["a", "b"]), before, "a byte changed sides");
    assert_ne!(of(&disk, &["a"]), before);
    disk.remove("b");
    let gone = of(&disk, &["a", "b"]);
    assert_ne!(gone, of(&disk, &["a"]));
    disk.write("b", "");
    assert_ne!(gone, of(&disk, &["a", "b"]), "nothing is not an empty file");
}

#[test]
fn no_more_of_a_file_is_read_than_can_be_of_use() {
    let path = std::env::temp_dir().join(format!("lb-large-{}", std::process::id()));
    std::fs::File::create(&path).unwrap().set_len(9 << 20).unwrap();
    let large = read(&path);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(large.unwrap().len(), (8 << 20) + 1);
    // Nor is anything waited for that nobody writes.
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let pipe = read(&path);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(pipe.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(read(Path::new("/nowhere")).unwrap_err().kind(), io::ErrorKind::NotFound);
}
