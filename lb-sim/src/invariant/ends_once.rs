//! Every request ends exactly once: for its client, and for the core.

use lb_core::Event;

use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

pub(super) struct EndsOnce;

impl Invariant for EndsOnce {
    fn name(&self) -> &'static str {
        "every request ends exactly once"
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        Topics::DELIVERED.and(Topics::REJECTED).and(Topics::LEFT).and(Topics::BODY_ENDED)
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        let (id, before) = match entry.what {
            What::Core(
                Event::Delivered { exchange, .. }
                | Event::Rejected { exchange, .. }
                | Event::Left { exchange },
            ) => (exchange, ledger.exchanges.get(&exchange).map(|it| it.answers)),
            What::Core(Event::Ended { exchange, .. }) => {
                (exchange, ledger.exchanges.get(&exchange).map(|it| it.ended))
            }
            _ => return,
        };
        judge.check(before == Some(0), || {
            format!("exchange {} ends, and had ended {before:?} times before", id.0)
        });
    }

    fn at_end(&mut self, ledger: &Ledger<'_>, judge: &mut Judge) {
        // Whom the ledger has let go ended as he should.
        judge.held(ledger.requests.retired() + 2 * ledger.exchanges.retired());
        for (number, request) in ledger.requests.iter() {
            judge.check(request.ends == 1, || {
                format!("request {number} has ended {} times", request.ends)
            });
        }
        for (id, exchange) in ledger.exchanges.iter() {
            judge.check(exchange.answers == 1, || {
                format!("exchange {id} has been answered {} times", exchange.answers)
            });
            judge.check(exchange.ended == u32::from(exchange.delivered), || {
                format!("the body of exchange {id} has ended {} times", exchange.ended)
            });
        }
    }
}
