//! What the two sides agree on, and how often they need to.

use lb_config::config::{ClientAuth, ClientAuthMode};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::time_provider::TimeProvider;

use super::*;

/// What both sides hear of a handshake, or why there was none.
async fn agree(server: &ServerTls, client: &ClientTls) -> (Result<Alpn, Why>, Result<Alpn, Why>) {
    let (accepted, connected) = try_meet(server, client, "a.example").await;
    let why = |error: HandshakeError| error.why;
    (accepted.map(|side| side.alpn).map_err(why), connected.map(|side| side.alpn).map_err(why))
}

#[tokio::test]
async fn both_sides_learn_what_is_spoken() {
    use Alpn::{Http1, Http2};
    let (disk, _) = usual();
    let agreed = |alpn| (Ok(alpn), Ok(alpn));
    let incompatible = (Err(Why::Incompatible), Err(Why::Incompatible));
    let cases = [
        (vec![Http2, Http1], Protocol::Auto, agreed(Http2)),
        (vec![Http2, Http1], Protocol::Http1, agreed(Http1)),
        (vec![Http2, Http1], Protocol::Http2, agreed(Http2)),
        // The order is the server's.
        (vec![Http1, Http2], Protocol::Auto, agreed(Http1)),
        (vec![Http1], Protocol::Auto, agreed(Http1)),
        (vec![Http1], Protocol::Http2, incompatible),
        (vec![Http2], Protocol::Http1, incompatible),
        // Silence is HTTP/1.1, and not HTTP/2 for whoever asks for it.
        (vec![], Protocol::Auto, agreed(Http1)),
        (vec![], Protocol::Http2, (Err(Why::Closed), Err(Why::Incompatible))),
    ];
    for (alpn, protocol, expected) in cases {
        let server = disk.server(&ListenerTls { alpn: alpn.clone(), ..listener(&["a"]) });
        let client = disk.client_that_speaks(protocol, &service());
        assert_eq!(agree(&server, &client).await, expected, "{alpn:?} {protocol:?}");
    }
}

#[tokio::test]
async fn a_client_that_offers_no_protocol_speaks_http_1() {
    let (disk, _) = usual();
    let server = disk.server(&ListenerTls { alpn: vec![Alpn::Http2], ..listener(&["a"]) });
    let (near, far) = wire();
    let connector = TlsConnector::from(Arc::new(anybody(rustls::ALL_VERSIONS)));
    let name = ServerName::try_from("a.example").unwrap();
    let (accepted, connected) = tokio::join!(server.accept(near), connector.connect(name, far));
    assert_eq!((accepted.unwrap().alpn, connected.is_ok()), (Alpn::Http1, true));
}

#[tokio::test]
async fn versions_below_the_minimum_are_not_spoken_by_either_side() {
    let (disk, _) = usual();
    let strict = ListenerTls { min_version: TlsVersion::V1_3, ..listener(&["a"]) };
    let (old, new) = (&rustls::version::TLS12, &rustls::version::TLS13);
    for (asked, version, expected) in [
        (listener(&["a"]), old, Ok(())),
        (listener(&["a"]), new, Ok(())),
        (strict.clone(), new, Ok(())),
        (strict, old, Err(Why::Incompatible)),
    ] {
        let (near, far) = wire();
        let (server, client) = (disk.server(&asked), Arc::new(anybody(&[version])));
        let name = ServerName::try_from("a.example").unwrap();
        let connector = TlsConnector::from(client);
        let (accepted, _) = tokio::join!(server.accept(near), connector.connect(name, far));
        assert_eq!(accepted.map(|_| ()).map_err(|error| error.why), expected, "{version:?}");
    }

    // A server that knows nothing newer than 1.2.
    let Pair { cert, key } = Authority::new("ca").issue("a", &["a.example"]);
    let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let old = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[old])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(old));
    let lax = ServiceTls { insecure_skip_verify: true, ca: None, ..service() };
    let strict = ServiceTls { min_version: TlsVersion::V1_3, ..lax.clone() };
    for (asked, expected) in [(lax, Ok(())), (strict, Err(Why::Refused))] {
        let (near, far) = wire();
        let client = disk.client(&asked);
        let (_, connected) =
            tokio::join!(acceptor.accept(near), client.connect(far, "a.example", Protocol::Auto));
        assert_eq!(connected.map(|_| ()).map_err(|error| error.why), expected);
    }
}

#[tokio::test]
async fn a_session_is_resumed_unless_tickets_are_off() {
    let (disk, _) = usual();
    for (session_tickets, expected) in [(true, [false, true, true]), (false, [false; 3])] {
        let server = disk.server(&ListenerTls { session_tickets, ..listener(&["a"]) });
        let client = disk.client(&service());
        for resumed in expected {
            let (accepted, connected) = meet(&server, &client, "a.example").await;
            assert_eq!((accepted.resumed, connected.resumed), (resumed, resumed));
        }
        let old = Arc::new(anybody(&[&rustls::version::TLS12]));
        for resumed in expected {
            let seen = visit(&server, &old, "a.example").await.unwrap();
            assert_eq!(seen.resumed, resumed, "with TLS 1.2");
        }
    }
}

#[tokio::test]
async fn a_session_of_one_listener_is_worth_nothing_at_another() {
    let (disk, _) = usual();
    let servers = [disk.server(&listener(&["a"])), disk.server(&listener(&["a"]))];
    let client = disk.client(&service());
    for server in &servers {
        let (accepted, connected) = meet(server, &client, "a.example").await;
        assert_eq!((accepted.resumed, connected.resumed), (false, false));
    }
}

#[tokio::test]
async fn no_session_outlives_the_certificates_in_it() {
    let now = Duration::from_secs(UnixTime::now().as_secs());
    let soon = rcgen::date_time_ymd(1970, 1, 1) + now + HOUR;
    let (disk, authority) = usual();
    let mut brief = params("brief", &["a.example"]);
    brief.not_after = soon;
    disk.write_pair("brief", &authority.sign(&brief, &key()));
    let auth = ClientAuth { mode: ClientAuthMode::Required, ca: "ca.pem".into() };
    let asking = ListenerTls { client_auth: Some(auth), ..listener(&["a"]) };
    let showing = ServiceTls { identity: Some(pair("brief")), ..service() };

    let (mut server, client) = (disk.server(&asking), disk.client(&showing));
    assert!(!meet(&server, &client, "a.example").await.0.resumed);
    assert!(meet(&server, &client, "a.example").await.0.resumed);
    Arc::get_mut(&mut server).unwrap().at(Arc::new(Then(now + HOUR * 2)));
    let (accepted, _) = try_meet(&server, &client, "a.example").await;
    let error = accepted.err().unwrap();
    assert_eq!(error.why, Why::Expired, "{error}");
    assert!(error.detail.starts_with("the session cannot go on: "), "as it was resumed");

    let (server, mut client) = (disk.server(&listener(&["brief"])), disk.client(&service()));
    meet(&server, &client, "a.example").await;
    assert!(meet(&server, &client, "a.example").await.1.resumed);
    Arc::get_mut(&mut client).unwrap().at(Arc::new(Then(now + HOUR * 2)));
    let (_, connected) = try_meet(&server, &client, "a.example").await;
    let error = connected.err().unwrap();
    assert_eq!(error.why, Why::Expired, "{error}");
    assert!(error.detail.starts_with("the session cannot go on: "), "as it was resumed");
}

/// An hour, and what is sure to be over in two.
const HOUR: Duration = Duration::from_secs(3_600);

/// A certificate of `a.example` that one vouches for who counts for an hour from now on.
fn brief_chain(authority: &Authority) -> (Pair, Duration) {
    let now = Duration::from_secs(UnixTime::now().as_secs());
    let mut brief = params("brief", &[]);
    brief.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    brief.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + HOUR;
    let between = Authority(CertifiedIssuer::signed_by(brief, key(), &authority.0).unwrap());
    let Pair { cert, key } = between.issue("long", &["a.example"]);
    (Pair { cert: cert + &between.pem(), key }, now)
}

#[tokio::test]
async fn no_session_outlives_those_who_vouch_for_it() {
    let (disk, authority) = usual();
    let (pair_of_files, now) = brief_chain(&authority);
    disk.write_pair("long", &pair_of_files);
    let auth = ClientAuth { mode: ClientAuthMode::Required, ca: "ca.pem".into() };
    let asking = ListenerTls { client_auth: Some(auth), ..listener(&["a"]) };
    let showing = ServiceTls { identity: Some(pair("long")), ..service() };
    let later = || Arc::new(Then(now + HOUR * 2));

    let (mut server, client) = (disk.server(&asking), disk.client(&showing));
    meet(&server, &client, "a.example").await;
    assert!(meet(&server, &client, "a.example").await.0.resumed);
    Arc::get_mut(&mut server).unwrap().at(later());
    let error = try_meet(&server, &client, "a.example").await.0.err().unwrap();
    assert_eq!(error.why, Why::Expired, "{error}");
    assert!(error.detail.starts_with("the session cannot go on: "), "as it was resumed");

    let (server, mut client) = (disk.server(&listener(&["long"])), disk.client(&service()));
    meet(&server, &client, "a.example").await;
    assert!(meet(&server, &client, "a.example").await.1.resumed);
    Arc::get_mut(&mut client).unwrap().at(later());
    let error = try_meet(&server, &client, "a.example").await.1.err().unwrap();
    assert_eq!(error.why, Why::Expired, "{error}");
    assert!(error.detail.starts_with("the session cannot go on: "), "as it was resumed");
}

#[tokio::test]
async fn a_backend_that_was_renewed_is_believed_when_its_old_session_is_over() {
    let (disk, authority) = usual();
    let (brief, now) = brief_chain(&authority);
    let config = |Pair { cert, key }: &Pair, version| {
        let chain = CertificateDer::pem_slice_iter(cert.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap()
    };
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut before = config(&brief, version);
        before.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
        let mut renewed = config(&authority.issue("renewed", &["a.example"]), version);
        renewed.ticketer = Arc::clone(&before.ticketer);
        let [before, renewed] =
            [before, renewed].map(|config| tokio_rustls::TlsAcceptor::from(Arc::new(config)));
        let mut client = disk.client(&service());
        let connect = async |acceptor: &tokio_rustls::TlsAcceptor, client: &ClientTls| {
            let (near, far) = wire();
            let near: Box<dyn Io> = near;
            let handshakes = tokio::join!(
                acceptor.accept(near),
                client.connect(far, "a.example", Protocol::Auto)
            );
            let mut connected = handshakes.1.map_err(|error| error.why)?;
            let mut accepted = handshakes.0.unwrap();
            say(&mut accepted, &mut connected.io).await;
            Ok(connected.resumed)
        };
        assert_eq!(connect(&before, &client).await, Ok(false));
        assert_eq!(connect(&before, &client).await, Ok(true));
        Arc::get_mut(&mut client).unwrap().at(Arc::new(Then(now + HOUR * 2)));
        assert_eq!(connect(&renewed, &client).await, Err(Why::Expired), "{version:?}: the old one");
        assert_eq!(connect(&renewed, &client).await, Ok(false), "{version:?}: a whole handshake");
        assert_eq!(connect(&renewed, &client).await, Ok(true), "{version:?}");
    }
}

/// A clock that stands still.
#[derive(Debug)]
struct Then(Duration);

impl TimeProvider for Then {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0))
    }
}

#[tokio::test]
async fn who_does_not_speak_tls_is_told_from_who_leaves() {
    let (disk, _) = usual();
    let (server, client) = (disk.server(&listener(&["a"])), disk.client(&service()));

    let (near, mut far) = wire();
    far.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
    assert_eq!(server.accept(near).await.err().map(|error| error.why), Some(Why::NotTls));
    let (mut near, far) = wire();
    near.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let failed = client.connect(far, "a.example", Protocol::Auto).await.err();
    assert_eq!(failed.as_ref().map(|error| error.why), Some(Why::NotTls));
    assert_eq!(failed.map(|error| error.failure()), Some(lb_core::Failure::TlsFailed));

    let (near, far) = wire();
    drop(far);
    assert_eq!(server.accept(near).await.err().map(|error| error.why), Some(Why::Closed));
    let (near, far) = wire();
    drop(near);
    let failed = client.connect(far, "a.example", Protocol::Auto).await;
    assert_eq!(failed.err().map(|error| error.why), Some(Why::Closed));
}

#[tokio::test]
async fn a_megabyte_arrives_as_it_was_sent_and_an_end_is_one_only_if_it_was_said() {
    let (disk, _) = usual();
    let (server, client) = (disk.server(&listener(&["a"])), disk.client(&service()));
    for is_said in [true, false] {
        let (mut accepted, mut connected) = meet(&server, &client, "a.example").await;
        let sent: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).take(1 << 20).collect();
        let writing = async {
            connected.io.write_all(&sent).await.unwrap();
            connected.io.flush().await.unwrap();
            if is_said {
                connected.io.shutdown().await.unwrap();
            }
            drop(connected);
        };
        let mut got = Vec::new();
        let (read, ()) = tokio::join!(accepted.io.read_to_end(&mut got), writing);
        assert!(got == sent);
        let expected = if is_said { None } else { Some(io::ErrorKind::UnexpectedEof) };
        assert_eq!(read.err().map(|error| error.kind()), expected);
    }
}
