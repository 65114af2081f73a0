//! TLS with backends: whom a service believes, and who it says it is.

use std::path::PathBuf;
use std::sync::Arc;

use lb_config::config::{Alpn, Protocol, ServiceTls};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Resumption};
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, HandshakeKind};
use tokio_rustls::TlsConnector;

use super::files::{Files, Loaded, Problem};
use super::handshake::{HandshakeError, Why, goes_on};
use super::parts::{Making, Part, Renewed};
use super::trust::verifier;
use super::{BUFFER_MAX, agreed, protocols, provider, versions};
use crate::platform::Io;

/// Backends, by name, whose sessions are kept to be resumed: some KiB each, the one that was resumed
/// last goes last.
const SESSIONS_MAX: usize = 1_024;

/// TLS with the backends of one service. Workers share one.
pub struct ClientTls {
    asked: ServiceTls,
    protocol: Protocol,
    parts: Parts,
    config: Arc<ClientConfig>,
    /// The same, where HTTP/1.1 alone will do.
    http1: Arc<ClientConfig>,
    /// Of both.
    sessions: Arc<ClientSessionMemoryCache>,
}

/// What is in its files.
struct Parts {
    backends: Part<Arc<dyn ServerCertVerifier>>,
    /// Who the proxy says it is, if it is to say so.
    identity: Option<Part<Arc<CertifiedKey>>>,
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
        let mut making = Making::new(Self::files(asked), files);
        let parts = Parts::read(asked, None, &mut making);
        making.loaded(|| make(asked, protocol, parts.expect("there is no problem")))
    }

    /// What `asked` and its files say now, as [`ServerTls::reloaded`](super::ServerTls::reloaded).
    ///
    /// # Errors
    /// All that is wrong with the files.
    pub fn reloaded(
        self: &Arc<Self>,
        asked: &ServiceTls,
        protocol: Protocol,
        files: &Files<'_>,
    ) -> Result<Loaded<Arc<Self>>, Vec<Problem>> {
        if self.asked != *asked || self.protocol != protocol {
            return Self::load(asked, protocol, files).map(|made| made.map(Arc::new));
        }
        self.renewed(files).sound()
    }

    /// The same with what its files say now; what is bad stays as it was.
    pub fn renewed(self: &Arc<Self>, files: &Files<'_>) -> Renewed<Arc<Self>> {
        let mut making = Making::new(self.paths(), files);
        let parts = Parts::read(&self.asked, Some(&self.parts), &mut making)
            .expect("what is bad is as before");
        making.renewed(match parts.are_of_the_same(&self.parts) {
            true => Arc::clone(self),
            false => Arc::new(make(&self.asked, self.protocol, parts)),
        })
    }

    /// Its files.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        Self::files(&self.asked)
    }

    /// The files of what is `asked`, in any order.
    pub fn files(asked: &ServiceTls) -> impl Iterator<Item = &PathBuf> {
        let pair = asked.identity.iter().flat_map(|pair| [&pair.cert, &pair.key]);
        pair.chain(asked.ca.as_ref().filter(|_| !asked.insecure_skip_verify))
    }

    /// The next handshake with a backend of this name is a whole one: it may have been renewed.
    fn forget(&self, name: &ServerName<'static>) {
        self.sessions.remove_tls12_session(name);
        while self.sessions.take_tls13_ticket(name).is_some() {}
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
        let handshake = connector.connect_with(name.clone(), io, limited);
        let stream = handshake.await.map_err(|error| HandshakeError::new(&error))?;
        let (_, connection) = stream.get_ref();
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        if resumed
            && let Some((leaf, chain)) = connection.peer_certificates().and_then(<[_]>::split_first)
        {
            let (backends, now) = (&self.parts.backends.value, config.time_provider.current_time());
            goes_on(now, |now| backends.verify_server_cert(leaf, chain, &name, &[], now))
                .inspect_err(|_| self.forget(&name))?;
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

impl Parts {
    /// What is in the files now, or was `before`; `None` where that is nothing.
    fn read(asked: &ServiceTls, before: Option<&Self>, making: &mut Making) -> Option<Self> {
        let ca: Vec<_> = asked.ca.iter().filter(|_| !asked.insecure_skip_verify).collect();
        let known = before.map(|before| &before.backends);
        let backends = making.part(&ca, known, |contents, provider, warnings| {
            verifier(asked, contents, provider, warnings)
        });
        let identity = asked.identity.as_ref().map(|pair| {
            let known = before.and_then(|before| before.identity.as_ref());
            making.part(&[&pair.cert, &pair.key], known, |contents, provider, warnings| {
                contents.certified(pair, provider, warnings)
            })
        });
        let identity = match identity {
            None => None,
            Some(identity) => Some(identity?),
        };
        Some(Self { backends: backends?, identity })
    }

    /// Whether their files were the same.
    fn are_of_the_same(&self, other: &Self) -> bool {
        let fingerprints = |parts: &Self| {
            let identity = parts.identity.as_ref().map(|part| part.fingerprint);
            (parts.backends.fingerprint, identity)
        };
        fingerprints(self) == fingerprints(other)
    }
}

fn make(asked: &ServiceTls, protocol: Protocol, parts: Parts) -> ClientTls {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(asked.min_version))
        .expect("the provider has ciphers for both versions")
        .dangerous() // is what rustls calls any verifier but its default, ours or not
        .with_custom_certificate_verifier(Arc::clone(&parts.backends.value));
    let mut config = match &parts.identity {
        None => config.with_no_client_auth(),
        Some(part) => {
            let identity = SingleCertAndKey::from(Arc::clone(&part.value));
            config.with_client_cert_resolver(Arc::new(identity))
        }
    };
    config.alpn_protocols = protocols(offered(protocol));
    let sessions = Arc::new(ClientSessionMemoryCache::new(SESSIONS_MAX));
    config.resumption = Resumption::store(Arc::clone(&sessions) as Arc<dyn ClientSessionStore>);
    let mut http1 = config.clone();
    http1.alpn_protocols = protocols(offered(Protocol::Http1));
    let (config, http1) = (Arc::new(config), Arc::new(http1));
    ClientTls { asked: asked.clone(), protocol, parts, config, http1, sessions }
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls").field("asked", &self.asked).finish_non_exhaustive()
    }
}
