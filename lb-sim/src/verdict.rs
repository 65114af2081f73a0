//! What a run comes to: invariants, expectations, and whether its faults bit.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use lb_core::{BreakerState, Event, Outcome, Role, stable_hash};

use crate::bite::{bit, met, repelled};
use crate::engine::Run;
use crate::invariant::{Finding, Kind, judge};
use crate::log::{Entry, What};
use crate::measure::{Facts, seconds, span};
use crate::scenario::{Expectation, Mark, Scenario};
use crate::trace;

/// What a run comes to.
#[derive(Debug)]
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
    /// Of the whole trace.
    pub trace_hash: u64,
    /// How long the run took in the world's time.
    pub simulated: Duration,
}

/// What an expectation came to.
#[derive(Clone, Debug)]
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
    /// A fault was noticed by nobody, an action met nobody, nobody cut off an attack, an expectation had nothing to look at, or no request reached
    /// an origin: the run proves nothing.
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

impl Verdict {
    /// What `run` comes to.
    pub fn of(scenario: &Scenario, seed: u64, run: &Run) -> Self {
        let (mut findings, _) = judge(scenario, &run.log, run.simulated);
        let broken = meant(scenario, &mut findings);
        let attempted = |it: &&Entry| matches!(it.what, What::Core(Event::Attempted { .. }));
        Self {
            seed,
            findings,
            expected: [expectations(scenario, &run.log), broken].concat(),
            bit: scenario.faults.iter().map(|fault| bit(scenario, fault, &run.log)).collect(),
            met: met(scenario, &run.log),
            repelled: repelled(scenario, &run.log),
            marks: marks(&run.log),
            attempts: run.log.iter().filter(attempted).count() as u64,
            panic: run.panic.clone(),
            trace_hash: stable_hash(trace::text(&run.log).as_bytes()),
            simulated: run.simulated,
        }
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
}

impl Verdict {
    fn proves_nothing(&self) -> bool {
        let unproven = self.expected.iter().any(|it| it.checks == 0);
        let unnoticed = [&self.bit, &self.met, &self.repelled].iter().any(|it| it.contains(&false));
        unnoticed || unproven || self.attempts == 0
    }
}

/// Takes out of `findings` what the scenario means to be broken, and says whether it was.
fn meant(scenario: &Scenario, findings: &mut Vec<Finding>) -> Vec<Expected> {
    let is_meant = |it: &mut Finding| scenario.expect.breaks.iter().any(|name| name == it.name);
    let meant = findings.extract_if(.., is_meant).map(|it| Expected {
        text: format!("breaks \"{}\"", it.name),
        kind: it.kind,
        checks: it.checks,
        broken: it.violations.is_empty().then_some((scenario.duration, 0.0)),
        is_latency: false,
    });
    meant.collect()
}

fn expectations(scenario: &Scenario, log: &[Entry]) -> Vec<Expected> {
    let facts = Facts::of(scenario, log);
    let measured = |expectation: &Expectation, over: &Range<Duration>| {
        facts.measure(scenario, over).of(&expectation.metric, scenario)
    };
    let every =
        |kind, word: &str, expectation: &Expectation, spans: Vec<Range<Duration>>| Expected {
            text: format!("{word} {}", expectation.text),
            kind,
            checks: spans.iter().filter_map(|over| measured(expectation, over)).count() as u64,
            broken: spans.iter().find_map(|over| {
                let measured = measured(expectation, over)?;
                (!expectation.holds(measured)).then_some((over.start, measured))
            }),
            is_latency: expectation.is_latency(),
        };
    let whole = span(scenario, None);
    let recovered = scenario.recovered()..scenario.duration;
    let expect = &scenario.expect;
    let always =
        expect.always.iter().map(|it| every(Kind::Safety, "always", it, seconds(&whole).collect()));
    let eventually = expect
        .eventually
        .iter()
        .map(|it| every(Kind::Liveness, "eventually", it, seconds(&recovered).collect()));
    let at_end = expect
        .at_end
        .iter()
        .map(|it| every(Kind::Safety, "at_end", it, vec![span(scenario, it.phase)]));
    always.chain(eventually).chain(at_end).collect()
}

/// The marks that a log reaches.
fn marks(log: &[Entry]) -> BTreeSet<Mark> {
    let reached = log.iter().flat_map(|entry| -> Vec<&'static str> {
        let What::Core(event) = entry.what else { return Vec::new() };
        match event {
            Event::Attempted { attempt, choice, .. } => [
                (attempt > 1, "retry"),
                (choice.again, "again"),
                (choice.hedge, "hedge"),
                (choice.role == Role::Panic, "panic"),
                (choice.role == Role::Trial, "trial"),
            ]
            .into_iter()
            .filter_map(|(is, name)| is.then_some(name))
            .chain([choice.steered.as_str()])
            .collect(),
            Event::Concluded { outcome: Outcome::Failed(failure), .. } => vec![failure.as_str()],
            Event::Withheld { why, .. } => vec![why.as_str()],
            Event::HealthMoved { healthy: false, .. } => vec!["fell"],
            Event::HealthMoved { healthy: true, .. } => vec!["rose"],
            Event::Ejected { .. } => vec!["ejected"],
            Event::Queued { .. } => vec!["queued"],
            Event::Rejected { rejection, .. } => vec![rejection.as_str()],
            Event::BreakerMoved { to: BreakerState::Open, .. } => vec!["open"],
            Event::BreakerMoved { to: BreakerState::Closed, .. } => vec!["recovered"],
            _ => Vec::new(),
        }
    });
    reached.map(|name| Mark(name.to_owned())).collect()
}
