//! In time after the last fault everything is as before: requests succeed, and breakers are closed.

use lb_core::BreakerState;

use super::{Invariant, Judge, Kind};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

#[derive(Default)]
pub(super) struct Recovers {
    looked: bool,
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
        let recovered = ledger.scenario.recovered();
        if ledger.scenario.faults.is_empty() || entry.at < recovered {
            return;
        }
        if !self.looked {
            self.looked = true;
            for (backend, breaker) in &ledger.breakers {
                judge.check(breaker.state == BreakerState::Closed, || {
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
