//! Whether a fault bit, and whether an action met anybody: what nobody noticed was not rehearsed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lb_core::{BackendId, BodyEnd, Event, ExchangeId, Failure, Outcome};

use crate::engine::TICK;
use crate::log::{Entry, TunnelEnd, What};
use crate::measure::origin_of;
use crate::scenario::{ActionKind, Fault, FaultKind, Scenario};

/// Whether somebody noticed a fault.
pub(crate) fn bit(scenario: &Scenario, fault: &Fault, log: &[Entry]) -> bool {
    let (under_way, bodies) = (BTreeSet::new(), BTreeMap::new());
    let mut witness = Witness { scenario, fault, under_way, bodies, hung_up: false };
    log.iter().any(|entry| match &entry.what {
        What::Core(event) => witness.notices(event, entry.at),
        What::Reached { origin, status, .. } => {
            let answers = matches!(fault.kind, FaultKind::Status { code, .. } if code == *status);
            *origin == fault.origin && answers && (fault.at..fault.end()).contains(&entry.at)
        }
        What::HungUp { origin } => {
            let lasts = (fault.at..fault.end()).contains(&entry.at);
            witness.hung_up |= *origin == fault.origin && lasts;
            false
        }
        What::SaidGoodbye { origin } => {
            let lasts = (fault.at..fault.end()).contains(&entry.at);
            witness.hung_up |= *origin == fault.origin && lasts;
            false
        }
        // Whoever comes again has found a connection closed, or has lost all of them.
        What::Connected { origin } => {
            let closes =
                matches!(fault.kind, FaultKind::CloseIdle { .. } | FaultKind::Goaway { .. });
            closes && witness.hung_up && *origin == fault.origin
        }
        _ => false,
    })
}

/// By action: whether it met anybody. A reload that no request follows, or that comes when nobody is
/// there, rehearses nothing, and neither does a drain with nothing to wait for.
pub(crate) fn met(scenario: &Scenario, log: &[Entry]) -> Vec<bool> {
    let (mut reloads, mut drain) = (BTreeMap::new(), false);
    let (mut asking, mut under_way, mut found) = (0_u32, BTreeSet::new(), BTreeSet::new());
    for entry in log {
        match &entry.what {
            What::Sent { .. } | What::TunnelOpened { .. } => asking += 1,
            What::Ended { .. } => asking -= 1,
            What::TunnelEnded { end, .. } if *end != TunnelEnd::Refused => asking -= 1,
            What::Reloaded(reload) if asking > 0 => {
                reloads.insert(*reload, false);
            }
            What::Serves(reload) => {
                reloads.entry(*reload).and_modify(|served| *served = true);
            }
            What::Core(Event::Started { exchange, .. }) => {
                under_way.insert(*exchange);
            }
            What::Core(Event::Ended { exchange, .. }) => {
                under_way.remove(exchange);
                drain |= found.contains(exchange);
            }
            What::DrainBegan => found.clone_from(&under_way),
            _ => {}
        }
    }
    let mut reload = 0;
    let met = scenario.actions.iter().map(|action| match action.kind {
        ActionKind::Reload(_) => {
            reload += 1;
            reloads.get(&reload).is_some_and(|served| *served)
        }
        ActionKind::Drain => drain,
    });
    met.collect()
}

/// By attack: whether the proxy put an end to it, at least for a while.
pub(crate) fn repelled(scenario: &Scenario, log: &[Entry]) -> Vec<bool> {
    let cut = |attack| log.iter().any(|entry| entry.what == What::CutOff { attack });
    (0..scenario.attacks.len()).map(cut).collect()
}

/// Somebody who knows what a fault looks like, and reads the log.
struct Witness<'s> {
    scenario: &'s Scenario,
    fault: &'s Fault,
    /// Attempts under way at the faulty origin that began before the fault was over.
    under_way: BTreeSet<ExchangeId>,
    /// When their answers began.
    bodies: BTreeMap<ExchangeId, Duration>,
    /// Whether the origin has closed a connection that was idle, or said that it will take no more, while the fault lasted.
    hung_up: bool,
}

impl Witness<'_> {
    fn notices(&mut self, event: &Event, at: Duration) -> bool {
        match *event {
            Event::Attempted { exchange, backend, .. } => {
                if self.is_there(backend) && at < self.fault.end() {
                    self.under_way.insert(exchange);
                }
                false
            }
            Event::Concluded { exchange, backend, outcome, took, .. } => {
                let was = self.is_there(backend) && self.under_way.remove(&exchange);
                was && at >= self.fault.at && self.shows_in_head(outcome, took)
            }
            // Health checks were the first to find out.
            Event::HealthMoved { backend, healthy: false } => {
                let lasts = self.fault.at <= at && at < self.fault.end();
                self.is_there(backend) && lasts && self.shows_in_checks()
            }
            // Somebody was asked beside it, and was sooner.
            Event::Overtaken { exchange, backend, .. } => {
                let was = self.is_there(backend) && self.under_way.remove(&exchange);
                was && at >= self.fault.at && self.keeps_waiting()
            }
            Event::Left { exchange } => {
                self.under_way.remove(&exchange) && at >= self.fault.at && self.keeps_waiting()
            }
            Event::Delivered { exchange, backend, .. } => {
                if self.is_there(backend) && at < self.fault.end() {
                    self.bodies.insert(exchange, at);
                }
                false
            }
            Event::Ended { exchange, backend, end } => {
                let began = self.bodies.remove(&exchange);
                self.is_there(backend)
                    && at >= self.fault.at
                    && self.shows_in_body(end, began.map(|began| at - began))
            }
            _ => false,
        }
    }

    fn is_there(&self, backend: BackendId) -> bool {
        origin_of(self.scenario, backend) == self.fault.origin
    }

    fn shows_in_head(&self, outcome: Outcome, took: Duration) -> bool {
        use FaultKind::{
            Blackhole, Brownout, CloseIdle, Crash, Flap, Goaway, HalfOpen, Partition, Refuse,
            RefusedStream, Reset, Slow, Status, Trickle, Truncate,
        };
        // Longer than any answer of a sound origin takes: two round trips and a few ticks.
        let latency = &self.scenario.origins[self.fault.origin].latency;
        let sound = latency.ample() + 4 * self.scenario.network.max;
        match (self.fault.kind, outcome) {
            (Slow { by }, Outcome::Answered(_)) => took >= by,
            (Reset { .. }, outcome) => outcome == Outcome::Failed(Failure::Reset),
            (RefusedStream { .. }, outcome) => outcome == Outcome::Failed(Failure::RefusedStream),
            (Status { .. } | Truncate | Trickle { .. } | CloseIdle { .. } | Goaway { .. }, _) => {
                false
            }
            (Blackhole | Brownout { .. } | HalfOpen | Partition | Crash, Outcome::Answered(_)) => {
                took > sound + 10 * TICK
            }
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
            FaultKind::Truncate => end == BodyEnd::BackendBroke,
            // Nobody else's body takes half as long: a sound origin sends its own at once.
            FaultKind::Trickle { over } => {
                end == BodyEnd::BackendIdle || took.is_some_and(|took| took >= over / 2)
            }
            _ => false,
        }
    }
}
