//! How much load a service may have so that it comes back from trouble by itself.
//!
//! A system is metastable when trouble that is long over still keeps it down: clients that ask again, and
//! attempts that are made again, are themselves the load that nobody can carry (Bronson et al., HotOS 2021).
//! Whether it comes to that depends on the load before and on how hard and long the trouble is. A map
//! tries all of that: each cell is an ordinary run of the model engine.

use std::time::Duration;

use crate::log::TOO_MANY;
use crate::measure::Facts;
use crate::model;
use crate::scenario::{Again, Fault, FaultKind, Metric, Scenario, Whom};

use super::Stage;
use super::outlook::AS_BEFORE;

/// What varies from one cell to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// The share of the backends' capacity that requests take while all is well.
    Load,
    /// How hard the trouble is: the share of the capacity, of the backends or of the answers.
    Size,
    /// How long it lasts, in seconds.
    Lasts,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Every backend loses this share of its speed.
    Brownout,
    /// This share of the backends stops.
    Refuse,
    /// This share of the answers is 503.
    Status,
}

/// One cell's coordinates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spot {
    /// In `0.0..`: 1 is all that backends can carry.
    pub load: f64,
    /// In `0.0..=1.0`.
    pub size: f64,
    /// How long.
    pub lasts: Duration,
}

/// What became of a cell, at worst over its seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    /// It was down before anything happened: so much load cannot be carried, or a limit lets it not.
    Overloaded,
    /// All was as before so long after the trouble's end.
    Recovered(Duration),
    /// It was never as before, while it was watched.
    Stuck,
}

/// When trouble begins: what is learned at the start is learned by then.
const AT: Duration = Duration::from_secs(10);
/// How long it is watched after the trouble.
pub const WATCHED: Duration = Duration::from_secs(40);
/// Errors before the trouble that are not worth a word.
const CALM_ERRORS: f64 = 0.01;

/// The service of `stage` at `spot`.
pub fn scenario(stage: &Stage, trigger: Trigger, patience: Patience, spot: Spot) -> Scenario {
    let mut scenario = stage.scenario.clone();
    scenario.workload.rate = spot.load * stage.capacity();
    scenario.workload.timeout = patience.timeout;
    scenario.workload.again = patience.again;
    scenario.duration = AT + spot.lasts + WATCHED;
    let count = stage.origins.len();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count is between 0 and it"
    )]
    let hit = match trigger {
        Trigger::Refuse => (spot.size * count as f64).round() as usize,
        Trigger::Brownout | Trigger::Status => count,
    };
    let kind = match trigger {
        Trigger::Refuse => FaultKind::Refuse,
        Trigger::Brownout => FaultKind::Brownout { speed: (1.0 - spot.size).max(STANDSTILL) },
        Trigger::Status => FaultKind::Status { code: 503, rate: spot.size, whom: Whom::All },
    };
    let hit = stage.origins.iter().take(hit);
    scenario.faults =
        hit.map(|at| Fault { at: AT, lasts: spot.lasts, origin: *at, kind }).collect();
    scenario
}

/// The least speed that a backend can be left.
const STANDSTILL: f64 = 0.001;

/// What clients put up with.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// They hang up after this long.
    pub timeout: Duration,
    /// And ask again.
    pub again: Again,
}

/// Runs a cell under each of `seeds`; the worst counts.
///
/// # Errors
/// What panicked, or that nothing was asked before the trouble: there is nothing to compare with.
pub fn fate(
    scenario: &Scenario,
    lasts: Duration,
    seeds: impl Iterator<Item = u64>,
) -> Result<Fate, String> {
    let ends = AT + lasts;
    let mut worst = Fate::Recovered(Duration::ZERO);
    for seed in seeds {
        let fate = judged(scenario, seed, ends).map_err(|why| format!("seed {seed}: {why}"))?;
        worst = if fate.badness() > worst.badness() { fate } else { worst };
    }
    Ok(worst)
}

impl Fate {
    fn badness(self) -> f64 {
        match self {
            Self::Recovered(after) => after.as_secs_f64(),
            Self::Stuck => 1e6,
            Self::Overloaded => 1e7,
        }
    }
}

fn judged(scenario: &Scenario, seed: u64, ends: Duration) -> Result<Fate, String> {
    let mut facts = Facts::new(scenario);
    if let Some(panic) = model::run_into(scenario, seed, &mut facts).panic {
        return Err(panic);
    }
    let good = |from: Duration, to: Duration| {
        let seen = facts.measure(scenario, &(from..to));
        // Whom a limit turned away was not served: no backend here answers 429.
        let limited = seen.of(&Metric::Answered(TOO_MANY), scenario)?;
        Some(1.0 - limited - seen.errors as f64 / seen.requests as f64)
    };
    let second = Duration::from_secs(1);
    let before =
        good(second, AT).ok_or("nobody asked before the trouble: let there be more load")?;
    if before < 1.0 - CALM_ERRORS {
        return Ok(Fate::Overloaded);
    }
    let seconds = u32::try_from(WATCHED.as_secs()).expect("it is watched for less than a year");
    let bad = |nth: &u32| {
        let from = ends + second * *nth;
        // A second in which nobody asks speaks neither for it nor against it.
        good(from, from + second).is_some_and(|good| good < AS_BEFORE * before)
    };
    Ok(match (0..seconds).rev().find(bad) {
        None => Fate::Recovered(Duration::ZERO),
        Some(last) if last + 2 >= seconds => Fate::Stuck,
        Some(last) => Fate::Recovered(second * (last + 1)),
    })
}
