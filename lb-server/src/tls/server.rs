//! TLS with clients: what one listener shows, and who came in.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lb_config::config::{Alpn, ClientAuth, ClientAuthMode, ListenerTls};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ServerConnection, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{HandshakeKind, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::files::{Contents, Files, Loaded, Problem, nameless, parse};
use super::handshake::{HandshakeError, Why, goes_on};
use super::names::{Names, hosts};
use super::parts::{Making, Part, Renewed};
use super::{BUFFER_MAX, agreed, protocols, provider, subject, versions};
use crate::platform::Io;

/// A longer subject does not fit into a header beside others. Who shows one is refused: half of a
/// name could be somebody else's.
const SUBJECT_BYTES_MAX: usize = 4 << 10;

/// Clients are told whose certificates count, as a help to choose one, unless the names have more bytes
/// than this: the message that they go into holds 64 KiB of them, and every client has to take it.
const HINTS_BYTES_MAX: usize = 16 << 10;

/// TLS with the clients of one listener. Workers share one.
pub struct ServerTls {
    asked: ListenerTls,
    parts: Parts,
    config: Arc<ServerConfig>,
}

/// What is in its files.
struct Parts {
    /// In the order of the configuration.
    keys: Vec<Part<Arc<CertifiedKey>>>,
    /// Who may vouch for clients, if they are asked.
    clients: Option<Part<Arc<dyn ClientCertVerifier>>>,
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
        let mut making = Making::new(Self::files(asked), files);
        let parts = Parts::read(asked, None, &mut making);
        making.loaded(|| make(asked, parts.expect("there is no problem")))
    }

    /// What `asked` and its files say now: this very value if that is the same, so that its sessions
    /// go on. A change forgets the keys of session tickets, so that no session outlives the rules that
    /// it was made under.
    ///
    /// # Errors
    /// All that is wrong with the files.
    pub fn reloaded(
        self: &Arc<Self>,
        asked: &ListenerTls,
        files: &Files<'_>,
    ) -> Result<Loaded<Arc<Self>>, Vec<Problem>> {
        if self.asked != *asked {
            return Self::load(asked, files).map(|made| made.map(Arc::new));
        }
        self.renewed(files).sound()
    }

    /// The same with what its files say now; what is bad stays as it was.
    ///
    /// Certificate and key are two files and never change at once: a problem may be gone with the
    /// next look.
    pub fn renewed(self: &Arc<Self>, files: &Files<'_>) -> Renewed<Arc<Self>> {
        let mut making = Making::new(self.paths(), files);
        let parts = Parts::read(&self.asked, Some(&self.parts), &mut making)
            .expect("what is bad is as before");
        making.renewed(match parts.are_of_the_same(&self.parts) {
            true => Arc::clone(self),
            false => Arc::new(make(&self.asked, parts)),
        })
    }

    /// Its files.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        Self::files(&self.asked)
    }

    /// The files of what is `asked`, in any order.
    pub fn files(asked: &ListenerTls) -> impl Iterator<Item = &PathBuf> {
        let pairs = asked.certificates.iter().flat_map(|pair| [&pair.cert, &pair.key]);
        pairs.chain(asked.client_auth.as_ref().map(|auth| &auth.ca))
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
        let limited = |connection: &mut ServerConnection| {
            connection.set_buffer_limit(Some(BUFFER_MAX));
        };
        let handshake = TlsAcceptor::from(Arc::clone(&self.config)).accept_with(io, limited);
        let stream = handshake.await.map_err(|error| HandshakeError::new(&error))?;
        let (_, connection) = stream.get_ref();
        Ok(Accepted {
            alpn: agreed(connection.alpn_protocol()),
            client_subject: self.client_subject(connection)?,
            resumed: is_resumed(connection),
            io: Box::new(stream),
        })
    }
}

impl Parts {
    /// What is in the files now, or was `before`; `None` where that is nothing.
    fn read(asked: &ListenerTls, before: Option<&Self>, making: &mut Making) -> Option<Self> {
        let mut keys = Vec::with_capacity(asked.certificates.len());
        for (at, pair) in asked.certificates.iter().enumerate() {
            let known = before.map(|before| &before.keys[at]);
            keys.push(making.part(
                &[&pair.cert, &pair.key],
                known,
                |contents, provider, warnings| {
                    let key = contents.certified(pair, provider, warnings)?;
                    // The first is shown to whoever asks for no name, so that it needs none.
                    if at > 0 && hosts(&key.cert[0]).is_empty() {
                        warnings.push(nameless(&pair.cert));
                    }
                    Ok(key)
                },
            ));
        }
        let clients = asked.client_auth.as_ref().map(|auth| {
            let known = before.and_then(|before| before.clients.as_ref());
            making.part(&[&auth.ca], known, |contents, provider, warnings| {
                client_verifier(auth, contents, provider, warnings)
            })
        });
        let clients = match clients {
            None => None,
            Some(clients) => Some(clients?),
        };
        Some(Self { keys: keys.into_iter().collect::<Option<_>>()?, clients })
    }

    /// Whether their files were the same.
    fn are_of_the_same(&self, other: &Self) -> bool {
        let fingerprints = |parts: &Self| {
            let clients = parts.clients.as_ref().map(|part| part.fingerprint);
            let keys: Vec<_> = parts.keys.iter().map(|part| part.fingerprint).collect();
            (keys, clients)
        };
        fingerprints(self) == fingerprints(other)
    }
}

fn make(asked: &ListenerTls, parts: Parts) -> ServerTls {
    let mut names = Names::new(Arc::clone(&parts.keys[0].value));
    parts.keys.iter().for_each(|part| names.add(&part.value));
    let verifier = match &parts.clients {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(part) => Arc::clone(&part.value),
    };
    let mut config = ServerConfig::builder_with_provider(provider())
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
    ServerTls { asked: asked.clone(), parts, config: Arc::new(config) }
}

fn client_verifier(
    auth: &ClientAuth,
    contents: &Contents,
    provider: &Arc<CryptoProvider>,
    warnings: &mut Vec<Problem>,
) -> Result<Arc<dyn ClientCertVerifier>, Problem> {
    let roots = Arc::new(contents.roots(&auth.ca, warnings, |_, _| false)?);
    let names: usize = roots.subjects().iter().map(|name| name.as_ref().len()).sum();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
    let verifier = match names {
        0..=HINTS_BYTES_MAX => verifier,
        _ => verifier.clear_root_hint_subjects(),
    };
    let verifier = match auth.mode {
        ClientAuthMode::Optional => verifier.allow_unauthenticated(),
        ClientAuthMode::Required => verifier,
    };
    Ok(verifier.build().expect("there are roots, and no revocation lists to be wrong"))
}

impl ServerTls {
    /// Who the client has proved to be.
    fn client_subject(
        &self,
        connection: &ServerConnection,
    ) -> Result<Option<String>, HandshakeError> {
        let Some((leaf, chain)) = connection.peer_certificates().and_then(<[_]>::split_first)
        else {
            return Ok(None);
        };
        if let Some(part) = self.parts.clients.as_ref().filter(|_| is_resumed(connection)) {
            let now = self.config.time_provider.current_time();
            goes_on(now, |now| part.value.verify_client_cert(leaf, chain, now))?;
        }
        let refused = |detail: &str| HandshakeError { why: Why::Broken, detail: detail.to_owned() };
        let certificate =
            parse(leaf).ok_or_else(|| refused("the client's certificate is unreadable"))?;
        let subject = subject::text(certificate.subject());
        match subject.len() {
            0..=SUBJECT_BYTES_MAX => Ok(Some(subject)),
            _ => Err(refused("the subject of the client's certificate is longer than 4 KiB")),
        }
    }
}

fn is_resumed(connection: &ServerConnection) -> bool {
    connection.handshake_kind() == Some(HandshakeKind::Resumed)
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").field("asked", &self.asked).finish_non_exhaustive()
    }
}
