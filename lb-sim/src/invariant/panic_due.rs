//! Nobody panics without need: backends that nobody trusts are asked where the service says so, and
//! only while too few of its pool are fit or none of them is left to be tried. Where it asks those that
//! answer, what opened their breakers was an answer.

use std::collections::BTreeSet;

use lb_core::config::WhenAllUnfit;
use lb_core::{BackendId, BreakerState, Event, Outcome, Role};

use super::lineup::{Lineups, Seat};
use super::moves::Moves;
use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

pub(super) struct PanicDue {
    lineups: Lineups,
    moves: Moves,
    /// Those whose breakers opened by an answer that the request may have brought about, or without anybody
    /// having been asked.
    answering: BTreeSet<BackendId>,
    /// What an attempt came to, if that was the last thing to happen.
    last: Option<(BackendId, Outcome)>,
}

impl PanicDue {
    pub(super) fn new(lineups: &Lineups) -> Self {
        Self {
            lineups: lineups.clone(),
            moves: Moves::default(),
            answering: BTreeSet::new(),
            last: None,
        }
    }

    /// Takes into account what becomes of breakers, and why.
    fn hear(&mut self, what: &What) {
        let last = self.last.take();
        match *what {
            What::Core(Event::Concluded { backend, outcome, .. }) => {
                self.last = Some((backend, outcome));
            }
            What::Core(Event::BreakerMoved { backend, to: BreakerState::Open, .. }) => {
                let is_asked_on = last.is_some_and(|(by, it)| by == backend && it.is_asked_on());
                if is_asked_on {
                    self.answering.insert(backend);
                } else {
                    self.answering.remove(&backend);
                }
            }
            _ => {}
        }
    }
}

impl Invariant for PanicDue {
    fn name(&self) -> &'static str {
        "panic is the last resort"
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        Topics::ATTEMPTED.and(Topics::BACKEND).and(Topics::CONCLUDED).and(Topics::BODY_ENDED)
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        self.moves.enter(entry);
        self.hear(&entry.what);
        let What::Core(Event::Attempted { exchange: id, backend, choice, .. }) = entry.what else {
            return;
        };
        if choice.role != Role::Panic {
            return;
        }
        let Some(exchange) = ledger.exchanges.get(&id) else { return };
        let Some(lineup) = self.lineups.at(exchange.reloads, backend.service) else { return };
        let says = lineup.core.when_all_unfit;
        let may = match says {
            WhenAllUnfit::FailOpen => true,
            WhenAllUnfit::AskAnswering => self.answering.contains(&backend),
            _ => false,
        };
        judge.check(may, || {
            format!(
                "exchange {} panics at {}, and the service does not",
                id.0,
                ledger.name(backend)
            )
        });
        let tried = |seat: &Seat| exchange.attempts.iter().any(|it| it.backend == seat.backend);
        // Whoever may be full cannot be asked; whoever was ejected may be back without a word.
        let told = lineup.core.limits.per_backend.is_none() && lineup.core.outliers.is_none();
        let Some(pool) = lineup.pool_of(backend).map(|pool| &lineup.pools[pool]) else { return };
        if !told || !self.moves.all_settled(pool, entry.at) {
            return;
        }
        let fit = pool.iter().filter(|seat| seat.is_fit(ledger)).count();
        let is_below = fit * 100 < usize::from(lineup.core.panic_below) * pool.len();
        let all = || lineup.pools.iter().flatten();
        let settled = lineup.pools.iter().all(|pool| self.moves.all_settled(pool, entry.at));
        let is_left = all().any(|seat| seat.is_fit(ledger) && !tried(seat));
        judge.check(is_below || !settled || !is_left, || {
            let (name, count) = (ledger.name(backend), pool.len());
            format!("exchange {} panics at {name} with {fit} of {count} fit", id.0)
        });
    }
}
