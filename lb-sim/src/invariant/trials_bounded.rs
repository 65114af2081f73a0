//! A half-open breaker lets through no more trials at once than it was told, not counting those that
//! have shown nothing for so long that they no longer keep others from beginning.

use std::collections::BTreeMap;
use std::time::Duration;

use lb_core::{Event, Role};

use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

pub(super) struct TrialsBounded;

impl Invariant for TrialsBounded {
    fn name(&self) -> &'static str {
        "trials are bounded"
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        Topics::ATTEMPTED
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        let What::Core(Event::Attempted { backend, choice, .. }) = entry.what else { return };
        let Some(config) = ledger.service(backend.service).core.breaker else { return };
        if choice.role == Role::Trial {
            let is_young = |began: &&Duration| entry.at - **began <= config.trial_max();
            let trials = ledger.trials.get(&backend).into_iter().flat_map(BTreeMap::values);
            let under_way = trials.filter(is_young).count();
            let max = usize::from(config.half_open_trials);
            judge.check(under_way < max, || {
                let name = ledger.name(backend);
                format!("{name} gets a trial with {under_way} of {max} under way")
            });
        }
    }
}
