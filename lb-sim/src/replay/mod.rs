//! Recorded traffic once more, under a configuration that may be another one.
//!
//! The model engine is given the arrivals of a [`Record`], with who asked and what may be repeated. Backends
//! do what they did: how long an answer takes, which share of the requests fails and how, all of it as it
//! was at that time of the record ([`Past`]). A backend that the record does not know answers like any of
//! those that it does, and none of its answers fails. Luck belongs to the request and the attempt, whoever
//! is asked, so that two configurations can be compared request by request.
//!
//! What it cannot know: how a backend would bear more load than it had, and how long what was given up
//! would have taken, except that it is longer ([`Past`] has what follows). So it is told beside what was
//! recorded: who replays the configuration that served sees how far the model is off.

mod matching;
mod tally;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lb_config::Config;
use lb_core::config::{BackendConfig, KeySource, StickBy};
use lb_core::{Outcome, Repeat};

use crate::arrivals::{Arrival, START};
use crate::model;
use crate::record::{Attempt, End, Exchange, Past, Record, Tried};
use crate::rehearsal::{self, Stage, address, listed};
use crate::scenario::{Arrivals, Latency, Seen, Span};

use matching::origin;

pub use matching::{Matched, known, services};
pub use tally::{Counts, SLICES, Tally};

use tally::Came;

/// How a record is replayed.
#[derive(Clone, Debug)]
pub struct Setting {
    /// How many times as fast as it was recorded.
    pub speed: f64,
    /// How long backends take of which nothing is known, where nothing is known of others either.
    pub latency: Latency,
    /// Backends that have another name in the configuration: the one in the record, and their url.
    pub same: Vec<(String, String)>,
}

/// A service of a record, under a configuration.
#[derive(Debug)]
pub struct Replay<'r> {
    record: &'r Record,
    service: u16,
    speed: f64,
    /// By backend of the record: its origin, by its place in the scenario.
    places: Vec<Option<usize>>,
    /// Whether most attempts of the record were at backends that are not in the configuration: what those did
    /// is not done again, and levels prove nothing.
    pub is_elsewhere: bool,
    /// The world, and what was made up.
    pub stage: Stage,
}

impl<'r> Replay<'r> {
    /// Of the service `theirs` of `record` under the service `ours` of `config`, which was read from `file`.
    pub fn new(
        record: &'r Record,
        (theirs, ours): (u16, usize),
        config: &Config,
        file: &Path,
        setting: &Setting,
    ) -> Self {
        let mut config = config.clone();
        go_by_user(&mut config);
        discover(record, theirs, &mut config, ours);
        let calm = rehearsal::Setting { rate: 1.0, latency: setting.latency.clone(), load: 0.5 };
        let stage = Stage::new(&config, file, ours, &calm);
        let speed = setting.speed;
        let places = Vec::new();
        let mut replay =
            Self { record, service: theirs, speed, places, is_elsewhere: false, stage };
        replay.find(setting);
        replay.relive(setting);
        replay.misses();
        replay.arrange();
        replay
    }

    /// Finds the backends of the record among those of the configuration.
    fn find(&mut self, setting: &Setting) {
        let scenario = &self.stage.scenario;
        let place = |name: &String| {
            let same = setting.same.iter().find(|(theirs, _)| theirs == name);
            let (host, port) = address(&origin(same.map_or(name, |(_, ours)| ours))?);
            let mine = |at: &usize| self.stage.origins.contains(at);
            scenario.place(&format!("{host}:{port}")).filter(mine)
        };
        self.places = self.record.backends.iter().map(place).collect();
        let mut asked = vec![0_u64; self.places.len()];
        for attempt in self.exchanges().flat_map(|it| self.record.attempts_of(it)) {
            attempt.backend.into_iter().for_each(|at| asked[usize::from(at)] += 1);
        }
        let gone = asked.iter().zip(&self.places).zip(&self.record.backends);
        let gone: Vec<_> =
            gone.filter(|((asked, place), _)| **asked > 0 && place.is_none()).collect();
        let beside: u64 = gone.iter().map(|((asked, _), _)| **asked).sum();
        self.is_elsewhere = beside * 2 > asked.iter().sum::<u64>();
        let gone: Vec<&str> = gone.into_iter().map(|(_, name)| name.as_str()).collect();
        if !gone.is_empty() {
            let notes = &mut self.stage.notes;
            notes.push(format!("not in the configuration, and not asked: {}", listed(&gone)));
        }
    }

    /// Lets each origin do what it did, and those that are new what the others did.
    fn relive(&mut self, setting: &Setting) {
        let Told { tried, nameless, good, given_up } = self.told();
        let Stage { scenario, origins, notes, .. } = &mut self.stage;
        if given_up > 0 {
            notes.push(format!(
                "given up with their clients: {given_up} attempts; each takes as long as one that took longer, \
                 and where none did it is never answered"
            ));
        }
        let past = |tried| Past::new(tried, START, setting.speed).map(Arc::new);
        let pasts = tried.into_iter().filter_map(|(place, tried)| Some((place, past(tried)?)));
        let mut pasts: BTreeMap<usize, Arc<Past>> = pasts.collect();
        if let Some(all) = past(nameless).filter(|_| pasts.is_empty()) {
            notes.push("the record names no backend: each does what all of them did".to_owned());
            pasts.extend(origins.iter().map(|place| (*place, all.clone())));
        }
        let names = |is_told: &dyn Fn(&usize) -> bool| {
            let told = origins.iter().filter(|place| is_told(place));
            let origin = told.map(|place| &scenario.origins[*place]);
            origin.map(crate::scenario::Origin::address).collect::<Vec<_>>()
        };
        let is_untimed = |place: &usize| pasts.get(place).is_some_and(|past| !past.is_timed());
        let fresh = names(&|place| !pasts.contains_key(place));
        let untimed = names(&is_untimed);
        let pooled = pooled(good);
        let [of_fresh, of_untimed] = match &pooled {
            Some(_) => ["not in the record, and as quick as the others", AS_OTHERS],
            None => ["of which the record says nothing (--latency)", AS_SAID],
        };
        for (said, names) in [(of_fresh, fresh), (of_untimed, untimed)] {
            if !names.is_empty() {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                notes.push(format!("{said}: {}", listed(&names)));
            }
        }
        for (place, origin) in scenario.origins.iter_mut().enumerate() {
            origin.past = pasts.remove(&place);
            if let Some(pooled) = pooled.as_ref().filter(|_| origins.contains(&place)) {
                // What is asked where no past says anything of it.
                origin.latency = Latency::Empirical(pooled.clone());
            }
            // What they waited for is in how long they took.
            origin.concurrency = None;
        }
    }

    /// What the record tells of backends.
    fn told(&self) -> Told {
        let mut told = Told::default();
        for exchange in self.exchanges() {
            for attempt in self.record.attempts_of(exchange) {
                let Attempt { backend, outcome, took, .. } = *attempt;
                // Another was sooner: by how much nobody knows, and nobody minded.
                if outcome.is_none() && !exchange.is_given_up() {
                    continue;
                }
                if matches!(outcome, Some(Outcome::Answered(..500))) {
                    told.good.extend(took);
                }
                let at = exchange.at + u64::from(attempt.at);
                let place = backend.map(|at| self.places[usize::from(at)]);
                match place {
                    Some(Some(place)) => told.tried.entry(place).or_default(),
                    None => &mut told.nameless,
                    Some(None) => continue,
                }
                .push(Tried { at, outcome, took });
                told.given_up += u64::from(outcome.is_none());
            }
        }
        told
    }

    /// Says what of the record nobody can do again: errors of backends that it does not name, or that the
    /// configuration does not have.
    fn misses(&mut self) {
        // What the proxy answered itself is decided again, unless nobody says what it was that answered.
        let is_mute = self.record.attempts.is_empty();
        let has_names = !self.record.backends.is_empty();
        let is_lost =
            |it: &&Exchange| it.count == 0 && !it.is_good() && (is_mute || it.end != End::Ours);
        let is_nameless = |it: &&Exchange| {
            let mut attempts = self.record.attempts_of(it).iter();
            has_names && !it.is_good() && it.count > 0 && attempts.all(|it| it.backend.is_none())
        };
        let lost = self.exchanges().filter(|it| is_lost(it) || is_nameless(it)).count();
        if lost > 0 {
            self.stage.notes.push(format!(
                "errors that the record says no backend of, and that are not replayed: {lost}"
            ));
        }
        let is_beside = |it: &&Exchange| {
            let last = self.record.attempts_of(it).last().and_then(|it| it.backend);
            !it.is_good() && last.is_some_and(|at| self.places[usize::from(at)].is_none())
        };
        let beside = self.exchanges().filter(is_beside).count();
        if beside > 0 {
            self.stage.notes.push(format!(
                "errors of backends that are not in the configuration, and that are not replayed: {beside}"
            ));
        }
    }

    /// A world with nothing in it but what was recorded.
    fn arrange(&mut self) {
        let last = self.exchanges().last().map_or(0, |last| last.at);
        let bodies = self.exchanges().filter(|it| it.repeat == Repeat::Once && it.bytes_in > 0);
        let (count, bytes) =
            bodies.fold((0_u64, 0_u64), |(n, sum), it| (n + 1, sum + u64::from(it.bytes_in)));
        let duration = self.when(last) + SECOND;
        let scenario = &mut self.stage.scenario;
        scenario.duration = duration;
        // What was measured was measured at the proxy: the way there and back is in it.
        scenario.network = Span { min: Duration::ZERO, max: Duration::ZERO };
        let workload = &mut scenario.workload;
        workload.arrivals = Arrivals::Even;
        workload.timeout = PATIENCE;
        let mean = bytes.checked_div(count).unwrap_or(0);
        workload.body = usize::try_from(mean).unwrap_or(usize::MAX);
    }

    fn exchanges(&self) -> impl Iterator<Item = &'r Exchange> + use<'r> {
        let service = self.service;
        self.record.exchanges.iter().filter(move |it| it.service == service)
    }

    /// When in the run something happens that is `at` microseconds into the record.
    fn when(&self, at: u64) -> Duration {
        START + Duration::from_micros(at).div_f64(self.speed)
    }

    /// What was recorded.
    pub fn recorded(&self) -> Tally {
        let mut tally = self.tally();
        // A log may say nothing of how long anything took.
        let is_timed = self.exchanges().any(|it| it.took > 0);
        for exchange in self.exchanges() {
            let attempts = self.record.attempts_of(exchange);
            let at = self.when(exchange.at);
            let (mut to_head, mut number) = (u64::from(exchange.took), 0_u8);
            for Attempt { backend, outcome, at, took } in attempts {
                let place = backend.and_then(|at| self.places[usize::from(at)]);
                number = number.saturating_add(1);
                let began = self.when(exchange.at + u64::from(*at));
                tally.attempt(began, place, number);
                if let Some(Outcome::Answered(_)) = outcome {
                    to_head = took.map_or(to_head, |took| u64::from(*at) + u64::from(took));
                }
            }
            match exchange.end {
                End::Left => tally.left(at),
                End::Complete | End::Ours | End::Broken => {
                    let took = is_timed.then(|| Duration::from_micros(to_head));
                    let came = match (exchange.end, exchange.is_good()) {
                        (End::Ours, _) => Came::of_ours(exchange.status),
                        (_, true) => Came::Good,
                        (_, false) => Came::Bad,
                    };
                    tally.ended(at, exchange.status, came, took);
                }
            }
        }
        tally
    }

    /// What comes of it under the configuration.
    ///
    /// # Errors
    /// What the core says to a configuration that means nothing.
    pub fn run(&self, seed: u64) -> Result<Tally, String> {
        let arriving = self.exchanges().map(|exchange| Arrival {
            at: self.when(exchange.at),
            post: exchange.repeat == Repeat::Once,
            user: Some(exchange.user),
            reads_late: false,
            tries: 0,
            client: None,
        });
        let tally = RefCell::new(self.tally());
        model::drive(&self.stage.scenario, seed, arriving, &tally, false)?;
        Ok(tally.into_inner())
    }

    fn tally(&self) -> Tally {
        let Stage { scenario, origins, .. } = &self.stage;
        Tally::new(scenario.duration, scenario.origins.len(), origins.clone())
    }

    /// Microseconds of the record.
    pub fn span(&self) -> Duration {
        Duration::from_micros(self.exchanges().last().map_or(0, |last| last.at))
    }
}

/// What a record tells of backends.
#[derive(Default)]
struct Told {
    /// By origin.
    tried: BTreeMap<usize, Vec<Tried>>,
    /// What nobody says who was asked.
    nameless: Vec<Tried>,
    /// How long good answers took, whoever gave them.
    good: Vec<u32>,
    /// Attempts that were given up with their clients.
    given_up: u64,
}

const AS_OTHERS: &str = "the record has no times of theirs, and they are as quick as the others";
const AS_SAID: &str = "the record has no times of theirs (--latency)";

/// How long good answers took, thinned out.
fn pooled(good: Vec<u32>) -> Option<Seen> {
    let thin = good.len().div_ceil(POOLED_MAX).max(1);
    let pooled = good.into_iter().step_by(thin).map(|us| Duration::from_micros(us.into()));
    Seen::new(pooled.collect())
}

/// Good answers that say how long one takes at a backend that is new.
const POOLED_MAX: usize = 1_000_000;
/// Longer than clients wait.
const PATIENCE: Duration = Duration::from_secs(600);
const SECOND: Duration = Duration::from_secs(1);

/// Gives a pool that discovers its backends those of the record that no other pool has.
fn discover(record: &Record, theirs: u16, config: &mut Config, ours: usize) {
    let said = Arc::make_mut(&mut config.services[ours]);
    let Some(pool) = said.core.pools.iter().position(|pool| pool.backends.is_empty()) else {
        return;
    };
    let mut asked = vec![false; record.backends.len()];
    for exchange in record.exchanges.iter().filter(|it| it.service == theirs) {
        for attempt in record.attempts_of(exchange) {
            attempt.backend.into_iter().for_each(|at| asked[usize::from(at)] = true);
        }
    }
    let first: usize = said.core.pools[..pool].iter().map(|pool| pool.backends.len()).sum();
    let mut next = first;
    for (name, _) in record.backends.iter().zip(asked).filter(|(_, is)| *is) {
        let Some(origin) = origin(name) else { continue };
        if !said.origins.iter().any(|it| address(it) == address(&origin)) {
            let url = if name.contains(":/") { name.clone() } else { format!("http://{name}") };
            said.core.pools[pool].backends.push(BackendConfig::new(&url));
            said.origins.insert(next, origin);
            next += 1;
        }
    }
}

/// Whatever a client is known by, it is a user's number here: the record has its hash and nothing else.
fn go_by_user(config: &mut Config) {
    let by_user = |sources: &mut Vec<KeySource>| {
        if sources.iter().any(|source| !matches!(source, KeySource::Text(_))) {
            *sources = vec![KeySource::Header("x-user".to_owned())];
        }
    };
    for service in config.services.iter_mut().map(Arc::make_mut) {
        by_user(&mut service.core.hash.sources);
        by_user(&mut service.core.limits.client);
        service.core.rate.iter_mut().for_each(|rate| by_user(&mut rate.key));
        if let Some(StickBy::Key(stick)) =
            service.core.affinity.as_mut().map(|affinity| &mut affinity.by)
        {
            by_user(&mut stick.key);
        }
    }
}
