//! The least of a scenario that still fails, as a file for scenarios/regressions.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use lb_sim::shrink::{Question, Shrunk, shrink};
use lb_sim::{Engine, Failure, report};

use crate::output::Output;
use crate::sweep::simulated;
use crate::{Watch, print, read, say, text_of};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The scenario that fails
    file: PathBuf,
    /// The seed that it fails under; by default the scenario's own
    #[arg(long, allow_negative_numbers = true)]
    seed: Option<u64>,
    /// What runs it; by default what the scenario says, or net
    #[arg(long, value_enum)]
    engine: Option<Engine>,
    /// How long to look for less
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// Write what is left here; by default it is printed
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, String> {
    let name = args.file.display().to_string();
    let scenario = read(&args.file)?;
    let text = text_of(&args.file)?;
    let seed = args.seed.unwrap_or(scenario.seed);
    let engine = simulated(args.engine.unwrap_or(Engine::of(&scenario)))?;
    engine.admits(&scenario)?;
    let out = Output::new_file(args.out.as_ref())?;
    let verdict = engine.judged(&scenario, seed);
    let Some(failure) = Failure::of(&verdict) else {
        let what = match verdict.class() {
            None => "nothing fails".to_owned(),
            Some(_) => format!("it only proves nothing ({})", report::failures(&verdict)),
        };
        return Err(format!("{name}: under seed {seed} {what}; give a seed under which it fails"));
    };
    say(&format!("{name} under seed {seed}: {failure}"));
    let limit = Duration::from_secs(args.seconds.into());
    let shrunk = least(&name, &text, seed, engine, &failure, limit)?;
    deliver(&shrunk, out, seed, engine)?;
    Ok(ExitCode::SUCCESS)
}

/// Shrinks, for so long at most.
pub(crate) fn least(
    name: &str,
    text: &str,
    seed: u64,
    engine: Engine,
    failure: &Failure,
    limit: Duration,
) -> Result<Shrunk, String> {
    let watch = Watch::start();
    let run = |scenario: &lb_sim::Scenario, seed| {
        engine.refusals(scenario).is_empty().then(|| engine.judged(scenario, seed))
    };
    let is_over = || watch.took() >= limit;
    let question = Question { name, seed, failure, run: &run, is_over: &is_over };
    shrink(text, &question).map_err(|why| format!("{name}: {why}"))
}

/// Writes or prints what is left, and says how to see it again.
pub(crate) fn deliver(
    shrunk: &Shrunk,
    out: Option<Output>,
    seed: u64,
    engine: Engine,
) -> Result<(), String> {
    let least =
        if shrunk.is_least { "nothing more can be left out" } else { "time was up before the end" };
    let file = match out {
        Some(file) => {
            let path = file.path().to_owned();
            file.write(&shrunk.text)?;
            path.display().to_string()
        }
        None => {
            print(&shrunk.text)?;
            "FILE".to_owned()
        }
    };
    say(&format!(
        "  shrunk in {} runs; {least}\n  again: {}",
        shrunk.runs,
        engine.again(&file, seed)
    ));
    Ok(())
}
