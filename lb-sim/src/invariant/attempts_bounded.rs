//! An exchange makes its attempts one after another, no more than allowed, and none after its end.

use lb_core::Event;

use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

pub(super) struct AttemptsBounded;

impl Invariant for AttemptsBounded {
    fn name(&self) -> &'static str {
        "attempts are bounded"
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        Topics::ATTEMPTED
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        let What::Core(Event::Attempted { exchange: id, attempt, choice, .. }) = entry.what else {
            return;
        };
        let Some(exchange) = ledger.exchanges.get(&id) else {
            return judge.check(false, || format!("exchange {} never started", id.0));
        };
        let max = ledger.service_of(exchange).core.retry.attempts_max;
        let before = exchange.attempts.len();
        judge.check(attempt <= max, || {
            format!("exchange {} makes attempt {attempt} of {max}", id.0)
        });
        judge.check(usize::from(attempt) == before + 1, || {
            format!("exchange {} makes attempt {attempt} after {before}", id.0)
        });
        judge.check(exchange.answers == 0, || {
            format!("exchange {} makes attempt {attempt} after its end", id.0)
        });
        // A hedge is made beside one that takes long; anything else when nothing is under way.
        let running = exchange.attempts.iter().filter(|it| it.is_running()).count();
        judge.check(running == usize::from(choice.hedge), || {
            format!("exchange {} makes attempt {attempt} while {running} are under way", id.0)
        });
    }
}
