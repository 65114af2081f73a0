//! A proxy that drains answers what it has accepted: every request that became an exchange is answered,
//! whole, and its client hears of it. What it has not accepted is another's to answer.
//!
//! What the drain timeout cuts is excused, and so is whom a client would not wait for.

use std::collections::BTreeSet;
use std::time::Duration;

use lb_core::{BodyEnd, Event, ExchangeId};

use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{End, Entry, Topics, What};
use crate::scenario::{ActionKind, Scenario};

#[derive(Default)]
pub(super) struct AcceptedAnswered {
    /// Since when the proxy drains.
    since: Option<Duration>,
    /// Exchanges that were under way then, or began later.
    accepted: BTreeSet<ExchangeId>,
    under_way: BTreeSet<ExchangeId>,
    /// Whether a client hung up by itself.
    hung_up: bool,
}

impl Invariant for AcceptedAnswered {
    fn name(&self) -> &'static str {
        "what a drain finds accepted is answered"
    }

    fn wants(&self, scenario: &Scenario) -> Topics {
        let drains = scenario.actions.iter().any(|it| it.kind == ActionKind::Drain);
        if drains { Topics::ALL } else { Topics::NONE }
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        match &entry.what {
            What::DrainBegan => {
                self.since = Some(entry.at);
                self.accepted.clone_from(&self.under_way);
            }
            What::Core(Event::Started { exchange, .. }) => {
                self.under_way.insert(*exchange);
                if self.since.is_some() {
                    self.accepted.insert(*exchange);
                }
            }
            // A tunnel is not something that is answered.
            What::Core(Event::Delivered { exchange, status: 101, .. }) => {
                self.under_way.remove(exchange);
                self.accepted.remove(exchange);
            }
            What::Core(
                Event::Ended { exchange, .. }
                | Event::Left { exchange }
                | Event::Rejected { exchange, .. },
            ) => {
                self.under_way.remove(exchange);
                let whole = matches!(
                    entry.what,
                    What::Core(
                        Event::Ended { end: BodyEnd::Complete, .. } | Event::Rejected { .. }
                    )
                );
                let Some(since) = self.since else { return };
                if !self.accepted.contains(exchange) {
                    return;
                }
                let cut = entry.at >= since + ledger.config().server.drain_timeout;
                judge.check(whole || cut || self.hung_up, || {
                    format!("exchange {} ends early, and its client did not", exchange.0)
                });
                if cut {
                    self.accepted.remove(exchange);
                }
            }
            What::Ended { end, exchange, .. } => {
                self.hung_up |= *end == End::TimedOut;
                let told = exchange.is_some_and(|exchange| self.accepted.remove(&exchange));
                let whole = matches!(end, End::Answered(_));
                if told {
                    judge.check(whole || self.hung_up, || format!("a client is told {end:?}"));
                }
            }
            _ => {}
        }
    }

    fn at_end(&mut self, _ledger: &Ledger<'_>, judge: &mut Judge) {
        if self.since.is_some() && !self.hung_up {
            judge.check(self.accepted.is_empty(), || {
                let ids: Vec<u64> = self.accepted.iter().map(|exchange| exchange.0).collect();
                format!("the clients of exchanges {ids:?} were told nothing")
            });
        }
    }
}
