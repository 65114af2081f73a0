//! The configuration that is served: what was said, and what was found beside it.

use std::collections::BTreeSet;
use std::sync::Arc;

use lb_config::config::{Config, Found, Service};

use super::Key;

/// `said` with what `found` tells of each source. A backend is in its service once: where it stands in
/// the configuration, else in the first pool that finds it.
pub(super) fn merged<'f>(said: &Config, found: impl Fn(&Key) -> &'f [Found]) -> Config {
    let mut config = said.clone();
    for (service, said) in config.services.iter_mut().zip(&said.services) {
        if !said.discovery.is_empty() {
            fill(Arc::make_mut(service), said, &found);
        }
    }
    config
}

fn fill<'f>(service: &mut Service, said: &Service, found: &impl Fn(&Key) -> &'f [Found]) {
    let standing = said.core.pools.iter().flat_map(|pool| &pool.backends);
    let mut names: BTreeSet<&str> = standing.map(|backend| backend.name.as_str()).collect();
    let mut before = said.origins.iter();
    let mut origins = Vec::with_capacity(said.origins.len());
    for (place, pool) in service.core.pools.iter_mut().enumerate() {
        origins.extend(before.by_ref().take(pool.backends.len()).cloned());
        for discovery in said.discovery.iter().filter(|discovery| discovery.pool == place) {
            for new in found(&Key::new(said, discovery)) {
                if names.insert(&new.backend.name) {
                    pool.backends.push(new.backend.clone());
                    origins.push(new.origin.clone());
                }
            }
        }
    }
    service.origins = origins;
}
