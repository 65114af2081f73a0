//! One scenario under one seed: a timeline and a verdict.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use lb_config::quantity::show_duration;
use lb_sim::invariant::Violation;
use lb_sim::{Engine, report, story, trace};

use crate::explain;
use crate::html::{self, Html};
use crate::output::Output;
use crate::{Watch, print, read, say, speed};

/// What is run, and what is told of it.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The scenario
    file: PathBuf,
    /// The seed; by default the scenario's own
    #[arg(long, allow_negative_numbers = true)]
    seed: Option<u64>,
    /// What runs it; by default what the scenario says, or net
    #[arg(long, value_enum)]
    engine: Option<Engine>,
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
    let engine = args.engine.unwrap_or(Engine::of(&scenario));
    engine.admits(&scenario)?;
    let written = Output::open(args.trace.as_ref(), &[&args.file])?;
    let taken: Vec<&Path> = [Some(&args.file), args.trace.as_ref()]
        .into_iter()
        .flatten()
        .map(PathBuf::as_path)
        .collect();
    let page = args.html.open(&taken)?;
    let watch = Watch::start();
    let run = match args.explain {
        Some(_) => engine.run_explained(&scenario, seed),
        None => engine.run(&scenario, seed),
    };
    let took = watch.took();
    let (verdict, late) = engine.verdict(&scenario, seed, &run);
    if let Some(file) = written {
        let head = explain::Head { file: scenario.file.clone(), seed, engine };
        file.write(&format!("{head}\n{}", trace::text(&run.log)))?;
    }
    if let Some(which) = args.explain {
        print(&format!("{}\n", explain::told(&scenario, &run.log, which)?))?;
    }
    print(&format!("{} under seed {seed}\n\n", scenario.file))?;
    print(&report::timeline(&scenario, &run))?;
    print(&report::verdict(&scenario, &verdict, engine))?;
    for Violation { at, what } in &late {
        let at = show_duration(*at);
        say(&format!("  a timer of this machine, not held against the proxy: at {at}: {what}"));
    }
    if let Some(page) = page {
        page.write(&html::of_run(&scenario, &run, &verdict, engine))?;
    }
    say(&format!("  {}", speed(run.simulated, took)));
    Ok(verdict.class().map_or(ExitCode::SUCCESS, |class| ExitCode::from(class.exit_code())))
}
