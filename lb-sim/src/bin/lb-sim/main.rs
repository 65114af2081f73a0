//! The binary: rehearse one scenario, or sweep many seeds.

mod check;
mod cli;
mod compare;
mod diff;
mod draw;
mod explain;
mod html;
mod map;
mod parallel;
mod repeat;
mod run;
mod shrink;
mod sweep;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use lb_sim::{Scenario, scenario};

use cli::{Cli, Command};

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

fn print(text: &str) {
    let _closed = write!(std::io::stdout().lock(), "{text}");
}

fn speed(simulated: Duration, took: Duration) -> String {
    let factor = simulated.as_secs_f64() / took.as_secs_f64().max(f64::EPSILON);
    let (simulated, took) = (simulated.as_secs_f64(), took.as_secs_f64());
    format!("{simulated:.1} s simulated in {took:.2} s: {factor:.0} times as fast as real time")
}

fn read(file: &Path) -> Result<Scenario, String> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
    let (scenario, diagnostics) = scenario::load(&lb_config::Source { name: &name, text: &text });
    let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    match scenario {
        None => Err(lines.join("\n")),
        Some(scenario) => {
            lines.iter().for_each(|warning| say(warning));
            Ok(scenario)
        }
    }
}

/// All scenario files below a folder, or the one file, in order of their names.
fn files(path: &Path) -> Result<Vec<PathBuf>, String> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let said = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(said)? {
        let entry = entry.map_err(said)?.path();
        if entry.is_dir() {
            found.extend(files(&entry)?);
        } else if entry.extension().is_some_and(|extension| extension == "toml") {
            found.push(entry);
        }
    }
    found.sort();
    Ok(found)
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
