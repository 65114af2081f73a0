//! Retries stay within the budget: over any span, `burst + percent × requests + rate × time`.
//!
//! The ledger's own bucket in exact fractions; the core's may be a little later, never earlier. A
//! retry is paid for when it is decided, which is before its wait if it has one.

use std::collections::BTreeSet;
use std::time::Duration;

use lb_core::{Event, ExchangeId};

use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

pub(super) struct BudgetKept {
    /// By service: retries that are left, and when that was.
    buckets: Vec<(f64, Duration)>,
    /// Exchanges whose next attempt has been paid for.
    paid: BTreeSet<ExchangeId>,
}

/// What adding up a million fractions may cost.
const ROUNDING: f64 = 1e-6;

impl BudgetKept {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let services = 0..u16::try_from(scenario.roster.services()).unwrap_or(u16::MAX);
        let first = |service| {
            scenario.configs().find_map(|config| scenario.roster.service(config, service))
        };
        let full = |burst: u32| (f64::from(burst), Duration::ZERO);
        let buckets = services.filter_map(first).map(|it| full(it.core.retry.budget.burst));
        Self { buckets: buckets.collect(), paid: BTreeSet::new() }
    }
}

impl Invariant for BudgetKept {
    fn name(&self) -> &'static str {
        "retries stay within the budget"
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        let retries = Topics::DELAYED.and(Topics::ATTEMPTED);
        Topics::STARTED.and(retries).and(Topics::LEFT).and(Topics::REJECTED)
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        let (service, is_retry) = match entry.what {
            What::Core(Event::Started { service, .. }) => (service, false),
            What::Core(Event::Delayed { exchange, .. }) => {
                self.paid.insert(exchange);
                let Some(known) = ledger.exchanges.get(&exchange) else { return };
                (known.service, true)
            }
            What::Core(Event::Attempted { exchange, backend, attempt: 2.., .. }) => {
                if self.paid.remove(&exchange) {
                    return;
                }
                (backend.service, true)
            }
            What::Core(Event::Left { exchange } | Event::Rejected { exchange, .. }) => {
                self.paid.remove(&exchange);
                return;
            }
            _ => return,
        };
        let budget = ledger.service(service).core.retry.budget;
        let (left, since) = &mut self.buckets[usize::from(service)];
        let earned = f64::from(budget.min_per_second) * (entry.at - *since).as_secs_f64();
        let deposit = if is_retry { 0.0 } else { f64::from(budget.percent) / 100.0 };
        *since = entry.at;
        *left = (*left + earned + deposit).min(f64::from(budget.burst));
        if is_retry {
            *left -= 1.0;
            judge.check(*left >= -ROUNDING, || format!("a retry exceeds the budget by {}", -*left));
        }
    }
}
