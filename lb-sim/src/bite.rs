//! Whether a fault bit, and whether an action met anybody: what nobody noticed was not rehearsed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lb_core::{BodyEnd, Event, ExchangeId, Failure, Outcome};

use crate::engine::TICK;
use crate::log::{Entry, TunnelEnd, What};
use crate::measure::Places;
use crate::scenario::{ActionKind, Fault, FaultKind, Scenario};

/// By fault: whether somebody noticed it.
pub(crate) struct Bites<'s> {
    /// Those that watch out for a fault that nobody has noticed yet.
    witnesses: Vec<Witness<'s>>,
    bit: Vec<bool>,
}

impl<'s> Bites<'s> {
    pub(crate) fn new(scenario: &'s Scenario) -> Self {
        let witness = |(place, fault): (usize, &'s Fault)| Witness {
            place,
            fault,
            sound: sound(scenario, fault),
            under_way: BTreeSet::new(),
            bodies: BTreeMap::new(),
            hung_up: false,
        };
        let witnesses = scenario.faults.iter().enumerate().map(witness).collect();
        Self { witnesses, bit: vec![false; scenario.faults.len()] }
    }

    /// Another entry.
    pub(crate) fn add(&mut self, places: &Places, entry: &Entry) {
        if self.witnesses.is_empty() {
            return;
        }
        let bit = &mut self.bit;
        self.witnesses.retain_mut(|witness| {
            let bites = witness.reads(places, entry);
            bit[witness.place] |= bites;
            !bites
        });
    }

    pub(crate) fn bit(self) -> Vec<bool> {
        self.bit
    }
}

/// Longer than any answer of a sound origin takes: two round trips and a few ticks.
fn sound(scenario: &Scenario, fault: &Fault) -> Duration {
    let latency = &scenario.origins[fault.origin].latency;
    latency.ample() + 4 * scenario.network.max
}

/// By action: whether it met anybody. A reload that no request follows, or that comes when nobody is
/// there, rehearses nothing, and neither does a drain with nothing to wait for.
#[derive(Default)]
pub(crate) struct Meetings {
    /// By reload that somebody waited at: whether a request followed.
    reloads: BTreeMap<usize, bool>,
    drain: bool,
    asking: u32,
    /// Exchanges; kept only where there is a drain that could find them.
    under_way: BTreeSet<ExchangeId>,
    found: BTreeSet<ExchangeId>,
    drains: bool,
}

impl Meetings {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let drains = scenario.actions.iter().any(|it| it.kind == ActionKind::Drain);
        Self { drains, ..Self::default() }
    }

    /// Another entry.
    pub(crate) fn add(&mut self, entry: &Entry) {
        match &entry.what {
            What::Sent { .. } | What::TunnelOpened { .. } => self.asking += 1,
            What::Ended { .. } => self.asking -= 1,
            What::TunnelEnded { end, .. } if *end != TunnelEnd::Refused => self.asking -= 1,
            What::Reloaded(reload) if self.asking > 0 => {
                self.reloads.insert(*reload, false);
            }
            What::Serves(reload) => {
                self.reloads.entry(*reload).and_modify(|served| *served = true);
            }
            What::Core(Event::Started { exchange, .. }) if self.drains => {
                self.under_way.insert(*exchange);
            }
            What::Core(Event::Ended { exchange, .. }) if self.drains => {
                self.under_way.remove(exchange);
                self.drain |= self.found.contains(exchange);
            }
            What::DrainBegan => self.found.clone_from(&self.under_way),
            _ => {}
        }
    }

    pub(crate) fn met(&self, scenario: &Scenario) -> Vec<bool> {
        let mut reload = 0;
        let met = scenario.actions.iter().map(|action| match action.kind {
            ActionKind::Reload(_) => {
                reload += 1;
                self.reloads.get(&reload).is_some_and(|served| *served)
            }
            ActionKind::Drain => self.drain,
        });
        met.collect()
    }
}

/// Somebody who knows what a fault looks like, and reads the log.
struct Witness<'s> {
    place: usize,
    fault: &'s Fault,
    /// Longer than any answer of a sound origin takes.
    sound: Duration,
    /// Attempts under way at the faulty origin that began before the fault was over.
    under_way: BTreeSet<ExchangeId>,
    /// When their answers began.
    bodies: BTreeMap<ExchangeId, Duration>,
    /// Whether the origin has closed a connection that was idle, or said that it will take no more, while the fault lasted.
    hung_up: bool,
}

impl Witness<'_> {
    /// Whether an entry shows the fault.
    fn reads(&mut self, places: &Places, entry: &Entry) -> bool {
        let fault = self.fault;
        let lasts = || (fault.at..fault.end()).contains(&entry.at);
        match &entry.what {
            What::Core(event) => self.notices(places, event, entry.at),
            What::Reached { origin, status, .. } => {
                let answers =
                    matches!(fault.kind, FaultKind::Status { code, .. } if code == *status);
                *origin == fault.origin && answers && lasts()
            }
            What::HungUp { origin } | What::SaidGoodbye { origin } => {
                self.hung_up |= *origin == fault.origin && lasts();
                false
            }
            // Whoever comes again has found a connection closed, or has lost all of them.
            What::Connected { origin } => {
                let closes =
                    matches!(fault.kind, FaultKind::CloseIdle { .. } | FaultKind::Goaway { .. });
                closes && self.hung_up && *origin == fault.origin
            }
            _ => false,
        }
    }

    fn notices(&mut self, places: &Places, event: &Event, at: Duration) -> bool {
        let there = self.fault.origin;
        let is_there = |backend| places.of(backend) == there;
        match *event {
            Event::Attempted { exchange, backend, .. } => {
                if is_there(backend) && at < self.fault.end() {
                    self.under_way.insert(exchange);
                }
                false
            }
            Event::Concluded { exchange, backend, outcome, took, .. } => {
                let was = is_there(backend) && self.under_way.remove(&exchange);
                was && at >= self.fault.at && self.shows_in_head(outcome, took)
            }
            // Health checks were the first to find out.
            Event::HealthMoved { backend, healthy: false } => {
                let lasts = self.fault.at <= at && at < self.fault.end();
                is_there(backend) && lasts && self.shows_in_checks()
            }
            // Somebody was asked beside it, and was sooner.
            Event::Overtaken { exchange, backend, .. } => {
                let was = is_there(backend) && self.under_way.remove(&exchange);
                was && at >= self.fault.at && self.keeps_waiting()
            }
            Event::Left { exchange } => {
                self.under_way.remove(&exchange) && at >= self.fault.at && self.keeps_waiting()
            }
            Event::Delivered { exchange, backend, .. } => {
                if is_there(backend) && at < self.fault.end() {
                    self.bodies.insert(exchange, at);
                }
                false
            }
            Event::Ended { exchange, backend, end } => {
                let began = self.bodies.remove(&exchange);
                is_there(backend)
                    && at >= self.fault.at
                    && self.shows_in_body(end, began.map(|began| at - began))
            }
            _ => false,
        }
    }

    fn shows_in_head(&self, outcome: Outcome, took: Duration) -> bool {
        use FaultKind::{
            Blackhole, Brownout, CloseIdle, Crash, Flap, Goaway, HalfOpen, Partition, Refuse,
            RefusedStream, Reset, Shrink, Slow, Status, Trickle, Truncate,
        };
        let sound = self.sound;
        match (self.fault.kind, outcome) {
            (Slow { by }, Outcome::Answered(_)) => took >= by,
            // Whose queue is full says so.
            (Shrink { .. }, Outcome::Answered(503)) => true,
            (Reset { .. }, outcome) => outcome == Outcome::Failed(Failure::Reset),
            (RefusedStream { .. }, outcome) => outcome == Outcome::Failed(Failure::RefusedStream),
            (Status { .. } | Truncate | Trickle { .. } | CloseIdle { .. } | Goaway { .. }, _) => {
                false
            }
            (
                Blackhole | Brownout { .. } | Shrink { .. } | HalfOpen | Partition | Crash,
                Outcome::Answered(_),
            ) => took > sound + 10 * TICK,
            (Refuse | Flap { .. }, Outcome::Answered(_)) => false,
            (_, Outcome::Failed(_)) => true,
        }
    }

    /// Whether it makes a client wait for a head, and perhaps leave.
    const fn keeps_waiting(&self) -> bool {
        use FaultKind::{CloseIdle, Goaway, RefusedStream, Reset, Status, Trickle, Truncate};
        !matches!(
            self.fault.kind,
            Status { .. }
                | Reset { .. }
                | Trickle { .. }
                | Truncate
                | CloseIdle { .. }
                | Goaway { .. }
                | RefusedStream { .. }
        )
    }

    /// Whether health checks can tell: they look at heads.
    const fn shows_in_checks(&self) -> bool {
        use FaultKind::{CloseIdle, Goaway, RefusedStream, Trickle, Truncate};
        !matches!(
            self.fault.kind,
            Truncate | Trickle { .. } | CloseIdle { .. } | Goaway { .. } | RefusedStream { .. }
        )
    }

    fn shows_in_body(&self, end: BodyEnd, took: Option<Duration>) -> bool {
        match self.fault.kind {
            FaultKind::Truncate => matches!(end, BodyEnd::BackendBroke | BodyEnd::BackendLeft),
            // Nobody else's body takes half as long: a sound origin sends its own at once.
            FaultKind::Trickle { over } => {
                let falls_silent = matches!(end, BodyEnd::BackendIdle | BodyEnd::BackendQuiet);
                falls_silent || took.is_some_and(|took| took >= over / 2)
            }
            _ => false,
        }
    }
}
