//! Only so much of a pool is ejected at once, nobody for longer than may be, and who is ejected again
//! at once for twice as long.

use std::collections::BTreeMap;
use std::time::Duration;

use lb_core::{BackendId, Event, Time};

use super::lineup::Lineups;
use super::{Invariant, Judge};
use crate::engine::TICK;
use crate::ledger::Ledger;
use crate::log::{Entry, What};

pub(super) struct EjectionsBounded {
    lineups: Lineups,
    /// For how long each was ejected last, and until when.
    last: BTreeMap<BackendId, (Duration, Duration)>,
}

impl EjectionsBounded {
    pub(super) fn new(lineups: &Lineups) -> Self {
        Self { lineups: lineups.clone(), last: BTreeMap::new() }
    }
}

impl Invariant for EjectionsBounded {
    fn name(&self) -> &'static str {
        "ejections are bounded"
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        let (backend, until) = match entry.what {
            What::Core(Event::Ejected { backend, until, .. }) => (backend, until - Time::ZERO),
            What::Core(Event::Pardoned { backend }) => {
                self.last.remove(&backend);
                return;
            }
            What::Serves(_) => return self.last.clear(),
            _ => return,
        };
        let Some(lineup) = self.lineups.at(ledger.reloads, backend.service) else { return };
        let (Some(said), Some(pool)) = (lineup.core.outliers, lineup.pool_of(backend)) else {
            return;
        };
        let name = || ledger.name(backend);
        let now = Time::ZERO + entry.at;
        let pool = &lineup.pools[pool];
        let others = pool.iter().filter(|seat| seat.backend != backend);
        let is_out = |backend| ledger.ejected.get(&backend).is_some_and(|until| now < *until);
        let out = others.filter(|seat| is_out(seat.backend)).count() + 1;
        let percent = usize::from(said.eject_percent_max);
        judge.check(out == 1 || out * 100 <= pool.len() * percent, || {
            format!("{} is ejected as {out} of {}, and {percent} % may be", name(), pool.len())
        });
        let span = until.saturating_sub(entry.at);
        judge.check(span <= said.eject_for_max + TICK, || {
            format!("{} is ejected for {span:?}, and {:?} is the most", name(), said.eject_for_max)
        });
        judge.check(span + TICK >= said.eject_for.min(said.eject_for_max), || {
            format!("{} is ejected for {span:?}, and {:?} is the least", name(), said.eject_for)
        });
        if let Some((before, ended)) = self.last.insert(backend, (span, until)) {
            // Within an interval there is no other comparison at which it could have done well.
            let at_once = entry.at < ended + said.interval;
            let doubled = (before * 2).min(said.eject_for_max);
            judge.check(!at_once || span + 2 * TICK >= doubled, || {
                format!("{} is ejected at once again for {span:?} after {before:?}", name())
            });
        }
    }
}
