//! A pool with too few fit backends serves nobody, the last resort nobody whom another pool could have
//! served, and a backend that drains nobody who is new to it.

use lb_core::config::{ServiceConfig, WhenAllUnfit};
use lb_core::{BreakerState, Event, How, Role};

use super::lineup::{Lineups, Seat};
use super::moves::Moves;
use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

pub(super) struct PoolsInTurn {
    lineups: Lineups,
    moves: Moves,
}

impl PoolsInTurn {
    pub(super) fn new(lineups: &Lineups) -> Self {
        Self { lineups: lineups.clone(), moves: Moves::default() }
    }
}

/// Whether a pool of a service may have to stand back.
fn has_order(core: &ServiceConfig) -> bool {
    let last = matches!(core.when_all_unfit, WhenAllUnfit::FallbackPool(_));
    last || core.pools.iter().any(|pool| pool.min_fit > 1)
}

fn drains(core: &ServiceConfig) -> bool {
    core.pools.iter().flat_map(|pool| &pool.backends).any(|backend| backend.draining)
}

impl Invariant for PoolsInTurn {
    fn name(&self) -> &'static str {
        "pools serve in turn"
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        match self.lineups.any(has_order) || self.lineups.any(drains) {
            true => Topics::ATTEMPTED.and(Topics::BACKEND),
            false => Topics::NONE,
        }
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        self.moves.enter(entry);
        let What::Core(Event::Attempted { exchange: id, backend, choice, .. }) = entry.what else {
            return;
        };
        let looked_for = matches!(choice.how, How::Session | How::Same);
        if looked_for || choice.role == Role::Panic {
            return;
        }
        let Some(exchange) = ledger.exchanges.get(&id) else { return };
        let Some(lineup) = self.lineups.at(exchange.reloads, backend.service) else { return };
        let (Some(seat), Some(pool)) = (lineup.seat(backend), lineup.pool_of(backend)) else {
            return;
        };
        // An operator may have drained it before a reload, of which the last word counts.
        if seat.draining && exchange.reloads == ledger.reloads {
            judge.check(false, || {
                format!("exchange {} is new to {}, which drains", id.0, ledger.name(backend))
            });
        }
        let settled = |pool: &[Seat]| self.moves.all_settled(pool, entry.at);
        let min_fit = usize::from(lineup.core.pools[pool].min_fit);
        if min_fit > 1 && settled(&lineup.pools[pool]) && lineup.core.outliers.is_none() {
            // One that may be tried out counts as fit.
            let may_be = |seat: &&Seat| {
                !seat.draining
                    && !ledger.unhealthy.contains(&seat.backend)
                    && ledger.breaker(seat.backend) != BreakerState::Open
            };
            let open = |seat: &Seat| ledger.breaker(seat.backend) == BreakerState::Open;
            let fit = lineup.pools[pool].iter().filter(may_be).count();
            // An open breaker may be due for a trial, which nobody is told of before it is made.
            let due = lineup.pools[pool].iter().any(open);
            judge.check(fit >= min_fit || due, || {
                format!("exchange {} goes to a pool with {fit} of {min_fit} fit", id.0)
            });
        }
        let WhenAllUnfit::FallbackPool(last) = lineup.core.when_all_unfit else { return };
        if pool != usize::from(last) {
            return;
        }
        let others = || lineup.pools.iter().enumerate().filter(|(nth, _)| *nth != pool);
        let limited = lineup.core.limits.per_backend.is_some() || lineup.core.outliers.is_some();
        let served = others().any(|(nth, seats)| {
            let fit = seats.iter().filter(|seat| seat.is_fit(ledger)).count();
            let tried = |seat: &Seat| exchange.attempts.iter().any(|it| it.backend == seat.backend);
            let fresh = seats.iter().any(|seat| seat.is_fit(ledger) && !tried(seat));
            settled(seats) && fresh && fit >= usize::from(lineup.core.pools[nth].min_fit)
        });
        judge.check(!served || limited, || {
            format!("exchange {} goes to the last resort while others are fit", id.0)
        });
    }
}
