//! Service discovery: where backends are is asked again and again, and what changes is put in force.
//!
//! Discovery is a reload with another list of backends, and nothing else. What the configuration *says*
//! is kept beside what was *found*; both together make the configuration that is *served*, and a
//! snapshot is made of it as of any other. So whoever stays keeps what was learned about it, its
//! connections and its counters, and whoever goes finishes what it has.
//!
//! ```text
//!            said (file) ──┐
//!                          ├─► merged ─► Snapshot ─► every worker's View
//!   look ──► found (lists) ┘
//!     ▲                 │
//!     └── ttl, pause ◄──┘
//! ```
//!
//! A look that fails changes nothing but a counter and the time of the next: the last good list stays
//! in force for as long as there is no better one. One task of the first worker looks for the whole
//! process, beside the traffic and never in its way.
//!
//! - [`look`]: one look at one source.
//! - [`merge`]: the configuration that is served.
//! - [`known`]: what was found, and what became of the looks.
//! - [`follow`]: who looks when.
//! - [`ahead`]: the first look at what a reload names.
//! - [`report`]: what the admin listener says about it.
//!
//! Not here: names in the `url` of a backend. Those are the business of `names.rs`.

pub(crate) mod look;
mod merge;
pub(crate) mod known;
mod follow;
mod ahead;
pub(crate) mod report;

use std::fmt;
use std::time::Duration;

use lb_config::config::{Config, Discovery, DiscoverySource, Family, Priority, Service};

pub use ahead::Ahead;
pub(crate) use follow::run;

/// How long clients, or a reload, wait for the first answers about where backends are.
pub(crate) const FIRST_LOOK_MAX: Duration = Duration::from_secs(5);

/// What a source is known by, over reloads and processes: who finds backends where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) service: String,
    pub(crate) pool: String,
    /// As logs and metrics call it.
    pub(crate) source: String,
}

impl Key {
    pub(crate) fn new(service: &Service, discovery: &Discovery) -> Self {
        Self {
            service: service.core.name.clone(),
            pool: service.core.pools[discovery.pool].name.clone(),
            source: Shown(&discovery.source).to_string(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}: {}", self.service, self.pool, self.source)
    }
}

/// All sources that a configuration names.
pub(crate) fn sources(config: &Config) -> impl Iterator<Item = (Key, &Discovery)> {
    let of = |service| move |discovery| (Key::new(service, discovery), discovery);
    config.services.iter().flat_map(move |service| service.discovery.iter().map(of(service)))
}

struct Shown<'s>(&'s DiscoverySource);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            DiscoverySource::Dns { url, family } => {
                let family = match family {
                    Family::Any => "",
                    Family::V4 => " ipv4",
                    Family::V6 => " ipv6",
                };
                write!(out, "dns {}{family}", url.identity)
            }
            DiscoverySource::Srv { name, priority } => {
                let priority = match priority {
                    Priority::First => "first",
                    Priority::Others => "others",
                    Priority::All => "all",
                };
                write!(out, "srv {name} {priority}")
            }
            DiscoverySource::File { path, .. } => write!(out, "file {}", path.display()),
        }
    }
}
