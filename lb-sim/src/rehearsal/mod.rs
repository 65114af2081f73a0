//! A user's own configuration, put through what happens to every system sooner or later.
//!
//! [`Stage`] builds a world around a service of a configuration: its backends, each as quick as is said and
//! with room for the load that is said, and clients that ask it. [`battery`] is what happens there: a
//! backend dies, turns slow, lies to its health checks, a zone goes, everybody restarts. Each case is an
//! ordinary [`Scenario`] that the model engine runs under several seeds; [`Outlook`] says what came of it,
//! and [`advice`] what follows for the configuration.

mod advice;
mod battery;
pub mod map;
mod outlook;
mod room;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lb_config::Config;
use lb_config::config::Origin as Target;
use lb_core::config::{Action, BackendConfig, ServiceConfig};

use crate::model;
use crate::roster::Roster;
use crate::scenario::{
    Again, Arrivals, Crowd, Expect, Framing, Latency, Origin, Protocol, STREAMS, Scenario, Span,
    Workload,
};

pub use advice::{Finding, advice};
pub use battery::{Battery, Case, Skipped, battery};
pub use outlook::{Broken, Outlook};
pub use room::RATE_MAX;

/// What a service is rehearsed with.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Requests per second.
    pub rate: f64,
    /// How long backends work on an answer.
    pub latency: Latency,
    /// The share of their capacity that the requests take while all is well.
    pub load: f64,
}

/// Backends that stand in for those that a pool would discover.
const STAND_INS: usize = 3;
/// When requests no longer arrive.
pub const DURATION: Duration = Duration::from_secs(60);
/// Within this time after the last fault everything ought to be as before.
const RECOVER_WITHIN: Duration = Duration::from_secs(10);

/// A service in a world where all is well.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The world.
    pub scenario: Scenario,
    /// The service, by its place in the configuration.
    pub service: usize,
    /// By backend of the service: its origin, by its place in the scenario.
    pub origins: Vec<usize>,
    /// By pool of the service: its backends, by their places in the service.
    pub pools: Vec<Vec<usize>>,
    /// Backends that are asked nothing while all is well, by their places in the service.
    idle: BTreeSet<usize>,
    /// What was made up.
    pub notes: Vec<String>,
}

impl Stage {
    /// Around the service of this number in `config`, which was read from `file`, on machines that have
    /// room for the load that is said.
    pub fn new(config: &Config, file: &Path, service: usize, setting: &Setting) -> Self {
        let mut stage = Self::around(config, file, service, setting);
        stage.equip(setting);
        stage
    }

    /// Around what this service becomes in another configuration: as many ask, and the machines are the
    /// same. What differs is what the configuration does with them.
    pub fn after(&self, config: &Config, file: &Path, service: usize, setting: &Setting) -> Self {
        let mut stage = Self::around(config, file, service, setting);
        stage.take_over(self);
        stage
    }

    fn around(config: &Config, file: &Path, service: usize, setting: &Setting) -> Self {
        let (mut config, mut notes) = (config.clone(), Vec::new());
        for (number, said) in config.services.iter_mut().map(Arc::make_mut).enumerate() {
            for target in &mut said.origins {
                (target.host, target.port) = address(target);
                target.socket = None;
            }
            let made_up = stand_in(said);
            if number == service {
                notes = made_up;
            }
        }
        notes.extend(left_out(&config, service));
        let mut scenario = calm(config, file, setting);
        let said = &scenario.config.services[service];
        let number = u16::try_from(service).expect("services have 16 bits");
        scenario.workload.crowd = Some(Crowd::of(number, &said.core));
        let place = |target: &Target| {
            scenario.place(&format!("{}:{}", target.host, target.port)).expect("it was added")
        };
        let origins: Vec<usize> = said.origins.iter().map(place).collect();
        let mut next = 0;
        let pools = said.core.pools.iter().map(|pool| {
            let first = next;
            next += pool.backends.len();
            (first..next).collect::<Vec<_>>()
        });
        let pools: Vec<Vec<usize>> = pools.collect();
        let mut stage = Self { scenario, service, origins, pools, idle: BTreeSet::new(), notes };
        stage.find_idle();
        stage
    }

    /// The name of the service.
    pub fn name(&self) -> &str {
        &self.service().name
    }

    /// What the configuration says of it.
    pub fn service(&self) -> &ServiceConfig {
        &self.scenario.config.services[self.service].core
    }
}

/// Host and port of a backend in a world, where a Unix socket is as good as any other address.
pub(crate) fn address(target: &Target) -> (String, u16) {
    match &target.socket {
        Some(path) => (path.display().to_string(), 1),
        None => (target.host.clone(), target.port),
    }
}

/// Names, of which the first are told.
pub(crate) fn listed(names: &[&str]) -> String {
    const TOLD: usize = 5;
    let told = names.iter().take(TOLD).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(TOLD) {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}

/// What the configuration says that nothing comes of here.
fn left_out(config: &Config, service: usize) -> Vec<String> {
    let mut all: Vec<String> =
        model::unknown(config, service).iter().map(ToString::to_string).collect();
    for route in &config.routing.routes {
        let is_ours = matches!(&route.action, Action::Service(at) if usize::from(*at) == service);
        if is_ours && route.edits.response.status.is_some() {
            let why = "requests come to the service past its routes";
            all.push(format!("status in [route.response] of route {}: {why}", route.name));
        }
    }
    if config.services[service].body_bytes_max != model::plain().services[0].body_bytes_max {
        all.push("[service] body_bytes_max: all bodies are of one size".to_owned());
    }
    all.into_iter().map(|what| format!("not rehearsed: {what}")).collect()
}

/// Gives backends to pools that would have to look for theirs.
fn stand_in(said: &mut lb_config::config::Service) -> Vec<String> {
    let (mut at, mut notes) = (0, Vec::new());
    for pool in &mut said.core.pools {
        if pool.backends.is_empty() {
            notes.push(format!(
                "service {}, pool {}: it discovers its backends; {STAND_INS} stand in for them",
                said.core.name, pool.name
            ));
            for number in 1..=STAND_INS {
                let host = format!("{}-{number}", pool.name);
                pool.backends.push(BackendConfig::new(&format!("http://{host}")));
                let target = Target { host, port: 80, tls: false, socket: None, at: None };
                said.origins.insert(at + number - 1, target);
            }
        }
        at += pool.backends.len();
    }
    notes
}

/// A world where all is well.
fn calm(config: Config, file: &Path, setting: &Setting) -> Scenario {
    let mut scenario = Scenario {
        claim: String::new(),
        file: file.display().to_string(),
        seed: 1,
        model_only: true,
        duration: DURATION,
        recover_within: RECOVER_WITHIN,
        roster: Roster::default(),
        config,
        actions: Vec::new(),
        origins: Vec::new(),
        workload: Workload {
            rate: setting.rate,
            arrivals: Arrivals::Poisson,
            closed: None,
            protocol: Protocol::Http1,
            connections: 1,
            slow_readers: 0.0,
            reads_after: Duration::ZERO,
            post: 0.1,
            body: 1024,
            upload: Duration::ZERO,
            users: 1_000,
            cookies: true,
            zipf: None,
            heavy: 0.0,
            host: String::new(),
            crowd: None,
            timeout: Duration::from_secs(30),
            surges: Vec::new(),
            again: Again::default(),
        },
        tunnels: None,
        attacks: Vec::new(),
        network: Span { min: Duration::from_micros(200), max: Duration::from_micros(400) },
        socket: 4_096,
        faults: Vec::new(),
        expect: Expect::default(),
    };
    for target in scenario.config.services.iter().flat_map(|said| &said.origins) {
        let is_known = |it: &Origin| it.host == target.host && it.port == target.port;
        if !scenario.origins.iter().any(is_known) {
            scenario.origins.push(Origin {
                host: target.host.clone(),
                port: target.port,
                latency: setting.latency.clone(),
                past: None,
                concurrency: None,
                queue: QUEUE,
                retry_after: None,
                body: 1024,
                framing: Framing::Length,
                protocol: Protocol::Http1,
                streams: STREAMS,
            });
        }
    }
    scenario.roster = Roster::of(scenario.eras());
    scenario
}

/// Requests that wait at a backend, as in a listener's backlog.
const QUEUE: usize = 1_024;
