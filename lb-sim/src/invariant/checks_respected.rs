//! No request goes to a backend that health checks or a comparison with the others have taken out,
//! but in panic.

use lb_core::{Event, Role};

use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

pub(super) struct ChecksRespected;

impl Invariant for ChecksRespected {
    fn name(&self) -> &'static str {
        "no traffic to the unhealthy"
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        Topics::ATTEMPTED
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        let What::Core(Event::Attempted { exchange, backend, choice, .. }) = entry.what else {
            return;
        };
        let core = &ledger.service(backend.service).core;
        if core.probe.is_none() && core.outliers.is_none() {
            return;
        }
        let wrong = match () {
            () if ledger.unhealthy.contains(&backend) => Some("unhealthy"),
            () if ledger.is_ejected(backend) => Some("ejected"),
            () => None,
        };
        judge.check(wrong.is_none() || choice.role == Role::Panic, || {
            let (name, wrong) = (ledger.name(backend), wrong.unwrap_or_default());
            format!("exchange {} reaches {name}, which is {wrong}", exchange.0)
        });
    }
}
