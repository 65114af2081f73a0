//! One configuration as it is served: services, where their backends are, and what is counted.
//!
//! A snapshot never changes. A reload makes the next one out of it: what was learned about a backend
//! lives on under its name, and so do its counters. Exchanges end with the snapshot that they began
//! with.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderValue;
use http::uri::Scheme;
use lb_config::config::{
    self, Address, Config, HostPolicy, KeepAlive, Origin, Protocol, ProxyProtocol, Tcp,
};
use lb_core::config::EditConfig;
use lb_core::{Meaningless, Member, Router, Service, Time};

use crate::distrust::Said;
use crate::line::Line;
use crate::observe::Counts;
use crate::platform::Platform;
use crate::record::Table;
use crate::secured::Secured;
use crate::slots::Slots;
use crate::tls::ClientTls;

/// One configuration as it is served.
pub struct Snapshot {
    pub(crate) config: Config,
    pub(crate) sites: Box<[Site]>,
    /// Shared by snapshots that differ in what was found alone.
    pub(crate) secured: Arc<Secured>,
    pub(crate) router: Router,
    /// Where exchanges are recorded, if they are.
    pub(crate) recording: Option<Arc<Table>>,
}

/// One service: what the core decides by, and what the proxy needs besides.
pub(crate) struct Site {
    pub(crate) service: Service,
    pub(crate) counts: Counts,
    /// Who waits for a place at it.
    pub(crate) line: Arc<Line>,
    pub(crate) endpoints: Box<[Endpoint]>,
    /// Room for connections to each, which stays with its name.
    pub(crate) slots: Box<[Arc<Slots>]>,
    pub(crate) host: HostPolicy,
    pub(crate) body_bytes_max: u64,
    pub(crate) replay_buffer: usize,
    pub(crate) keep_alive: KeepAlive,
    pub(crate) edits: Arc<EditConfig>,
    /// In which version backends are told of the client before the first byte.
    pub(crate) proxy_protocol: Option<ProxyProtocol>,
    /// Whether its backends are asked for tunnels by CONNECT.
    pub(crate) allow_connect: bool,
}

/// Where a backend is.
pub(crate) struct Endpoint {
    pub(crate) origin: Origin,
    /// Its address, where the url names one instead of a host, or it was found with its host.
    pub(crate) literal: Option<Address>,
    /// `host:port` as a `Host` header says it.
    pub(crate) authority: HeaderValue,
    pub(crate) protocol: Protocol,
    /// What TCP does on connections to it.
    pub(crate) tcp: Tcp,
    /// What is agreed on with it before anything else is said.
    pub(crate) tls: Option<Arc<ClientTls>>,
    /// When the operator was told that this fails.
    pub(crate) said: Said,
}

/// Why a configuration cannot be served.
#[derive(Debug, PartialEq, Eq)]
pub enum StartError {
    /// The core refused a service.
    Service {
        /// Which one.
        name: String,
        /// Why.
        why: Meaningless,
    },
    /// There are more services than the core can tell apart.
    TooManyServices,
    /// A backend's host cannot be written into a header.
    Host(String),
    /// What is wrong with files of TLS: whose, which, and what to do.
    Tls(Vec<String>),
}

impl fmt::Display for StartError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service { name, why } => write!(out, "service {name:?}: {why}"),
            Self::TooManyServices => write!(out, "more than {} services", u16::MAX),
            Self::Host(host) => write!(out, "{host:?} is not a host name"),
            Self::Tls(problems) => write!(out, "{}", problems.join("\n")),
        }
    }
}

impl std::error::Error for StartError {}

impl Snapshot {
    /// What `config` describes, in place of the snapshot `before`, if there was one. Its files were
    /// read: nobody waits for a disk here.
    pub(crate) fn new(
        config: Config,
        secured: Arc<Secured>,
        platform: &dyn Platform,
        before: Option<(&Self, Time)>,
    ) -> Result<Self, StartError> {
        let mut sites = Vec::with_capacity(config.services.len());
        for (index, said) in config.services.iter().enumerate() {
            let index = u16::try_from(index).map_err(|_| StartError::TooManyServices)?;
            let known = before.and_then(|(snapshot, now)| Some((snapshot.named(said)?, now)));
            let tls = secured.service(usize::from(index));
            sites.push(Site::new(said, index, tls, platform.seed(), known)?);
        }
        let router = Router::new(&config.routing);
        let now = before.map_or(Time::ZERO, |(_, now)| now);
        let recording = Table::of(&config, &sites, now, platform.unix_time());
        Ok(Self { config, sites: sites.into(), secured, router, recording })
    }

    /// The configuration.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Whether the configuration is to be read anew when its file changes.
    pub const fn watches(&self) -> bool {
        self.config.server.watch
    }

    /// What about its certificates will probably disappoint somebody.
    pub fn warnings(&self) -> &[String] {
        self.secured.warnings()
    }

    /// The files that it was made of, beside the configuration's own.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.secured.paths()
    }

    /// The files that are read beside it to serve `config`.
    pub fn files(config: &Config) -> impl Iterator<Item = &PathBuf> {
        Secured::files(config)
    }

    /// The services, in the order of the configuration.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.sites.iter().map(|site| &site.service)
    }

    /// The service of the same name as the one that is `said`.
    pub(crate) fn named(&self, said: &config::Service) -> Option<&Site> {
        self.sites.iter().find(|site| site.service.name() == said.core.name)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Snapshot").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Site {
    fn new(
        said: &config::Service,
        index: u16,
        tls: Option<&Arc<ClientTls>>,
        seed: u64,
        before: Option<(&Self, Time)>,
    ) -> Result<Self, StartError> {
        let service = match before {
            Some((known, now)) => known.service.succeed(&said.core, index, seed, now),
            None => Service::new(&said.core, index, seed),
        };
        let service =
            service.map_err(|why| StartError::Service { name: said.core.name.clone(), why })?;
        let known = before.map(|(known, _)| known);
        let slots = {
            let names = known.into_iter().flat_map(|known| known.service.backends());
            let kept: BTreeMap<&str, &Arc<Slots>> =
                names.zip(known.into_iter().flat_map(|known| &known.slots)).map(named).collect();
            let new = || Slots::new(said.keep_alive.connections_max);
            let slots = |name| kept.get(name).map_or_else(new, |slots| Arc::clone(slots));
            service.backends().map(|backend| slots(backend.name())).collect()
        };
        Ok(Self {
            slots,
            counts: Counts::new(&service, known.map(|known| (&known.service, &known.counts))),
            line: known.map(|known| Arc::clone(&known.line)).unwrap_or_default(),
            service,
            endpoints: said
                .origins
                .iter()
                .map(|origin| Endpoint::new(origin, said, tls))
                .collect::<Result<_, _>>()?,
            host: said.host,
            body_bytes_max: said.body_bytes_max,
            replay_buffer: said.replay_buffer,
            keep_alive: said.keep_alive,
            edits: Arc::clone(&said.edits),
            proxy_protocol: said.proxy_protocol,
            allow_connect: said.allow_connect,
        })
    }

    /// Backends may have as many connections from now on as is said here.
    pub(crate) fn allow_connections(&self) {
        self.slots.iter().for_each(|slots| slots.allow(self.keep_alive.connections_max));
    }

    /// There may be more room than there was: whoever is first in line may look for a place.
    pub(crate) fn call_next(&self) {
        self.line.call_next(&self.service);
    }
}

/// As it is called.
fn named<'s>((backend, slots): (Member<'s>, &'s Arc<Slots>)) -> (&'s str, &'s Arc<Slots>) {
    (backend.name(), slots)
}

impl Endpoint {
    fn new(
        origin: &Origin,
        said: &config::Service,
        secured: Option<&Arc<ClientTls>>,
    ) -> Result<Self, StartError> {
        let Origin { host, port, tls, socket, at } = origin;
        let usual_port = if *tls { 443 } else { 80 };
        let ip: Option<IpAddr> = host.parse().ok();
        let written = match ip {
            Some(IpAddr::V6(_)) => format!("[{host}]:{port}"),
            _ if *port == usual_port => host.clone(),
            _ => format!("{host}:{port}"),
        };
        let authority =
            HeaderValue::try_from(written).map_err(|_| StartError::Host(host.clone()))?;
        let literal = match socket {
            Some(path) => Some(Address::Unix(path.clone())),
            None => ip.or(*at).map(|ip| Address::Ip(SocketAddr::new(ip, *port))),
        };
        let secured = || secured.cloned().expect("who may be spoken to over TLS has its TLS");
        let tls = tls.then(secured);
        let config::Service { mut protocol, tcp, proxy_protocol, .. } = *said;
        if proxy_protocol.is_some() {
            protocol = Protocol::Http1; // of one client at a time
        }
        let said = Said::default();
        Ok(Self { origin: origin.clone(), literal, authority, protocol, tcp, tls, said })
    }

    /// As a target says it.
    pub(crate) fn scheme(&self) -> Scheme {
        if self.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP }
    }

    /// The same as text.
    pub(crate) const fn scheme_name(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Whether connections to one are as good as connections to the other.
    pub(crate) fn leads_where(&self, other: &Self) -> bool {
        let tls = |endpoint: &Self| endpoint.tls.as_ref().map(Arc::as_ptr);
        self.origin == other.origin
            && self.protocol == other.protocol
            && self.tcp == other.tcp
            && tls(self) == tls(other)
    }
}
