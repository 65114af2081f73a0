//! A look at new sources before the configuration that names them is put in force.
//!
//! A pool of which nothing is known would be in force empty, and whoever comes told that nobody is
//! there. So a reload waits for the first answers, no longer than clients wait for them at the start.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use lb_config::config::{Config, Discovery, DiscoverySource, Found};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::follow::LOOKS_MAX;
use super::look::{Glass, Looked};
use super::{FIRST_LOOK_MAX, Key, sources};
use crate::gateway::Gateway;

/// What was found by sources that nobody follows yet.
#[derive(Clone, Debug, Default)]
pub struct Ahead(BTreeMap<Key, Vec<Found>>);

impl Ahead {
    /// What a source found.
    pub(super) fn of(&self, key: &Key) -> Option<&Vec<Found>> {
        self.0.get(key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Gateway {
    /// Looks once at the sources of `said` of which nothing is known. Those that do not answer in time,
    /// or fail, are left to whoever follows them.
    pub async fn look_ahead(&self, said: &Config) -> Ahead {
        let new = self.new_sources(said);
        let asks = |(_, it): &(Key, Discovery)| !matches!(it.source, DiscoverySource::File { .. });
        let resolver = match new.iter().any(asks) {
            true => self.platform.resolver(&said.dns).map_err(|error| error.to_string()),
            false => Ok(None),
        };
        let glass = Glass { platform: &*self.platform, resolver: &resolver };
        let places = Semaphore::new(LOOKS_MAX);
        let (glass, places) = (&glass, &places);
        let looks = new.into_iter().map(|(key, discovery)| async move {
            let look = async {
                let _place = places.acquire().await.expect("the semaphore is never closed");
                glass.look(&discovery.source, &mut None, &[]).await.ok()
            };
            let Looked::List { found, .. } = timeout(FIRST_LOOK_MAX, look).await.ok()?? else {
                return None;
            };
            (!found.is_empty() || discovery.accepts_empty).then_some((key, found))
        });
        Ahead(join_all(looks).await.into_iter().flatten().collect())
    }

    /// The sources of `said` of which nothing is known, and whose pools nobody else is in.
    fn new_sources(&self, said: &Config) -> Vec<(Key, Discovery)> {
        let (book, served) = (self.sources.book(), self.snapshot());
        let is_new = |(key, _): &(Key, &Discovery)| book.known_of(key, &served.config).is_none();
        sources(said).filter(is_new).map(|(key, it)| (key, it.clone())).collect()
    }

    /// The sources in force that have found nothing yet.
    pub fn unfound(&self) -> Vec<String> {
        let book = self.sources.book();
        let unfound = book.known.iter().filter(|(_, known)| known.own_list().is_none());
        unfound.map(|(key, _)| key.to_string()).collect()
    }
}
