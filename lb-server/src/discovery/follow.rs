//! Who looks when: each source by itself, when its last answer has run out.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use lb_config::config::{Discovery, DiscoverySource, Dns};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::known::Became;
use super::look::{Glass, Looked};
use super::{Key, sources};
use crate::gateway::Gateway;
use crate::platform::resolve::Resolve;

/// Looks that run at once. More wait for their turn.
pub(super) const LOOKS_MAX: usize = 32;
/// How long one may take, whatever the resolver tries.
const LOOK_MAX: Duration = Duration::from_secs(30);

/// Who knows about names, or why nobody does.
type Names = Rc<Result<Option<Box<dyn Resolve>>, String>>;

/// Follows all sources for as long as it is polled. When another configuration is said, whoever is in
/// both goes on as before.
pub(crate) async fn run(gateway: Arc<Gateway>) {
    let mut said = gateway.sources.said();
    let places = Rc::new(Semaphore::new(LOOKS_MAX));
    // Dropped with this future, and all looks with it.
    let mut running = JoinSet::new();
    let mut followed: BTreeMap<Key, (Discovery, AbortHandle)> = BTreeMap::new();
    let mut names: Option<(Dns, Names)> = None;
    loop {
        said.borrow_and_update();
        let (wanted, dns) = {
            let book = gateway.sources.book();
            let wanted: Vec<_> = sources(&book.said).map(|(key, it)| (key, it.clone())).collect();
            (wanted, book.said.dns.clone())
        };
        let asks = |it: &Discovery| !matches!(it.source, DiscoverySource::File { .. });
        let same =
            names.as_ref().is_some_and(|(before, _)| *before == dns && !dns.servers.is_empty());
        if !same && wanted.iter().any(|(_, discovery)| asks(discovery)) {
            let made = gateway.platform.resolver(&dns);
            let made =
                made.map_err(|error| format!("the system's name servers are unknown: {error}"));
            names = Some((dns, Rc::new(made)));
            // Whoever asks asks the new one.
            followed.retain(|_, (discovery, task)| {
                let stays = !asks(discovery);
                if !stays {
                    task.abort();
                }
                stays
            });
        }
        let mut before = std::mem::take(&mut followed);
        for (key, discovery) in wanted {
            let going = before.remove(&key).filter(|(known, task)| {
                let stays = *known == discovery;
                if !stays {
                    task.abort();
                }
                stays
            });
            let task = going.map(|(_, task)| task).unwrap_or_else(|| {
                let names =
                    names.as_ref().map_or_else(|| Rc::new(Ok(None)), |(_, it)| Rc::clone(it));
                let source = Followed { key: key.clone(), discovery: discovery.clone(), names };
                running.spawn_local(source.follow(Arc::clone(&gateway), Rc::clone(&places)))
            });
            followed.insert(key, (discovery, task));
        }
        before.values().for_each(|(_, task)| task.abort());
        tokio::select! {
            biased;
            changed = said.changed() => changed.expect("the gateway is held here"),
            () = ended(&mut running) => unreachable!("sources are followed without end"),
        }
    }
}

/// Takes those off the list that were told to end. Never ends itself.
async fn ended(running: &mut JoinSet<()>) {
    loop {
        match running.join_next().await {
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}

/// A source, and who is asked about it.
struct Followed {
    key: Key,
    discovery: Discovery,
    names: Names,
}

impl Followed {
    async fn follow(self, gateway: Arc<Gateway>, places: Rc<Semaphore>) {
        let Self { key, discovery, names } = self;
        let glass = Glass { platform: &*gateway.platform, resolver: &names };
        let (mut seen, mut pause) = (None, *discovery.refresh.start());
        loop {
            // What was known of a part of it that fails now is still worth something.
            let known = gateway.sources.book().found(&key);
            let looked = {
                let _place = places.acquire().await.expect("the semaphore is never closed");
                let look = glass.look(&discovery.source, &mut seen, &known);
                let looked = timeout(LOOK_MAX, look).await;
                looked.unwrap_or_else(|_| Err(format!("no answer within {LOOK_MAX:?}")))
            };
            let next = wait(&looked, &discovery.refresh, &mut pause);
            if gateway.looked(&key, looked) == Some(Became::Refused) {
                // What cannot be served now may be later: a file counts as not seen.
                seen = None;
            }
            sleep(next).await;
        }
    }
}

/// Until the next look: when the answer has run out, within bounds. After failures ever longer.
fn wait(
    looked: &Result<Looked, String>,
    refresh: &RangeInclusive<Duration>,
    pause: &mut Duration,
) -> Duration {
    let (least, most) = (*refresh.start(), *refresh.end());
    match looked {
        Err(_) => {
            let now = *pause;
            *pause = (now * 2).min(most);
            now
        }
        Ok(looked) => {
            *pause = least;
            match looked {
                Looked::List { ttl: Some(ttl), .. } => (*ttl).clamp(least, most),
                // Nobody says how long it holds.
                Looked::List { ttl: None, .. } | Looked::Nothing => most,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_as_long_as_it_says_within_bounds_and_failures_back_off() {
        let secs = Duration::from_secs;
        let (refresh, mut pause) = (secs(1)..=secs(60), secs(1));
        let list = |ttl| Ok(Looked::list(Vec::new(), ttl));
        let mut waits = |looked| wait(&looked, &refresh, &mut pause).as_secs();
        let said = [0, 7, 300].map(|ttl| waits(list(Some(secs(ttl)))));
        assert_eq!(said, [1, 7, 60]);
        assert_eq!(waits(list(None)), 60);
        let failed: Vec<u64> = (0..8).map(|_| waits(Err(String::new()))).collect();
        assert_eq!(failed, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(waits(list(Some(secs(5)))), 5);
        assert_eq!(waits(Err(String::new())), 1, "and from the start again");
    }
}
