//! The text itself: short names, and nothing that says nothing.

use std::net::IpAddr;
use std::time::Duration;

use lb_config::address::{BackendUrl, backend_url};
use lb_config::config::{self, Origin};
use lb_core::config::BackendConfig;
use lb_core::{Learned, LearnedBreaker, LearnedRecord, Measured, Time};
use serde::{Deserialize, Serialize};

use crate::discovery::Key;

/// The first line.
#[derive(Serialize, Deserialize)]
pub(super) struct Head {
    #[serde(rename = "lb-state")]
    pub(super) version: u32,
    /// When it was written, in milliseconds since 1970.
    pub(super) written_ms: u64,
    /// Over the second line, without its end.
    pub(super) sum: String,
}

/// The second line.
#[derive(Serialize, Deserialize)]
pub(super) struct Body {
    pub(super) services: Vec<Service>,
    /// What discovery found last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) found: Vec<Found>,
}

/// Those of a service's backends of which anything is known.
#[derive(Serialize, Deserialize)]
pub(super) struct Service {
    name: String,
    backends: Vec<Backend>,
}

/// All spans are in microseconds.
#[derive(Serialize, Deserialize)]
struct Backend {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    breaker: Option<Breaker>,
    #[serde(default, skip_serializing_if = "is_default")]
    unhealthy: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    ejections: u8,
    #[serde(default, skip_serializing_if = "is_default")]
    ejected_us: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    latency: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    check: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record: Option<Record>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
enum Breaker {
    Closed { failures: u16, level: u8, calm_in_us: u64 },
    Open { level: u8, left_us: u64 },
}

#[derive(Serialize, Deserialize)]
struct Span {
    took_us: u64,
    age_us: u64,
}

#[derive(Serialize, Deserialize)]
struct Record {
    requests: u16,
    errors: u16,
    critical: u8,
    mean_us: u64,
}

/// What a source found last.
#[derive(Serialize, Deserialize)]
pub(super) struct Found {
    service: String,
    pool: String,
    source: String,
    backends: Vec<Member>,
}

#[derive(Serialize, Deserialize)]
struct Member {
    url: String,
    weight: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    draining: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<String>,
}

impl Service {
    pub(super) fn of(service: &lb_core::Service, now: Time) -> Self {
        // Where nobody is trusted before its first checks it is worth knowing who is well.
        let distrusts = service.probe().is_some_and(|probe| probe.distrusts);
        let backends = service.backends().filter_map(|member| {
            let learned = member.learned(now);
            (distrusts || learned != Learned::default())
                .then(|| Backend::of(member.name(), &learned))
        });
        Self { name: service.name().to_owned(), backends: backends.collect() }
    }

    /// By the names of service and backend.
    pub(super) fn read(self) -> impl Iterator<Item = ((String, String), Learned)> {
        let Self { name: service, backends } = self;
        backends.into_iter().map(move |backend| {
            let learned = backend.read();
            ((service.clone(), backend.name), learned)
        })
    }
}

impl Backend {
    fn of(name: &str, learned: &Learned) -> Self {
        let Learned { breaker, unhealthy, ejections, ejected_for, latency, check, record } =
            *learned;
        let LearnedRecord { requests, errors, critical, mean } = record;
        let record = Record { requests, errors, critical, mean_us: micros(mean) };
        Self {
            name: name.to_owned(),
            breaker: (breaker != LearnedBreaker::default()).then(|| Breaker::of(breaker)),
            unhealthy,
            ejections,
            ejected_us: micros(ejected_for),
            latency: latency.map(Span::of),
            check: check.map(Span::of),
            record: (requests > 0).then_some(record),
        }
    }

    fn read(&self) -> Learned {
        let record = self.record.as_ref().map(|record| LearnedRecord {
            requests: record.requests,
            errors: record.errors,
            critical: record.critical,
            mean: Duration::from_micros(record.mean_us),
        });
        Learned {
            breaker: self.breaker.as_ref().map(Breaker::read).unwrap_or_default(),
            unhealthy: self.unhealthy,
            ejections: self.ejections,
            ejected_for: Duration::from_micros(self.ejected_us),
            latency: self.latency.as_ref().map(Span::read),
            check: self.check.as_ref().map(Span::read),
            record: record.unwrap_or_default(),
        }
    }
}

impl Breaker {
    fn of(learned: LearnedBreaker) -> Self {
        match learned {
            LearnedBreaker::Closed { failures, level, calm_in } => {
                Self::Closed { failures, level, calm_in_us: micros(calm_in) }
            }
            LearnedBreaker::Open { level, left } => Self::Open { level, left_us: micros(left) },
        }
    }

    fn read(&self) -> LearnedBreaker {
        let span = Duration::from_micros;
        match *self {
            Self::Closed { failures, level, calm_in_us } => {
                LearnedBreaker::Closed { failures, level, calm_in: span(calm_in_us) }
            }
            Self::Open { level, left_us } => LearnedBreaker::Open { level, left: span(left_us) },
        }
    }
}

impl Span {
    fn of(measured: Measured) -> Self {
        Self { took_us: micros(measured.took), age_us: micros(measured.age) }
    }

    fn read(&self) -> Measured {
        let span = Duration::from_micros;
        Measured { took: span(self.took_us), age: span(self.age_us) }
    }
}

impl Found {
    pub(super) fn of(key: &Key, found: &[config::Found]) -> Self {
        let Key { service, pool, source } = key.clone();
        let backends = found.iter().map(|found| {
            let BackendConfig { name: url, weight, draining, region } = found.backend.clone();
            let Origin { host, at, .. } = found.origin.clone();
            Member { url, weight, draining, region, at, host: at.map(|_| host) }
        });
        Self { service, pool, source, backends: backends.collect() }
    }

    /// `None` where a url is none of ours.
    pub(super) fn read(self) -> Option<(Key, Vec<config::Found>)> {
        let Self { service, pool, source, backends } = self;
        let found = |member: Member| {
            let Member { url, weight, draining, region, at, host } = member;
            let BackendUrl { identity: name, origin } = backend_url(&url).ok()?;
            let host = host.unwrap_or_else(|| origin.host.clone());
            let origin = Origin { host, at, ..origin };
            Some(config::Found {
                backend: BackendConfig { name, weight, draining, region },
                origin,
            })
        };
        let found = backends.into_iter().map(found).collect::<Option<_>>()?;
        Some((Key { service, pool, source }, found))
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
pub(super) fn round_trip(learned: &Learned) -> Learned {
    let written = serde_json::to_string(&Backend::of("a", learned)).expect("all keys are texts");
    serde_json::from_str::<Backend>(&written).expect("it was written").read()
}
