//! Nothing outlives its deadline by more than two ticks of the world: no attempt, and no exchange.

use lb_core::Event;

use super::{Invariant, Judge};
use crate::engine::TICK;
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;
use crate::weather::since_start;

pub(super) struct DeadlinesKept;

impl Invariant for DeadlinesKept {
    fn name(&self) -> &'static str {
        "deadlines are kept"
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        let ends = Topics::DELIVERED.and(Topics::REJECTED).and(Topics::BODY_ENDED);
        ends.and(Topics::CONCLUDED)
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        let What::Core(event) = entry.what else { return };
        let (id, deadline) = match event {
            // The time to answer a POST begins with the last piece of its body.
            Event::Concluded { exchange, .. }
                if !ledger.exchanges.get(&exchange).is_some_and(|it| it.is_post) =>
            {
                let attempts = ledger.exchanges.get(&exchange).map(|it| &it.attempts);
                (exchange, attempts.and_then(|it| it.last()).map(|it| it.deadline))
            }
            // The time of a tunnel is another matter.
            Event::Ended { exchange, .. }
                if ledger.exchanges.get(&exchange).is_some_and(|it| it.switched) =>
            {
                return;
            }
            Event::Concluded { exchange, .. }
            | Event::Delivered { exchange, .. }
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
