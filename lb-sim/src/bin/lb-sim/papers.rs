//! The papers and the incidents: all scenarios of both folders, and the pages that they write.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use lb_sim::papers::page::{self, Told};
use lb_sim::papers::{PAPERS, Study};
use lb_sim::{parallel, scenario};

use crate::{Watch, print, say, text_of};

const EXAMPLES: &str = "\
Examples:
  lb-sim papers                 in the root of the repository: run all, write docs/papers.md and docs/incidents.md
  lb-sim papers --check         write nothing; exit code 1 if a page is not what the run says";

/// Measure again what papers claim and what other balancers suffered; write the pages that say so
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Papers {
    /// The repository: where scenarios/ and docs/ are
    #[arg(long, default_value = ".", value_name = "FOLDER")]
    root: PathBuf,
    /// Compare the pages with the run, and write nothing
    #[arg(long)]
    check: bool,
}

/// What cannot be rehearsed, and why: a text that is kept by hand.
const UNSAID: &str = "docs/unsaid.md";

pub(crate) fn papers(asked: &Papers) -> Result<ExitCode, String> {
    let watch = Watch::start();
    let mut told = Vec::new();
    for folder in ["scenarios/papers", "scenarios/incidents"] {
        told.extend(run(&asked.root, folder)?);
    }
    let mut failed = 0;
    for (told, report) in told.iter().filter_map(|it| Some((it, it.result.failed.as_ref()?))) {
        failed += 1;
        print(&format!("{}\n{report}\n", told.file))?;
    }
    let unsaid = text_of(&asked.root.join(UNSAID))?;
    let pages = [
        ("docs/papers.md", page::papers(&told)),
        ("docs/incidents.md", page::incidents(&told, &unsaid)),
    ];
    let mut differs = false;
    for (name, text) in pages {
        let path = asked.root.join(name);
        if asked.check {
            let known = text_of(&path)?;
            if let Some(complaint) = difference(name, &known, &text) {
                differs = true;
                say(&complaint);
            }
        } else {
            fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    let seconds = watch.took().as_secs_f64();
    print(&format!("{} scenarios, {failed} failed, in {seconds:.1} s\n", told.len()))?;
    Ok(if failed > 0 || differs { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs all scenarios of a folder.
fn run(root: &Path, folder: &str) -> Result<Vec<Told>, String> {
    let load = |path: PathBuf| {
        let file = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        let study = Study::load(&file, &text_of(&path)?)?;
        if let Some(key) = &study.notes.paper
            && !PAPERS.iter().any(|paper| paper.key == key)
        {
            let keys: Vec<&str> = PAPERS.iter().map(|paper| paper.key).collect();
            let keys = keys.join(", ");
            return Err(format!("{file}:2:1: paper {key:?} is unknown; the papers are {keys}"));
        }
        Ok((file, study))
    };
    let studies: Vec<(String, Study)> = scenario::files(&root.join(folder))?
        .into_iter()
        .map(load)
        .collect::<Result<_, String>>()?;
    let mut results = BTreeMap::new();
    let work = |at: usize| studies[at].1.run();
    parallel::each(studies.len(), None, work, |at, result| drop(results.insert(at, result)));
    let told = |((file, study), result)| Told { file, study, result };
    Ok(studies.into_iter().zip(results.into_values()).map(told).collect())
}

/// What a person has to know of a page that is not what a run says.
fn difference(name: &str, known: &str, now: &str) -> Option<String> {
    let line = |at: usize, text: &str| text.lines().nth(at).unwrap_or("(nothing)").to_owned();
    let most = known.lines().count().max(now.lines().count());
    let at = (0..most).find(|at| line(*at, known) != line(*at, now))?;
    Some(format!(
        "{name}:{}:1: the run says otherwise; run lb-sim papers, and look at what changed\n  page: {}\n  run:  {}",
        at + 1,
        line(at, known),
        line(at, now)
    ))
}
