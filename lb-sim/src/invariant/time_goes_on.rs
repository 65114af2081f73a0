//! Time never goes back, and nobody takes steps without end: an exchange is told of a bounded number
//! of times, however it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use lb_core::{Event, ExchangeId};

use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

#[derive(Default)]
pub(super) struct TimeGoesOn {
    last: Duration,
    /// How often more was told of an exchange under way than that it was tried once.
    told: BTreeMap<ExchangeId, u32>,
}

/// What is told of an attempt after the first: that it is waited for, made, overtaken, followed by no other.
const TOLD_OF_ATTEMPT: u32 = 4;
/// What is told of an exchange besides: that it waits in line.
const TOLD_OF_ALL: u32 = 1;

impl Invariant for TimeGoesOn {
    fn name(&self) -> &'static str {
        "time goes on"
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        Topics::STARTED
            .and(Topics::ATTEMPTED)
            .and(Topics::DELAYED)
            .and(Topics::ASIDE)
            .and(Topics::BODY_ENDED)
            .and(Topics::REJECTED)
            .and(Topics::LEFT)
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        let last = self.last;
        judge.check(entry.at >= last, || format!("{:?} comes after {last:?}", entry.at));
        self.last = entry.at;
        let What::Core(event) = entry.what else { return };
        let id = match event {
            Event::Attempted { exchange, attempt: 2.., .. }
            | Event::Overtaken { exchange, .. }
            | Event::Queued { exchange, .. }
            | Event::Delayed { exchange, .. }
            | Event::Withheld { exchange, .. } => exchange,
            Event::Ended { exchange, .. }
            | Event::Left { exchange }
            | Event::Rejected { exchange, .. } => {
                self.told.remove(&exchange);
                return;
            }
            _ => return,
        };
        let told = self.told.entry(id).or_default();
        *told += 1;
        let told = *told;
        let Some(exchange) = ledger.exchanges.get(&id) else { return };
        let attempts = ledger.service_of(exchange).core.retry.attempts_max;
        let most = TOLD_OF_ALL + TOLD_OF_ATTEMPT * u32::from(attempts);
        judge.check(told <= most, || format!("exchange {} takes {told} steps", id.0));
    }
}
