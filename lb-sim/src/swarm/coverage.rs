//! What a run has reached, so that a sweep knows whether more of them would show anything new.

use std::collections::BTreeSet;

use crate::scenario::Scenario;
use crate::verdict::Verdict;

/// Marks (moves of breakers, outcomes and reasons among them), invariants that had something to check, and
/// faults that somebody noticed.
pub fn reached(scenario: &Scenario, verdict: &Verdict) -> BTreeSet<String> {
    let mut reached: BTreeSet<String> =
        verdict.marks.iter().map(|mark| format!("mark {}", mark.0)).collect();
    let checked = verdict.findings.iter().filter(|it| it.checks > 0);
    reached.extend(checked.map(|it| format!("invariant {}", it.name)));
    let bit = scenario.faults.iter().zip(&verdict.bit).filter(|(_, bit)| **bit);
    reached.extend(bit.map(|(fault, _)| format!("fault {}", fault.kind.as_str())));
    reached
}
