//! A hedge is made once, elsewhere, and for a request that carries nothing out.

use std::collections::BTreeSet;

use lb_core::{Event, ExchangeId};

use super::lineup::Lineups;
use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

/// POSTs that were hedged are told by origins, which read the method.
pub(super) struct HedgesHarmless {
    lineups: Lineups,
    hedged: BTreeSet<ExchangeId>,
}

impl HedgesHarmless {
    pub(super) fn new(lineups: &Lineups) -> Self {
        Self { lineups: lineups.clone(), hedged: BTreeSet::new() }
    }
}

impl Invariant for HedgesHarmless {
    fn name(&self) -> &'static str {
        "hedges do no harm"
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        match self.lineups.any(|core| core.retry.hedge.is_some()) {
            true => Topics::ATTEMPTED
                .and(Topics::REACHED)
                .and(Topics::BODY_ENDED)
                .and(Topics::REJECTED)
                .and(Topics::LEFT),
            false => Topics::NONE,
        }
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        match entry.what {
            What::Core(Event::Attempted { exchange: id, backend, choice, .. }) if choice.hedge => {
                let is_first = self.hedged.insert(id);
                judge.check(is_first, || format!("exchange {} is hedged twice", id.0));
                let Some(exchange) = ledger.exchanges.get(&id) else { return };
                let tried = exchange.attempts.iter().any(|it| it.backend == backend);
                judge.check(!tried, || {
                    format!("exchange {} is hedged at {}, which has it", id.0, ledger.name(backend))
                });
            }
            What::Reached { exchange, post, .. } if self.hedged.contains(&exchange) => {
                judge.check(!post, || format!("the POST of exchange {} is hedged", exchange.0));
            }
            What::Core(
                Event::Ended { exchange, .. }
                | Event::Rejected { exchange, .. }
                | Event::Left { exchange },
            ) => {
                self.hedged.remove(&exchange);
            }
            _ => {}
        }
    }
}
