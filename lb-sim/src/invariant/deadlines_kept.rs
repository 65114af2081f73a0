//! Nothing outlives its deadline by more than two ticks of the world: no attempt, and no exchange.

use std::time::Duration;

use lb_core::{Event, Time};

use super::{Invariant, Judge};
use crate::engine::TICK;
use crate::ledger::Ledger;
use crate::log::{Entry, What};

pub(super) struct DeadlinesKept;

impl Invariant for DeadlinesKept {
    fn name(&self) -> &'static str {
        "deadlines are kept"
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        let What::Core(event) = entry.what else { return };
        let (id, deadline) = match event {
            Event::Concluded { exchange, .. } => {
                let attempts = ledger.exchanges.get(&exchange).map(|it| &it.attempts);
                (exchange, attempts.and_then(|it| it.last()).map(|it| it.deadline))
            }
            Event::Delivered { exchange, .. }
            | Event::Rejected { exchange, .. }
            | Event::Ended { exchange, .. } => {
                (exchange, ledger.exchanges.get(&exchange).map(|it| it.deadline))
            }
            _ => return,
        };
        let Some(deadline) = deadline else { return };
        let late = entry.at.saturating_sub(since_start(deadline));
        judge.check(late <= 2 * TICK, || format!("exchange {} is late by {late:?}", id.0));
    }
}

/// The proxy's clock starts with the world.
fn since_start(time: Time) -> Duration {
    time - Time::ZERO
}
