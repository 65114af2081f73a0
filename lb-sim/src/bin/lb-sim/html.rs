//! Pages: where a command writes what it found, for people who were not there.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use clap::Args;
use lb_sim::engine::Run;
use lb_sim::page::check::{Checked, Rehearsed, Section};
use lb_sim::page::diff::{Compared, Service};
use lb_sim::rehearsal::{Battery, Broken, Stage};
use lb_sim::shell::quoted;
use lb_sim::{Engine, Scenario, Verdict, page};

use crate::check::{Check, Done};
use crate::cli::World;
use crate::diff::{self, differences};
use crate::output::Output;

/// Whether there is to be a page, and where.
#[derive(Debug, Args)]
pub(crate) struct Html {
    /// Write all of it here as one HTML file that needs nothing else, as in --html report.html
    #[arg(id = "html", long = "html", value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Html {
    /// The file, if there is to be one, and it is none of those that are `taken`.
    pub(crate) fn open(&self, taken: &[&Path]) -> Result<Option<Output>, String> {
        Output::open(self.file.as_ref(), taken)
    }
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
            command += &quoted(&word);
        }
    }
    command
}

/// The page of one run.
pub(crate) fn of_run(scenario: &Scenario, run: &Run, verdict: &Verdict, engine: Engine) -> String {
    page::Played { scenario, run, verdict, engine }.page()
}

/// A service's part of the page of a check.
pub(crate) fn of_service(
    stage: &Stage,
    battery: &Battery,
    done: &[Done],
    check: &Check,
) -> Section {
    let rehearsed = done.iter().map(|done| Rehearsed {
        outlook: &done.outlook,
        missed: done.missed.iter().map(ToString::to_string).collect(),
        picture: done.picture.as_ref(),
    });
    let (rehearsed, seeds) = (rehearsed.collect(), check.seeds.clone().count());
    Checked { stage, battery, rehearsed, facts: World::facts(&[stage]), seeds }.section()
}

/// The page of a check.
pub(crate) fn of_check(file: &Path, sections: &[Section]) -> String {
    page::check::page(&file.display().to_string(), sections, &again())
}

/// A service's part of the page of a comparison.
pub(crate) fn of_both(stages: &[Stage; 2], notes: &[String], all: &[diff::Compared]) -> Service {
    let one = |it: &diff::Compared| {
        let both = it.pairs.iter().flat_map(|(old, new)| [("before", old), ("after", new)]);
        let broken = both.flat_map(|(when, it)| it.broken.iter().map(move |broken| (when, broken)));
        let broken = broken.map(|(when, Broken { seed, what })| {
            format!("broken {when}: {}, seed {seed}: {what}", it.case)
        });
        let missed = it.missed.iter().map(|what| format!("missed after: {what}"));
        Compared {
            case: it.case,
            asks: it.asks,
            differences: differences(&it.pairs),
            complaints: broken.chain(missed).collect(),
        }
    };
    let [before, after] = stages;
    let (name, compared) = (after.name().to_owned(), all.iter().map(one).collect());
    let told = [World::told(&[before, after])];
    let note = Some(told.iter().chain(notes).map(String::as_str).collect::<Vec<_>>().join("; "));
    Service { name, note, complaints: Vec::new(), compared }
}

/// What a page says of a service that only one of two configurations has, and which levels it misses.
pub(crate) fn of_one(name: &str, what: &str, misses: Vec<String>) -> Service {
    let complaints = misses.into_iter().map(|it| format!("missed after: service {name}: {it}"));
    let (note, complaints) = (Some(what.to_owned()), complaints.collect());
    Service { name: name.to_owned(), note, complaints, compared: Vec::new() }
}

/// The page of a comparison.
pub(crate) fn of_diff(
    files: [&PathBuf; 2],
    seeds: &RangeInclusive<u64>,
    services: &[Service],
) -> String {
    let [old, new] = files.map(|file| file.display().to_string());
    page::diff::page((&old, &new), seeds.clone().count(), services, &again())
}
