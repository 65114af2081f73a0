//! An exchange makes its attempts one after another, no more than allowed, and none after its end.

use lb_core::Event;

use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, What};

pub(super) struct AttemptsBounded;

impl Invariant for AttemptsBounded {
    fn name(&self) -> &'static str {
        "attempts are bounded"
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        let What::Core(Event::Attempted { exchange: id, attempt, .. }) = entry.what else { return };
        let Some(exchange) = ledger.exchanges.get(&id) else {
            return judge.check(false, || format!("exchange {} never started", id.0));
        };
        let max = ledger.service(exchange.service).core.retry.attempts_max;
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
        judge.check(exchange.attempts.iter().all(|it| it.outcome.is_some()), || {
            format!("exchange {} makes attempt {attempt} while another is under way", id.0)
        });
    }
}
