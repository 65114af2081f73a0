//! Decisions, repeated: what the core was handed in a run is handed to the core alone, which must
//! decide the same, event by event and microsecond by microsecond.
//!
//! So a run of the real proxy is shown to have nothing in it that decides besides `lb_core`: no clock
//! that was read twice, no chance that has no name, no order that depends on a hash. Services are made
//! of the same configurations with the same seed; a reload makes the next ones out of those before.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use lb_core::{
    Attempt, BackendId, Checked, Delivery, Event, Exchange, ExchangeId, Hedge, Input, Observe,
    Queue, Service, Step, Then, Time, Wait,
};

use crate::engine::{Engine, Run};
use crate::log::Log;
use crate::scenario::Scenario;
use crate::tape::{Heard, Note, Tape};
use crate::{net, real};

/// What came of repeating a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repetition {
    /// What the core was handed.
    pub inputs: u64,
    /// What it decided, and was compared.
    pub decisions: u64,
    /// Where the two part, if they do. Nothing behind it was looked at.
    pub differs: Option<Difference>,
}

/// The first place at which two runs part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The line of the run's trace.
    pub line: usize,
    /// When, since the world began.
    pub at: Duration,
    /// What the run did.
    pub was: String,
    /// What the core does when it is asked again.
    pub is: String,
}

/// On what the real proxy runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// In a simulated network.
    Net,
    /// On real sockets.
    Real,
}

impl Ground {
    /// The engine that has the proxy run there.
    pub const fn engine(self) -> Engine {
        match self {
            Self::Net => Engine::Net,
            Self::Real => Engine::Real,
        }
    }
}

/// Runs a scenario with the real proxy, and writes down what the core was handed.
pub fn taped(scenario: &Scenario, seed: u64, ground: Ground) -> (Run, Tape) {
    let tape = Tape::default();
    let log = Log::new(&scenario.roster, false).with_tape(&tape);
    let run = match ground {
        Ground::Net => net::run_into(&log, scenario, seed),
        Ground::Real => real::run_into(&log, scenario, seed),
    };
    (run, tape)
}

/// Hands the core what is on the `tape` of a run of `scenario` under `seed`, and compares what it decides.
///
/// # Errors
/// What the core says to a configuration that means nothing.
pub fn repeat(scenario: &Scenario, seed: u64, tape: &Tape) -> Result<Repetition, String> {
    let (notes, told) = (tape.take(), Told::default());
    let eras: Vec<OnceCell<Vec<Arc<Service>>>> =
        scenario.configs().map(|_| OnceCell::new()).collect();
    let mut again = Again {
        scenario,
        seed,
        eras: &eras,
        told: &told,
        open: BTreeMap::new(),
        checks: BTreeMap::new(),
    };
    again.serve(0, Time::ZERO)?;
    let mut done = Repetition { inputs: 0, decisions: 0, differs: None };
    for note in &notes {
        let differs = match &note.what {
            // Nobody but the driver knows that a client left.
            Heard::Event(event) if !matches!(event, Event::Left { .. }) => {
                done.decisions += 1;
                told.expects(note.now, event)
            }
            _ => {
                done.inputs += 1;
                told.expects_nothing().and_then(|()| again.hand(note))
            }
        };
        if let Err((was, is)) = differs {
            let at = note.now - Time::ZERO;
            done.differs = Some(Difference { line: note.line, at, was, is });
            return Ok(done);
        }
    }
    if let (Err((was, is)), Some(last)) = (told.expects_nothing(), notes.last()) {
        let at = last.now - Time::ZERO;
        done.differs = Some(Difference { line: last.line, at, was, is });
    }
    Ok(done)
}

/// What was, and what is instead.
type Differs = (String, String);

/// What the core tells when it is asked again, and nobody has compared yet.
#[derive(Default)]
struct Told(RefCell<VecDeque<(Time, Event)>>);

impl Observe for Told {
    fn on(&self, now: Time, event: &Event) {
        self.0.borrow_mut().push_back((now, *event));
    }
}

impl Told {
    fn expects(&self, now: Time, event: &Event) -> Result<(), Differs> {
        match self.0.borrow_mut().pop_front() {
            Some((at, is)) if at == now && is == *event => Ok(()),
            Some((at, is)) => Err((told(now, event), told(at, &is))),
            None => Err((told(now, event), "nothing".to_owned())),
        }
    }

    fn expects_nothing(&self) -> Result<(), Differs> {
        match self.0.borrow_mut().pop_front() {
            None => Ok(()),
            Some((at, is)) => Err(("nothing".to_owned(), told(at, &is))),
        }
    }
}

fn told(now: Time, event: &Event) -> String {
    format!("{event:?} at {} µs", now.as_micros())
}

/// What an exchange waits for.
enum Open<'c> {
    Trying(Attempt<'c>, Option<Hedge>),
    Waiting(Wait<'c>),
    InLine(Queue<'c>),
    Delivering(Delivery),
}

/// The core, asked again.
struct Again<'c> {
    scenario: &'c Scenario,
    seed: u64,
    /// The services of each configuration, as soon as it is served.
    eras: &'c [OnceCell<Vec<Arc<Service>>>],
    told: &'c Told,
    /// Each at its service.
    open: BTreeMap<ExchangeId, (&'c Service, Open<'c>)>,
    /// By configuration and backend: which check comes next, and when it is due.
    checks: BTreeMap<(usize, BackendId), (u64, Time)>,
}

impl<'c> Again<'c> {
    /// Serves by another configuration.
    fn serve(&mut self, era: usize, now: Time) -> Result<(), String> {
        let config = self.scenario.config_after(era);
        let before = era.checked_sub(1).and_then(|before| self.eras[before].get());
        let services = (0..).zip(&config.services).map(|(index, said)| {
            let named = |known: &&Arc<Service>| known.name() == said.core.name;
            let known = before.and_then(|all| all.iter().find(named));
            let made = match known {
                Some(known) => known.succeed(&said.core, index, self.seed, now),
                None => Service::new(&said.core, index, self.seed).map(Arc::new),
            };
            made.map_err(|why| format!("service {:?}: {why}", said.core.name))
        });
        let services = services.collect::<Result<Vec<_>, _>>()?;
        let is_new = self.eras[era].set(services).is_ok();
        assert!(is_new, "each configuration of a run begins once");
        Ok(())
    }

    fn service(&self, era: usize, place: u16) -> &'c Service {
        let services = self.eras[era].get().expect("what happens by it happens after it began");
        &services[usize::from(place)]
    }

    /// Hands the core what it was handed.
    fn hand(&mut self, note: &Note) -> Result<(), Differs> {
        let now = note.now;
        match &note.what {
            Heard::Reloaded => {
                let refused = |why| ("another configuration is served".to_owned(), why);
                self.serve(note.era, now).map_err(refused)
            }
            Heard::Began(place, asked) => {
                let service = self.service(note.era, *place);
                let ask = asked.again();
                let step = Exchange::start(service, self.told, ask, now);
                self.follow(ask.id, service, step);
                Ok(())
            }
            Heard::Event(event) => {
                if let Event::Left { exchange } = event {
                    self.open.remove(exchange);
                }
                Ok(())
            }
            Heard::Input(Input::Checked { backend, checked }) => {
                self.check(note, *backend, *checked)
            }
            Heard::Input(input) => self.input(*input, now),
        }
    }

    /// Keeps what an exchange waits for.
    fn follow(&mut self, id: ExchangeId, service: &'c Service, step: Step<'c>) {
        let open = match step {
            Step::Attempt(attempt) => Open::Trying(attempt, None),
            Step::Wait(wait) => Open::Waiting(wait),
            Step::Queue(queue) => Open::InLine(queue),
            Step::Deliver(delivery) => Open::Delivering(delivery),
            Step::Reject(..) => return,
        };
        self.open.insert(id, (service, open));
    }

    fn check(&mut self, note: &Note, backend: BackendId, checked: Checked) -> Result<(), Differs> {
        let key = (note.era, backend);
        if let Some((round, due)) = self.checks.get(&key)
            && *round == checked.round
            && *due != checked.began
        {
            let when = |at: Time| format!("a check that is due at {} µs", at.as_micros());
            return Err((when(checked.began), when(*due)));
        }
        let service = self.service(note.era, backend.service);
        let then = service.checked(backend.backend, checked, note.now, self.told);
        if let Then::Wait(until) = then {
            self.checks.insert(key, (checked.round + 1, until));
        }
        Ok(())
    }

    /// Something has become of an exchange.
    fn input(&mut self, input: Input, now: Time) -> Result<(), Differs> {
        let id = exchange_of(input);
        let cannot = |is: &str| {
            let is = format!("in the repetition, of exchange {}, {is}", id.0);
            (format!("{input:?} at {} µs", now.as_micros()), is)
        };
        let Some((service, open)) = self.open.remove(&id) else {
            return Err(cannot("nothing is under way"));
        };
        let is = open.said();
        let open = match (input, open) {
            (Input::Finished { outcome, body, retry_after, .. }, Open::Trying(it, None)) => {
                let it = match retry_after {
                    Some(span) => it.asked_to_wait(span),
                    None => it,
                };
                self.follow(id, service, it.finish(outcome, body, now));
                return Ok(());
            }
            (Input::Woken { .. }, Open::Waiting(it)) => {
                self.follow(id, service, it.wake(now));
                return Ok(());
            }
            (Input::Woken { .. }, Open::InLine(it)) => {
                self.follow(id, service, it.wake(now));
                return Ok(());
            }
            (Input::Ended { end, .. }, Open::Delivering(it)) => {
                it.end(end, service, now, self.told);
                return Ok(());
            }
            (Input::Hedges { .. }, Open::Trying(mut it, None)) => {
                let hedge = it.hedge(now);
                Open::Trying(it, hedge)
            }
            (Input::HedgeFailed { outcome, .. }, Open::Trying(it, Some(hedge))) => {
                it.hedge_failed(hedge, outcome, now);
                Open::Trying(it, None)
            }
            (Input::GaveWay { outcome, .. }, Open::Trying(it, Some(hedge))) => {
                Open::Trying(it.give_way(hedge, outcome, now), None)
            }
            (Input::Outran { .. }, Open::Trying(it, Some(hedge))) => {
                it.outrun(hedge, now);
                Open::Trying(it, None)
            }
            _ => return Err(cannot(is)),
        };
        self.open.insert(id, (service, open));
        Ok(())
    }
}

impl Open<'_> {
    /// In words.
    const fn said(&self) -> &'static str {
        match self {
            Self::Trying(_, None) => "an attempt is under way",
            Self::Trying(_, Some(_)) => "two attempts are under way",
            Self::Waiting(_) => "it waits for its next attempt",
            Self::InLine(_) => "it waits in line",
            Self::Delivering(_) => "its answer is on its way",
        }
    }
}

fn exchange_of(input: Input) -> ExchangeId {
    match input {
        Input::Finished { exchange, .. }
        | Input::Hedges { exchange }
        | Input::HedgeFailed { exchange, .. }
        | Input::GaveWay { exchange, .. }
        | Input::Outran { exchange }
        | Input::Woken { exchange }
        | Input::Ended { exchange, .. } => exchange,
        Input::Checked { .. } => ExchangeId(0),
    }
}
