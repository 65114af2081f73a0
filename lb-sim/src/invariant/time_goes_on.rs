//! Time never goes back, and nobody takes steps without end: an exchange is told of a bounded number
//! of times, however it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use lb_core::{Event, ExchangeId};

use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, What};

#[derive(Default)]
pub(super) struct TimeGoesOn {
    last: Duration,
    /// How often each exchange under way was told of.
    told: BTreeMap<ExchangeId, u32>,
}

/// What is told of an attempt: that it was made, what became of it, that another will follow or will not.
const TOLD_OF_ATTEMPT: u32 = 4;
/// What is told of an exchange besides: that it began, waits in line, was answered and ended.
const TOLD_OF_ALL: u32 = 4;

impl Invariant for TimeGoesOn {
    fn name(&self) -> &'static str {
        "time goes on"
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        let last = self.last;
        judge.check(entry.at >= last, || format!("{:?} comes after {last:?}", entry.at));
        self.last = entry.at;
        let What::Core(event) = entry.what else { return };
        let id = match event {
            Event::Started { exchange, .. }
            | Event::Attempted { exchange, .. }
            | Event::Concluded { exchange, .. }
            | Event::Overtaken { exchange, .. }
            | Event::Queued { exchange, .. }
            | Event::Delayed { exchange, .. }
            | Event::Withheld { exchange, .. }
            | Event::Delivered { exchange, .. } => exchange,
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
