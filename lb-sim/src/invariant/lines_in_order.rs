//! Who waits in line is served before whoever came later, and waits no longer than it may.

use std::collections::BTreeMap;
use std::time::Duration;

use lb_core::{Event, ExchangeId, Time};

use super::limits_kept::is_bounded;
use super::lineup::Lineups;
use super::{Invariant, Judge};
use crate::engine::TICK;
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

pub(super) struct LinesInOrder {
    lineups: Lineups,
    /// By service, in the order in which they came: until when each waits.
    lines: BTreeMap<u16, Vec<(ExchangeId, Duration)>>,
}

impl LinesInOrder {
    pub(super) fn new(lineups: &Lineups) -> Self {
        Self { lineups: lineups.clone(), lines: BTreeMap::new() }
    }

    fn leaves(&mut self, service: u16, id: ExchangeId) -> Option<(usize, Duration)> {
        let line = self.lines.get_mut(&service)?;
        let place = line.iter().position(|(it, _)| *it == id)?;
        let (_, until) = line.remove(place);
        Some((place, until))
    }
}

impl Invariant for LinesInOrder {
    fn name(&self) -> &'static str {
        "who waits longest is next"
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        match self.lineups.any(|core| core.limits.queue_max > 0) {
            true => Topics::ATTEMPTED.and(Topics::ASIDE).and(Topics::REJECTED).and(Topics::LEFT),
            false => Topics::NONE,
        }
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        let What::Core(event) = entry.what else { return };
        let id = match event {
            Event::Queued { exchange, .. }
            | Event::Attempted { exchange, attempt: 1, .. }
            | Event::Rejected { exchange, .. }
            | Event::Left { exchange } => exchange,
            _ => return,
        };
        let Some(exchange) = ledger.exchanges.get(&id) else { return };
        let service = exchange.service;
        let Some(lineup) = self.lineups.at(exchange.reloads, service) else { return };
        let limits = &lineup.core.limits;
        if let Event::Queued { until, .. } = event {
            let until = until - Time::ZERO;
            let late = until.saturating_sub(entry.at + limits.queue_timeout);
            judge.check(late <= TICK, || {
                format!("exchange {} is to wait {late:?} longer than it may", id.0)
            });
            self.lines.entry(service).or_default().push((id, until));
            return;
        }
        // Where nobody may wait any more, or nothing is limited, there is no line to stand in.
        let in_force = self.lineups.at(ledger.loaded, service);
        let lines_up =
            in_force.is_none_or(|it| is_bounded(&it.core.limits)) && limits.queue_max > 0;
        let urgency = limits.urgency;
        let waited = self.leaves(service, id);
        if let Some((_, until)) = waited {
            let late = entry.at.saturating_sub(until);
            judge.check(late <= 2 * TICK, || format!("exchange {} waits {late:?} too long", id.0));
        }
        let Event::Attempted { .. } = event else { return };
        let line = self.lines.entry(service).or_default();
        // Whose time is up looks whether there is a place, whoever stands before him.
        let due = waited.is_some_and(|(_, until)| entry.at + TICK >= until);
        let passed = waited.map_or(line.len(), |(place, _)| place);
        judge.check(passed == 0 || due || urgency || !lines_up, || {
            format!("exchange {} is served before {passed} that came before it", id.0)
        });
    }
}
