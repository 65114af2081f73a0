//! In time after the last fault everything is as before: requests succeed, and breakers are closed.
//!
//! A breaker closes when enough trials succeed, so it has to be tried. Who gives every backend of the first pool
//! its share owes it that. Others need not ask a backend for long (its keys belong to nobody, it was slow, its
//! pool stands behind): its breaker is excused until it has had as many trials as it needs.

use std::collections::BTreeMap;

use lb_core::config::Policy;
use lb_core::{BackendId, BreakerState, Event, Outcome};

use super::{Invariant, Judge, Kind};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::sanity::{is_even, spreads};
use crate::scenario::Scenario;

#[derive(Default)]
pub(super) struct Recovers {
    looked: bool,
    /// Trials of each backend that were answered since its breaker moved last.
    trials: BTreeMap<BackendId, u8>,
}

impl Invariant for Recovers {
    fn name(&self) -> &'static str {
        "the world recovers once it is healed"
    }

    fn kind(&self) -> Kind {
        Kind::Liveness
    }

    fn wants(&self, scenario: &Scenario) -> Topics {
        if scenario.faults.is_empty() { Topics::NONE } else { Topics::ALL }
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        match entry.what {
            What::Core(Event::BreakerMoved { backend, .. }) => {
                self.trials.remove(&backend);
            }
            // One that was overtaken by a hedge, or is one and came too late, says nothing of its backend.
            What::Core(Event::Concluded {
                exchange,
                backend,
                outcome: Outcome::Answered(_),
                ..
            }) if ledger.trials.get(&backend).is_some_and(|it| it.contains_key(&exchange)) => {
                let trials = self.trials.entry(backend).or_default();
                *trials = trials.saturating_add(1);
            }
            _ => {}
        }
        let recovered = ledger.scenario.recovered();
        if ledger.scenario.faults.is_empty() || entry.at < recovered {
            return;
        }
        if !self.looked {
            self.looked = true;
            for (backend, breaker) in &ledger.breakers {
                let is_closed = breaker.state == BreakerState::Closed;
                if !is_closed && self.is_excused(*backend, ledger) {
                    continue;
                }
                judge.check(is_closed, || {
                    let (name, state) = (ledger.name(*backend), breaker.state.as_str());
                    format!("the breaker of {name} is still {state}")
                });
            }
        }
        if let What::Ended { request, end, .. } = entry.what
            && ledger.requests.get(&request).is_some_and(|it| it.sent >= recovered)
        {
            judge.check(end.is_good(), || format!("request {request} ends as {end:?}"));
        }
    }
}

impl Recovers {
    /// Whether nobody owed a backend the trials that it has not had, or it is served no more.
    fn is_excused(&self, backend: BackendId, ledger: &Ledger<'_>) -> bool {
        let service = ledger.service(backend.service);
        let all = ledger.scenario.roster.backends(ledger.reloads, backend.service);
        let Some(place) = all.iter().position(|it| *it == backend) else { return true };
        let is_first = service.core.pools.first().is_some_and(|it| place < it.backends.len());
        // Who goes by latency knows none of a backend on trial, and asks it like any other.
        let by_latency = matches!(service.core.policy, Policy::PeakEwma | Policy::Prequal);
        let is_owed = is_first && (spreads(&service.core) || by_latency && is_even(&service.core));
        let needs = service.core.breaker.map_or(0, |it| it.half_open_successes);
        let had = self.trials.get(&backend).copied().unwrap_or(0);
        // The last one's body may be on its way.
        !is_owed && had <= needs
    }
}
