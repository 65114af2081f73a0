//! Who comes back begins with little and gets more and more, until it has its share.
//!
//! A ramp is cut into three parts. What a backend gets in each is compared with what it would get by
//! its weight: little in the first part, less than in the last, and never more than its own.

use std::collections::BTreeMap;
use std::time::Duration;

use lb_core::config::Policy;
use lb_core::{BackendId, BreakerState, Event, How, Role, Time};

use super::lineup::{Lineup, Lineups, Seat};
use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

pub(super) struct RampsRise {
    lineups: Lineups,
    ramps: BTreeMap<BackendId, Ramp>,
    /// When each was back the last time, or will be.
    back: BTreeMap<BackendId, Duration>,
    reloads: usize,
    /// When it was loaded again: who was new then is on its way since.
    reloaded: Option<Duration>,
}

/// A backend on its way back: since when, and for each third what was drawn and what it got.
struct Ramp {
    since: Duration,
    drawn: [u32; PARTS],
    got: [u32; PARTS],
}

const PARTS: usize = 3;
/// Draws in a part from which on its share says something.
const DRAWS_MIN: u32 = 60;
const DEVIATIONS: f64 = 5.0;

impl RampsRise {
    pub(super) fn new(lineups: &Lineups) -> Self {
        Self {
            lineups: lineups.clone(),
            ramps: BTreeMap::new(),
            back: BTreeMap::new(),
            reloads: 0,
            reloaded: None,
        }
    }

    fn is_drawn(lineup: &Lineup) -> bool {
        // What other policies give out depends on more than on weights.
        lineup.core.policy == Policy::WeightedRandom && lineup.core.limits.per_backend.is_none()
    }

    fn check(&self, backend: BackendId, ramp: &Ramp, judge: &mut Judge) {
        let Some(lineup) = self.lineups.at(self.reloads, backend.service) else { return };
        let Some(said) = lineup.core.slow_start else { return };
        let Some(pool) = lineup.pool_of(backend) else { return };
        let seats = &lineup.pools[pool];
        let weights: f64 = seats.iter().map(|seat| f64::from(seat.weight)).sum();
        let own = lineup.seat(backend).map_or(0.0, |seat| f64::from(seat.weight)) / weights;
        let floor = f64::from(said.floor_percent) / 100.0;
        for part in (0..PARTS).filter(|part| ramp.drawn[*part] >= DRAWS_MIN) {
            let (drawn, got) = (f64::from(ramp.drawn[part]), f64::from(ramp.got[part]));
            // A choice holds with a chance that grows evenly; in its last moment the part has the most.
            let end = (part + 1) as f64 / PARTS as f64;
            let most = own * end.max(floor) * drawn;
            let off = DEVIATIONS * most.sqrt() + 1.0;
            judge.check(got <= most + off, || {
                let part = part + 1;
                format!("{got} of {drawn} in part {part} of the ramp, and {most:.0} is the most")
            });
        }
        let share = |part: usize| f64::from(ramp.got[part]) / f64::from(ramp.drawn[part]);
        if ramp.drawn.iter().all(|drawn| *drawn >= DRAWS_MIN) && floor < 1.0 / 3.0 {
            let off = DEVIATIONS * (own / f64::from(ramp.drawn[0])).sqrt();
            judge.check(share(0) <= share(PARTS - 1) + off, || {
                format!("the ramp falls from {:.3} to {:.3}", share(0), share(PARTS - 1))
            });
        }
    }

    fn end(&mut self, backend: BackendId, judge: &mut Judge) {
        if let Some(ramp) = self.ramps.remove(&backend) {
            self.check(backend, &ramp, judge);
        }
    }

    fn drawn(&mut self, at: Duration, chosen: BackendId, ledger: &Ledger<'_>, judge: &mut Judge) {
        let lineups = self.lineups.clone();
        let Some(lineup) = lineups.at(self.reloads, chosen.service) else { return };
        let (Some(said), Some(pool)) = (lineup.core.slow_start, lineup.pool_of(chosen)) else {
            return;
        };
        let in_pool = |backend: BackendId| lineup.pool_of(backend) == Some(pool);
        let over: Vec<_> = self.ramps.keys().copied().filter(|it| in_pool(*it)).collect();
        let seats = &lineup.pools[pool];
        let comes = |since: Duration| at.saturating_sub(since) < said.window;
        for backend in over {
            // Where another one is away or on its way as well, shares are others; who is the only one
            // has all.
            let others = || seats.iter().filter(|seat| seat.backend != backend);
            let other_comes =
                |seat: &Seat| self.back.get(&seat.backend).is_some_and(|it| comes(*it));
            let alone = seats.iter().all(|seat| seat.is_fit(ledger))
                && !self.reloaded.is_some_and(comes)
                && others().next().is_some()
                && !others().any(other_comes);
            let Some(ramp) = self.ramps.get_mut(&backend) else { continue };
            let part = (at - ramp.since).as_secs_f64() * PARTS as f64 / said.window.as_secs_f64();
            if part >= PARTS as f64 || !alone {
                self.end(backend, judge);
                continue;
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 3")]
            let part = part as usize;
            ramp.drawn[part] += 1;
            ramp.got[part] += u32::from(backend == chosen);
        }
    }
}

impl Invariant for RampsRise {
    fn name(&self) -> &'static str {
        "ramps rise"
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        match self.lineups.any(|core| core.slow_start.is_some()) {
            true => Topics::ATTEMPTED.and(Topics::BACKEND).and(Topics::RELOADS),
            false => Topics::NONE,
        }
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        let back = match entry.what {
            What::Core(Event::Attempted { attempt: 1, backend, choice, .. })
                if choice.role == Role::Normal && choice.how == How::Weight =>
            {
                return self.drawn(entry.at, backend, ledger, judge);
            }
            What::Core(Event::HealthMoved { backend, healthy }) => Some((backend, healthy)),
            What::Core(Event::BreakerMoved { backend, to, .. }) => {
                Some((backend, to == BreakerState::Closed))
            }
            What::Serves(reloads) => {
                self.ramps.clear();
                (self.reloads, self.reloaded) = (reloads, Some(entry.at));
                None
            }
            What::Core(Event::Ejected { backend, until, .. }) => {
                self.back.insert(backend, until - Time::ZERO);
                None
            }
            _ => None,
        };
        let Some((backend, is_back)) = back else { return };
        self.end(backend, judge);
        if is_back {
            self.back.insert(backend, entry.at);
        }
        let lineup = self.lineups.at(self.reloads, backend.service);
        let slowly = lineup.is_some_and(|it| it.core.slow_start.is_some() && Self::is_drawn(it));
        if slowly && is_back {
            let nothing = [0; PARTS];
            self.ramps.insert(backend, Ramp { since: entry.at, drawn: nothing, got: nothing });
        }
    }

    fn at_end(&mut self, _ledger: &Ledger<'_>, judge: &mut Judge) {
        for backend in self.ramps.keys().copied().collect::<Vec<_>>() {
            self.end(backend, judge);
        }
    }
}
