//! The clients of one service, told apart by whatever the service looks at.
//!
//! A configuration that shares out its clients by a header, a cookie or their address would see one client
//! in a rehearsal whose requests are all alike. So each user says its number wherever the service's keys
//! look for one, has an address of its own, and is from one of the places that the pools are meant for.

use std::net::{IpAddr, Ipv4Addr};

use lb_core::config::{KeySource, Policy, ServiceConfig, StickBy};

/// Who asks a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Crowd {
    /// The service, by its place, whatever routes say.
    pub service: u16,
    /// Where users say their number.
    keys: Vec<KeySource>,
    /// Headers that say where a user is, and what they may say.
    places: Vec<(String, Vec<String>)>,
}

impl Crowd {
    /// Those who ask the service of this number.
    pub fn of(service: u16, config: &ServiceConfig) -> Self {
        let stick = config.affinity.as_ref().and_then(|it| match &it.by {
            StickBy::Key(stick) => Some(&stick.key),
            StickBy::Cookie(_) => None,
        });
        let hash = Policy::hashes(config.policy).then_some(&config.hash.sources);
        let limits = config.limits.per_client.map(|_| &config.limits.client);
        let rate = config.rate.as_ref().map(|rate| &rate.key);
        let keys = [stick, hash, limits, rate].into_iter().flatten().flatten().cloned().collect();
        Self { service, keys, places: places(config) }
    }

    /// Whether users say their number in this header.
    pub(crate) fn numbers_header(&self, name: &str) -> bool {
        self.keys.iter().any(|key| match key {
            KeySource::Header(known) => known == name,
            KeySource::ForwardedFor => name == "x-forwarded-for",
            _ => false,
        })
    }

    /// Whether users say their number in this cookie.
    pub(crate) fn numbers_cookie(&self, name: &str) -> bool {
        self.keys.iter().any(|key| matches!(key, KeySource::Cookie(known) if known == name))
    }

    /// Whether users say their number in this parameter of the query.
    pub(crate) fn numbers_parameter(&self, name: &str) -> bool {
        self.keys.iter().any(|key| matches!(key, KeySource::Parameter(known) if known == name))
    }

    /// Whether users say their number as the query.
    pub(crate) fn numbers_query(&self) -> bool {
        self.keys.contains(&KeySource::Query)
    }

    /// Whether users say their number in the path.
    pub(crate) fn numbers_path(&self) -> bool {
        self.keys.contains(&KeySource::Path)
    }

    /// What this header says of where a user is.
    pub(crate) fn place(&self, header: &str, user: u32) -> Option<&str> {
        let (_, said) = self.places.iter().find(|(name, _)| name == header)?;
        said.get(user as usize % said.len().max(1)).map(String::as_str)
    }
}

/// The address of a user: everybody has one.
pub(crate) fn address(user: u32) -> IpAddr {
    // 10.0.0.0/8 has room for 2²⁴ users, and scenarios have a million at most.
    Ipv4Addr::from_bits(0x0a00_0000 | (user & 0x00ff_ffff)).into()
}

/// Where the pools of a service are meant for, in its own headers.
fn places(config: &ServiceConfig) -> Vec<(String, Vec<String>)> {
    let headers = &config.steering.headers;
    let pools = || config.pools.iter();
    let regions: Vec<String> = pools().flat_map(|pool| pool.regions.iter().cloned()).collect();
    let countries = pools().flat_map(|pool| &pool.countries).map(|it| it.as_str().to_owned());
    let points: Vec<_> = pools().filter_map(|pool| pool.location).collect();
    let all = [
        (&headers.region, regions),
        (&headers.country, countries.collect()),
        (&headers.latitude, points.iter().map(|it| it.latitude.to_string()).collect()),
        (&headers.longitude, points.iter().map(|it| it.longitude.to_string()).collect()),
    ];
    let said = all.into_iter().filter_map(|(name, said)| Some((name.clone()?, said)));
    said.filter(|(_, said)| !said.is_empty()).collect()
}
