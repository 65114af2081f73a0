//! When nothing is under way, no lease is held.

use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

pub(super) struct LeasesReturn;

impl Invariant for LeasesReturn {
    fn name(&self) -> &'static str {
        "leases return to zero"
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        Topics::DRAINS
    }

    fn on(&mut self, entry: &Entry, _ledger: &Ledger<'_>, judge: &mut Judge) {
        let What::Quiet(held) = &entry.what else { return };
        for (backend, held) in held.iter().enumerate() {
            judge.check(*held == 0, || format!("{held} leases are held on backend {backend}"));
        }
    }
}
