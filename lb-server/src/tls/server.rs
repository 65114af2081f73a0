//! TLS with clients: what one listener shows, and who came in.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lb_config::config::{Alpn, ClientAuth, ClientAuthMode, ListenerTls};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ServerConnection, WebPkiClientVerifier};
use rustls::{HandshakeKind, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::files::{Contents, Files, Fingerprint, Loaded, Problem, nameless, parse};
use super::handshake::{HandshakeError, Why, goes_on};
use super::names::Names;
use super::{BUFFER_MAX, agreed, protocols, provider, subject, versions};
use crate::platform::Io;

/// A longer subject does not fit into a header beside others. Who shows one is refused: half of a
/// name could be somebody else's.
const SUBJECT_BYTES_MAX: usize = 4 << 10;

/// TLS with the clients of one listener. Workers share one.
pub struct ServerTls {
    asked: ListenerTls,
    fingerprint: Fingerprint,
    config: Arc<ServerConfig>,
}

/// A connection on which the handshake is over.
pub struct Accepted {
    /// What is said on it.
    pub io: Box<dyn Io>,
    /// What is spoken on it.
    pub alpn: Alpn,
    /// Who the client has proved to be (RFC 4514, printable ASCII); empty where its certificate
    /// names no subject, `None` where it showed none.
    pub client_subject: Option<String>,
    /// Whether an earlier session went on.
    pub resumed: bool,
}

impl ServerTls {
    /// Reads all files that `asked` names, and makes what they say.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn load(asked: &ListenerTls, files: &Files<'_>) -> Result<Loaded<Self>, Vec<Problem>> {
        make(asked, &Contents::read(paths(asked), files))
    }

    /// What `asked` and its files say now: this very value if that is the same, so that its sessions
    /// go on. A change forgets the keys of session tickets, so that no session outlives the rules that
    /// it was made under.
    ///
    /// Certificate and key are two files and never change at once: an error may be gone with the
    /// next look.
    ///
    /// # Errors
    /// All that is wrong with the files.
    pub fn renewed(
        self: &Arc<Self>,
        asked: &ListenerTls,
        files: &Files<'_>,
    ) -> Result<Loaded<Arc<Self>>, Vec<Problem>> {
        let contents = Contents::read(paths(asked), files);
        if self.asked == *asked && self.fingerprint == contents.fingerprint() {
            return Ok(Loaded { value: Arc::clone(self), warnings: Vec::new() });
        }
        make(asked, &contents).map(|made| made.map(Arc::new))
    }

    /// Its files.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        paths(&self.asked)
    }

    /// How long a handshake may take.
    pub const fn handshake_timeout(&self) -> Duration {
        self.asked.handshake_timeout
    }

    /// As if it were another time.
    #[cfg(test)]
    pub(super) fn at(&mut self, time: Arc<dyn rustls::time_provider::TimeProvider>) {
        Arc::make_mut(&mut self.config).time_provider = time;
    }

    /// Takes a connection as its server. It may wait for ever: the caller has the deadline, which
    /// is `handshake_timeout`.
    ///
    /// # Errors
    /// Why the handshake failed. The client was told, if it could be.
    pub async fn accept(&self, io: Box<dyn Io>) -> Result<Accepted, HandshakeError> {
        let config = Arc::clone(&self.config);
        let limited = |connection: &mut ServerConnection| {
            connection.set_buffer_limit(Some(BUFFER_MAX));
        };
        let handshake = TlsAcceptor::from(Arc::clone(&config)).accept_with(io, limited);
        let stream = handshake.await.map_err(|error| HandshakeError::new(&error))?;
        let (_, connection) = stream.get_ref();
        Ok(Accepted {
            alpn: agreed(connection.alpn_protocol()),
            client_subject: client_subject(connection, &config)?,
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            io: Box::new(stream),
        })
    }
}

/// All files, in any order.
fn paths(asked: &ListenerTls) -> impl Iterator<Item = &PathBuf> {
    let pairs = asked.certificates.iter().flat_map(|pair| [&pair.cert, &pair.key]);
    pairs.chain(asked.client_auth.as_ref().map(|auth| &auth.ca))
}

fn make(asked: &ListenerTls, contents: &Contents) -> Result<Loaded<ServerTls>, Vec<Problem>> {
    let provider = provider();
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    let names = names(asked, contents, &provider, &mut errors, &mut warnings);
    let verifier = match &asked.client_auth {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(auth) => match client_verifier(auth, contents, &provider, &mut warnings) {
            Ok(verifier) => verifier,
            Err(problem) => {
                errors.push(problem);
                WebPkiClientVerifier::no_client_auth() // which is not used: there is an error
            }
        },
    };
    let Some(names) = names.filter(|_| errors.is_empty()) else { return Err(errors) };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions(asked.min_version))
        .expect("the provider has ciphers for both versions")
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(names));
    config.alpn_protocols = protocols(&asked.alpn);
    // Sessions travel with the client, encrypted, and take no memory here.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if asked.session_tickets {
        config.ticketer = aws_lc_rs::Ticketer::new().expect("the system gives random bytes");
    } else {
        config.send_tls13_tickets = 0;
    }
    let made = ServerTls {
        asked: asked.clone(),
        fingerprint: contents.fingerprint(),
        config: Arc::new(config),
    };
    Ok(Loaded { value: made, warnings })
}

/// All certificates by name; `None` if the first has an error.
fn names(
    asked: &ListenerTls,
    contents: &Contents,
    provider: &CryptoProvider,
    errors: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) -> Option<Names> {
    let mut names: Option<Names> = None;
    for pair in &asked.certificates {
        match contents.certified(pair, provider, warnings) {
            Err(problem) => errors.push(problem),
            Ok(key) => {
                let is_first = names.is_none();
                let names = names.get_or_insert_with(|| Names::new(Arc::clone(&key)));
                // The first is shown to whoever asks for no name, so that it needs none.
                if names.add(&key) == 0 && !is_first {
                    warnings.push(nameless(&pair.cert));
                }
            }
        }
    }
    names
}

fn client_verifier(
    auth: &ClientAuth,
    contents: &Contents,
    provider: &Arc<CryptoProvider>,
    warnings: &mut Vec<Problem>,
) -> Result<Arc<dyn ClientCertVerifier>, Problem> {
    let roots = Arc::new(contents.roots(&auth.ca, warnings)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
    let verifier = match auth.mode {
        ClientAuthMode::Optional => verifier.allow_unauthenticated(),
        ClientAuthMode::Required => verifier,
    };
    Ok(verifier.build().expect("there are roots, and no revocation lists to be wrong"))
}

fn client_subject(
    connection: &ServerConnection,
    config: &ServerConfig,
) -> Result<Option<String>, HandshakeError> {
    let Some(leaf) = connection.peer_certificates().and_then(<[_]>::first) else {
        return Ok(None);
    };
    let refused = |detail: &str| HandshakeError { why: Why::Broken, detail: detail.to_owned() };
    let certificate =
        parse(leaf).ok_or_else(|| refused("the client's certificate is unreadable"))?;
    goes_on(&certificate, config.time_provider.current_time())?;
    let subject = subject::text(certificate.subject());
    match subject.len() {
        0..=SUBJECT_BYTES_MAX => Ok(Some(subject)),
        _ => Err(refused("the subject of the client's certificate is longer than 4 KiB")),
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}
