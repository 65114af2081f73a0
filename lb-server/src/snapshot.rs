//! One configuration as it is served: services, where their backends are, and what is counted.
//!
//! A snapshot never changes. A reload makes the next one out of it: a service that is asked for as before
//! is the same one in both, and of another what was learned about a backend lives on under its name, and
//! so do its counters and its connections' places. Exchanges end with the snapshot that they began with:
//! however many there are, they differ in memory by what has changed.

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
use crate::observe::{BackendCounts, Counts};
use crate::platform::Platform;
use crate::record::Table;
use crate::secured::Secured;
use crate::slots::Slots;
use crate::tls::ClientTls;

/// One configuration as it is served.
pub struct Snapshot {
    pub(crate) config: Config,
    /// Each shared by snapshots between which nothing about it changed.
    pub(crate) sites: Box<[Arc<Site>]>,
    /// Shared by snapshots that differ in what was found alone.
    pub(crate) secured: Arc<Secured>,
    pub(crate) router: Arc<Router>,
    /// Where exchanges are recorded, if they are.
    pub(crate) recording: Option<Arc<Table>>,
}

/// One service: what the core decides by, and what the proxy needs besides.
pub(crate) struct Site {
    pub(crate) service: Arc<Service>,
    pub(crate) counts: Counts,
    /// Who waits for a place at it.
    pub(crate) line: Arc<Line>,
    pub(crate) endpoints: Box<[Endpoint]>,
    /// Room for connections to each, which stays with its name.
    pub(crate) slots: Box<[Arc<Slots>]>,
    /// What is kept of those who are in it no longer and may be back ([`Service::gone`]).
    left: BTreeMap<Box<str>, Kept>,
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

/// What stays with a backend's name: room for connections to it, and what was counted of it.
#[derive(Clone)]
struct Kept {
    slots: Arc<Slots>,
    counts: Arc<BackendCounts>,
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
        mut config: Config,
        secured: Arc<Secured>,
        platform: &dyn Platform,
        before: Option<(&Self, Time)>,
    ) -> Result<Self, StartError> {
        // What cannot be is told before anything has changed that services of before share.
        let plan = |(index, said)| Plan::of(index, said, &secured, before.map(|(known, _)| known));
        let plans: Vec<Plan> =
            config.services.iter().enumerate().map(plan).collect::<Result<_, _>>()?;
        let mut sites = Vec::with_capacity(plans.len());
        for ((index, said), plan) in (0..).zip(&mut config.services).zip(plans) {
            sites.push(match plan {
                Plan::Stays(same, site) => {
                    *said = same;
                    site
                }
                Plan::Begins(endpoints) => {
                    let known = before.and_then(|(snapshot, now)| {
                        let place = snapshot.place(&said.core.name, usize::from(index))?;
                        Some((&*snapshot.sites[place], now))
                    });
                    Arc::new(Site::new(said, index, endpoints, platform.seed(), known)?)
                }
            });
        }
        let routed = before.filter(|(snapshot, _)| snapshot.config.routing == config.routing);
        let router = match routed {
            Some((snapshot, _)) => {
                config.routing = Arc::clone(&snapshot.config.routing);
                Arc::clone(&snapshot.router)
            }
            None => Arc::new(Router::new(&config.routing)),
        };
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
        self.sites.iter().map(|site| &*site.service)
    }

    /// The place of the service of this name, which is seldom another than `likely`.
    pub(crate) fn place(&self, name: &str, likely: usize) -> Option<usize> {
        let is_it = |site: &Arc<Site>| site.service.name() == name;
        let likely = Some(likely).filter(|at| self.sites.get(*at).is_some_and(is_it));
        likely.or_else(|| self.sites.iter().position(is_it))
    }

    /// The service at a place, if it is `said` and secured as here.
    fn same(
        &self,
        place: usize,
        said: &Arc<config::Service>,
        tls: Option<&Arc<ClientTls>>,
    ) -> Option<(&Arc<config::Service>, &Arc<Site>)> {
        let was = self.config.services.get(place).filter(|was| *was == said)?;
        let is_secured = self.secured.service(place).map(Arc::as_ptr) == tls.map(Arc::as_ptr);
        is_secured.then(|| (was, &self.sites[place]))
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Snapshot").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What becomes of a service by a reload.
enum Plan {
    /// It is the same that it was.
    Stays(Arc<config::Service>, Arc<Site>),
    /// It is made, with backends there.
    Begins(Box<[Endpoint]>),
}

impl Plan {
    fn of(
        index: usize,
        said: &Arc<config::Service>,
        secured: &Secured,
        before: Option<&Snapshot>,
    ) -> Result<Self, StartError> {
        if u16::try_from(index).is_err() {
            return Err(StartError::TooManyServices);
        }
        let tls = secured.service(index);
        if let Some((same, site)) = before.and_then(|snapshot| snapshot.same(index, said, tls)) {
            return Ok(Self::Stays(Arc::clone(same), Arc::clone(site)));
        }
        let meaningless = |why| StartError::Service { name: said.core.name.clone(), why };
        Service::check(&said.core).map_err(meaningless)?;
        let endpoint = |origin| Endpoint::new(origin, said, tls);
        said.origins.iter().map(endpoint).collect::<Result<_, _>>().map(Self::Begins)
    }
}

impl Site {
    fn new(
        said: &config::Service,
        index: u16,
        endpoints: Box<[Endpoint]>,
        seed: u64,
        before: Option<(&Self, Time)>,
    ) -> Result<Self, StartError> {
        let service = match before {
            Some((known, now)) => known.service.succeed(&said.core, index, seed, now),
            None => Service::new(&said.core, index, seed).map(Arc::new),
        };
        let service =
            service.map_err(|why| StartError::Service { name: said.core.name.clone(), why })?;
        let now = before.map_or(Time::ZERO, |(_, now)| now);
        let kept = before.map(|(known, now)| known.kept(now)).unwrap_or_default();
        let known = before.map(|(known, _)| known);
        let new = || Kept::new(said.keep_alive.connections_max);
        let backends =
            service.backends().map(|it| kept.get(it.name()).cloned().unwrap_or_else(new));
        let backends: Vec<Kept> = backends.collect();
        let left = |name| Some((Box::from(name), kept.get(name)?.clone()));
        Ok(Self {
            slots: backends.iter().map(|kept| Arc::clone(&kept.slots)).collect(),
            counts: Counts {
                service: known.map(|known| Arc::clone(&known.counts.service)).unwrap_or_default(),
                backends: backends.into_iter().map(|kept| kept.counts).collect(),
            },
            left: service.gone(now).filter_map(left).collect(),
            line: known.map(|known| Arc::clone(&known.line)).unwrap_or_default(),
            service,
            endpoints,
            host: said.host,
            body_bytes_max: said.body_bytes_max,
            replay_buffer: said.replay_buffer,
            keep_alive: said.keep_alive,
            edits: Arc::clone(&said.edits),
            proxy_protocol: said.proxy_protocol,
            allow_connect: said.allow_connect,
        })
    }

    /// What stays with the names of its backends, and of those that left and are known at `now`.
    fn kept(&self, now: Time) -> BTreeMap<&str, Kept> {
        let names = self.service.backends().map(Member::name);
        let here = names.zip(self.slots.iter().zip(&self.counts.backends));
        let here = here.map(|(name, (slots, counts))| {
            (name, Kept { slots: Arc::clone(slots), counts: Arc::clone(counts) })
        });
        let left = |name| Some((name, self.left.get(name)?.clone()));
        here.chain(self.service.gone(now).filter_map(left)).collect()
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

impl Kept {
    fn new(connections_max: usize) -> Self {
        Self { slots: Slots::new(connections_max), counts: Arc::default() }
    }
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

#[cfg(test)]
mod tests;
