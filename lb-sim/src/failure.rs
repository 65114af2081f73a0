//! What failed in a run, so that another run can be asked whether the same fails in it.

use std::fmt;
use std::time::Duration;

use crate::invariant::{Finding, Kind};
use crate::log::{Entry, What};
use crate::verdict::{Class, Expected, LookedAt, Verdict};

/// The worst thing that failed. Two runs fail alike if these are equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// Something panicked: where, or what the simulation said.
    Panic(String),
    /// An invariant did not hold: its name.
    Invariant(String),
    /// An expectation was not met: as it was written.
    Expectation(String),
}

impl Failure {
    /// What failed in a run; `None` if nothing did, or if it only proves nothing.
    pub fn of(verdict: &Verdict) -> Option<Self> {
        let panic = verdict.panic.as_deref().map(|panic| {
            // The place; what was said there may differ from run to run.
            Self::Panic(panic.lines().next().unwrap_or_default().to_owned())
        });
        panic
            .or_else(|| invariant(verdict, Kind::Safety))
            .or_else(|| expectation(verdict, Kind::Safety))
            .or_else(|| invariant(verdict, Kind::Liveness))
            .or_else(|| expectation(verdict, Kind::Liveness))
    }

    /// Whether the same fails in another run, whatever else does.
    pub fn is_in(&self, verdict: &Verdict) -> bool {
        match self {
            Self::Panic(_) => Self::of(verdict).as_ref() == Some(self),
            Self::Invariant(_) | Self::Expectation(_) => self.since(verdict).is_some(),
        }
    }

    /// When it failed for the first time.
    pub fn since(&self, verdict: &Verdict) -> Option<Duration> {
        match self {
            Self::Panic(_) => verdict.panic.is_some().then_some(verdict.simulated),
            Self::Invariant(name) => {
                let found = verdict.findings.iter().find(|it| it.name == name)?;
                found.violations.first().map(|violation| violation.at)
            }
            Self::Expectation(text) => {
                let found = verdict.expected.iter().find(|it| it.text == *text)?;
                found.broken.map(|(at, _)| at)
            }
        }
    }

    /// How many requests were sent until then: what it costs to see it again.
    pub fn requests(&self, verdict: &Verdict, log: &[Entry]) -> u64 {
        let since = match self {
            Self::Panic(_) => None,
            Self::Invariant(_) => self.since(verdict),
            Self::Expectation(text) => {
                let is_at_end = |it: &Expected| it.text == *text && it.looked_at == LookedAt::AtEnd;
                // Nobody knows before the end.
                let is_late = verdict.expected.iter().any(is_at_end);
                (!is_late).then(|| self.since(verdict)).flatten()
            }
        };
        let until = log.iter().take_while(|entry| since.is_none_or(|since| entry.at <= since));
        until.filter(|entry| matches!(entry.what, What::Sent { .. })).count() as u64
    }

    /// Whether something good did not happen in time, so that how long it may take matters.
    pub fn is_liveness(&self, verdict: &Verdict) -> bool {
        verdict.class() == Some(Class::Liveness)
            || matches!(self, Self::Invariant(name) if verdict.findings.iter().any(
                |it| it.name == name && it.kind == Kind::Liveness))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panic(place) => write!(out, "panic {place:?}"),
            Self::Invariant(name) => write!(out, "invariant {name:?}"),
            Self::Expectation(text) => write!(out, "expectation {text:?}"),
        }
    }
}

fn invariant(verdict: &Verdict, kind: Kind) -> Option<Failure> {
    let broken = |it: &&Finding| it.kind == kind && !it.violations.is_empty();
    verdict.findings.iter().find(broken).map(|it| Failure::Invariant(it.name.to_owned()))
}

fn expectation(verdict: &Verdict, kind: Kind) -> Option<Failure> {
    let broken = |it: &&Expected| it.kind == kind && it.broken.is_some();
    verdict.expected.iter().find(broken).map(|it| Failure::Expectation(it.text.clone()))
}
