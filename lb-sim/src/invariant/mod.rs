//! What must hold in every run, whatever the scenario: a file each.
//!
//! An invariant looks at every entry of the log just before the ledger takes it into account, and
//! once more when the run is over. How often it found something to check is part of the report: an
//! invariant that never had anything to say proves nothing.

mod answers_whole;
mod attempts_bounded;
mod breaker_respected;
mod checks_respected;
mod accepted_answered;
mod budget_kept;
mod deadlines_kept;
mod drains;
mod ends_once;
mod leases_return;
mod no_duplicates;
mod recovers;
mod reloads_harmless;
mod trials_bounded;
mod tried_excluded;
mod tunnels_last;

use std::time::Duration;

use crate::ledger::Ledger;
use crate::log::Entry;
use crate::scenario::Scenario;

/// The name of the one that holds in worlds where nobody gets a bad answer without a reload.
pub const RELOADS_HARMLESS: &str = reloads_harmless::NAME;

/// What kind of promise an invariant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something bad never happens.
    Safety,
    /// Something good happens in time.
    Liveness,
}

/// A promise.
pub trait Invariant {
    /// Its name, as in reports.
    fn name(&self) -> &'static str;

    /// What kind of promise it is.
    fn kind(&self) -> Kind {
        Kind::Safety
    }

    /// Looks at an entry. The ledger does not know of it yet.
    fn on(&mut self, _entry: &Entry, _ledger: &Ledger<'_>, _judge: &mut Judge) {}

    /// Looks at the ledger of the whole run.
    fn at_end(&mut self, _ledger: &Ledger<'_>, _judge: &mut Judge) {}
}

/// Where an invariant says what it found.
#[derive(Debug)]
pub struct Judge {
    now: Duration,
    checks: u64,
    violations: Vec<Violation>,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When.
    pub at: Duration,
    /// In words.
    pub what: String,
}

/// Violations that are kept of each invariant; the first ones say most.
const VIOLATIONS_MAX: usize = 10;

impl Judge {
    /// Checks something once. `what` says what is wrong if it does not hold.
    pub fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        self.checks += 1;
        if !holds && self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation { at: self.now, what: what() });
        }
    }
}

/// What an invariant found in a run.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Which invariant.
    pub name: &'static str,
    /// What kind of promise it is.
    pub kind: Kind,
    /// How often there was something to check.
    pub checks: u64,
    /// What was wrong.
    pub violations: Vec<Violation>,
}

/// Holds all invariants against the log of a run. Returns what each found, and the final account.
pub fn judge<'s>(
    scenario: &'s Scenario,
    log: &[Entry],
    simulated: Duration,
) -> (Vec<Finding>, Ledger<'s>) {
    let new = || Judge { now: Duration::ZERO, checks: 0, violations: Vec::new() };
    let mut invariants: Vec<_> = all(scenario).into_iter().map(|it| (it, new())).collect();
    let mut ledger = Ledger::new(scenario);
    for entry in log {
        for (invariant, judge) in &mut invariants {
            judge.now = entry.at;
            invariant.on(entry, &ledger, judge);
        }
        ledger.enter(entry);
    }
    let findings = invariants.into_iter().map(|(mut invariant, mut judge)| {
        judge.now = simulated;
        invariant.at_end(&ledger, &mut judge);
        let Judge { checks, violations, .. } = judge;
        Finding { name: invariant.name(), kind: invariant.kind(), checks, violations }
    });
    (findings.collect(), ledger)
}

/// The names of all invariants.
pub fn names(scenario: &Scenario) -> Vec<&'static str> {
    all(scenario).iter().map(|it| it.name()).collect()
}

fn all(scenario: &Scenario) -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(ends_once::EndsOnce),
        Box::new(answers_whole::AnswersWhole),
        Box::new(attempts_bounded::AttemptsBounded),
        Box::new(deadlines_kept::DeadlinesKept::default()),
        Box::new(no_duplicates::NoDuplicates::default()),
        Box::new(tried_excluded::TriedExcluded),
        Box::new(breaker_respected::BreakerRespected),
        Box::new(checks_respected::ChecksRespected),
        Box::new(trials_bounded::TrialsBounded),
        Box::new(budget_kept::BudgetKept::new(scenario)),
        Box::new(leases_return::LeasesReturn),
        Box::new(recovers::Recovers::default()),
        Box::new(reloads_harmless::ReloadsHarmless::default()),
        Box::new(tunnels_last::TunnelsLast::default()),
        Box::new(accepted_answered::AcceptedAnswered::default()),
        Box::new(drains::Drains::default()),
    ]
}
