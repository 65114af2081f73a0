//! Both sides of TLS against each other, over streams in memory, with files that exist nowhere.

mod mutual;
mod names;
mod problems;
mod reload;
mod session;
mod trust;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use lb_config::config::{ListenerTls, Protocol, ServiceTls};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::TlsConnector;

use super::trust::Anybody;
use super::*;
use crate::platform::Io;

/// The 21st of November 2026: certificates of the tests hold until 4096 unless they say otherwise.
const NOW: Duration = Duration::from_secs(1_795_219_200);

/// Who vouches for certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What is in two files.
struct Pair {
    cert: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = params(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, key()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate about `name` that is good for `hosts`.
    fn issue(&self, name: &str, hosts: &[&str]) -> Pair {
        self.sign(&params(name, hosts), &key())
    }

    fn sign(&self, params: &CertificateParams, key: &KeyPair) -> Pair {
        let cert = params.signed_by(key, &self.0).unwrap();
        Pair { cert: cert.pem(), key: key.serialize_pem() }
    }
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

fn params(name: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// Files that can be written and read.
#[derive(Default)]
struct Disk(RefCell<BTreeMap<String, Vec<u8>>>);

impl Disk {
    fn write(&self, path: &str, content: impl Into<Vec<u8>>) {
        self.0.borrow_mut().insert(path.to_owned(), content.into());
    }

    /// `NAME.pem` and `NAME.key`.
    fn write_pair(&self, name: &str, pair: &Pair) {
        self.write(&format!("{name}.pem"), pair.cert.as_str());
        self.write(&format!("{name}.key"), pair.key.as_str());
    }

    fn remove(&self, path: &str) {
        self.0.borrow_mut().remove(path).unwrap();
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let files = self.0.borrow();
        files.get(path.to_str().unwrap()).cloned().ok_or(io::ErrorKind::NotFound.into())
    }

    fn with<T>(&self, act: impl FnOnce(&Files<'_>) -> T) -> T {
        act(&Files { read: &|path| self.read(path), now: SystemTime::UNIX_EPOCH + NOW })
    }

    /// What is served as `asked`; all files are sound.
    fn server(&self, asked: &ListenerTls) -> Arc<ServerTls> {
        Arc::new(self.with(|files| sound(ServerTls::load(asked, files))))
    }

    fn client(&self, asked: &ServiceTls) -> Arc<ClientTls> {
        self.client_that_speaks(Protocol::Auto, asked)
    }

    fn client_that_speaks(&self, protocol: Protocol, asked: &ServiceTls) -> Arc<ClientTls> {
        Arc::new(self.with(|files| sound(ClientTls::load(asked, protocol, files))))
    }
}

fn sound<T>(loaded: Result<Loaded<T>, Vec<Problem>>) -> T {
    let Loaded { value, warnings } = loaded.map_err(|problems| format!("{problems:?}")).unwrap();
    assert_eq!(warnings, []);
    value
}

/// A listener with the certificates of these names.
fn listener(names: &[&str]) -> ListenerTls {
    ListenerTls {
        certificates: names.iter().map(|name| pair(name)).collect(),
        min_version: TlsVersion::V1_2,
        alpn: vec![Alpn::Http2, Alpn::Http1],
        handshake_timeout: Duration::from_secs(10),
        client_auth: None,
        session_tickets: true,
    }
}

/// A service that believes whom `ca.pem` vouches for.
fn service() -> ServiceTls {
    ServiceTls {
        ca: Some("ca.pem".into()),
        identity: None,
        server_name: None,
        min_version: TlsVersion::V1_2,
        insecure_skip_verify: false,
    }
}

fn pair(name: &str) -> lb_config::config::KeyPair {
    lb_config::config::KeyPair {
        cert: format!("{name}.pem").into(),
        key: format!("{name}.key").into(),
    }
}

/// An authority in `ca.pem`, and one certificate for `a.example` in `a`.
fn usual() -> (Disk, Authority) {
    let (disk, authority) = (Disk::default(), Authority::new("the authority"));
    disk.write("ca.pem", authority.pem());
    disk.write_pair("a", &authority.issue("a", &["a.example"]));
    (disk, authority)
}

fn wire() -> (Box<DuplexStream>, Box<DuplexStream>) {
    let (one, other) = duplex(64 << 10);
    (Box::new(one), Box::new(other))
}

/// Both ends of a connection whose handshake is over on both sides, tickets included.
async fn meet(server: &ServerTls, client: &ClientTls, host: &str) -> (Accepted, Connected) {
    let (accepted, connected) = try_meet(server, client, host).await;
    let (mut accepted, mut connected) = (accepted.unwrap(), connected.unwrap());
    say(&mut accepted.io, &mut connected.io).await;
    (accepted, connected)
}

async fn try_meet(
    server: &ServerTls,
    client: &ClientTls,
    host: &str,
) -> (Result<Accepted, HandshakeError>, Result<Connected, HandshakeError>) {
    let (near, far) = wire();
    tokio::join!(server.accept(near), client.connect(far, host, Protocol::Auto))
}

/// One byte each way.
async fn say(one: &mut dyn Io, other: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    pass(one, other).await;
    pass(other, one).await;
}

async fn pass(
    from: &mut (impl AsyncRead + AsyncWrite + Unpin + ?Sized),
    to: &mut (impl AsyncRead + AsyncWrite + Unpin + ?Sized),
) {
    from.write_all(b"x").await.unwrap();
    from.flush().await.unwrap();
    assert_eq!(to.read_u8().await.unwrap(), b'x');
}

/// What a client of somebody else's making sees.
struct Seen {
    /// The subject of the certificate that it was shown.
    subject: String,
    resumed: bool,
}

async fn visit(
    server: &ServerTls,
    client: &Arc<ClientConfig>,
    host: &str,
) -> Result<Seen, HandshakeError> {
    let (near, far) = wire();
    let connector = TlsConnector::from(Arc::clone(client));
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let (accepted, stream) = tokio::join!(server.accept(near), connector.connect(name, far));
    let (mut accepted, mut stream) = (accepted?, stream.unwrap());
    say(&mut accepted.io, &mut stream).await;
    let (_, connection) = stream.get_ref();
    let leaf = &connection.peer_certificates().unwrap()[0];
    Ok(Seen {
        subject: subject::text(files::parse(leaf).unwrap().subject()),
        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
    })
}

/// A client that believes anybody, and makes of TLS what `versions` says.
fn anybody(versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider())))
        .with_no_client_auth()
}
