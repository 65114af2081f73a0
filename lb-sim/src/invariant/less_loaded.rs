//! Of two backends whose loads are compared, the one with less in flight for its weight is taken.

use lb_core::config::Policy;
use lb_core::{BackendId, Event, How};

use super::lineup::Lineups;
use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

pub(super) struct LessLoaded {
    lineups: Lineups,
}

impl LessLoaded {
    pub(super) fn new(lineups: &Lineups) -> Self {
        Self { lineups: lineups.clone() }
    }
}

impl Invariant for LessLoaded {
    fn name(&self) -> &'static str {
        "the less loaded of two is taken"
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        match self.lineups.any(|core| core.policy == Policy::LeastRequest) {
            true => Topics::ATTEMPTED,
            false => Topics::NONE,
        }
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        let What::Core(Event::Attempted { exchange: id, backend, choice, .. }) = entry.what else {
            return;
        };
        let How::LessLoaded { in_flight, than, than_in_flight } = choice.how else { return };
        let Some(exchange) = ledger.exchanges.get(&id) else { return };
        let Some(lineup) = self.lineups.at(exchange.reloads, backend.service) else { return };
        let other = lineup.at_place(than).map(|seat| (seat.backend, seat.weight));
        let own = lineup.seat(backend).map(|seat| seat.weight);
        let (Some((other, others)), Some(own)) = (other, own) else { return };
        let product = |count: u32, weight: u32| u64::from(count) * u64::from(weight);
        let is_less = product(in_flight, others) <= product(than_in_flight, own);
        let name = |backend: BackendId| ledger.name(backend);
        judge.check(is_less && other != backend, || {
            format!(
                "{} with {in_flight} in flight is taken, and {} has {than_in_flight}",
                name(backend),
                name(other)
            )
        });
    }
}
