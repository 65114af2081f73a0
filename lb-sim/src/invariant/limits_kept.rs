//! No more is in flight than may be, at a backend and at a service, and no more waits.
//!
//! The ledger's own counts. An answer that is kept while a retry is thought over holds on to its
//! place; it is left out here, so that these counts are never above the truth.

use std::collections::{BTreeMap, BTreeSet};

use lb_core::config::{LimitConfig, ServiceConfig};
use lb_core::{BackendId, Event, ExchangeId, Outcome};

use super::lineup::Lineups;
use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

pub(super) struct LimitsKept {
    lineups: Lineups,
    /// By exchange: at which service, and its attempts that hold a place.
    open: BTreeMap<ExchangeId, (u16, Vec<(u8, BackendId)>)>,
    at_backend: BTreeMap<BackendId, u32>,
    running: BTreeMap<u16, u32>,
    waiting: BTreeMap<u16, BTreeSet<ExchangeId>>,
}

impl LimitsKept {
    pub(super) fn new(lineups: &Lineups) -> Self {
        Self {
            lineups: lineups.clone(),
            open: BTreeMap::new(),
            at_backend: BTreeMap::new(),
            running: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    fn leaves_line(&mut self, service: u16, id: ExchangeId) {
        self.waiting.entry(service).or_default().remove(&id);
    }

    /// An attempt gives its place back.
    fn gives_back(&mut self, id: ExchangeId, attempt: Option<u8>) {
        let Some((_, held)) = self.open.get_mut(&id) else { return };
        let gone = held.iter().filter(|(number, _)| attempt.is_none_or(|it| it == *number));
        for (_, backend) in gone {
            let count = self.at_backend.entry(*backend).or_default();
            *count = count.saturating_sub(1);
        }
        held.retain(|(number, _)| attempt.is_some_and(|it| it != *number));
    }

    fn ends(&mut self, id: ExchangeId) {
        self.gives_back(id, None);
        let Some((service, _)) = self.open.remove(&id) else { return };
        let running = self.running.entry(service).or_default();
        *running = running.saturating_sub(1);
    }

    fn attempted(
        &mut self,
        (id, attempt, backend): (ExchangeId, u8, BackendId),
        hedges: bool,
        ledger: &Ledger<'_>,
        judge: &mut Judge,
    ) {
        self.leaves_line(backend.service, id);
        if !hedges {
            self.gives_back(id, None);
        }
        // Whatever it came under: what may be in flight is what is in force.
        let lineup = self.lineups.at(ledger.loaded, backend.service);
        let limits = lineup.map(|lineup| &lineup.core.limits);
        let is_new = !self.open.contains_key(&id);
        let (_, held) = self.open.entry(id).or_insert_with(|| (backend.service, Vec::new()));
        held.push((attempt, backend));
        let at_backend = self.at_backend.entry(backend).or_default();
        *at_backend += 1;
        let running = self.running.entry(backend.service).or_default();
        *running += u32::from(is_new);
        let Some(limits) = limits else { return };
        if let Some(most) = limits.per_backend {
            judge.check(*at_backend <= most, || {
                format!("{} has {at_backend} of {most} in flight", ledger.name(backend))
            });
        }
        let most = limits.adaptive.map(|adaptive| adaptive.max).or(limits.per_service);
        if let (Some(most), true) = (most, is_new) {
            judge.check(*running <= most, || {
                format!("exchange {} makes it {running} of {most} at the service", id.0)
            });
        }
    }
}

/// Whether there is anything to wait for.
pub(super) fn is_bounded(limits: &LimitConfig) -> bool {
    let some = limits.per_backend.is_some() || limits.per_service.is_some();
    some || limits.adaptive.is_some()
}

fn is_limited(core: &ServiceConfig) -> bool {
    is_bounded(&core.limits) || core.limits.queue_max > 0
}

impl Invariant for LimitsKept {
    fn name(&self) -> &'static str {
        "limits are kept"
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        match self.lineups.any(is_limited) {
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
        match event {
            Event::Attempted { exchange, attempt, backend, choice, .. } => {
                self.attempted((exchange, attempt, backend), choice.hedge, ledger, judge);
            }
            Event::Concluded { exchange, attempt, outcome: Outcome::Failed(_), .. }
            | Event::Overtaken { exchange, attempt, .. } => {
                self.gives_back(exchange, Some(attempt));
            }
            Event::Queued { exchange, .. } => {
                let Some(known) = ledger.exchanges.get(&exchange) else { return };
                let Some(lineup) = self.lineups.at(known.reloads, known.service) else { return };
                let most = lineup.core.limits.queue_max as usize;
                let waiting = self.waiting.entry(known.service).or_default();
                waiting.insert(exchange);
                let waiting = waiting.len();
                judge.check(waiting <= most, || {
                    format!("exchange {} makes it {waiting} of {most} in line", exchange.0)
                });
            }
            Event::Rejected { exchange, .. } | Event::Left { exchange } => {
                if let Some(known) = ledger.exchanges.get(&exchange) {
                    self.leaves_line(known.service, exchange);
                }
                self.ends(exchange);
            }
            Event::Ended { exchange, .. } => self.ends(exchange),
            _ => {}
        }
    }
}
