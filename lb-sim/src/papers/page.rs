//! The two pages, as a run writes them.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::arithmetic::SUMS;
use super::{PAPERS, Result, Row, Study};

/// A scenario, where it is, and what it came to.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its file, below the root of the repository.
    pub file: String,
    /// It.
    pub study: Study,
    /// What it came to.
    pub result: Result,
}

const PAPERS_HEAD: &str = "\
# Papers, measured again

Written by `lb-sim papers`, and compared with a run by the tests: do not edit. A section says what a paper
claims, and each row what it measured beside what we measure: in a scenario of
[scenarios/papers](../scenarios/papers), run by the model engine with the decision code that serves traffic, or
by asking that code directly. `ours / paper` is told where the paper has one number. Where the settings differ,
the section says so; figures marked ~ are read off diagrams or told from memory of them.

";

const INCIDENTS_HEAD: &str = "\
# Incidents of other balancers, lived through again

Written by `lb-sim papers`, and compared with a run by the tests: do not edit. Each row is an issue of another
balancer, or a gap (G) between what one of the five proxies that this one replaces promises and does, in a
scenario of [scenarios/incidents](../scenarios/incidents). `ours` is what we do with the settings in the
file. Where a setting of ours does what the other does, `FILE-other.toml` has it in the same world, and `the other's
way` says what comes of it: it is our code under that setting, not the other balancer.

";

/// `docs/papers.md`.
pub fn papers(all: &[Told]) -> String {
    let mut out = PAPERS_HEAD.to_owned();
    for paper in PAPERS {
        put(&mut out, format_args!("## {}\n\n{}.\n\n", paper.title, paper.source));
        put(&mut out, format_args!("*Claim*: {}.\n\n*Setup*: {}.\n\n", paper.claim, paper.setup));
        out += "| figure | paper | ours | ours / paper | by |\n|---|---|---|---|---|\n";
        for sum in SUMS.iter().filter(|sum| sum.paper == paper.key) {
            (sum.rows)().iter().for_each(|row| out += &line(row, sum.with));
        }
        let is_its = |told: &&Told| told.study.notes.paper.as_deref() == Some(paper.key);
        for told in all.iter().filter(is_its) {
            let by = link(&told.file);
            told.result.rows.iter().for_each(|row| out += &line(row, &by));
        }
        out += "\n";
    }
    out.truncate(out.trim_end().len());
    out + "\n"
}

/// A row of `docs/papers.md`, worked out by `by`.
pub fn line(row: &Row, by: &str) -> String {
    let ratio = row.ratio().map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
    format!("| {} | {} | {} | {ratio} | {by} |\n", row.what, row.paper, row.ours)
}

/// How the file of the other's way is called.
const OTHER: &str = "-other";

/// `docs/incidents.md`. `unsaid` is what no scenario can say: a text of the repository's.
pub fn incidents(all: &[Told], unsaid: &str) -> String {
    let by_name: BTreeMap<&str, &Told> = all
        .iter()
        .filter(|it| it.study.notes.issue.is_some())
        .map(|it| (stem(&it.file), it))
        .collect();
    let mut out = INCIDENTS_HEAD.to_owned();
    out += "| issue | what happens there | ours | figures | the other's way |\n|---|---|---|---|---|\n";
    for (name, told) in by_name.iter().filter(|(name, _)| !name.ends_with(OTHER)) {
        let notes = &told.study.notes;
        let issue = notes.issue.as_deref().unwrap_or_default();
        let there = notes.there.as_deref().unwrap_or_default();
        let other = by_name.get(format!("{name}{OTHER}").as_str());
        let way = other.map_or("-".to_owned(), |other| {
            format!("{}; {}", figures(&other.result.rows), link(&other.file))
        });
        let claim = told.study.scenario.claim.trim_end_matches('.');
        put(
            &mut out,
            format_args!(
                "| {issue} | {there} | {claim}; {} | {} | {way} |\n",
                link(&told.file),
                figures(&told.result.rows),
            ),
        );
    }
    out + "\n" + unsaid.trim_end() + "\n"
}

fn figures(rows: &[Row]) -> String {
    let all: Vec<String> = rows.iter().map(|row| format!("{} {}", row.what, row.ours)).collect();
    all.join(", ")
}

/// A link from the folder of the pages to a file below the root.
pub fn link(file: &str) -> String {
    format!("[{}](../{file})", stem(file))
}

fn stem(file: &str) -> &str {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.strip_suffix(".toml").unwrap_or(name)
}

fn put(out: &mut String, what: std::fmt::Arguments<'_>) {
    out.write_fmt(what).expect("writing to a string cannot fail");
}
