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
use super::{BUFFER_MAX, Current, Reloaded, agreed, protocols, provider, versions};
use crate::platform::Io;

/// Backends, by name, whose sessions are kept to be resumed: some KiB each, the one that was resumed
/// last goes last.
const SESSIONS_MAX: usize = 1_024;

/// TLS with the backends of one service. Workers share one.
pub struct ClientTls {
    current: Current<Made>,
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

/// One load.
#[derive(Clone)]
struct Made {
    asked: ServiceTls,
    protocol: Protocol,
    fingerprint: Fingerprint,
    config: Arc<ClientConfig>,
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
        let contents = Contents::read(paths(asked), files);
        let Loaded { value, warnings } = make(asked, protocol, &contents)?;
        Ok(Loaded { value: Self { current: Current::new(value) }, warnings })
    }

    /// Reads the files of `asked` again, as [`ServerTls::reload`](super::ServerTls::reload) does.
    ///
    /// # Errors
    /// All that is wrong with the files; what was believed before is believed still.
    pub fn reload(
        &self,
        asked: &ServiceTls,
        protocol: Protocol,
        files: &Files<'_>,
    ) -> Result<Loaded<Reloaded>, Vec<Problem>> {
        let contents = Contents::read(paths(asked), files);
        let current = self.current.get();
        let is_asked = current.asked == *asked && current.protocol == protocol;
        if is_asked && current.fingerprint == contents.fingerprint() {
            return Ok(Loaded { value: Reloaded::Same, warnings: Vec::new() });
        }
        let Loaded { value, warnings } = make(asked, protocol, &contents)?;
        self.current.replace(value);
        Ok(Loaded { value: Reloaded::Changed, warnings })
    }

    /// Of the files that new connections are made with.
    pub fn fingerprint(&self) -> Fingerprint {
        self.current.get().fingerprint
    }

    /// Of the files as they are now, for whoever watches them; parses nothing.
    pub fn fingerprint_now(&self, files: &Files<'_>) -> Fingerprint {
        Contents::read(paths(&self.current.get().asked), files).fingerprint()
    }

    /// As if it were another time.
    #[cfg(test)]
    pub(super) fn at(&self, time: Arc<dyn rustls::time_provider::TimeProvider>) {
        let mut made = Made::clone(&self.current.get());
        Arc::make_mut(&mut made.config).time_provider = time;
        self.current.replace(made);
    }

    /// Takes a connection as its client. The backend has to prove to be `host` (a name, or an
    /// address without brackets), unless `server_name` says another. It may wait for ever: the
    /// caller has the deadline.
    ///
    /// # Errors
    /// Why the handshake failed. The backend was told, if it could be.
    pub async fn connect(&self, io: Box<dyn Io>, host: &str) -> Result<Connected, HandshakeError> {
        let current = self.current.get();
        let name = current.asked.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(|_| HandshakeError {
            why: Why::WrongName,
            detail: format!("{host} cannot be the name in a certificate; set server_name"),
        })?;
        let limited = |connection: &mut ClientConnection| {
            connection.set_buffer_limit(Some(BUFFER_MAX));
        };
        let connector = TlsConnector::from(Arc::clone(&current.config));
        let handshake = connector.connect_with(name, io, limited);
        let stream = handshake.await.map_err(|error| HandshakeError::new(&error))?;
        let (_, connection) = stream.get_ref();
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        let leaf = connection.peer_certificates().and_then(|chain| parse(chain.first()?));
        if let Some(leaf) = leaf.filter(|_| resumed && !current.asked.insecure_skip_verify) {
            goes_on(&leaf, current.config.time_provider.current_time())?;
        }
        let alpn = agreed(connection.alpn_protocol());
        if !offered(current.protocol).contains(&alpn) {
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
) -> Result<Loaded<Made>, Vec<Problem>> {
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
    let made = Made {
        asked: asked.clone(),
        protocol,
        fingerprint: contents.fingerprint(),
        config: Arc::new(config),
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
        f.debug_struct("ClientTls")
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}
