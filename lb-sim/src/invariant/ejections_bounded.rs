//! Only so much of a pool is ejected at once, nobody for longer than may be, and who is ejected again
//! at once for twice as long.

use std::collections::BTreeMap;
use std::time::Duration;

use lb_core::{BackendId, Event, ExchangeId, Outcome, Role, Time};

use super::lineup::Lineups;
use super::{Invariant, Judge};
use crate::engine::TICK;
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

pub(super) struct EjectionsBounded {
    lineups: Lineups,
    /// How each was ejected last.
    last: BTreeMap<BackendId, Last>,
}

/// An ejection: for how long, from when on answers count for the backend, and when the first of those came.
struct Last {
    span: Duration,
    counts: Duration,
    asked: Option<Duration>,
}

impl Last {
    /// What came before a comparison that finds the backend out goes unheard. Who is back by the
    /// next one is compared, and everything that came since the last one speaks for it.
    fn new(since: Duration, span: Duration, interval: Duration) -> Self {
        let comparisons = span.saturating_sub(TICK).as_micros() / interval.as_micros().max(1);
        let comparisons = u32::try_from(comparisons).expect("an ejection is not so long");
        Self { span, counts: since + interval * comparisons, asked: None }
    }

    /// Something came that the backend is compared by.
    fn hear(&mut self, at: Duration) {
        if at > self.counts {
            self.asked.get_or_insert(at);
        }
    }
}

impl EjectionsBounded {
    pub(super) fn new(lineups: &Lineups) -> Self {
        Self { lineups: lineups.clone(), last: BTreeMap::new() }
    }
}

/// Whether the head of an answer, or that there is none, counts already: a bad one does, and that
/// of a trial. What else there is counts by how its body ends.
fn is_compared(ledger: &Ledger<'_>, attempt: (ExchangeId, u8), outcome: Outcome) -> bool {
    let Some(exchange) = ledger.exchanges.get(&attempt.0) else { return true };
    let failures = ledger.service_of(exchange).core.failures;
    let is_bad = match outcome {
        Outcome::Answered(status) => status >= 600 || failures.contains(status),
        Outcome::Failed(_) => true,
    };
    let made = exchange.attempts.iter().nth(usize::from(attempt.1) - 1);
    is_bad || made.is_none_or(|made| made.choice.role == Role::Trial)
}

impl Invariant for EjectionsBounded {
    fn name(&self) -> &'static str {
        "ejections are bounded"
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        match self.lineups.any(|core| core.outliers.is_some()) {
            true => {
                Topics::CONCLUDED.and(Topics::BODY_ENDED).and(Topics::BACKEND).and(Topics::RELOADS)
            }
            false => Topics::NONE,
        }
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        let (backend, until) = match entry.what {
            What::Core(Event::Concluded { exchange, attempt, backend, outcome, .. }) => {
                let Some(last) = self.last.get_mut(&backend) else { return };
                if is_compared(ledger, (exchange, attempt), outcome) {
                    last.hear(entry.at);
                }
                return;
            }
            What::Core(Event::Ended { backend, .. }) => {
                if let Some(last) = self.last.get_mut(&backend) {
                    last.hear(entry.at);
                }
                return;
            }
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
        let new = Last::new(entry.at, span, said.interval);
        if let Some(Last { span: before, asked, .. }) = self.last.insert(backend, new) {
            // Comparisons are an interval apart. If nothing came of it until the last one, it cannot have
            // done well in anybody's eyes since.
            let at_once = asked.is_some_and(|asked| asked + said.interval > entry.at);
            let doubled = (before * 2).min(said.eject_for_max);
            judge.check(!at_once || span + 2 * TICK >= doubled, || {
                format!("{} is ejected at once again for {span:?} after {before:?}", name())
            });
        }
    }
}
