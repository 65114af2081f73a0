//! A proxy that is told to drain ends, and does so within its drain timeout.

use super::{Invariant, Judge, Kind};
use crate::ledger::Ledger;
use crate::log::{Entry, What};

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

    fn on(&mut self, entry: &Entry, _ledger: &Ledger<'_>, _judge: &mut Judge) {
        self.drained |= entry.what == What::Drained;
    }

    fn at_end(&mut self, _ledger: &Ledger<'_>, judge: &mut Judge) {
        judge.check(self.drained, || "the proxy still runs after its drain timeout".to_owned());
    }
}
