//! The model engine: an event heap around the core alone.
//!
//! The proxy's decisions are those of `lb_core`, with the user's own configuration. What surrounds them is
//! arithmetic: an origin is a queue, the network a delay, a fault changes what becomes of a message. So
//! there are no bytes and no tasks, a microsecond is as good as an hour, and a run takes a hundredth of
//! the time that the net engine takes for it. What it cannot say anything about (HTTP itself, bodies that
//! are slow to send, tunnels, a drain, settings of connections, copies) it refuses
//! ([`Engine::refusals`](crate::Engine::refusals)).
//!
//! A request is one value in one slot, and has one thing to wait for: its turn. What it waits for is
//! known when it begins to wait, since faults are known in advance (`weather`) and servers work off
//! their queue in order (`server`).

mod agenda;
mod asked;
mod checks;
mod fate;
mod relive;
mod server;
mod stage;
mod turn;
mod unknown;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lb_core::{Ask, Exchange, ExchangeId, Rank, Repeat, Rng, Time};

use crate::arrivals::{Arrival, Arriving, Asking};
use crate::dice::Chance;
use crate::engine::{Run, caught};
use crate::judging::{Judging, Scrutiny};
use crate::log::{End, Entry, Sink, What};
use crate::measure::Facts;
use crate::scenario::{ActionKind, FaultKind, Protocol, Scenario};
use crate::verdict::Verdict;
use crate::weather::{Weather, since_start};

use agenda::{Agenda, Due};
use asked::{Asked, User};
use checks::Check;
use fate::Place;
use server::Server;
use stage::{Era, Led, Stage};
use turn::{Open, Slot};
pub(crate) use unknown::{plain, unknown};

/// Runs `scenario` under `seed` and judges it meanwhile: nothing is kept but what is open.
pub fn judged(scenario: &Scenario, seed: u64, scrutiny: Scrutiny) -> Verdict {
    let mut judging = Judging::new(scenario, scrutiny);
    let Ran { simulated, panic } = run_into(scenario, seed, &mut judging);
    judging.verdict(seed, simulated, panic)
}

/// The same, and all that can be measured of it.
pub fn measured(scenario: &Scenario, seed: u64) -> (Verdict, Facts) {
    let judging = Judging::new(scenario, Scrutiny::UNTRACED);
    let mut both = Both { judging, facts: Facts::new(scenario) };
    let Ran { simulated, panic } = run_into(scenario, seed, &mut both);
    (both.judging.verdict(seed, simulated, panic), both.facts)
}

/// Whoever judges a run, and whoever measures it.
struct Both<'s> {
    judging: Judging<'s>,
    facts: Facts,
}

impl Sink for Both<'_> {
    fn enter(&mut self, at: Duration, what: What) {
        let entry = Entry { at, what };
        self.judging.add(&entry);
        self.facts.add(&entry);
    }
}

/// What is left of a run that somebody listened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// How long it took in the world's time.
    pub simulated: Duration,
    /// What panicked, if anything did.
    pub panic: Option<String>,
}

/// Runs `scenario` under `seed` and tells `sink` what happens.
pub fn run_into(scenario: &Scenario, seed: u64, sink: &mut impl Sink) -> Ran {
    told(scenario, seed, sink, false)
}

pub(crate) fn logged(scenario: &Scenario, seed: u64, explains: bool) -> Run {
    let mut log = Vec::<Entry>::new();
    let Ran { simulated, panic } = told(scenario, seed, &mut log, explains);
    Run { log, simulated, panic }
}

fn told(scenario: &Scenario, seed: u64, sink: &mut impl Sink, explains: bool) -> Ran {
    let sink = RefCell::new(sink);
    let (simulated, panic) = caught(|| {
        let arriving = Arriving::new(scenario, seed);
        drive(scenario, seed, arriving, &sink, explains)
    });
    Ran { simulated, panic }
}

/// What of a scenario this engine has no notion of. Nothing: it can run it.
pub(crate) fn refusals(scenario: &Scenario) -> Vec<String> {
    let workload = &scenario.workload;
    let mut refusals = Vec::new();
    let mut refuse = |is_there: bool, what: &str| {
        if is_there {
            refusals.push(format!("it knows nothing of {what}"));
        }
    };
    refuse(scenario.tunnels.is_some(), "tunnels");
    refuse(!scenario.attacks.is_empty(), "attacks");
    refuse(workload.slow_readers > 0.0, "slow readers");
    refuse(workload.upload > Duration::ZERO, "uploads that take time");
    refuse(scenario.actions.iter().any(|it| it.kind == ActionKind::Drain), "a drain");
    let http2 = |protocol| protocol == Protocol::Http2;
    let origins = scenario.origins.iter().any(|it| http2(it.protocol));
    refuse(origins || http2(workload.protocol), "HTTP/2");
    let of_bytes = |kind| matches!(kind, FaultKind::CloseIdle { .. });
    refuse(scenario.faults.iter().any(|it| of_bytes(it.kind)), "the fault close_idle");
    let said = scenario
        .configs()
        .flat_map(|config| (0..config.services.len()).flat_map(|service| unknown(config, service)));
    said.map(|unknown| unknown.what)
        .collect::<BTreeSet<_>>()
        .iter()
        .for_each(|it| refuse(true, it));
    refusals
}

/// Lets `arriving` come, and everything that follows from it. Returns how long it took in the run's time.
pub(crate) fn drive<S: Sink>(
    scenario: &Scenario,
    seed: u64,
    arriving: impl Iterator<Item = Arrival>,
    sink: &RefCell<S>,
    explains: bool,
) -> Result<Duration, String> {
    let stage = Stage::new(scenario, sink, explains);
    stage.begin(0, seed, Time::ZERO)?;
    let mut engine = Engine::new(scenario, seed, &stage);
    engine.run(arriving)?;
    Ok(since_start(engine.now))
}

/// A run under way.
struct Engine<'c, S> {
    scenario: &'c Scenario,
    seed: u64,
    stage: &'c Stage<'c, S>,
    /// Which configuration is served, and whether a request has found it so.
    era: usize,
    is_found: bool,
    now: Time,
    agenda: Agenda,
    places: Vec<Place<'c>>,
    checks: Vec<Check>,
    slots: Vec<Slot<'c>>,
    vacant: Vec<u32>,
    /// Those who wait in line, by the number of their service.
    lines: Vec<BTreeMap<Rank, u32>>,
    /// What each user was told to send back.
    jars: BTreeMap<u32, Box<[u8]>>,
    requests: u32,
    /// Who will ask, and places among them that are free.
    again: Vec<Arrival>,
    rested: Vec<u32>,
    /// Clients that wait for their answers.
    asking: Asking,
}

impl<'c, S: Sink> Engine<'c, S> {
    fn new(scenario: &'c Scenario, seed: u64, stage: &'c Stage<'c, S>) -> Self {
        let place = |(nth, origin): (usize, &'c crate::scenario::Origin)| Place {
            latency: &origin.latency,
            past: origin.past.as_deref(),
            retry_after: origin.retry_after,
            weather: Weather::of(scenario, nth),
            server: Server::new(origin.concurrency, origin.queue),
            network: scenario.network,
        };
        let mut engine = Self {
            scenario,
            seed,
            stage,
            era: 0,
            is_found: true,
            now: Time::ZERO,
            agenda: Agenda::default(),
            places: scenario.origins.iter().enumerate().map(place).collect(),
            checks: Vec::new(),
            slots: Vec::new(),
            vacant: Vec::new(),
            lines: vec![BTreeMap::new(); scenario.roster.services()],
            jars: BTreeMap::new(),
            requests: 0,
            again: Vec::new(),
            rested: Vec::new(),
            asking: Asking::new(scenario, seed),
        };
        for arrival in engine.asking.clone().first() {
            engine.put_again(arrival);
        }
        for (number, fault) in (0..).zip(&scenario.faults) {
            engine.agenda.put(Time::ZERO + fault.at, Due::FaultBegins(number));
            engine.agenda.put(Time::ZERO + fault.end(), Due::FaultEnds(number));
        }
        for (number, action) in (0..).zip(&scenario.actions) {
            engine.agenda.put(Time::ZERO + action.at, Due::Action(number));
        }
        engine.schedule_checks(None);
        engine
    }

    fn run(&mut self, arriving: impl Iterator<Item = Arrival>) -> Result<(), String> {
        let mut arriving = arriving.peekable();
        let ends = Time::ZERO + self.scenario.duration;
        loop {
            let arrives = arriving.peek().map(|arrival| Time::ZERO + arrival.at);
            let due = self.agenda.next();
            // What ends when somebody comes makes room before.
            if let Some(at) = arrives.filter(|at| due.is_none_or(|due| *at < due)) {
                self.now = at;
                let arrival = arriving.next().expect("it was looked at");
                self.arrive(arrival);
                continue;
            }
            let is_over = arrives.is_none() && self.vacant.len() == self.slots.len();
            let Some((at, due)) = self.agenda.take().filter(|(at, _)| !is_over || *at <= ends)
            else {
                break;
            };
            self.now = at;
            match due {
                Due::Turn(slot, turn) => self.turn(slot, turn),
                Due::Check(number) => self.check(number),
                Due::FaultBegins(fault) => self.say(What::FaultBegan(fault as usize)),
                Due::FaultEnds(fault) => self.say(What::FaultEnded(fault as usize)),
                Due::Action(number) => self.act(number as usize)?,
                Due::Again(number) => {
                    self.rested.push(number);
                    self.arrive(self.again[number as usize]);
                }
            }
        }
        self.now = self.now.max(ends);
        let held = self.stage.eras.iter().flat_map(Era::held).collect();
        self.say(What::Quiet(held));
        self.say(What::Drained);
        Ok(())
    }

    fn say(&self, what: What) {
        self.stage.eras[self.era].told.write(self.now, what);
    }

    fn act(&mut self, number: usize) -> Result<(), String> {
        if let ActionKind::Reload(_) = &self.scenario.actions[number].kind {
            let before = self.era;
            self.say(What::Reloaded(before + 1));
            self.stage.begin(before + 1, self.seed, self.now)?;
            self.era += 1;
            self.is_found = false;
            self.schedule_checks(Some(before));
            // There may be more room than there was.
            (0..self.lines.len()).for_each(|line| self.call(line));
        }
        Ok(())
    }

    /// Another request comes.
    fn arrive(&mut self, arrival: Arrival) {
        let Arrival { post, user, tries, client, .. } = arrival;
        let request = self.requests;
        self.requests += 1;
        self.say(What::Sent { request, post });
        if !self.is_found {
            self.is_found = true;
            self.say(What::Serves(self.era));
        }
        let era = &self.stage.eras[self.era];
        let made = era.made();
        let said = user.map(User::new);
        let cookie = user.and_then(|user| self.jars.get(&user)).map(|cookie| &**cookie);
        let (host, crowd) = (&*self.scenario.workload.host, self.scenario.workload.crowd.as_ref());
        let asked = Asked { host, post, user: said.as_ref(), cookie, crowd };
        let mut dice = Rng::stream(self.seed ^ CLIENTS, request.into());
        let (up, down) = (dice.within(self.scenario.network), dice.within(self.scenario.network));
        let trip = up + down;
        let led = match crowd {
            Some(crowd) => Ok(Led { service: usize::from(crowd.service), status: None }),
            None => made.lead(&asked),
        };
        let bytes = if post { self.scenario.workload.body as u64 } else { 0 };
        let takes = |led: &Led| bytes <= era.told.config.services[led.service].body_bytes_max;
        let led = led.and_then(|led| if takes(&led) { Ok(led) } else { Err(TOO_LARGE) });
        let Led { service: index, status } = match led {
            Ok(led) => led,
            Err(status) => {
                let (end, sent) = (End::Answered(status), since_start(self.now));
                self.say(What::Ended { request, end, exchange: None, sent, took: trip });
                return self.ask_again(arrival, end, trip);
            }
        };
        let service = &made.services[index];
        let exchange = ExchangeId(u64::from(request) + 1);
        let repeat = if post { Repeat::Once } else { Repeat::Safe };
        let ask = Ask { id: exchange, repeat, facts: &asked, bodiless: !post };
        let step = Exchange::start(service, &era.told, ask, self.now);
        let patience = self.scenario.workload.timeout.saturating_sub(trip);
        let slot = self.seat(Open {
            request,
            exchange,
            post,
            user,
            tries,
            client,
            sent: self.now,
            gives_up: self.now + patience,
            trip,
            era: self.era,
            service,
            status: status.or(era.told.config.services[index].edits.response.status),
            line: made.numbers[index],
        });
        self.go_on(slot, step, None);
    }
}

/// The status of a request whose body is larger than its service takes.
const TOO_LARGE: u16 = 413;
/// Tells the dice of clients from those of attempts.
const CLIENTS: u64 = 0x636c_6965_6e74;
