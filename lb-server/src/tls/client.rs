//! TLS with backends: whom a service believes, and who it says it is.

use std::path::PathBuf;
use std::sync::Arc;

use lb_config::config::{Alpn, Protocol, ServiceTls};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, RootCertStore,
    SignatureScheme,
};
use tokio_rustls::TlsConnector;

use super::files::{Contents, Files, Fingerprint, Loaded, Problem, parse};
use super::handshake::{HandshakeError, Why, goes_on};
use super::{BUFFER_MAX, agreed, protocols, provider, versions};
use crate::platform::Io;

/// Backends, by name, whose sessions are kept to be resumed: some KiB each, the one that was resumed
/// last goes last.
const SESSIONS_MAX: usize = 1_024;

/// TLS with the backends of one service. Workers share one.
pub struct ClientTls {
    asked: ServiceTls,
    protocol: Protocol,
    fingerprint: Fingerprint,
    config: Arc<ClientConfig>,
    /// The same, where HTTP/1.1 alone will do.
    http1: Arc<ClientConfig>,
}

/// A connection on which the handshake is over.
pub struct Connected {
    /// What is said on it.
    pub io: Box<dyn Io>,
    /// What is spoken on it.
    pub alpn: Alpn,
    /// Whether an earlier session went on.
    pub resumed: bool,
}

impl ClientTls {
    /// Reads all files that `asked` names, and makes what they say. `protocol` says what is offered
    /// to backends.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn load(
        asked: &ServiceTls,
        protocol: Protocol,
        files: &Files<'_>,
    ) -> Result<Loaded<Self>, Vec<Problem>> {
        make(asked, protocol, &Contents::read(paths(asked), files))
    }

    /// What `asked` and its files say now, as [`ServerTls::renewed`](super::ServerTls::renewed).
    ///
    /// # Errors
    /// All that is wrong with the files.
    pub fn renewed(
        self: &Arc<Self>,
        asked: &ServiceTls,
        protocol: Protocol,
        files: &Files<'_>,
    ) -> Result<Loaded<Arc<Self>>, Vec<Problem>> {
        let contents = Contents::read(paths(asked), files);
        let is_asked = self.asked == *asked && self.protocol == protocol;
        if is_asked && self.fingerprint == contents.fingerprint() {
            return Ok(Loaded { value: Arc::clone(self), warnings: Vec::new() });
        }
        make(asked, protocol, &contents).map(|made| made.map(Arc::new))
    }

    /// Its files.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        paths(&self.asked)
    }

    /// As if it were another time.
    #[cfg(test)]
    pub(super) fn at(&mut self, time: Arc<dyn rustls::time_provider::TimeProvider>) {
        Arc::make_mut(&mut self.config).time_provider = time;
    }

    /// Takes a connection as its client. The backend has to prove to be `host` (a name, or an
    /// address without brackets), unless `server_name` says another. It may wait for ever: the
    /// caller has the deadline. With `Protocol::Http1` nothing else is offered; any other `protocol`
    /// stands for the service's own.
    ///
    /// # Errors
    /// Why the handshake failed. The backend was told, if it could be.
    pub async fn connect(
        &self,
        io: Box<dyn Io>,
        host: &str,
        protocol: Protocol,
    ) -> Result<Connected, HandshakeError> {
        let (config, offered) = match protocol {
            Protocol::Http1 => (&self.http1, offered(Protocol::Http1)),
            Protocol::Auto | Protocol::Http2 => (&self.config, offered(self.protocol)),
        };
        let name = self.asked.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(|_| HandshakeError {
            why: Why::WrongName,
            detail: format!("{host} cannot be the name in a certificate; set server_name"),
        })?;
        let limited = |connection: &mut ClientConnection| {
            connection.set_buffer_limit(Some(BUFFER_MAX));
        };
        let connector = TlsConnector::from(Arc::clone(config));
        let handshake = connector.connect_with(name, io, limited);
        let stream = handshake.await.map_err(|error| HandshakeError::new(&error))?;
        let (_, connection) = stream.get_ref();
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        let leaf = connection.peer_certificates().and_then(|chain| parse(chain.first()?));
        if let Some(leaf) = leaf.filter(|_| resumed && !self.asked.insecure_skip_verify) {
            goes_on(&leaf, config.time_provider.current_time())?;
        }
        let alpn = agreed(connection.alpn_protocol());
        if !offered.contains(&alpn) {
            let detail = "the backend did not agree to HTTP/2, which protocol asks for".to_owned();
            return Err(HandshakeError { why: Why::Incompatible, detail });
        }
        Ok(Connected { alpn, resumed, io: Box::new(stream) })
    }
}

/// The most welcome first.
const fn offered(protocol: Protocol) -> &'static [Alpn] {
    match protocol {
        Protocol::Auto => &[Alpn::Http2, Alpn::Http1],
        Protocol::Http1 => &[Alpn::Http1],
        Protocol::Http2 => &[Alpn::Http2],
    }
}

fn paths(asked: &ServiceTls) -> impl Iterator<Item = &PathBuf> {
    let pair = asked.identity.iter().flat_map(|pair| [&pair.cert, &pair.key]);
    pair.chain(asked.ca.as_ref().filter(|_| !asked.insecure_skip_verify))
}

fn make(
    asked: &ServiceTls,
    protocol: Protocol,
    contents: &Contents,
) -> Result<Loaded<ClientTls>, Vec<Problem>> {
    let provider = provider();
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    let verifier =
        verifier(asked, contents, &provider, &mut warnings).map_err(|problem| errors.push(problem));
    let identity = asked.identity.as_ref().map(|pair| {
        contents.certified(pair, &provider, &mut warnings).map_err(|problem| errors.push(problem))
    });
    let (Ok(verifier), Ok(identity)) = (verifier, identity.transpose()) else {
        return Err(errors);
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions(asked.min_version))
        .expect("the provider has ciphers for both versions")
        .dangerous() // is what rustls calls any verifier but its default, ours or not
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        None => config.with_no_client_auth(),
        Some(key) => config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
    };
    config.alpn_protocols = protocols(offered(protocol));
    config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
    let mut http1 = config.clone();
    http1.alpn_protocols = protocols(offered(Protocol::Http1));
    let made = ClientTls {
        asked: asked.clone(),
        protocol,
        fingerprint: contents.fingerprint(),
        config: Arc::new(config),
        http1: Arc::new(http1),
    };
    Ok(Loaded { value: made, warnings })
}

/// Who is believed to be a backend. Without `ca` that is whom Mozilla trusts, as of the build: the
/// same on every machine, in containers without any certificates too, and nothing that a package of
/// the system can change behind our back.
fn verifier(
    asked: &ServiceTls,
    contents: &Contents,
    provider: &Arc<CryptoProvider>,
    warnings: &mut Vec<Problem>,
) -> Result<Arc<dyn ServerCertVerifier>, Problem> {
    if asked.insecure_skip_verify {
        return Ok(Arc::new(Anybody(Arc::clone(provider))));
    }
    let roots = match &asked.ca {
        Some(ca) => contents.roots(ca, warnings)?,
        None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
    };
    let builder =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    Ok(builder.build().expect("there are roots, and no revocation lists to be wrong"))
}

/// `insecure_skip_verify`: any certificate will do, as long as the peer has its key.
#[derive(Debug)]
pub(super) struct Anybody(pub(super) Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}
