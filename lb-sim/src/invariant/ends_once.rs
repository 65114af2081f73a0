//! Every request ends exactly once: for its client, and for the core.

use lb_core::Event;

use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, What};

pub(super) struct EndsOnce;

impl Invariant for EndsOnce {
    fn name(&self) -> &'static str {
        "every request ends exactly once"
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
        for (number, request) in &ledger.requests {
            judge.check(request.ends == 1, || {
                format!("request {number} has ended {} times", request.ends)
            });
        }
        for (id, exchange) in &ledger.exchanges {
            judge.check(exchange.answers == 1, || {
                format!("exchange {} has been answered {} times", id.0, exchange.answers)
            });
            judge.check(exchange.ended == u32::from(exchange.delivered), || {
                format!("the body of exchange {} has ended {} times", id.0, exchange.ended)
            });
        }
    }
}
