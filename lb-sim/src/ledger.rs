//! The simulator's own account of a run, kept from the log and from nothing else.
//!
//! The proxy counts too, and could count wrongly in the same way in which it acts wrongly. So the
//! ledger believes what was told in passing (who was chosen, what came of it, how a breaker moved)
//! and works out the rest itself. It forgets whom nobody asks about any more: a run may be of any length.

mod attempts;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lb_config::Config;
use lb_config::config::Service;
use lb_core::{BackendId, BreakerState, Event, ExchangeId, Role, Time};

use crate::invariant::may_have_acted;
use crate::log::{End, Entry, What};
use crate::scenario::Scenario;
use crate::shelf::{Kept, Shelf};

pub use attempts::{Attempt, Attempts};

/// The account so far.
#[derive(Debug)]
pub struct Ledger<'s> {
    /// What is rehearsed.
    pub scenario: &'s Scenario,
    /// Those that are open or were until a moment ago, by the proxy's name for it.
    pub exchanges: Shelf<Exchange>,
    /// Those that are open or were until a moment ago, by its number in the workload.
    pub requests: Shelf<Request>,
    /// Breakers that have moved at least once. Any other is closed.
    pub breakers: BTreeMap<BackendId, Breaker>,
    /// Trials under way.
    pub trials: BTreeMap<BackendId, BTreeMap<ExchangeId, Duration>>,
    /// Backends that health checks have taken out, and those that count as ill before their first check.
    pub unhealthy: BTreeSet<BackendId>,
    /// Backends that were ejected, and until when.
    pub ejected: BTreeMap<BackendId, Time>,
    /// How many reloads there were until the last request: by that configuration it is served.
    pub reloads: usize,
    /// How many there were until now: nobody may be served by the last one yet.
    pub loaded: usize,
    /// Since when the proxy drains, if it was told to.
    pub draining: Option<Duration>,
    /// What time it is.
    now: Duration,
    /// By reload and service: its configuration, or the last that it had.
    services: Vec<Vec<Option<&'s Service>>>,
}

/// One exchange, as the core told it.
#[derive(Debug)]
pub struct Exchange {
    /// After how many reloads it began.
    pub reloads: usize,
    /// At which service.
    pub service: u16,
    /// Until when it has time.
    pub deadline: Time,
    /// In order.
    pub attempts: Attempts,
    /// Answers, rejections and departures: what an exchange may have one of.
    pub answers: u32,
    /// Whether an answer of a backend was delivered, whose body must end.
    pub delivered: bool,
    /// Ends of that body.
    pub ended: u32,
    /// Whether another protocol is spoken since: no deadline of HTTP holds for it.
    pub switched: bool,
    /// Whether an origin saw that it is a POST, and whether one may have acted on it.
    pub is_post: bool,
    /// See there.
    pub acted: bool,
}

impl Kept for Exchange {
    fn is_done(&self) -> bool {
        self.answers > 0 && self.ended >= u32::from(self.delivered)
    }

    fn is_sound(&self) -> bool {
        self.answers == 1 && self.ended == u32::from(self.delivered)
    }
}

/// One request, as its client saw it.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// When it was sent.
    pub sent: Duration,
    /// How it ended, and after how long.
    pub end: Option<(End, Duration)>,
    /// How often it ended.
    pub ends: u32,
}

impl Kept for Request {
    fn is_done(&self) -> bool {
        self.ends > 0
    }

    fn is_sound(&self) -> bool {
        self.ends == 1
    }
}

/// One breaker.
#[derive(Clone, Copy, Debug)]
pub struct Breaker {
    /// Where it is.
    pub state: BreakerState,
    /// Since when.
    pub since: Duration,
    /// Whether checks ended its wait.
    pub hastened: bool,
}

impl<'s> Ledger<'s> {
    /// An empty account.
    pub fn new(scenario: &'s Scenario) -> Self {
        let mut ledger = Self {
            scenario,
            exchanges: Shelf::new(),
            requests: Shelf::new(),
            services: services(scenario),
            breakers: BTreeMap::new(),
            trials: BTreeMap::new(),
            unhealthy: BTreeSet::new(),
            ejected: BTreeMap::new(),
            reloads: 0,
            loaded: 0,
            draining: None,
            now: Duration::ZERO,
        };
        ledger.load(0);
        ledger
    }

    /// Where a backend's breaker is.
    pub fn breaker(&self, backend: BackendId) -> BreakerState {
        self.breakers.get(&backend).map_or(BreakerState::Closed, |breaker| breaker.state)
    }

    /// Whether a backend may be chosen as a matter of course.
    pub fn is_fit(&self, backend: BackendId) -> bool {
        self.breaker(backend) == BreakerState::Closed
            && !self.unhealthy.contains(&backend)
            && !self.is_ejected(backend)
    }

    /// Exchanges that hold a place at a backend. It looks at all of them.
    pub fn in_flight(&self, backend: BackendId) -> usize {
        let holds = |exchange: &Exchange| {
            let goes_on = exchange.answers == 0 || (exchange.delivered && exchange.ended == 0);
            let runs = |it: &Attempt| it.backend == backend && it.is_running();
            // An answer is held on to, and so is its place, until another one takes its turn.
            let last = exchange.attempts.last().is_some_and(|it| it.backend == backend);
            goes_on && (last || exchange.attempts.iter().any(runs))
        };
        self.exchanges.iter().filter(|(_, it)| holds(it)).count()
    }

    /// Whether a backend is ejected now.
    pub fn is_ejected(&self, backend: BackendId) -> bool {
        self.ejected.get(&backend).is_some_and(|until| Time::ZERO + self.now < *until)
    }

    /// Those of an exchange's backends that are in pools with so many fit ones that they serve.
    pub fn serving(&self, exchange: &Exchange) -> Vec<BackendId> {
        let all = self.scenario.roster.backends(exchange.reloads, exchange.service);
        let (mut rest, mut serving) = (&all[..], Vec::new());
        for pool in &self.service_of(exchange).core.pools {
            let (here, after) = rest.split_at(pool.backends.len());
            let fit = here.iter().filter(|backend| self.is_fit(**backend)).count();
            if fit >= usize::from(pool.min_fit) {
                serving.extend_from_slice(here);
            }
            rest = after;
        }
        serving
    }

    /// What a backend is called, for people.
    pub fn name(&self, backend: BackendId) -> String {
        let (host, port) = self.scenario.roster.address(backend);
        format!("{host}:{port}")
    }

    /// The configuration by which the last request was served.
    pub fn config(&self) -> &'s Config {
        self.scenario.config_after(self.reloads)
    }

    /// The configuration of a service; the last one, if it has none any more.
    pub fn service(&self, service: u16) -> &'s Service {
        self.service_after(self.reloads, service)
    }

    /// The configuration by which an exchange is served.
    pub fn service_of(&self, exchange: &Exchange) -> &'s Service {
        self.service_after(exchange.reloads, exchange.service)
    }

    fn service_after(&self, reloads: usize, service: u16) -> &'s Service {
        let said = self.services[reloads][usize::from(service)];
        said.expect("what happens at a service happens after it was configured")
    }

    /// What backends count as by a configuration that takes over from the one before it: no event
    /// tells. It holds from the reload on, since a check may be over before a request comes.
    fn load(&mut self, reloads: usize) {
        self.loaded = reloads;
        let (scenario, roster) = (self.scenario, &self.scenario.roster);
        let config = scenario.config_after(reloads);
        // Where nobody is checked any more, nobody stays ill.
        let said = |it: &BackendId| roster.service(config, it.service);
        self.unhealthy.retain(|it| said(it).is_none_or(|said| said.core.probe.is_some()));
        let before = reloads.checked_sub(1);
        for service in roster.numbers() {
            let before = before.map(|before| roster.backends(before, service)).unwrap_or_default();
            let is_new = |it: &BackendId| !before.contains(it);
            let probe = roster.service(config, service).and_then(|it| it.core.probe.as_ref());
            let distrusts = probe.is_some_and(|probe| probe.distrusts);
            let new = roster.backends(reloads, service).into_iter().filter(is_new);
            self.unhealthy.extend(new.filter(|_| distrusts));
        }
    }

    /// It is that time, and what happens then has not happened yet: ejections end by themselves.
    pub fn tick(&mut self, now: Duration) {
        self.now = now;
    }

    /// Takes an entry into account.
    pub fn enter(&mut self, entry: &Entry) {
        self.tick(entry.at);
        match &entry.what {
            What::Core(event) => self.enter_event(event, entry.at),
            What::Sent { request, .. } => {
                let new = Request { sent: entry.at, end: None, ends: 0 };
                self.requests.insert((*request).into(), new);
            }
            What::Ended { request, end, took, .. } => {
                self.requests.change((*request).into(), |request| {
                    request.end = Some((*end, *took));
                    request.ends += 1;
                });
            }
            What::Reached { exchange, post: true, status, .. } => {
                self.change(*exchange, |it| {
                    it.is_post = true;
                    it.acted |= may_have_acted(*status);
                });
            }
            What::Serves(reloads) => self.reloads = *reloads,
            What::DrainBegan => self.draining = Some(entry.at),
            What::Reloaded(reloads) => self.load(*reloads),
            What::TunnelOpened { .. }
            | What::TunnelEnded { .. }
            | What::Reached { .. }
            | What::HungUp { .. }
            | What::SaidGoodbye { .. }
            | What::CutOff { .. }
            | What::Connected { .. }
            | What::Explained { .. }
            | What::FaultBegan(_)
            | What::FaultEnded(_)
            | What::Quiet(_)
            | What::Drained => {}
        }
    }

    fn enter_event(&mut self, event: &Event, at: Duration) {
        match *event {
            Event::Started { exchange, service, deadline } => {
                let attempts = Attempts::default();
                let new = Exchange {
                    reloads: self.reloads,
                    service,
                    deadline,
                    attempts,
                    answers: 0,
                    delivered: false,
                    ended: 0,
                    switched: false,
                    is_post: false,
                    acted: false,
                };
                self.exchanges.insert(exchange.0, new);
            }
            Event::Attempted { exchange, backend, choice, deadline, .. } => {
                let overtaken = false;
                let attempt = Attempt { backend, choice, deadline, outcome: None, overtaken };
                self.change(exchange, |it| it.attempts.push(attempt));
                if choice.role == Role::Trial {
                    self.trials.entry(backend).or_default().insert(exchange, at);
                }
            }
            Event::Overtaken { exchange, attempt, backend } => {
                self.change(exchange, |it| {
                    if let Some(made) = it.attempts.numbered(attempt) {
                        made.overtaken = true;
                    }
                });
                self.trial_ended(backend, exchange);
            }
            Event::Concluded { exchange, attempt, backend, outcome, .. } => {
                self.change(exchange, |it| {
                    if let Some(made) = it.attempts.numbered(attempt) {
                        made.outcome = Some(outcome);
                    }
                });
                self.trial_ended(backend, exchange);
            }
            Event::Delivered { exchange, status, .. } => self.change(exchange, |it| {
                it.answers += 1;
                it.delivered = true;
                it.switched = status == 101;
            }),
            Event::Rejected { exchange, .. } => self.change(exchange, |it| it.answers += 1),
            Event::Left { exchange } => {
                self.change(exchange, |it| it.answers += 1);
                for trials in self.trials.values_mut() {
                    trials.remove(&exchange);
                }
            }
            Event::Ended { exchange, .. } => self.change(exchange, |it| it.ended += 1),
            Event::HealthMoved { .. }
            | Event::Ejected { .. }
            | Event::Pardoned { .. }
            | Event::Hastened { .. }
            | Event::BreakerMoved { .. } => self.enter_move(event, at),
            Event::Queued { .. } | Event::Delayed { .. } | Event::Withheld { .. } => {}
        }
    }

    /// Something became of a backend, whoever's request it was that showed it.
    fn enter_move(&mut self, event: &Event, at: Duration) {
        match *event {
            Event::HealthMoved { backend, healthy: true } => {
                self.unhealthy.remove(&backend);
            }
            Event::HealthMoved { backend, .. } => {
                self.unhealthy.insert(backend);
            }
            Event::Ejected { backend, until, .. } => {
                self.ejected.insert(backend, until);
            }
            Event::Pardoned { backend } => {
                self.ejected.remove(&backend);
            }
            Event::Hastened { backend } => {
                if let Some(breaker) = self.breakers.get_mut(&backend) {
                    breaker.hastened = true;
                }
            }
            Event::BreakerMoved { backend, to, .. } => {
                self.breakers.insert(backend, Breaker { state: to, since: at, hastened: false });
                // A trial from before is a straggler: it takes nobody's place.
                self.trials.remove(&backend);
            }
            _ => {}
        }
    }

    fn change(&mut self, id: ExchangeId, change: impl FnOnce(&mut Exchange)) {
        self.exchanges.change(id.0, change);
    }

    fn trial_ended(&mut self, backend: BackendId, exchange: ExchangeId) {
        if let Some(trials) = self.trials.get_mut(&backend) {
            trials.remove(&exchange);
        }
    }
}

/// By reload and service: its configuration, or the last that it had.
fn services(scenario: &Scenario) -> Vec<Vec<Option<&Service>>> {
    let mut known = vec![None; scenario.roster.services()];
    let configs = scenario.configs().map(|config| {
        for (service, known) in (0..).zip(&mut known) {
            *known = scenario.roster.service(config, service).or(*known);
        }
        known.clone()
    });
    configs.collect()
}
