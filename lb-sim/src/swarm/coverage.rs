//! What a run has reached, so that a sweep knows whether more of them would show anything new.

use std::collections::BTreeSet;

use lb_core::Event;

use crate::log::{Entry, What};
use crate::scenario::Scenario;
use crate::verdict::Verdict;

/// Marks, invariants that had something to check, moves of breakers, and faults that somebody noticed.
pub fn reached(scenario: &Scenario, verdict: &Verdict, log: &[Entry]) -> BTreeSet<String> {
    let mut reached: BTreeSet<String> =
        verdict.marks.iter().map(|mark| format!("mark {}", mark.0)).collect();
    let checked = verdict.findings.iter().filter(|it| it.checks > 0);
    reached.extend(checked.map(|it| format!("invariant {}", it.name)));
    let bit = scenario.faults.iter().zip(&verdict.bit).filter(|(_, bit)| **bit);
    reached.extend(bit.map(|(fault, _)| format!("fault {}", fault.kind.as_str())));
    for entry in log {
        if let What::Core(Event::BreakerMoved { from, to, .. }) = entry.what {
            reached.insert(format!("breaker {} to {}", from.as_str(), to.as_str()));
        }
    }
    reached
}
