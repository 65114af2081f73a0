//! What runs a scenario: one of three engines, and what any of them leaves behind.

use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use clap::ValueEnum;

use crate::invariant::Violation;
use crate::judging::Scrutiny;
use crate::log::{Entry, Log};
use crate::scenario::Scenario;
use crate::shell::quoted;
use crate::verdict::Verdict;
use crate::{model, net, panics, real};

/// Simulated time goes in steps of this where it goes in steps.
pub const TICK: Duration = Duration::from_millis(1);

/// What a scenario runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// The real proxy, with HTTP and all, in a simulated network
    Net,
    /// The proxy's decisions alone: a hundred times as fast
    Model,
    /// The real proxy on real sockets, in real time
    Real,
}

/// What a run left behind.
#[derive(Debug)]
pub struct Run {
    /// What happened.
    pub log: Vec<Entry>,
    /// How long it took in the world's time.
    pub simulated: Duration,
    /// What panicked, if anything did.
    pub panic: Option<String>,
}

impl Engine {
    /// What runs a scenario where nobody asks for another.
    pub const fn of(scenario: &Scenario) -> Self {
        if scenario.model_only { Self::Model } else { Self::Net }
    }

    /// Its name, as `--engine` takes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Net => "net",
            Self::Model => "model",
            Self::Real => "real",
        }
    }

    /// Why it cannot run a scenario. Nothing: it can.
    pub fn refusals(self, scenario: &Scenario) -> Vec<String> {
        let mut refusals = match self {
            Self::Net => net::refusals(scenario),
            Self::Model => model::refusals(scenario),
            Self::Real => real::refusals(scenario),
        };
        if scenario.model_only && self != Self::Model {
            refusals.push("it says engine = \"model\"".to_owned());
        }
        refusals
    }

    /// The same in a sentence.
    ///
    /// # Errors
    /// If there is a reason.
    pub fn admits(self, scenario: &Scenario) -> Result<(), String> {
        let refusals = self.refusals(scenario);
        if refusals.is_empty() {
            return Ok(());
        }
        // One that refuses is not this one.
        let able = [Self::Net, Self::Model].into_iter().find(|it| it.refusals(scenario).is_empty());
        let remedy = able.map_or(String::new(), |it| format!(": use --engine {}", it.as_str()));
        let (file, name, why) = (&scenario.file, self.as_str(), refusals.join("; "));
        Err(format!("{file}: not for the engine {name}: {why}{remedy}"))
    }

    /// Runs a scenario under a seed.
    pub fn run(self, scenario: &Scenario, seed: u64) -> Run {
        self.told(scenario, seed, false)
    }

    /// The same, and the log also says what every choice was made from.
    pub fn run_explained(self, scenario: &Scenario, seed: u64) -> Run {
        self.told(scenario, seed, true)
    }

    fn told(self, scenario: &Scenario, seed: u64, explains: bool) -> Run {
        match self {
            Self::Net => net::run_into(&Log::new(&scenario.roster, explains), scenario, seed),
            Self::Model => model::logged(scenario, seed, explains),
            Self::Real => real::run_into(&Log::new(&scenario.roster, explains), scenario, seed),
        }
    }

    /// What a run comes to, and what its machine's timers were late by, which nobody is blamed for.
    pub fn verdict(self, scenario: &Scenario, seed: u64, run: &Run) -> (Verdict, Vec<Violation>) {
        match self {
            Self::Real => real::verdict(scenario, seed, run),
            Self::Net | Self::Model => (Verdict::of(scenario, seed, run), Vec::new()),
        }
    }

    /// Runs a scenario for what it comes to alone.
    pub fn judged(self, scenario: &Scenario, seed: u64) -> Verdict {
        match self {
            Self::Model => model::judged(scenario, seed, Scrutiny::UNTRACED),
            Self::Net | Self::Real => self.verdict(scenario, seed, &self.run(scenario, seed)).0,
        }
    }

    /// The command that repeats a run of a file.
    pub fn again(self, file: &str, seed: u64) -> String {
        let (file, engine) = (quoted(file), self.as_str());
        format!("cargo run -p lb-sim -- run {file} --seed {seed} --engine {engine}")
    }
}

/// How long a run took in its own time, and what went wrong with it: what it says itself, or what panicked.
/// A panic in a task of the proxy ends that task alone, and nobody would hear of it.
pub(crate) fn caught(run: impl FnOnce() -> Result<Duration, String>) -> (Duration, Option<String>) {
    panics::forget();
    let (simulated, error) = match panic::catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(simulated)) => (simulated, None),
        Ok(Err(error)) => (Duration::ZERO, Some(error)),
        Err(_) => (Duration::ZERO, Some("the rehearsal panicked".to_owned())),
    };
    (simulated, panics::first().or(error))
}
