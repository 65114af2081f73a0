//! Where backends with a name are: one home for the process's answers, each for as long as it holds.
//!
//! Whoever opens a connection asks here. An answer that holds is given at once. One that has run out
//! is asked for anew, once for all who want it, beside the traffic; they wait for the new one, but not
//! for long while there is an old one: a resolver that fails or dawdles must not take down backends
//! that are well (serve-stale, RFC 8767). The old answer serves them for `[dns] stale_max`, and then
//! the name has no address.
//!
//! ```text
//!   answer ──── holds for its ttl ────┬──── stale_max, while nobody says better ────┬── none
//!                                     └─ asked anew, and after failures each PAUSE ─┘
//! ```
//!
//! An answer may be wrong before it has run out. When every address of it failed, it is asked anew, and
//! when other name servers are named, all of them are: as if they had run out at that time.
//!
//! What is open stays open: only a new connection goes where the name leads now, and connections to
//! where it led before end with the limits of `[service.keep_alive]`.
//!
//! Not here: pools that *discover* backends by a name. There each address is a backend of its own, and
//! an answer is a list to be put in force (`discovery/`).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lb_config::config::{Dns, Family, Origin};
use lb_core::Time;
use tokio::sync::Semaphore;
use tokio::time::{timeout, timeout_at};

use crate::gateway::Gateway;
use crate::snapshot::Endpoint;

/// Names that are known at once: as many as a service may have backends. The one of which an answer
/// serves the shortest makes room.
const NAMES_MAX: usize = 16_384;
/// Addresses of one name that are kept: a dial that tried more would take longer than anybody waits.
const ADDRESSES_MAX: usize = 32;
/// Lookups at once. More wait for their turn.
const LOOKUPS_MAX: usize = 32;
/// How long one may take, whatever the resolver tries.
const LOOKUP_MAX: Duration = Duration::from_secs(30);
/// How long an answer holds at least, so that a ttl of 0 is not a question for each connection, and at
/// most, so that a mistake in a zone does not last.
const TTL_MIN: Duration = Duration::from_secs(1);
const TTL_MAX: Duration = Duration::from_secs(3_600);
/// How long an answer holds of which nobody says it: it came from the hosts file, or from whoever else
/// the system asks.
const TTL_UNSAID: Duration = Duration::from_secs(10);
/// From a lookup that failed to the next, and from one whose answer is doubted.
const PAUSE: Duration = Duration::from_secs(1);
/// How long an address that lost against another one is tried after the others (RFC 6555 §4.2).
const LOST_FOR: Duration = Duration::from_mins(10);
/// How long a new answer is waited for where there is an old one.
const PATIENCE: Duration = Duration::from_millis(100);

/// What a lookup brings: addresses, and how long they hold.
type Found = (Vec<IpAddr>, Duration);

/// All names that were asked for.
pub(crate) struct Names {
    known: Mutex<BTreeMap<String, Known>>,
    places: Semaphore,
}

/// What is known of one name.
struct Known {
    /// The last good answer; empty if there is none, or it is too old.
    addresses: Arc<[IpAddr]>,
    /// Those of them that lost lately, and when.
    lost: BTreeMap<IpAddr, Time>,
    /// Until when it serves, if there is no better one.
    serves_until: Time,
    /// When it has run out.
    ask_at: Time,
    /// When the last lookup ended.
    asked: Time,
    /// Whether the last lookup failed.
    failing: bool,
    asking: Option<Asking>,
}

/// A lookup that runs.
struct Asking {
    since: Time,
    /// Closed when it has ended, whichever way. Those who wait are woken in one order in every run, as by
    /// tokio's channels they would not be.
    ended: Arc<Semaphore>,
}

/// Whoever asks holds on to this.
struct Asked(Arc<Semaphore>);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What somebody who wants addresses is to do.
enum Advice {
    /// These are the addresses. None: the name has none.
    Use(Arc<[IpAddr]>),
    /// Ask, and hold on to this meanwhile.
    Ask(Asked),
    /// Somebody asks: wait until that has ended, and where there is an old answer not longer than this.
    Wait(Arc<Semaphore>, Option<Time>),
}

impl Default for Names {
    fn default() -> Self {
        Self { known: Mutex::default(), places: Semaphore::new(LOOKUPS_MAX) }
    }
}

/// The addresses of a backend's name in the order in which they should be tried. None: nobody knows
/// any. It may wait for ever: the caller has the deadline.
pub(crate) async fn addresses(gateway: &Arc<Gateway>, origin: &Origin) -> Arc<[IpAddr]> {
    loop {
        let advice = gateway.names.advise(&origin.host, gateway.now());
        let (ended, until) = match advice {
            Advice::Use(addresses) => return addresses,
            Advice::Ask(asked) => {
                let (gateway, origin) = (Arc::clone(gateway), origin.clone());
                // Of a task of its own: whoever asked may give up, and others wait.
                tokio::task::spawn_local(async move { ask(&gateway, &origin, asked).await });
                continue;
            }
            Advice::Wait(ended, until) => (ended, until),
        };
        // It has no places: it is closed, or it is too late.
        match until {
            None => drop(ended.acquire().await),
            Some(until) => drop(timeout_at(gateway.clock.instant(until), ended.acquire()).await),
        }
    }
}

/// No connection came about at a backend, whichever of its addresses was tried: what is known of its name
/// may be wrong.
pub(crate) fn doubt(gateway: &Gateway, endpoint: &Endpoint) {
    if endpoint.literal.is_none() {
        gateway.names.doubt(&endpoint.origin.host, gateway.now());
    }
}

/// Looks a name up, and keeps what is found before `asked` is dropped.
async fn ask(gateway: &Gateway, origin: &Origin, asked: Asked) {
    let _place = gateway.names.places.acquire().await.expect("the semaphore is never closed");
    let dns = gateway.snapshot().config.dns.clone();
    let found = timeout(LOOKUP_MAX, look(gateway, &dns, origin)).await;
    let found = found.unwrap_or_else(|_| Err(format!("no answer within {LOOKUP_MAX:?}")));
    let notice = gateway.names.learn((&origin.host, &asked), found, dns.stale_max, gateway.now());
    notice.into_iter().for_each(|notice| gateway.announce(|| notice));
}

/// The resolver says how long its answers hold, so it is asked first. Where the system is to know, it
/// has the last word: it may have names from elsewhere than DNS and the hosts file.
async fn look(gateway: &Gateway, dns: &Dns, origin: &Origin) -> Result<Found, String> {
    let Origin { host, port, .. } = origin;
    let mut why = "the answer has no address".to_owned();
    match gateway.platform.resolver(dns) {
        Ok(Some(resolver)) => {
            match resolver.addresses(host, Family::Any).await {
                Ok(answer) if !answer.records.is_empty() => {
                    return Ok((answer.records, answer.ttl));
                }
                Ok(_none) => {}
                Err(error) => why = error.to_string(),
            }
            if !dns.servers.is_empty() {
                return Err(why);
            }
        }
        Ok(None) => {}
        Err(error) => why = format!("the system's name servers are unknown: {error}"),
    }
    match gateway.platform.lookup(host, *port).await {
        Ok(found) if !found.is_empty() => {
            Ok((found.iter().map(std::net::SocketAddr::ip).collect(), TTL_UNSAID))
        }
        Ok(_none) => Err(why),
        Err(error) => Err(error.to_string()),
    }
}

impl Names {
    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to do about a name at `now`. Whoever is told to ask has to.
    fn advise(&self, host: &str, now: Time) -> Advice {
        let mut all = self.known();
        let Some(known) = all.get_mut(host) else {
            if all.len() >= NAMES_MAX {
                forget_one(&mut all);
            }
            let (known, asked) = Known::asked_first(now);
            all.insert(host.to_owned(), known);
            return Advice::Ask(asked);
        };
        if now >= known.serves_until {
            known.addresses = Arc::default();
        }
        if now < known.ask_at {
            return Advice::Use(Arc::clone(&known.addresses));
        }
        // One that is closed and left no answer ended with its worker.
        let running = known.asking.as_ref().filter(|asking| !asking.ended.is_closed());
        let Some(Asking { since, ended }) = running else {
            let (asking, asked) = Asking::begin(now);
            known.asking = Some(asking);
            return Advice::Ask(asked);
        };
        let patient_until = *since + PATIENCE;
        match (known.addresses.is_empty(), now < patient_until) {
            (true, _) => Advice::Wait(Arc::clone(ended), None),
            (false, true) => Advice::Wait(Arc::clone(ended), Some(patient_until)),
            (false, false) => Advice::Use(Arc::clone(&known.addresses)),
        }
    }

    /// Others are asked from `now` on: what is known is as if it had run out, and what those before say
    /// from now on is of no use.
    pub(crate) fn ask_anew(&self, stale_max: Duration, now: Time) {
        for known in self.known().values_mut() {
            if now < known.ask_at {
                known.ask_at = now;
                known.serves_until = known.serves_until.min(now + stale_max);
            }
            if let Some(asking) = known.asking.take() {
                asking.ended.close();
            }
        }
    }

    /// The addresses of a name lead nowhere.
    fn doubt(&self, host: &str, now: Time) {
        if let Some(known) = self.known().get_mut(host)
            && now >= known.asked + PAUSE
        {
            known.ask_at = known.ask_at.min(now);
        }
    }

    /// An address of a name was given up, or another one is tried beside it: it is tried last for a while, and
    /// does not cost every connection a moment.
    pub(crate) fn lost(&self, host: &str, ip: IpAddr, now: Time) {
        if let Some(known) = self.known().get_mut(host) {
            known.lost.insert(ip, now);
            known.put(&Arc::clone(&known.addresses), now);
        }
    }

    /// It was the first to connect after all.
    pub(crate) fn won(&self, host: &str, ip: IpAddr, now: Time) {
        if let Some(known) = self.known().get_mut(host)
            && known.lost.remove(&ip).is_some()
        {
            known.put(&Arc::clone(&known.addresses), now);
        }
    }

    /// A lookup has ended at `now`. Returns what the operator may want to know.
    fn learn(
        &self,
        (host, asked): (&str, &Asked),
        found: Result<Found, String>,
        stale_max: Duration,
        now: Time,
    ) -> Option<String> {
        let mut all = self.known();
        // It may have made room for another one meanwhile, or somebody else is asked.
        let known = all.get_mut(host)?;
        known.asking.take_if(|asking| Arc::ptr_eq(&asking.ended, &asked.0))?;
        known.asked = now;
        let was_failing = std::mem::replace(&mut known.failing, found.is_err());
        match found {
            Ok((addresses, ttl)) => {
                known.put(&in_turn(&addresses), now);
                known.ask_at = now + ttl.clamp(TTL_MIN, TTL_MAX);
                known.serves_until = known.ask_at + stale_max;
                was_failing.then(|| format!("name {host}: answers again"))
            }
            Err(why) => {
                if now >= known.serves_until {
                    known.addresses = Arc::default();
                }
                known.ask_at = now + PAUSE;
                let left = match known.addresses.len() {
                    0 => "its backends cannot be reached until there is an answer".to_owned(),
                    _ => format!("the last answer serves for {stale_max:?} at most"),
                };
                (!was_failing).then(|| format!("name {host}: {why}; {left}"))
            }
        }
    }
}

impl Known {
    fn asked_first(now: Time) -> (Self, Asked) {
        let (asking, asked) = Asking::begin(now);
        let known = Self {
            addresses: Arc::default(),
            lost: BTreeMap::new(),
            serves_until: now,
            ask_at: now,
            asked: now,
            failing: false,
            asking: Some(asking),
        };
        (known, asked)
    }

    /// Has these addresses from `now` on, those that lost last.
    fn put(&mut self, addresses: &[IpAddr], now: Time) {
        self.lost.retain(|ip, at| addresses.contains(ip) && now < *at + LOST_FOR);
        let (lost, others): (Vec<IpAddr>, _) =
            addresses.iter().partition(|ip| self.lost.contains_key(ip));
        self.addresses = [others, lost].concat().into();
    }
}

impl Asking {
    fn begin(now: Time) -> (Self, Asked) {
        let ended = Arc::new(Semaphore::new(0));
        (Self { since: now, ended: Arc::clone(&ended) }, Asked(ended))
    }
}

/// Forgets the name whose answer serves the shortest.
fn forget_one(all: &mut BTreeMap<String, Known>) {
    let soonest = all.iter().min_by_key(|(_, known)| known.serves_until);
    if let Some(host) = soonest.map(|(host, _)| host.clone()) {
        all.remove(&host);
    }
}

/// Addresses of both kinds by turns (RFC 8305 §4), so that a kind that leads nowhere costs one of them.
/// IPv4 first: where there is no IPv6, nobody says so until a connection has failed.
fn in_turn(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut v4 = addresses.iter().filter(|ip| ip.is_ipv4());
    let mut v6 = addresses.iter().filter(|ip| ip.is_ipv6());
    let by_turns = std::iter::from_fn(|| {
        let pair = [v4.next(), v6.next()];
        pair.iter().any(Option::is_some).then_some(pair)
    });
    by_turns.flatten().flatten().copied().take(ADDRESSES_MAX).collect()
}

#[cfg(test)]
mod tests;
