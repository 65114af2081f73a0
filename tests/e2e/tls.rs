//! TLS on both sides of the proxy, over real sockets and real files.

use std::fs;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::h2::{read as read_h2, whole};
use crate::support::{Backend, Proxy, Script, read_head, run, until};

/// Who vouches for all certificates of one test, in a directory of its own.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: PathBuf,
}

impl Authority {
    pub(crate) fn new(test: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("e2e-tls").join(test);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, dir }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// Writes `NAME.pem` and `NAME.key`: a certificate of `subject` for `host`.
    pub(crate) fn issue(&self, name: &str, subject: &str, host: &str) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, subject);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.dir.join(format!("{name}.pem")), cert.pem()).unwrap();
        fs::write(self.dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn pair(&self, name: &str) -> String {
        let (cert, key) = (format!("{name}.pem"), format!("{name}.key"));
        format!("cert = \"{}\", key = \"{}\"", self.path(&cert), self.path(&key))
    }

    fn read(&self, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let cert = CertificateDer::from_pem_file(self.path(&format!("{name}.pem"))).unwrap();
        (vec![cert], PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap())
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap()).unwrap();
        roots
    }

    /// A client that believes this authority, offers `alpn`, and is `identity`.
    pub(crate) async fn connect(
        &self,
        proxy: &Proxy,
        alpn: &[&str],
        identity: Option<&str>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots());
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some(name) => {
                let (certs, key) = self.read(name);
                config.with_client_auth_cert(certs, key).unwrap()
            }
        };
        config.alpn_protocols = alpn.iter().map(|it| it.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(proxy.addr).await.unwrap();
        let name = ServerName::try_from("a.example").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// A backend that shows certificate `name` and answers with what it was asked.
    async fn backend(&self, name: &str, alpn: &[&str]) -> (String, Rc<std::cell::Cell<u32>>) {
        self.backend_for(name, alpn, WebPkiClientVerifier::no_client_auth()).await
    }

    /// The same for clients that show a certificate of this authority.
    async fn strict_backend(&self, name: &str) -> (String, Rc<std::cell::Cell<u32>>) {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let roots = Arc::new(self.roots());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
        self.backend_for(name, &[], verifier.unwrap()).await
    }

    async fn backend_for(
        &self,
        name: &str,
        alpn: &[&str],
        verifier: Arc<dyn ClientCertVerifier>,
    ) -> (String, Rc<std::cell::Cell<u32>>) {
        let (certs, key) = self.read(name);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(certs, key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|it| it.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let handshakes = Rc::new(std::cell::Cell::new(0));
        let counted = Rc::clone(&handshakes);
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, counted) = (acceptor.clone(), Rc::clone(&counted));
                tokio::task::spawn_local(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    counted.set(counted.get() + 1);
                    serve(stream).await;
                });
            }
        });
        (format!("https://localhost:{port}"), handshakes)
    }
}

/// Answers each request with its own head, over whichever HTTP was agreed on; and switches.
async fn serve(stream: tokio_rustls::server::TlsStream<TcpStream>) {
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        let service = hyper::service::service_fn(async |request: Request<_>| {
            let said = format!("{:?} {}", request.version(), request.uri());
            Ok::<_, std::convert::Infallible>(http::Response::new(whole(&said)))
        });
        let builder = hyper::server::conn::http2::Builder::new(crate::support::h2::Here);
        let _ended = builder.serve_connection(TokioIo::new(stream), service).await;
        return;
    }
    let mut stream = BufReader::new(stream);
    while let Some(head) = read_head(&mut stream).await {
        if head.contains("upgrade: ping") {
            let switch = "HTTP/1.1 101 Here\r\nconnection: upgrade\r\nupgrade: ping\r\n\r\n";
            stream.write_all(switch.as_bytes()).await.unwrap();
            let mut word = [0; 4];
            stream.read_exact(&mut word).await.unwrap();
            stream.write_all(&word).await.unwrap();
            stream.flush().await.unwrap();
            return;
        }
        let length = head.len();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{head}");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

pub(crate) fn config(authority: &Authority, listener: &str, service: &str, url: &str) -> String {
    format!(
        "[[listener]]\nbind = \"127.0.0.1:0\"\n[listener.tls]\ncertificates = [{{ {} }}]\n{listener}\n\
         [admin]\nbind = \"127.0.0.1:0\"\n[[service]]\nname = \"web\"\nhosts = [\"*\"]\n{service}\n\
         [[service.pool]]\nbackends = [{{ url = \"{url}\" }}]\n",
        authority.pair("a")
    )
}

/// One request over HTTP/1.1; everything that is said after it.
pub(crate) async fn ask(stream: &mut TlsStream<TcpStream>, fields: &str) -> String {
    let request = format!("GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[test]
fn a_client_over_tls_is_told_apart_and_speaks_what_was_agreed_on() {
    run(async {
        let authority = Authority::new("client");
        authority.issue("a", "a", "a.example");
        let backend = Backend::start(|_, _| Script::ok("hello")).await;
        let proxy = Proxy::start_with(&config(&authority, "", "", &backend.url())).await;

        let mut stream = authority.connect(&proxy, &[], None).await.unwrap();
        assert!(ask(&mut stream, "x-forwarded-proto: http\r\n").await.ends_with("hello"));
        assert_eq!(backend.request().one("x-forwarded-proto"), Some("https"));

        let stream = authority.connect(&proxy, &["h2", "http/1.1"], None).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let io = TokioIo::new(stream);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::task::spawn_local(connection);
        let request = Request::get("https://a.example/y").body(whole("")).unwrap();
        let answer = read_h2(sender.send_request(request).await.unwrap()).await.unwrap();
        assert_eq!(answer.body, "hello");
        assert_eq!(backend.requests()[1].one("x-forwarded-proto"), Some("https"));
        assert_eq!(backend.requests()[1].one("x-forwarded-client-cert"), None);
    });
}

#[test]
fn who_speaks_no_tls_where_it_is_expected_costs_only_a_handshake() {
    run(async {
        let authority = Authority::new("plain");
        authority.issue("a", "a", "a.example");
        let backend = Backend::start(|_, _| Script::ok("hello")).await;
        let proxy = Proxy::start_with(&config(&authority, "", "", &backend.url())).await;
        let mut stream = TcpStream::connect(proxy.addr).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut said = Vec::new();
        let _reset = stream.read_to_end(&mut said).await;
        assert!(!said.starts_with(b"HTTP"), "{said:?}");
        let metrics = proxy.metrics().await;
        let failed = "lb_tls_handshakes_failed_total{why=\"not_tls\"} 1";
        assert!(metrics.text().contains(failed), "{}", metrics.text());
        assert_eq!(backend.connections(), 0);
    });
}

#[test]
fn a_backend_over_tls_has_to_prove_who_it_is() {
    run(async {
        let authority = Authority::new("backend");
        authority.issue("a", "a", "a.example");
        authority.issue("b", "b", "localhost");
        authority.issue("c", "c", "other.example");
        let believes = format!("[service.tls]\nca = \"{}\"", authority.path("ca.pem"));
        let asked = async |name: &str, alpn: &[&str], service: &str| {
            let (url, handshakes) = authority.backend(name, alpn).await;
            let proxy = Proxy::start_with(&config(&authority, "", service, &url)).await;
            let mut stream = authority.connect(&proxy, &[], None).await.unwrap();
            let answer = ask(&mut stream, "").await;
            until(|| !proxy.log().is_empty()).await;
            (answer, handshakes.get(), proxy.log().remove(0))
        };
        let (answer, handshakes, _) = asked("b", &[], &believes).await;
        assert!(answer.starts_with("HTTP/1.1 200") && handshakes == 1, "{answer}");
        let (answer, ..) = asked("b", &["h2", "http/1.1"], &believes).await;
        assert!(answer.contains("HTTP/2.0 https://a/x"), "{answer}");
        let http1 = format!("protocol = \"http1\"\n{believes}");
        let (answer, ..) = asked("b", &["h2", "http/1.1"], &http1).await;
        assert!(answer.contains("GET /x HTTP/1.1"), "{answer}");

        let (answer, handshakes, line) = asked("c", &[], &believes).await;
        assert!(answer.starts_with("HTTP/1.1 502"), "another's certificate: {answer}");
        assert_eq!((handshakes, &line["attempts"][0]["outcome"]), (0, &"tls_failed".into()));
        let (answer, ..) = asked("b", &[], "").await;
        assert!(answer.starts_with("HTTP/1.1 502"), "nobody knows the authority: {answer}");
        let named = format!("{believes}\nserver_name = \"other.example\"");
        assert!(asked("c", &[], &named).await.0.starts_with("HTTP/1.1 200"));
        let skip = "[service.tls]\ninsecure_skip_verify = true";
        assert!(asked("c", &[], skip).await.0.starts_with("HTTP/1.1 200"));
    });
}

#[test]
fn an_operator_is_told_why_a_backend_is_not_trusted() {
    run(async {
        let authority = Authority::new("why");
        authority.issue("a", "a", "a.example");
        authority.issue("b", "b", "localhost");
        let believes = format!("[service.tls]\nca = \"{}\"", authority.path("ca.pem"));
        let told = async |url: &str, service: &str| {
            let proxy = Proxy::start_with(&config(&authority, "", service, url)).await;
            for _ in 0..2 {
                let mut stream = authority.connect(&proxy, &[], None).await.unwrap();
                let answer = ask(&mut stream, "").await;
                assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
            }
            let notices = proxy.notices();
            assert_eq!(notices.len(), 1, "and not each time: {notices:?}");
            let told = notices.into_iter().next().unwrap();
            assert!(told.starts_with(&format!("backend {url}: tls handshake failed (")), "{told}");
            told
        };
        let (url, _) = authority.backend("a", &[]).await;
        let why = told(&url, &believes).await;
        assert!(why.contains("wrong_name") && why.contains("server_name of"), "{why}");
        let why = told(&url, "").await;
        assert!(why.contains("not_trusted") && why.contains("ca of [service.tls]"), "{why}");
        let (url, _) = authority.strict_backend("b").await;
        let why = told(&url, &believes).await;
        assert!(why.contains("refused") && why.contains("cert and key of"), "{why}");
        let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", plain.local_addr().unwrap().port());
        tokio::task::spawn_local(async move {
            while let Ok((mut stream, _)) = plain.accept().await {
                let _gone = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            }
        });
        let why = told(&url, &believes).await;
        assert!(why.contains("not_tls") && why.contains("http://"), "{why}");
    });
}

#[test]
fn a_tunnel_goes_through_tls_on_both_sides() {
    run(async {
        let authority = Authority::new("tunnel");
        authority.issue("a", "a", "a.example");
        authority.issue("b", "b", "localhost");
        let believes = format!("[service.tls]\nca = \"{}\"", authority.path("ca.pem"));
        // A tunnel begins with HTTP/1.1 whatever else the backend offers.
        let (url, _) = authority.backend("b", &["h2", "http/1.1"]).await;
        let proxy = Proxy::start_with(&config(&authority, "", &believes, &url)).await;
        let mut stream = authority.connect(&proxy, &["http/1.1"], None).await.unwrap();
        let request =
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: ping\r\n\r\nword";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut stream = BufReader::new(stream);
        assert!(read_head(&mut stream).await.unwrap().starts_with("HTTP/1.1 101"));
        let mut word = [0; 4];
        stream.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"word");
    });
}

#[test]
fn health_checks_speak_as_requests_do() {
    run(async {
        let authority = Authority::new("health");
        authority.issue("a", "a", "a.example");
        authority.issue("b", "b", "localhost");
        for alpn in [&[][..], &["h2"]] {
            let believes = format!(
                "[service.health]\nenabled = true\npath = \"/\"\ninterval = \"100ms\"\ninitial = \"unhealthy\"\nrise = 1\n\
                 [service.tls]\nca = \"{}\"",
                authority.path("ca.pem")
            );
            let (url, _) = authority.backend("b", alpn).await;
            let proxy = Proxy::start_with(&config(&authority, "", &believes, &url)).await;
            loop {
                let mut stream = authority.connect(&proxy, &[], None).await.unwrap();
                if ask(&mut stream, "").await.starts_with("HTTP/1.1 200") {
                    break;
                }
            }
        }
    });
}

#[test]
fn a_reload_shows_new_certificates_and_leaves_open_connections_alone() {
    run(async {
        let authority = Authority::new("reload");
        authority.issue("a", "before", "a.example");
        let backend = Backend::start(|_, _| Script::ok("hello")).await;
        let config = config(&authority, "", "", &backend.url());
        let proxy = Proxy::start_with(&config).await;
        let mut open = authority.connect(&proxy, &[], None).await.unwrap();
        let leaf = |stream: &TlsStream<TcpStream>| {
            stream.get_ref().1.peer_certificates().unwrap()[0].clone()
        };
        let before = leaf(&open);
        authority.issue("a", "after", "a.example");
        proxy.reload(&config);
        let after = loop {
            let stream = authority.connect(&proxy, &[], None).await.unwrap();
            if leaf(&stream) != before {
                break leaf(&stream);
            }
        };
        assert_ne!(after, before);
        assert!(ask(&mut open, "").await.ends_with("hello"));

        fs::write(authority.path("a.pem"), "nothing").unwrap();
        let refused = proxy.try_reload(&config).unwrap_err();
        let said = refused.to_string();
        assert!(said.contains("a.pem") && said.contains("listener 127.0.0.1:0"), "{said}");
        let mut still = authority.connect(&proxy, &[], None).await.unwrap();
        assert!(ask(&mut still, "").await.ends_with("hello"));
    });
}

#[test]
fn what_is_found_is_served_while_a_certificate_is_missing() {
    run(async {
        let authority = Authority::new("found");
        authority.issue("a", "a", "a.example");
        let [one, two] = [
            Backend::start(|_, _| Script::ok("one")).await,
            Backend::start(|_, _| Script::ok("two")).await,
        ];
        let list = authority.path("list.json");
        let found =
            |backend: &Backend| fs::write(&list, format!("[{{ \"url\": \"{}\" }}]", backend.url()));
        found(&one).unwrap();
        let standing = "backends = [{ url = \"https://found.below\" }]";
        let discover = format!("discover = {{ file = '{list}', every = \"50ms\" }}");
        let config = config(&authority, "", "", "https://found.below").replace(standing, &discover);
        let proxy = Proxy::start_with(&config).await;
        let answer = async || {
            let mut stream = authority.connect(&proxy, &[], None).await.unwrap();
            ask(&mut stream, "").await
        };
        while !answer().await.ends_with("one") {}
        fs::remove_file(authority.path("a.pem")).unwrap();
        fs::write(authority.path("a.key"), "nothing").unwrap();
        found(&two).unwrap();
        while !answer().await.ends_with("two") {}
        assert!(proxy.try_reload(&config).is_err(), "the files are bad, and a reload reads them");
    });
}

#[test]
fn http2_is_spoken_over_tls_where_it_was_agreed_on_and_nowhere_else() {
    run(async {
        let authority = Authority::new("alpn");
        authority.issue("a", "a", "a.example");
        let backend = Backend::start(|_, _| Script::ok("hello")).await;
        for (said, offered) in [("alpn = [\"http/1.1\"]", &[][..]), ("", &[]), ("", &["http/1.1"])]
        {
            let proxy = Proxy::start_with(&config(&authority, said, "", &backend.url())).await;
            let mut stream = authority.connect(&proxy, offered, None).await.unwrap();
            let settings = b"\0\0\0\x04\0\0\0\0\0";
            let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], settings].concat();
            stream.write_all(&preface).await.unwrap();
            let mut answer = Vec::new();
            let _reset = stream.read_to_end(&mut answer).await;
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.starts_with("HTTP/1.1 "), "{said} {offered:?}: {answer:?}");
        }
        assert_eq!(backend.connections(), 0);
    });
}

#[test]
fn a_backend_with_which_http2_alone_can_be_agreed_on_is_not_to_blame_for_a_tunnel() {
    run(async {
        let authority = Authority::new("tunnel-h2");
        authority.issue("a", "a", "a.example");
        authority.issue("local", "local", "localhost");
        let (backend, _) = authority.backend("local", &["h2"]).await;
        for protocol in ["auto", "h2"] {
            let service = format!(
                "protocol = \"{protocol}\"\ntls = {{ ca = \"{}\" }}\n\
                 breaker = {{ consecutive_failures = 1 }}",
                authority.path("ca.pem")
            );
            let proxy = Proxy::start_with(&config(&authority, "", &service, &backend)).await;
            for _ in 0..2 {
                let mut stream = authority.connect(&proxy, &[], None).await.unwrap();
                let said =
                    "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, close\r\nupgrade: x\r\n\r\n";
                stream.write_all(said.as_bytes()).await.unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.unwrap();
                assert!(answer.contains("\"no_tunnel\""), "{protocol}: {answer}");
                let mut stream = authority.connect(&proxy, &[], None).await.unwrap();
                assert!(ask(&mut stream, "").await.contains("HTTP/2.0"), "{protocol}");
            }
            assert_eq!(proxy.notices(), Vec::<String>::new(), "{protocol}");
        }
    });
}
