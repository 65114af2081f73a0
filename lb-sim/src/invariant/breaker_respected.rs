//! No traffic to an open breaker, and no breaker moves where it must not.

use lb_config::config::Service;
use lb_core::config::WhenAllUnfit;
use lb_core::{BackendId, BreakerState, Event, Role};

use super::{Invariant, Judge};
use crate::engine::TICK;
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

pub(super) struct BreakerRespected;

impl Invariant for BreakerRespected {
    fn name(&self) -> &'static str {
        "no traffic to an open breaker"
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        Topics::ATTEMPTED.and(Topics::BACKEND)
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        match entry.what {
            What::Core(Event::Attempted { exchange, backend, choice, .. }) => {
                let state = ledger.breaker(backend);
                let allowed = match choice.role {
                    Role::Normal => state == BreakerState::Closed,
                    Role::Trial => state == BreakerState::HalfOpen,
                    Role::Panic => true,
                };
                judge.check(allowed, || {
                    let (role, state) = (choice.role.as_str(), state.as_str());
                    format!(
                        "exchange {} reaches {} as {role}, which is {state}",
                        exchange.0,
                        ledger.name(backend)
                    )
                });
            }
            What::Core(Event::BreakerMoved { backend, from, to }) => {
                use BreakerState::{Closed, HalfOpen, Open};
                let known = ledger.breaker(backend);
                let core = &service_of(ledger, backend).core;
                if core.when_all_unfit == WhenAllUnfit::Reset && to == Closed {
                    return; // all is forgotten, from wherever it was
                }
                let legal = matches!(
                    (from, to),
                    (Closed | HalfOpen, Open) | (Open, HalfOpen) | (HalfOpen, Closed)
                );
                judge.check(known == from && legal, || {
                    let name = ledger.name(backend);
                    format!("{name} moves from {from:?} to {to:?}, and was {known:?}")
                });
                let config = core.breaker;
                if let (Open, Some(was), Some(config)) =
                    (from, ledger.breakers.get(&backend), config)
                {
                    let open_for = entry.at.saturating_sub(was.since);
                    let waited = was.hastened || open_for + TICK >= config.open_for;
                    judge.check(waited, || {
                        format!("{} is asked after {open_for:?}", ledger.name(backend))
                    });
                }
            }
            // Only what stood open can be let wait no longer.
            What::Core(Event::Hastened { backend }) => {
                judge.check(ledger.breaker(backend) == BreakerState::Open, || {
                    format!("{} is hastened, and is not open", ledger.name(backend))
                });
            }
            _ => {}
        }
    }
}

/// The last configuration that has a backend: whoever was taken out ends what he has by the rules that he had.
fn service_of<'s>(ledger: &Ledger<'s>, backend: BackendId) -> &'s Service {
    let scenario = ledger.scenario;
    let has =
        |reloads: &usize| scenario.roster.backends(*reloads, backend.service).contains(&backend);
    let last = (0..=ledger.reloads).rev().find(has);
    let service =
        |reloads| scenario.roster.service(scenario.config_after(reloads), backend.service);
    last.and_then(service).unwrap_or_else(|| ledger.service(backend.service))
}
