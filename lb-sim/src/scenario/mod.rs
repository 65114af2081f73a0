//! What is rehearsed: a configuration, a world around it, what goes wrong, and what must hold.
//!
//! A scenario file embeds the native configuration unchanged under `[config]`; everything else says
//! what the world is like. The format is in `scenarios/README.md`. Whoever holds a [`Scenario`] may
//! trust it: every backend has an origin, every fault names one, every expectation is understood.

mod action;
pub(crate) mod crowd;
mod expectation;
mod fault;
mod files;
mod latency;
mod origin;
mod read;
mod workload;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use lb_config::Config;

use crate::roster::Roster;

pub use action::{Action, ActionKind, Attack, Tunnels};
pub use crowd::Crowd;
pub use expectation::{Expectation, Mark, Metric, Phase};
pub use fault::{Fault, FaultKind, Whom};
pub use files::{Kind, files, read};
pub use latency::{Latency, Seen};
pub(crate) use origin::STREAMS;
pub use origin::{Framing, Origin, Protocol};
pub use read::{load, shape};
pub use workload::{Again, Arrivals, Bursts, Closed, Surge, Workload};

/// A whole scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What it proves: the first line of its file.
    pub claim: String,
    /// The file, as it was named.
    pub file: String,
    /// The seed when none is given.
    pub seed: u64,
    /// Whether it is meant for the model engine alone.
    pub model_only: bool,
    /// How long requests arrive.
    pub duration: Duration,
    /// How long after the last fault everything must be as before.
    pub recover_within: Duration,
    /// What is rehearsed: the first of the configurations.
    pub config: Config,
    /// Whoever is named in any of them.
    pub roster: Roster,
    /// What is done to the proxy, in the order of time.
    pub actions: Vec<Action>,
    /// The servers behind it.
    pub origins: Vec<Origin>,
    /// The clients in front of it.
    pub workload: Workload,
    /// Those that stay, if there are any.
    pub tunnels: Option<Tunnels>,
    /// Those that mean harm.
    pub attacks: Vec<Attack>,
    /// How long a segment is on its way, at least and at most.
    pub network: Span,
    /// Segments that wait at a socket before whoever sends them has to.
    pub socket: usize,
    /// What goes wrong, and when.
    pub faults: Vec<Fault>,
    /// What must hold, beside the invariants.
    pub expect: Expect,
}

/// Any duration between two, each as likely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The shortest.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
}

/// What must hold, beside the invariants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expect {
    /// In every second in which requests arrive.
    pub always: Vec<Expectation>,
    /// At least once over all seeds of a sweep.
    pub sometimes: Vec<Mark>,
    /// Invariants that are broken: what it shows is how things go wrong.
    pub breaks: Vec<String>,
    /// In every second from `recover_within` after the last fault on.
    pub eventually: Vec<Expectation>,
    /// Over the whole run, or the phase that it names.
    pub at_end: Vec<Expectation>,
}

impl Scenario {
    /// When the first fault begins; the end of the run if there is none.
    pub fn first_fault(&self) -> Duration {
        self.faults.iter().map(|fault| fault.at).min().unwrap_or(self.duration)
    }

    /// When the last fault is over: from then on the world is healed.
    pub fn healed(&self) -> Duration {
        self.faults.iter().map(Fault::end).max().unwrap_or(Duration::ZERO)
    }

    /// When everything must be as before.
    pub fn recovered(&self) -> Duration {
        self.healed() + self.recover_within
    }

    /// What is served in turn, and since when: the configuration, and those of the reloads.
    pub fn eras(&self) -> impl Iterator<Item = (Duration, &Config)> {
        let reloads = self.actions.iter().filter_map(|action| match &action.kind {
            ActionKind::Reload(config) => Some((action.at, &**config)),
            ActionKind::Drain => None,
        });
        std::iter::once((Duration::ZERO, &self.config)).chain(reloads)
    }

    /// What is served in turn.
    pub fn configs(&self) -> impl Iterator<Item = &Config> {
        self.eras().map(|(_, config)| config)
    }

    /// The configuration that is served after so many reloads.
    pub fn config_after(&self, reloads: usize) -> &Config {
        self.configs().nth(reloads).expect("nobody counts more reloads than there are")
    }

    /// What each origin is called: its host, and where that is an address, or others have it as well, its port
    /// besides.
    pub fn names(&self) -> Vec<String> {
        let mut at = BTreeMap::<&str, usize>::new();
        self.origins.iter().for_each(|origin| *at.entry(&origin.host).or_default() += 1);
        let name = |Origin { host, port, .. }: &Origin| {
            let is_name = host.parse::<IpAddr>().is_err();
            if is_name && at[&**host] == 1 { host.clone() } else { format!("{host}:{port}") }
        };
        self.origins.iter().map(name).collect()
    }

    /// What the origin at a place is called.
    pub fn name_of(&self, place: usize) -> String {
        self.names().swap_remove(place)
    }

    /// The place of the origin that is written as `host:port`.
    pub fn place(&self, written: &str) -> Option<usize> {
        let (host, port) = written.rsplit_once(':')?;
        let port: u16 = port.parse().ok()?;
        self.origins.iter().position(|it| it.port == port && it.host == host)
    }
}
