//! No client gets more through than its rate allows: over any span, `burst + requests/per × time`.
//!
//! The ledger's own bucket in fractions, read off where requests arrive: at origins.

use std::collections::BTreeMap;
use std::time::Duration;

use lb_core::config::KeySource;
use lb_core::{Event, ExchangeId};

use super::lineup::Lineups;
use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

pub(super) struct RatesKept {
    lineups: Lineups,
    /// By service and user: what is left, and when that was.
    buckets: BTreeMap<(u16, u32), (f64, Duration)>,
    /// When each exchange under way began, whose first arrival is yet to come.
    began: BTreeMap<ExchangeId, Duration>,
}

/// What adding up a million fractions may cost.
const ROUNDING: f64 = 1e-6;

impl RatesKept {
    pub(super) fn new(lineups: &Lineups) -> Self {
        Self { lineups: lineups.clone(), buckets: BTreeMap::new(), began: BTreeMap::new() }
    }
}

impl Invariant for RatesKept {
    fn name(&self) -> &'static str {
        "rates are kept"
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        match self.lineups.any(|core| core.rate.is_some()) {
            true => Topics::STARTED
                .and(Topics::REJECTED)
                .and(Topics::LEFT)
                .and(Topics::REACHED)
                .and(Topics::RELOADS),
            false => Topics::NONE,
        }
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        let (id, user) = match entry.what {
            What::Core(Event::Started { exchange, service, .. }) => {
                let lineup = self.lineups.at(ledger.reloads, service);
                if lineup.is_some_and(|lineup| lineup.core.rate.is_some()) {
                    self.began.insert(exchange, entry.at);
                }
                return;
            }
            What::Core(Event::Rejected { exchange, .. } | Event::Left { exchange }) => {
                self.began.remove(&exchange);
                return;
            }
            What::Reached { exchange, user: Some(user), .. } => (exchange, user),
            // What was learned of clients does not outlive a reload.
            What::Serves(_) => return self.buckets.clear(),
            _ => return,
        };
        // Only the first arrival counts, and as of when it was let in.
        let Some(began) = self.began.remove(&id) else { return };
        let Some(exchange) = ledger.exchanges.get(&id) else { return };
        let Some(lineup) = self.lineups.at(exchange.reloads, exchange.service) else { return };
        let Some(said) = &lineup.core.rate else { return };
        let by_user = KeySource::Header("x-user".into());
        if exchange.reloads != ledger.reloads || said.key.first() != Some(&by_user) {
            return;
        }
        let burst = f64::from(said.burst);
        let per_second = f64::from(said.requests) / said.per.as_secs_f64();
        let bucket = self.buckets.entry((exchange.service, user)).or_insert((burst, began));
        // Two that began at nearly the same time may arrive in the other order.
        let later = began.max(bucket.1);
        let earned = per_second * (later - bucket.1).as_secs_f64();
        *bucket = ((bucket.0 + earned).min(burst) - 1.0, later);
        let left = bucket.0;
        // The core's clock and that of the log are a tick apart, at either end.
        let blur = per_second * 2.0 * crate::engine::TICK.as_secs_f64();
        judge.check(left >= -blur.min(0.5) - ROUNDING, || {
            format!("user {user} exceeds the rate by {:.2} with exchange {}", -left, id.0)
        });
    }
}
