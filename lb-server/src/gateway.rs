//! What all workers of a process share: services, routes, counters, and the way to the world.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use http::HeaderValue;
use lb_config::config::{Config, HostPolicy, KeepAlive, Level, Origin};
use lb_core::{Meaningless, Routes, Service};
use tokio::sync::Semaphore;

use crate::line::Line;
use crate::observe::{AccessSink, Metrics, Tap};
use crate::platform::{Clock, Platform};
use crate::shutdown::Phase;

/// One process's view of its configuration, and what it learned. Made once, used by every worker.
pub struct Gateway {
    pub(crate) platform: Arc<dyn Platform>,
    pub(crate) clock: Clock,
    pub(crate) config: Config,
    pub(crate) sites: Box<[Site]>,
    pub(crate) routes: Routes,
    pub(crate) metrics: Metrics,
    pub(crate) tap: Option<Arc<dyn Tap>>,
    pub(crate) access: Option<Arc<dyn AccessSink>>,
    /// A permit for each client connection that may be served at once.
    pub(crate) places: Arc<Semaphore>,
    connections: AtomicUsize,
    phase: AtomicU64,
}

/// One service: what the core decides by, and what the proxy needs besides.
pub(crate) struct Site {
    pub(crate) service: Service,
    /// Who waits for a place at it.
    pub(crate) line: Line,
    pub(crate) endpoints: Box<[Endpoint]>,
    pub(crate) host: HostPolicy,
    pub(crate) replay_buffer: usize,
    pub(crate) keep_alive: KeepAlive,
}

/// Where a backend is.
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Its address, where the url names one instead of a host.
    pub(crate) literal: Option<SocketAddr>,
    /// `host:port` as a `Host` header says it.
    pub(crate) authority: HeaderValue,
}

/// Why a gateway could not be made.
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
}

impl fmt::Display for StartError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service { name, why } => write!(out, "service {name:?}: {why}"),
            Self::TooManyServices => write!(out, "more than {} services", u16::MAX),
            Self::Host(host) => write!(out, "{host:?} is not a host name"),
        }
    }
}

impl std::error::Error for StartError {}

/// Who is told of what a gateway does.
#[derive(Default)]
pub struct Listeners {
    /// Hears every event of the core.
    pub tap: Option<Arc<dyn Tap>>,
    /// Gets a line for each exchange.
    pub access: Option<Arc<dyn AccessSink>>,
}

impl Gateway {
    /// Builds what `config` describes. Time starts now, by tokio's clock: where that is paused,
    /// call it inside the runtime.
    ///
    /// # Errors
    /// [`StartError`] when the configuration is not one that `lb-config` would have let pass.
    pub fn new(
        platform: Arc<dyn Platform>,
        config: Config,
        listeners: Listeners,
    ) -> Result<Arc<Self>, StartError> {
        let places = config.server.connections_max.min(Semaphore::MAX_PERMITS);
        let seed = platform.seed();
        let mut sites = Vec::with_capacity(config.services.len());
        for (index, said) in config.services.iter().enumerate() {
            let index = u16::try_from(index).map_err(|_| StartError::TooManyServices)?;
            let service = Service::new(&said.core, index, seed)
                .map_err(|why| StartError::Service { name: said.core.name.clone(), why })?;
            sites.push(Site {
                service,
                line: Line::default(),
                endpoints: said.origins.iter().map(Endpoint::new).collect::<Result<_, _>>()?,
                host: said.host,
                replay_buffer: said.replay_buffer,
                keep_alive: said.keep_alive,
            });
        }
        let routes =
            Routes::new(config.services.iter().enumerate().flat_map(|(index, said)| {
                said.hosts.iter().map(move |host| (host.as_str(), index))
            }));
        let metrics = Metrics::new(sites.iter().map(|site| &site.service));
        Ok(Arc::new(Self {
            platform,
            clock: Clock::start(),
            config,
            sites: sites.into(),
            routes,
            metrics,
            tap: listeners.tap,
            access: listeners.access,
            places: Arc::new(Semaphore::new(places)),
            connections: AtomicUsize::new(0),
            phase: AtomicU64::new(0),
        }))
    }

    /// The services, in the order of the configuration.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.sites.iter().map(|site| &site.service)
    }

    /// The service that `host` leads to.
    pub(crate) fn site(&self, host: &str) -> Option<&Site> {
        self.routes.find(host).map(|index| &self.sites[index])
    }

    /// Core time now.
    pub fn now(&self) -> lb_core::Time {
        self.clock.now()
    }

    /// Whether the access log says what choices were made from.
    pub(crate) fn explains(&self) -> bool {
        self.access.is_some() && self.config.access_log.level == Level::Debug
    }

    /// Client connections open now, over all workers.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Whether new requests are still welcome.
    pub fn is_draining(&self) -> bool {
        self.phase.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn enter(&self, phase: Phase) {
        if phase != Phase::Running {
            self.phase.store(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn connection_opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connection_closed(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Gateway").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Endpoint {
    fn new(origin: &Origin) -> Result<Self, StartError> {
        let Origin { host, port } = origin;
        let ip: Option<IpAddr> = host.parse().ok();
        let written = match ip {
            Some(IpAddr::V6(_)) => format!("[{host}]:{port}"),
            _ if *port == 80 => host.clone(),
            _ => format!("{host}:{port}"),
        };
        let authority =
            HeaderValue::try_from(written).map_err(|_| StartError::Host(host.clone()))?;
        let literal = ip.map(|ip| SocketAddr::new(ip, *port));
        Ok(Self { host: host.clone(), port: *port, literal, authority })
    }
}
