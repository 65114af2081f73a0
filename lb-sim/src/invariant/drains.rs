//! A proxy that is told to drain ends, and does so within its drain timeout.

use std::time::Duration;

use super::{Invariant, Judge, Kind};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

/// What the end itself may take.
const SLACK: Duration = Duration::from_millis(100);

#[derive(Default)]
pub(super) struct Drains {
    drained: bool,
}

impl Invariant for Drains {
    fn name(&self) -> &'static str {
        "the proxy drains"
    }

    fn kind(&self) -> Kind {
        Kind::Liveness
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        Topics::DRAINS
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        if entry.what != What::Drained {
            return;
        }
        self.drained = true;
        // Told at the end of a run it has nothing to wait for, and the engine does not wait longer.
        if let Some(since) = ledger.draining {
            let took = entry.at - since;
            judge.check(took <= ledger.config().server.drain_timeout + SLACK, || {
                format!("the proxy takes {took:?} to drain")
            });
        }
    }

    fn at_end(&mut self, _ledger: &Ledger<'_>, judge: &mut Judge) {
        judge.check(self.drained, || "the proxy still runs after its drain timeout".to_owned());
    }
}
