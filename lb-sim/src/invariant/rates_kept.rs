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
    /// By service and user: who was let in, in the order in which they asked.
    buckets: BTreeMap<(u16, u32), Vec<Admitted>>,
    /// When each exchange under way began, whose first arrival is yet to come.
    began: BTreeMap<ExchangeId, Duration>,
    /// By which configuration was served last.
    served: usize,
}

/// One that was let in.
struct Admitted {
    /// When it asked.
    began: Duration,
    /// What it left of the allowance.
    left: f64,
}

/// What adding up a million fractions may cost.
const ROUNDING: f64 = 1e-6;

impl RatesKept {
    pub(super) fn new(lineups: &Lineups) -> Self {
        let (buckets, began) = (BTreeMap::new(), BTreeMap::new());
        Self { lineups: lineups.clone(), buckets, began, served: 0 }
    }

    /// What is left to clients outlives a reload. Another limit reckons otherwise, which only the core knows.
    fn reload(&mut self, reloads: usize) {
        let eras = self.served..reloads;
        let said = |era, service| self.lineups.at(era, service).map(|it| &it.core.rate);
        self.buckets.retain(|(service, _), _| {
            eras.clone().all(|era| said(era, *service) == said(era + 1, *service))
        });
        self.served = reloads;
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
            What::Serves(reloads) => return self.reload(reloads),
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
        let bucket = self.buckets.entry((exchange.service, user)).or_default();
        // Nobody who is yet to arrive asked before these. Exchanges are numbered as they begin.
        let oldest = self.began.first_key_value().map_or(began, |(_, other)| began.min(*other));
        let settled = bucket.partition_point(|admitted| admitted.began < oldest);
        bucket.drain(..settled.saturating_sub(1));
        let left = admit(bucket, began, burst, per_second);
        // The core's clock and that of the log are a tick apart, at either end.
        let blur = per_second * 2.0 * crate::engine::TICK.as_secs_f64();
        judge.check(left >= -blur.min(0.5) - ROUNDING, || {
            format!("user {user} exceeds the rate by {:.2} with exchange {}", -left, id.0)
        });
    }
}

/// Puts one among those that were let in, and says what was left at the least from then on.
///
/// Who waits for another attempt arrives long after others that asked later. It had its share of the
/// allowance when it asked, and they had theirs out of what it left.
fn admit(bucket: &mut Vec<Admitted>, began: Duration, burst: f64, per_second: f64) -> f64 {
    let place = bucket.partition_point(|admitted| admitted.began <= began);
    bucket.insert(place, Admitted { began, left: burst });
    let mut before = place.checked_sub(1).map(|at| (bucket[at].began, bucket[at].left));
    let mut least = burst;
    for admitted in &mut bucket[place..] {
        let whole = before.map_or(burst, |(at, left)| {
            (left + per_second * (admitted.began - at).as_secs_f64()).min(burst)
        });
        admitted.left = whole - 1.0;
        before = Some((admitted.began, admitted.left));
        least = least.min(admitted.left);
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each leaves at the least, of an allowance of two and one more each second.
    fn left(asked_at: &[u64]) -> Vec<f64> {
        let mut bucket = Vec::new();
        asked_at.iter().map(|at| admit(&mut bucket, Duration::from_secs(*at), 2.0, 1.0)).collect()
    }

    #[test]
    fn who_arrives_late_is_charged_for_when_it_asked() {
        assert_eq!(left(&[10, 11, 12, 13]), [1.0, 1.0, 1.0, 1.0]);
        assert_eq!(left(&[11, 12, 13, 10]), [1.0, 1.0, 1.0, 1.0], "the same, and one comes last");
    }

    #[test]
    fn who_arrives_late_does_not_hide_that_there_were_too_many() {
        assert_eq!(left(&[10, 10, 10]), [1.0, 0.0, -1.0]);
        assert_eq!(left(&[11, 11, 10, 10]), [1.0, 0.0, 0.0, -1.0], "the last of them was too many");
    }
}
