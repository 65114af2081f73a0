//! Another configuration costs nobody an answer: neither who waits for one when it comes, nor who asks
//! soon after.
//!
//! A world in which something goes wrong besides has other things to blame; it is not looked at. One whose
//! clients got bad answers before is such a world, whatever makes them bad: too much load, too little time.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, What};

/// How long after a reload a request that fails is the reload's fault.
const SOON: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct ReloadsHarmless {
    /// The last one that nothing else disturbs.
    at: Option<Duration>,
    /// Requests under way at that time.
    open: BTreeSet<u32>,
    /// Whether a request came to a bad end that no reload is to blame for.
    is_bad: bool,
}

impl Invariant for ReloadsHarmless {
    fn name(&self) -> &'static str {
        "nobody suffers from a reload"
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        match entry.what {
            What::Reloaded(_) => {
                let disturbed = ledger.scenario.faults.iter().any(|fault| {
                    let recovered = fault.end() + ledger.scenario.recover_within;
                    (fault.at..recovered).contains(&entry.at)
                });
                let disturbed = disturbed || self.is_bad;
                self.at = (!disturbed).then_some(entry.at);
                if !disturbed {
                    let open = ledger.requests.iter().filter(|(_, it)| it.end.is_none());
                    self.open.extend(open.map(|(request, _)| *request));
                }
            }
            What::Sent { request, .. }
                if self.at.is_some_and(|at| entry.at < at + SOON) && ledger.draining.is_none() =>
            {
                self.open.insert(request);
            }
            What::Ended { request, end, .. } if self.open.remove(&request) => {
                judge.check(end.is_good(), || format!("request {request} ends as {end:?}"));
            }
            What::Ended { end, .. } => self.is_bad |= !end.is_good(),
            _ => {}
        }
    }
}
