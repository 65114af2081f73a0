//! Where keys are bound by load, nobody has more than its share of all that is in flight, times what
//! is allowed: ⌈c · weight/all · (all in flight)⌉ (Mirrokni, Thorup and Zadimoghaddam, 2018).

use std::collections::BTreeMap;

use lb_core::{BackendId, Event, ExchangeId, How, Outcome, Role};

use super::lineup::{Lineups, Seat};
use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

pub(super) struct BoundsOnLoad {
    lineups: Lineups,
    /// Attempts that hold a place, by exchange. Of two services there are two lots.
    held: BTreeMap<ExchangeId, Vec<(u8, BackendId)>>,
    counts: BTreeMap<BackendId, u64>,
    all: BTreeMap<u16, u64>,
}

impl BoundsOnLoad {
    pub(super) fn new(lineups: &Lineups) -> Self {
        let (held, counts, all) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { lineups: lineups.clone(), held, counts, all }
    }

    /// Returns how many there are now, at the backend and at all of its service.
    fn take(&mut self, id: ExchangeId, (attempt, backend): (u8, BackendId)) -> (u64, u64) {
        self.held.entry(id).or_default().push((attempt, backend));
        let count = self.counts.entry(backend).or_default();
        *count += 1;
        let all = self.all.entry(backend.service).or_default();
        *all += 1;
        (*count, *all)
    }

    fn give_back(&mut self, id: ExchangeId, attempt: Option<u8>) {
        let Some(held) = self.held.get_mut(&id) else { return };
        for (_, backend) in held.iter().filter(|it| attempt.is_none_or(|attempt| attempt == it.0)) {
            *self.counts.entry(*backend).or_insert(1) -= 1;
            *self.all.entry(backend.service).or_insert(1) -= 1;
        }
        held.retain(|it| attempt.is_some_and(|attempt| attempt != it.0));
        if held.is_empty() {
            self.held.remove(&id);
        }
    }

    /// An exchange is tried elsewhere: whatever it held before is over.
    fn let_go_before(&mut self, id: ExchangeId, attempt: u8) {
        let held = self.held.get(&id).into_iter().flatten();
        let over: Vec<u8> = held.map(|it| it.0).filter(|other| *other != attempt).collect();
        for other in over {
            self.give_back(id, Some(other));
        }
    }
}

impl Invariant for BoundsOnLoad {
    fn name(&self) -> &'static str {
        "popular keys are bound"
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        match self.lineups.any(|core| core.hash.load_percent.is_some()) {
            true => Topics::ATTEMPTED
                .and(Topics::CONCLUDED)
                .and(Topics::ASIDE)
                .and(Topics::BODY_ENDED)
                .and(Topics::REJECTED)
                .and(Topics::LEFT),
            false => Topics::NONE,
        }
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        let What::Core(event) = entry.what else { return };
        let (id, attempt, backend, choice) = match event {
            Event::Attempted { exchange, attempt, backend, choice, .. } => {
                (exchange, attempt, backend, choice)
            }
            Event::Overtaken { exchange, attempt, .. } => {
                return self.give_back(exchange, Some(attempt));
            }
            Event::Concluded { exchange, attempt, outcome, .. } => {
                // Beside another that goes on, an answer that is not handed on is not kept either.
                let is_beside = self.held.get(&exchange).is_some_and(|held| held.len() > 1);
                if is_beside || matches!(outcome, Outcome::Failed(_)) {
                    self.give_back(exchange, Some(attempt));
                }
                return;
            }
            Event::Ended { exchange, .. }
            | Event::Rejected { exchange, .. }
            | Event::Left { exchange } => return self.give_back(exchange, None),
            _ => return,
        };
        let (count, all) = self.take(id, (attempt, backend));
        // An answer that was kept holds its place for as long as it takes to choose who is asked
        // instead.
        if !choice.hedge {
            self.let_go_before(id, attempt);
        }
        let Some(lineup) = self.lineups.at(ledger.reloads, backend.service) else { return };
        let Some(percent) = lineup.core.hash.load_percent else { return };
        let seats = || lineup.pools.iter().flatten();
        let by_key = matches!(choice.how, How::Key | How::KeyNext);
        // Where some are not fit, the others may have to carry more.
        let all_fit = seats().all(|seat| seat.is_fit(ledger)) && lineup.pools.len() == 1;
        // And so where those who are cold are spared.
        let all_fit = all_fit && lineup.core.slow_start.is_none();
        let seat =
            lineup.seat(backend).filter(|_| by_key && choice.role == Role::Normal && all_fit);
        let Some(seat) = seat else { return };
        let weights: u64 = seats().map(|seat| u64::from(seat.weight)).sum();
        let bound = |seat: &Seat| {
            (all * u64::from(seat.weight) * u64::from(percent)).div_ceil(weights * 100)
        };
        // Whom the exchange has tried is left out: when all others have their share, one gets more.
        let has_tried = |other: &Seat| {
            let made = ledger.exchanges.get(&id);
            made.is_some_and(|made| made.attempts.iter().any(|it| it.backend == other.backend))
        };
        let has_room = |other: &Seat| {
            let count = self.counts.get(&other.backend).copied().unwrap_or(0);
            let may = lineup.core.limits.per_backend.map_or(u64::MAX, u64::from);
            other.backend != backend && !has_tried(other) && count < bound(other).min(may)
        };
        let most = bound(seat);
        judge.check(count <= most || !seats().any(has_room), || {
            format!(
                "{} has {count} of {all} in flight, and {most} is the most",
                ledger.name(backend)
            )
        });
    }
}
