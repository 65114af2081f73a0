//! Which backends are believed.

use rcgen::date_time_ymd;

use super::*;

/// Whether a service believes the backend that shows certificate `b`.
async fn believes(disk: &Disk, asked: &ServiceTls, host: &str) -> Result<(), (Why, Why)> {
    let loaded = disk.with(|files| ServerTls::load(&listener(&["b"]), files)).unwrap();
    let (accepted, connected) = try_meet(&loaded.value, &disk.client(asked), host).await;
    match (accepted, connected) {
        (Ok(_), Ok(_)) => Ok(()),
        (Err(server), Err(client)) => Err((client.why, server.why)),
        (accepted, connected) => panic!("{:?}, {:?}", accepted.err(), connected.err()),
    }
}

#[tokio::test]
async fn a_backend_proves_to_be_the_host_of_its_url() {
    let (disk, authority) = usual();
    disk.write_pair("b", &authority.issue("b", &["b.example", "*.c.example", "127.0.0.1", "::1"]));
    for host in ["b.example", "x.c.example", "127.0.0.1", "::1"] {
        assert_eq!(believes(&disk, &service(), host).await, Ok(()), "{host}");
    }
    for host in ["a.example", "b", "c.example", "x.x.c.example", "127.0.0.2"] {
        let refused = Err((Why::WrongName, Why::Refused));
        assert_eq!(believes(&disk, &service(), host).await, refused, "{host}");
    }
}

#[tokio::test]
async fn server_name_is_asked_for_and_proved_in_place_of_the_host() {
    let (disk, authority) = usual();
    disk.write_pair("b", &authority.issue("b", &["b.example"]));
    let asked = ServiceTls { server_name: Some("b.example".into()), ..service() };
    assert_eq!(believes(&disk, &asked, "10.0.0.1").await, Ok(()));
    // Who asks for no name, or for another, is shown the first certificate, and turns away.
    let server = disk.server(&listener(&["a", "b"]));
    let (_, connected) = try_meet(&server, &disk.client(&asked), "a.example").await;
    assert!(connected.is_ok(), "b.example was asked for");
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_or_that_does_not_count_now_is_refused() {
    let (disk, authority) = usual();
    disk.write_pair("b", &Authority::new("the authority").issue("b", &["b.example"]));
    let not_trusted = Err((Why::NotTrusted, Why::Refused));
    assert_eq!(believes(&disk, &service(), "b.example").await, not_trusted, "a namesake");
    let public = ServiceTls { ca: None, ..service() };
    assert_eq!(believes(&disk, &public, "b.example").await, not_trusted, "by the roots of the web");

    let expired = Err((Why::Expired, Why::Refused));
    for (from, to) in [(1990, 2000), (3000, 3010)] {
        let mut params = params("b", &["b.example"]);
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        disk.write_pair("b", &authority.sign(&params, &key()));
        assert_eq!(believes(&disk, &service(), "b.example").await, expired, "{from}");
    }
}

#[tokio::test]
async fn anybody_is_believed_only_when_that_is_spelled_out() {
    let (disk, _) = usual();
    disk.write_pair("b", &Authority::new("nobody").issue("b", &["c.example"]));
    let asked = ServiceTls { insecure_skip_verify: true, ca: None, ..service() };
    assert_eq!(believes(&disk, &asked, "b.example").await, Ok(()));
}

#[tokio::test]
async fn a_host_that_no_certificate_can_name_is_refused_before_a_byte_is_sent() {
    let (disk, _) = usual();
    let (_near, far) = wire();
    let error =
        disk.client(&service()).connect(far, "not a host", Protocol::Auto).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "tls handshake failed (wrong_name): not a host cannot be the name in a certificate; set \
         server_name"
    );
}

#[tokio::test]
async fn a_backends_own_certificate_is_believed_itself_and_vouches_for_nobody() {
    let (disk, authority) = usual();
    for is_ca in [IsCa::NoCa, IsCa::ExplicitNoCa] {
        let mut own = params("own", &["b.example"]);
        own.is_ca = is_ca;
        let own = CertifiedIssuer::self_signed(own, key()).unwrap();
        let minted = Authority(own);
        for pem in [minted.pem(), minted.pem() + &authority.pem()] {
            disk.write("ca.pem", pem);
            disk.write_pair("b", &Pair { cert: minted.pem(), key: minted.0.key().serialize_pem() });
            assert_eq!(believes(&disk, &service(), "b.example").await, Ok(()));
            let refused = Err((Why::WrongName, Why::Refused));
            assert_eq!(believes(&disk, &service(), "c.example").await, refused);
            disk.write_pair("b", &minted.issue("minted", &["b.example"]));
            let refused = Err((Why::NotTrusted, Why::Refused));
            assert_eq!(believes(&disk, &service(), "b.example").await, refused);
        }
        disk.write_pair("b", &authority.issue("b", &["b.example"]));
        assert_eq!(believes(&disk, &service(), "b.example").await, Ok(()), "and others as ever");
    }
}
