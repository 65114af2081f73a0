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
mod no_metastability;
mod recovers;
mod reloads_harmless;
mod trials_bounded;
mod tried_excluded;
mod tunnels_last;

mod lineup;
mod moves;
mod asked_again;
mod bounds_on_load;
mod breaker_moves;
mod clients_stay;
mod ejections_bounded;
mod health_in_time;
mod hedges_harmless;
mod keys_stay;
mod less_loaded;
mod limits_kept;
mod lines_in_order;
mod panic_due;
mod pools_in_turn;
mod ramps_rise;
mod rates_kept;
mod reloads_whole;
mod shares_fair;
mod time_goes_on;
mod tries_within_whole;
mod waits_in_bounds;

use std::time::Duration;

use crate::ledger::Ledger;
use crate::log::{Entry, Topics};
use crate::scenario::Scenario;

pub(crate) use no_duplicates::may_have_acted;

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

    /// What entries it has something to say to in this scenario; it is not asked about others.
    fn wants(&self, _scenario: &Scenario) -> Topics {
        Topics::ALL
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

impl Judge {
    /// So many things were checked, and held.
    pub(crate) fn held(&mut self, checks: u64) {
        self.checks += checks;
    }
}

/// What an invariant found in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// All invariants and the account that they look at, while a run goes on.
pub struct Panel<'s> {
    invariants: Vec<(Box<dyn Invariant>, Judge)>,
    /// By topic: who wants to be told, by their places.
    rota: [Vec<usize>; Topics::COUNT],
    ledger: Ledger<'s>,
}

impl<'s> Panel<'s> {
    /// For a run of `scenario` that is about to begin.
    pub fn new(scenario: &'s Scenario) -> Self {
        let new = || Judge { now: Duration::ZERO, checks: 0, violations: Vec::new() };
        let invariants: Vec<_> = all(scenario).into_iter().map(|it| (it, new())).collect();
        let wants: Vec<Topics> = invariants.iter().map(|(it, _)| it.wants(scenario)).collect();
        let rota = std::array::from_fn(|topic| {
            (0..wants.len()).filter(|at| wants[*at].has(topic)).collect()
        });
        Self { invariants, rota, ledger: Ledger::new(scenario) }
    }

    /// Takes an entry into account.
    pub fn enter(&mut self, entry: &Entry) {
        self.ledger.tick(entry.at);
        for at in &self.rota[entry.what.topic()] {
            let (invariant, judge) = &mut self.invariants[*at];
            judge.now = entry.at;
            invariant.on(entry, &self.ledger, judge);
        }
        self.ledger.enter(entry);
    }

    /// What each found in a run that took so long.
    pub fn findings(self, simulated: Duration) -> Vec<Finding> {
        let ledger = self.ledger;
        let findings = self.invariants.into_iter().map(|(mut invariant, mut judge)| {
            judge.now = simulated;
            invariant.at_end(&ledger, &mut judge);
            let Judge { checks, violations, .. } = judge;
            Finding { name: invariant.name(), kind: invariant.kind(), checks, violations }
        });
        findings.collect()
    }
}

/// The names of all invariants.
pub fn names(scenario: &Scenario) -> Vec<&'static str> {
    all(scenario).iter().map(|it| it.name()).collect()
}

fn all(scenario: &Scenario) -> Vec<Box<dyn Invariant>> {
    let lineups = lineup::Lineups::of(scenario);
    let lineups = &lineups;
    vec![
        Box::new(ends_once::EndsOnce),
        Box::new(answers_whole::AnswersWhole),
        Box::new(attempts_bounded::AttemptsBounded),
        Box::new(deadlines_kept::DeadlinesKept),
        Box::new(no_duplicates::NoDuplicates),
        Box::new(tried_excluded::TriedExcluded::default()),
        Box::new(breaker_respected::BreakerRespected),
        Box::new(checks_respected::ChecksRespected),
        Box::new(trials_bounded::TrialsBounded),
        Box::new(budget_kept::BudgetKept::new(scenario)),
        Box::new(leases_return::LeasesReturn),
        Box::new(recovers::Recovers::default()),
        Box::new(no_metastability::NoMetastability::new(scenario)),
        Box::new(reloads_harmless::ReloadsHarmless::default()),
        Box::new(tunnels_last::TunnelsLast::default()),
        Box::new(accepted_answered::AcceptedAnswered::default()),
        Box::new(drains::Drains::default()),
        Box::new(breaker_moves::BreakerMoves::new(lineups)),
        Box::new(asked_again::AskedAgain::new(lineups)),
        Box::new(panic_due::PanicDue::new(lineups)),
        Box::new(pools_in_turn::PoolsInTurn::new(lineups)),
        Box::new(shares_fair::SharesFair::new(lineups)),
        Box::new(less_loaded::LessLoaded::new(lineups)),
        Box::new(limits_kept::LimitsKept::new(lineups)),
        Box::new(lines_in_order::LinesInOrder::new(lineups)),
        Box::new(rates_kept::RatesKept::new(lineups)),
        Box::new(waits_in_bounds::WaitsInBounds::new(lineups)),
        Box::new(tries_within_whole::TriesWithinWhole),
        Box::new(hedges_harmless::HedgesHarmless::new(lineups)),
        Box::new(ejections_bounded::EjectionsBounded::new(lineups)),
        Box::new(health_in_time::HealthInTime::new(lineups, scenario)),
        Box::new(ramps_rise::RampsRise::new(lineups)),
        Box::new(clients_stay::ClientsStay::new(lineups)),
        Box::new(keys_stay::KeysStay::new(lineups)),
        Box::new(bounds_on_load::BoundsOnLoad::new(lineups)),
        Box::new(reloads_whole::ReloadsWhole::new(lineups)),
        Box::new(time_goes_on::TimeGoesOn::default()),
    ]
}
