//! An attempt has no more time than its exchange has left, and nobody waits for one that would come
//! too late.

use lb_core::{Event, Time};

use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

pub(super) struct TriesWithinWhole;

impl Invariant for TriesWithinWhole {
    fn name(&self) -> &'static str {
        "tries end with the whole"
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        Topics::ATTEMPTED.and(Topics::DELAYED).and(Topics::ASIDE)
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        let What::Core(event) = entry.what else { return };
        let (id, until, what) = match event {
            Event::Attempted { exchange, deadline, .. } => (exchange, deadline, "tries"),
            Event::Delayed { exchange, until } => (exchange, until, "waits for another attempt"),
            Event::Queued { exchange, until } => (exchange, until, "waits in line"),
            _ => return,
        };
        let Some(exchange) = ledger.exchanges.get(&id) else { return };
        let whole = exchange.deadline;
        judge.check(until <= whole, || {
            let late = until - whole;
            format!("exchange {} {what} for {late:?} beyond its time", id.0)
        });
        judge.check(Time::ZERO + entry.at <= whole + 2 * crate::engine::TICK, || {
            format!("exchange {} {what} after its time", id.0)
        });
    }
}
