//! Pages: where a command writes what it found, for people who were not there.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use lb_sim::engine::Run;
use lb_sim::{Scenario, Verdict, page};

use crate::cli::Engine;

/// Whether there is to be a page, and where.
#[derive(Debug, Args)]
pub(crate) struct Html {
    /// Write all of it here as one HTML file that needs nothing else, as in --html report.html
    #[arg(id = "html", long = "html", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// Writes a page.
pub(crate) fn write(file: &Path, page: &str) -> Result<(), String> {
    let written = fs::write(file, page);
    written.map_err(|error| format!("{}: cannot be written: {error}", file.display()))
}

/// The command that this process was given, without where it wrote to, as a shell takes it. Whoever reads a
/// page has other files than whoever made it.
pub(crate) fn again() -> String {
    let mut words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    let mut command = String::from("cargo run --release -p lb-sim --");
    while let Some(word) = words.next() {
        if word == "--html" || word == "--trace" {
            let _file = words.next();
        } else if !word.starts_with("--html=") && !word.starts_with("--trace=") {
            command.push(' ');
            command += &page::quoted(&word);
        }
    }
    command
}

/// The page of one run.
pub(crate) fn of_run(scenario: &Scenario, run: &Run, verdict: &Verdict, engine: Engine) -> String {
    let (file, seed) = (page::quoted(&scenario.file), verdict.seed);
    let (engine, more) = match engine {
        Engine::Net => ("net", ""),
        Engine::Model => ("model", " --engine model"),
    };
    let again = format!("cargo run -p lb-sim -- run {file} --seed {seed}{more}");
    page::Played { scenario, run, verdict, engine, again: &again }.page()
}
