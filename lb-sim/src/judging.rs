//! A run is judged while it goes on: nobody has to keep what happened.
//!
//! Everything that a [`Verdict`] is made of listens to the same stream of entries: invariants and their
//! ledger, gauges for what is expected, witnesses of the faults, marks, and, where it is asked for, the hash of
//! the trace. [`Verdict::of`] reads a log that was kept to the same listeners, so both come to the same.

use std::collections::BTreeSet;
use std::time::Duration;

use lb_core::{BreakerState, Event, Outcome, Role, Steered};

use crate::bite::{Bites, Meetings};
use crate::gauge::Gauges;
use crate::invariant::{Finding, Panel};
use crate::log::{Entry, Sink, Topics, What};
use crate::measure::Places;
use crate::scenario::{Mark, Scenario};
use crate::trace::Fingerprint;
use crate::verdict::{Expected, Verdict};

/// How closely a run is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrutiny {
    /// Whether it is held to the invariants. If not it is not known whether anything bad happened.
    pub invariants: bool,
    /// Whether the trace is hashed: its text is dear.
    pub trace: bool,
}

impl Scrutiny {
    /// Everything.
    pub const FULL: Self = Self { invariants: true, trace: true };
    /// Everything but the hash of the trace.
    pub const UNTRACED: Self = Self { invariants: true, trace: false };
    /// Only what the scenario expects.
    pub const EXPECTED: Self = Self { invariants: false, trace: false };
}

/// Whoever judges a run while it goes on.
pub struct Judging<'s> {
    scenario: &'s Scenario,
    places: Places,
    panel: Option<Panel<'s>>,
    gauges: Gauges<'s>,
    bites: Bites<'s>,
    meetings: Meetings,
    repelled: Vec<bool>,
    marks: Marks,
    attempts: u64,
    trace: Option<Fingerprint>,
    /// Whether there are only gauges and marks to be told: nothing is to happen but requests.
    is_calm: bool,
}

impl<'s> Judging<'s> {
    /// Of a run of `scenario` that is about to begin.
    pub fn new(scenario: &'s Scenario, scrutiny: Scrutiny) -> Self {
        let is_watched = scrutiny.invariants || scrutiny.trace;
        Self {
            is_calm: !is_watched && scenario.faults.is_empty() && scenario.actions.is_empty(),
            scenario,
            places: Places::new(scenario),
            panel: scrutiny.invariants.then(|| Panel::new(scenario)),
            gauges: Gauges::new(scenario),
            bites: Bites::new(scenario),
            meetings: Meetings::new(scenario),
            repelled: vec![false; scenario.attacks.len()],
            marks: Marks::default(),
            attempts: 0,
            trace: scrutiny.trace.then(Fingerprint::default),
        }
    }

    /// Another entry.
    #[inline]
    pub fn add(&mut self, entry: &Entry) {
        if !self.is_calm {
            self.watch(entry);
        }
        self.gauges.add(&self.places, entry);
        match &entry.what {
            What::Core(event) => {
                self.attempts += u64::from(matches!(event, Event::Attempted { .. }));
                self.marks.add(event);
            }
            What::CutOff { attack } => self.repelled[*attack] = true,
            _ => {}
        }
    }

    /// Those who are dear to tell, or wait for something to happen to the world.
    fn watch(&mut self, entry: &Entry) {
        if let Some(panel) = &mut self.panel {
            panel.enter(entry);
        }
        self.bites.add(&self.places, entry);
        if !self.scenario.actions.is_empty() {
            self.meetings.add(entry);
        }
        if let Some(trace) = &mut self.trace {
            trace.add(entry);
        }
    }

    /// What it came to under `seed`, if it took so long and perhaps panicked.
    pub fn verdict(self, seed: u64, simulated: Duration, panic: Option<String>) -> Verdict {
        let findings = self.panel.map(|panel| panel.findings(simulated)).unwrap_or_default();
        let is_meant =
            |it: &Finding| self.scenario.expect.breaks.iter().any(|name| name == it.name);
        let (meant, findings): (Vec<_>, Vec<_>) = findings.into_iter().partition(is_meant);
        let mut expected = self.gauges.expected();
        expected.extend(meant.iter().map(|it| Expected::breaks(it, self.scenario.duration)));
        Verdict {
            seed,
            findings,
            expected,
            bit: self.bites.bit(),
            met: self.meetings.met(self.scenario),
            repelled: self.repelled,
            marks: self.marks.reached.into_iter().map(|name| Mark(name.to_owned())).collect(),
            attempts: self.attempts,
            panic,
            trace_hash: self.trace.map(|trace| trace.finish()),
            simulated,
        }
    }
}

impl Sink for Judging<'_> {
    #[inline]
    fn enter(&mut self, at: Duration, what: What) {
        self.add(&Entry { at, what });
    }

    fn hears(&self) -> Topics {
        match self.is_calm {
            true => self.gauges.hears().and(Marks::HEARS).and(Topics::REST),
            false => Topics::ALL,
        }
    }
}

/// The marks that were reached.
#[derive(Default)]
struct Marks {
    reached: BTreeSet<&'static str>,
    /// Why the last pool was asked.
    steered: Option<Steered>,
}

impl Marks {
    /// What they are about.
    const HEARS: Topics = Topics::ATTEMPTED
        .and(Topics::FAILED)
        .and(Topics::REJECTED)
        .and(Topics::ASIDE)
        .and(Topics::BACKEND);

    #[inline]
    fn add(&mut self, event: &Event) {
        match event {
            // Mostly a first one at a fit backend, for the same reason as the one before.
            Event::Attempted { attempt: 1, choice, .. }
                if self.steered == Some(choice.steered)
                    && !(choice.again || choice.hedge)
                    && !matches!(choice.role, Role::Panic | Role::Trial) => {}
            _ => self.reach(event),
        }
    }

    fn reach(&mut self, event: &Event) {
        let name = match event {
            Event::Attempted { attempt, choice, .. } => {
                self.steered = Some(choice.steered);
                self.reached.insert(choice.steered.as_str());
                let marks = [
                    (*attempt > 1, "retry"),
                    (choice.again, "again"),
                    (choice.hedge, "hedge"),
                    (choice.role == Role::Panic, "panic"),
                    (choice.role == Role::Trial, "trial"),
                ];
                for (is, name) in marks {
                    if is {
                        self.reached.insert(name);
                    }
                }
                return;
            }
            Event::Concluded { outcome: Outcome::Failed(failure), .. } => failure.as_str(),
            Event::Withheld { why, .. } => why.as_str(),
            Event::HealthMoved { healthy: false, .. } => "fell",
            Event::HealthMoved { healthy: true, .. } => "rose",
            Event::Ejected { .. } => "ejected",
            Event::Queued { .. } => "queued",
            Event::Rejected { rejection, .. } => rejection.as_str(),
            Event::BreakerMoved { to: BreakerState::Open, .. } => "open",
            Event::BreakerMoved { to: BreakerState::Closed, .. } => "recovered",
            _ => return,
        };
        self.reached.insert(name);
    }
}
