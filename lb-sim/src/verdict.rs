//! What a run comes to: invariants, expectations, and whether its faults bit.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::engine::Run;
use crate::invariant::{Finding, Kind};
use crate::judging::{Judging, Scrutiny};
use crate::scenario::{Mark, Scenario};

/// What a run comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Under which seed.
    pub seed: u64,
    /// What each invariant found.
    pub findings: Vec<Finding>,
    /// What each expectation of the scenario came to.
    pub expected: Vec<Expected>,
    /// By fault: whether somebody noticed it.
    pub bit: Vec<bool>,
    /// By action: whether it met anybody.
    pub met: Vec<bool>,
    /// By attack: whether the proxy put an end to it.
    pub repelled: Vec<bool>,
    /// The marks that were reached.
    pub marks: BTreeSet<Mark>,
    /// Attempts over the whole run. Without any, no decision was rehearsed.
    pub attempts: u64,
    /// What panicked, if anything did.
    pub panic: Option<String>,
    /// Of the whole trace, where it was asked for.
    pub trace_hash: Option<u64>,
    /// How long the run took in the world's time.
    pub simulated: Duration,
}

/// What an expectation came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// As it was written, behind `always`, `eventually` or `at_end`.
    pub text: String,
    /// What kind of promise it is.
    pub kind: Kind,
    /// How often there was something to look at. Never: then it proves nothing.
    pub checks: u64,
    /// When it did not hold for the first time, and what was measured.
    pub broken: Option<(Duration, f64)>,
    /// Whether what was measured is in milliseconds.
    pub is_latency: bool,
    /// When it is looked at.
    pub looked_at: LookedAt,
}

/// When an expectation is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookedAt {
    /// Each second, as soon as all of its requests have ended.
    EachSecond,
    /// When the run is over: nobody knows before.
    AtEnd,
}

/// What went wrong, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Something panicked.
    Crash,
    /// Something bad happened.
    Safety,
    /// Something good did not happen in time.
    Liveness,
    /// A fault was noticed by nobody, an action met nobody, nobody cut off an attack, an expectation had
    /// nothing to look at, or no request reached an origin: the run proves nothing.
    Toothless,
}

impl Class {
    /// The exit code of a process that found it.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Crash => 127,
            Self::Liveness => 128,
            Self::Safety => 129,
            Self::Toothless => 130,
        }
    }

    /// As written in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Safety => "safety",
            Self::Liveness => "liveness",
            Self::Toothless => "the run proves nothing",
        }
    }
}

impl Expected {
    /// That an invariant is broken, as it is meant to be, in a run of this length.
    pub(crate) fn breaks(found: &Finding, lasts: Duration) -> Self {
        Self {
            text: format!("breaks \"{}\"", found.name),
            kind: found.kind,
            checks: found.checks,
            broken: found.violations.is_empty().then_some((lasts, 0.0)),
            is_latency: false,
            looked_at: LookedAt::AtEnd,
        }
    }
}

impl Verdict {
    /// What `run` comes to.
    pub fn of(scenario: &Scenario, seed: u64, run: &Run) -> Self {
        let mut judging = Judging::new(scenario, Scrutiny::FULL);
        run.log.iter().for_each(|entry| judging.add(entry));
        judging.verdict(seed, run.simulated, run.panic.clone())
    }

    /// The worst thing that went wrong, if anything did.
    pub fn class(&self) -> Option<Class> {
        let broken = |kind| {
            let finding = |it: &Finding| it.kind == kind && !it.violations.is_empty();
            let expected = |it: &Expected| it.kind == kind && it.broken.is_some();
            self.findings.iter().any(finding) || self.expected.iter().any(expected)
        };
        let classes = [
            (self.panic.is_some(), Class::Crash),
            (broken(Kind::Safety), Class::Safety),
            (broken(Kind::Liveness), Class::Liveness),
            (self.proves_nothing(), Class::Toothless),
        ];
        classes.into_iter().find_map(|(is, class)| is.then_some(class))
    }

    /// Whether something was wrong with backends, and nobody noticed anything of it.
    pub fn is_unnoticed(&self) -> bool {
        !self.bit.is_empty() && !self.bit.contains(&true)
    }

    /// The marks of its scenario that this run did not reach: a sweep has to.
    pub fn missing<'s>(&self, scenario: &'s Scenario) -> Vec<&'s str> {
        let marks = scenario.expect.sometimes.iter();
        marks.filter(|it| !self.marks.contains(it)).map(|it| it.0.as_str()).collect()
    }
}

impl Verdict {
    fn proves_nothing(&self) -> bool {
        let unproven = self.expected.iter().any(|it| it.checks == 0);
        let unnoticed = [&self.bit, &self.met, &self.repelled].iter().any(|it| it.contains(&false));
        unnoticed || unproven || self.attempts == 0
    }
}
