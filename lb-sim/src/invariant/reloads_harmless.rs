//! Another configuration costs nobody an answer: neither who waits for one when it comes, nor who asks
//! soon after.
//!
//! A world in which something goes wrong besides has other things to blame; it is not looked at.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

/// How long after a reload a request that fails is the reload's fault.
const SOON: Duration = Duration::from_secs(1);

/// Its name.
pub(super) const NAME: &str = "nobody suffers from a reload";

#[derive(Default)]
pub(super) struct ReloadsHarmless {
    /// The last one that nothing else disturbs.
    at: Option<Duration>,
    /// Requests under way at that time.
    open: BTreeSet<u32>,
}

impl Invariant for ReloadsHarmless {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self, scenario: &Scenario) -> Topics {
        let reloads = scenario.configs().count() > 1;
        let all = Topics::RELOADS.and(Topics::SENT).and(Topics::ENDED);
        if reloads { all } else { Topics::NONE }
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        match entry.what {
            What::Reloaded(_) => {
                let disturbed = is_disturbed(ledger, entry.at, entry.at);
                self.at = (!disturbed).then_some(entry.at);
                if !disturbed {
                    let open = ledger.requests.iter().filter(|(_, it)| it.end.is_none());
                    let number = |request| u32::try_from(request).expect("requests have 32 bits");
                    self.open.extend(open.map(|(request, _)| number(request)));
                }
            }
            What::Sent { request, .. }
                if self.at.is_some_and(|at| entry.at < at + SOON) && ledger.draining.is_none() =>
            {
                self.open.insert(request);
            }
            // Trouble that came later has a say in what ends later.
            What::Ended { request, end, .. }
                if self.open.remove(&request)
                    && self.at.is_some_and(|at| !is_disturbed(ledger, at, entry.at)) =>
            {
                judge.check(end.is_good(), || format!("request {request} ends as {end:?}"));
            }
            _ => {}
        }
    }
}

/// Whether something else goes wrong between two times, or did so shortly before: a fault, or a crowd.
fn is_disturbed(ledger: &Ledger<'_>, from: Duration, to: Duration) -> bool {
    let scenario = ledger.scenario;
    let faults = scenario.faults.iter().map(|fault| (fault.at, fault.end()));
    let surges = scenario.workload.surges.iter().filter(|surge| surge.times > 1.0);
    let mut trouble = faults.chain(surges.map(|surge| (surge.at, surge.at + surge.lasts)));
    trouble.any(|(begins, ends)| begins <= to && from < ends + scenario.recover_within)
}
