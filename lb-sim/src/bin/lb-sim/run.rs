//! One scenario under one seed: a timeline and a verdict.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use lb_config::quantity::show_duration;
use lb_sim::engine::Run as Ran;
use lb_sim::invariant::Violation;
use lb_sim::{Scenario, Verdict, engine, model, real, report, story, trace};

use crate::cli::Engine;
use crate::explain;
use crate::html::{self, Html};
use crate::{Watch, print, read, say, speed};

/// What is run, and what is told of it.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The scenario
    file: PathBuf,
    /// The seed; by default the scenario's own
    #[arg(long)]
    seed: Option<u64>,
    /// What runs it
    #[arg(long, value_enum, default_value_t)]
    engine: Engine,
    /// Write down here everything that happened, a line each; `lb-sim explain` tells of it in words
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Tell all of one request, and what each of its choices was made from
    #[arg(long, value_name = "REQUEST", value_parser = explain::which)]
    explain: Option<story::Which>,
    #[command(flatten)]
    html: Html,
}

pub(crate) fn run(args: &Run) -> Result<ExitCode, String> {
    let scenario = read(&args.file)?;
    let seed = args.seed.unwrap_or(scenario.seed);
    let watch = Watch::start();
    let run = once(&scenario, seed, args.engine, args.explain.is_some())?;
    let took = watch.took();
    let (verdict, late) = match args.engine {
        Engine::Real => real::verdict(&scenario, seed, &run),
        Engine::Net | Engine::Model => (Verdict::of(&scenario, seed, &run), Vec::new()),
    };
    if let Some(path) = &args.trace {
        let head = explain::Head { file: scenario.file.clone(), seed, engine: args.engine };
        let written = fs::write(path, format!("{head}\n{}", trace::text(&run.log)));
        written.map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if let Some(which) = args.explain {
        print(&format!("{}\n", explain::told(&scenario, &run.log, which)?));
    }
    print(&format!("{} under seed {seed}\n\n", scenario.file));
    print(&report::timeline(&scenario, &run));
    print(&report::verdict(&scenario, &verdict));
    for Violation { at, what } in &late {
        let at = show_duration(*at);
        say(&format!("  a timer of this machine, not held against the proxy: at {at}: {what}"));
    }
    if let Some(path) = &args.html.file {
        html::write(path, &html::of_run(&scenario, &run, &verdict, args.engine))?;
    }
    say(&format!("  {}", speed(run.simulated, took)));
    Ok(verdict.class().map_or(ExitCode::SUCCESS, |class| ExitCode::from(class.exit_code())))
}

/// Runs a scenario once, and lets it say what its choices are made from if that is asked for.
pub(crate) fn once(
    scenario: &Scenario,
    seed: u64,
    engine: Engine,
    explains: bool,
) -> Result<Ran, String> {
    if engine == Engine::Model {
        let refusals = model::refusals(scenario);
        if !refusals.is_empty() {
            let what = refusals.join(", ");
            return Err(format!("the model engine knows nothing of {what}: use --engine net"));
        }
    }
    if engine == Engine::Real {
        let refusals = real::refusals(scenario);
        if !refusals.is_empty() {
            return Err(format!("{}: not on real sockets: {}", scenario.file, refusals.join("; ")));
        }
    }
    Ok(match (engine, explains) {
        (Engine::Net, true) => engine::run_explained(scenario, seed),
        (Engine::Net, false) => engine::run(scenario, seed),
        (Engine::Model, true) => model::run_explained(scenario, seed),
        (Engine::Model, false) => model::run(scenario, seed),
        (Engine::Real, true) => real::run_explained(scenario, seed),
        (Engine::Real, false) => real::run(scenario, seed),
    })
}
