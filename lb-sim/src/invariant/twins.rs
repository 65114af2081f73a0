//! Who is taken out by a reload ends what it has by its old breaker; who comes again some day gets
//! a new one. As long as an exchange goes on that knows the old one, no move can be told to be of
//! the one or the other: they are twins.

use std::collections::{BTreeMap, BTreeSet};

use lb_core::{BackendId, ExchangeId};

use super::lineup::Lineups;
use crate::ledger::{Exchange, Ledger};
use crate::shelf::Kept;

/// Who has a twin, and the exchanges that may still ask the older one.
#[derive(Default)]
pub(super) struct Twins(BTreeMap<BackendId, BTreeSet<ExchangeId>>);

/// From which configuration to which a run went on.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) before: usize,
    pub(super) after: usize,
}

impl Step {
    /// Whether a backend comes anew, or again. A configuration that no request was served by lies
    /// in between, and is taken over from all the same.
    pub(super) fn brings(self, lineups: &Lineups, backend: BackendId) -> bool {
        let mut between = self.before..self.after;
        has(lineups, self.after, backend) && between.any(|it| !has(lineups, it, backend))
    }
}

fn has(lineups: &Lineups, reloads: usize, backend: BackendId) -> bool {
    let lineup = lineups.at(reloads, backend.service);
    lineup.is_some_and(|lineup| lineup.seat(backend).is_some())
}

impl Twins {
    /// Takes in those who come while an exchange goes on that began when they were there before.
    pub(super) fn follow(&mut self, step: Step, lineups: &Lineups, ledger: &Ledger<'_>) {
        let services = ledger.scenario.roster.numbers();
        let served = services.filter_map(|service| lineups.at(step.after, service));
        let seats = served.flat_map(|lineup| lineup.pools.iter().flatten());
        let come = seats.map(|seat| seat.backend).filter(|it| step.brings(lineups, *it));
        for backend in come {
            let knows = |exchange: &Exchange| {
                let is_open = exchange.service == backend.service && !exchange.is_done();
                is_open && has(lineups, exchange.reloads, backend)
            };
            let older = ledger.exchanges.iter().filter(|(_, it)| knows(it));
            let older: BTreeSet<_> = older.map(|(number, _)| ExchangeId(number)).collect();
            if !older.is_empty() {
                self.0.insert(backend, older);
            }
        }
    }

    /// Whether a backend is one of two.
    pub(super) fn has(&self, backend: BackendId) -> bool {
        self.0.contains_key(&backend)
    }

    /// An exchange is over.
    pub(super) fn ended(&mut self, id: ExchangeId) {
        for older in self.0.values_mut() {
            older.remove(&id);
        }
    }

    /// A breaker has closed. If it can only be the younger's, that one is no twin any more.
    pub(super) fn closed(&mut self, backend: BackendId) {
        self.0.retain(|twin, older| *twin != backend || !older.is_empty());
    }
}
