//! A reload is one step: an exchange goes by the configuration that it began with, to its end.

use lb_core::Event;

use super::lineup::Lineups;
use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

pub(super) struct ReloadsWhole {
    lineups: Lineups,
}

impl ReloadsWhole {
    pub(super) fn new(lineups: &Lineups) -> Self {
        Self { lineups: lineups.clone() }
    }
}

impl Invariant for ReloadsWhole {
    fn name(&self) -> &'static str {
        "a reload is one step"
    }

    fn wants(&self, scenario: &Scenario) -> Topics {
        match !scenario.actions.is_empty() {
            true => Topics::ATTEMPTED,
            false => Topics::NONE,
        }
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        let What::Core(Event::Attempted { exchange: id, backend, .. }) = entry.what else { return };
        if ledger.scenario.actions.is_empty() {
            return;
        }
        let Some(exchange) = ledger.exchanges.get(&id) else { return };
        let lineup = self.lineups.at(exchange.reloads, exchange.service);
        let is_there = lineup.is_some_and(|lineup| lineup.seat(backend).is_some());
        judge.check(is_there && backend.service == exchange.service, || {
            let (name, reloads) = (ledger.name(backend), exchange.reloads);
            format!(
                "exchange {} of configuration {reloads} goes to {name}, which that has not",
                id.0
            )
        });
    }
}
