//! The binary: rehearse one scenario, or sweep many seeds.

mod check;
mod cli;
mod compare;
mod diff;
mod draw;
mod explain;
mod html;
mod interrupt;
mod map;
mod output;
mod papers;
mod repeat;
mod replay;
mod run;
mod shrink;
mod sweep;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use lb_sim::{Scenario, scenario};

use cli::{Cli, Command};
use output::print;

/// What is wrong with the question rather than with the answer.
const USAGE: u8 = 1;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Repeat(repeat) => repeat.run(),
        Command::Compare(compare) => compare.run(),
        Command::Run(args) => run::run(&args),
        Command::Map(args) => map::map(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Check(args) => check::check(&args),
        Command::Diff(args) => diff::diff(&args),
        Command::Sweep(args) => sweep::run(&args),
        Command::Shrink(args) => shrink::run(&args),
        Command::Draw(args) => draw::run(&args),
        Command::Replay(args) => replay::replay(&args),
        Command::Papers(asked) => papers::papers(&asked),
    };
    done.unwrap_or_else(|complaint| {
        say(&complaint);
        ExitCode::from(USAGE)
    })
}

/// Says something to the person who asked. Nobody is left to be told when the output is closed.
fn say(text: &str) {
    let _closed = writeln!(std::io::stderr().lock(), "{text}");
}

fn speed(simulated: Duration, took: Duration) -> String {
    let factor = simulated.as_secs_f64() / took.as_secs_f64().max(f64::EPSILON);
    let (simulated, took) = (simulated.as_secs_f64(), took.as_secs_f64());
    format!("{simulated:.1} s simulated in {took:.2} s: {factor:.0} times as fast as real time")
}

/// What is in a file.
fn text_of(file: &Path) -> Result<String, String> {
    lb_config::text(&file.display().to_string(), fs::read(file))
}

/// A scenario; what it is warned of is said.
fn read(file: &Path) -> Result<Scenario, String> {
    let (scenario, warnings) = scenario::read(file)?;
    warnings.iter().for_each(|warning| say(warning));
    Ok(scenario)
}

/// How long something takes on the clock on the wall, which says nothing about the run itself.
struct Watch(std::time::Instant);

impl Watch {
    #[expect(clippy::disallowed_methods, reason = "speed is measured outside of the world")]
    fn start() -> Self {
        Self(std::time::Instant::now())
    }

    fn took(&self) -> Duration {
        self.0.elapsed()
    }
}
