//! A tunnel goes on, whatever the configuration becomes, until its client is done or the drain is over;
//! and every word in it arrives.
//!
//! Where something goes wrong besides, tunnels may break with it.

use std::collections::BTreeSet;

use super::{Invariant, Judge};
use crate::engine::TICK;
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, TunnelEnd, What};
use crate::scenario::Scenario;

#[derive(Default)]
pub(super) struct TunnelsLast {
    open: BTreeSet<u32>,
}

impl Invariant for TunnelsLast {
    fn name(&self) -> &'static str {
        "tunnels last, and end with the drain"
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        Topics::TUNNELS.and(Topics::DRAINS)
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        match entry.what {
            What::TunnelOpened { tunnel, .. } => {
                self.open.insert(tunnel);
            }
            What::TunnelEnded { tunnel, end, .. } => {
                self.open.remove(&tunnel);
                if !ledger.scenario.faults.is_empty() {
                    return;
                }
                // How long it lasts is said by the configuration; the news take their time.
                let timeout = ledger.config().server.drain_timeout;
                let cut = ledger.draining.map(|since| since + timeout);
                let travels = 4 * ledger.scenario.network.max + 10 * TICK;
                let due = cut.is_some_and(|at| (at..at + travels).contains(&entry.at));
                let fine = match end {
                    TunnelEnd::Done => true,
                    TunnelEnd::CutOff => due,
                    TunnelEnd::Refused => ledger.draining.is_some(),
                    TunnelEnd::Garbled => false,
                };
                judge.check(fine, || format!("tunnel {tunnel} ends as {end:?}"));
            }
            What::Drained if ledger.scenario.tunnels.is_some() => {
                judge.check(ledger.draining.is_some() || self.open.is_empty(), || {
                    format!("tunnels {:?} are open at the end", self.open)
                });
            }
            _ => {}
        }
    }

    fn at_end(&mut self, ledger: &Ledger<'_>, judge: &mut Judge) {
        if ledger.scenario.tunnels.is_none() {
            return;
        }
        judge.check(self.open.is_empty(), || format!("tunnels {:?} never end", self.open));
    }
}
