//! A backend whose breaker is open is asked again when the longest wait is over: whoever chooses among
//! several comes by it before long.

use std::collections::BTreeMap;

use lb_core::{BackendId, BreakerState, Event, How, Role};

use super::lineup::Lineups;
use super::moves::SETTLES;
use super::{Invariant, Judge, Kind};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

pub(super) struct AskedAgain {
    lineups: Lineups,
    /// Choices of others in its pool since it could have been asked.
    passed: BTreeMap<BackendId, usize>,
}

/// Choices of others, for each backend of a pool, after which it was surely drawn as well.
const PASSED_MAX: usize = 40;

impl AskedAgain {
    pub(super) fn new(lineups: &Lineups) -> Self {
        Self { lineups: lineups.clone(), passed: BTreeMap::new() }
    }
}

impl Invariant for AskedAgain {
    fn name(&self) -> &'static str {
        "who was left alone is asked again"
    }

    fn kind(&self) -> Kind {
        Kind::Liveness
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        match self.lineups.any(|core| core.breaker.is_some()) {
            true => Topics::ATTEMPTED.and(Topics::BACKEND).and(Topics::RELOADS),
            false => Topics::NONE,
        }
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        if ledger.breakers.is_empty() {
            return; // none has ever moved
        }
        let (id, chosen, choice) = match entry.what {
            What::Core(Event::Attempted { exchange, attempt: 1, backend, choice, .. }) => {
                (exchange, backend, choice)
            }
            What::Core(Event::BreakerMoved { backend, .. }) => {
                self.passed.remove(&backend);
                return;
            }
            What::Serves(_) => return self.passed.clear(),
            _ => return,
        };
        let draws =
            matches!(choice.how, How::Turn | How::Weight | How::LessLoaded { .. } | How::Only);
        if choice.role != Role::Normal || !draws {
            return;
        }
        let Some(exchange) = ledger.exchanges.get(&id) else { return };
        let Some(lineup) = self.lineups.at(exchange.reloads, chosen.service) else { return };
        let core = &lineup.core;
        let (Some(pool), Some(config)) = (lineup.pool_of(chosen), core.breaker) else { return };
        // Whoever is full or spared for being cold is passed over for another reason.
        if core.limits.per_backend.is_some() || core.slow_start.is_some() {
            return;
        }
        let seats = &lineup.pools[pool];
        for seat in seats.iter().filter(|seat| seat.backend != chosen && !seat.draining) {
            let Some(breaker) = ledger.breakers.get(&seat.backend) else { continue };
            let out = ledger.unhealthy.contains(&seat.backend) || ledger.is_ejected(seat.backend);
            let due = breaker.since + config.open_for_max + SETTLES;
            if breaker.state != BreakerState::Open || out || entry.at < due {
                continue;
            }
            let passed = self.passed.entry(seat.backend).or_default();
            *passed += 1;
            let passed = *passed;
            judge.check(passed <= PASSED_MAX * seats.len(), || {
                format!("{} is left alone, and {passed} went to others", ledger.name(seat.backend))
            });
        }
    }
}
