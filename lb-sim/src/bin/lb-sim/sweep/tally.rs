//! What the runs of a sweep came to so far, and what is said of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use lb_sim::scenario::Mark;
use lb_sim::store::{Kept, Store};
use lb_sim::{Class, Failure, report};

use crate::output::Output;
use crate::shrink::{deliver, least};
use crate::{print, say, speed};

use super::{Done, Failed, Given, Source};

/// Failures that are told of one by one, and those that are shrunk: the fastest of each kind.
const TOLD_MAX: usize = 20;
const SHRUNK_MAX: usize = 5;

pub(super) struct Tally<'s> {
    sources: &'s [Source],
    runs: usize,
    limit: Option<Duration>,
    done: usize,
    failed: usize,
    worst: Option<Class>,
    simulated: Duration,
    /// By source.
    marks: Vec<BTreeSet<Mark>>,
    /// Over all of them, and how many runs there were since the last that was new.
    reached: BTreeSet<String>,
    flat: u64,
    /// Of each thing that failed, the run with the fewest requests.
    fastest: BTreeMap<(usize, String), Found>,
    wrong: Option<String>,
}

/// A run that failed.
struct Found {
    seed: u64,
    requests: u64,
    failure: Failure,
    text: String,
}

impl<'s> Tally<'s> {
    pub(super) fn new(sources: &'s [Source], runs: usize, limit: Option<Duration>) -> Self {
        Self {
            sources,
            runs,
            limit,
            done: 0,
            failed: 0,
            worst: None,
            simulated: Duration::ZERO,
            marks: vec![BTreeSet::new(); sources.len()],
            reached: BTreeSet::new(),
            flat: 0,
            fastest: BTreeMap::new(),
            wrong: None,
        }
    }

    /// Something is wrong with the question.
    pub(super) fn wrong(&mut self, why: String) {
        self.wrong.get_or_insert(why);
    }

    pub(super) const fn is_wrong(&self) -> bool {
        self.wrong.is_some()
    }

    /// Whether so many runs have reached nothing new.
    pub(super) const fn is_flat(&self, runs: u64) -> bool {
        self.flat >= runs
    }

    /// Counts a run. `is_known`: it failed the last time.
    pub(super) fn add(&mut self, done: &Done, is_known: bool, store: &mut Store) {
        self.done += 1;
        self.simulated += done.verdict.simulated;
        self.marks[done.source].extend(done.verdict.marks.iter().cloned());
        let before = self.reached.len();
        self.reached.extend(done.reached.iter().cloned());
        self.flat = if self.reached.len() > before { 0 } else { self.flat + 1 };
        let (source, seed) = (&self.sources[done.source], done.verdict.seed);
        let (name, engine) = (source.name(), source.engine);
        let Some(Failed { class, failure, .. }) = &done.failed else {
            if is_known && let Some(kept) = store.remove(name, seed, engine.as_str()) {
                say(&format!("\r{name} seed {seed} is mended: no more {}", kept.what));
            }
            return;
        };
        self.failed += 1;
        self.worst = self.worst.map_or(Some(*class), |worst| Some(worst.min(*class)));
        if let Some((failure, requests)) = failure {
            store.add(&Kept {
                engine: engine.as_str().to_owned(),
                seed,
                requests: *requests,
                scenario: name.to_owned(),
                what: failure.to_string(),
            });
        }
        if self.failed <= TOLD_MAX {
            let what = match (&source.given, failure) {
                // What nobody felt is no news where it was drawn.
                (Given::Swarm(_), Some((failure, _))) => failure.to_string(),
                _ => report::failures(&done.verdict),
            };
            say(&format!("\r{name} seed {seed} fails, {}: {what}", class.as_str()));
            if let Given::Scenario { scenario, .. } = &source.given {
                say(&format!("  again: {}", engine.again(&scenario.file, seed)));
            }
        }
    }

    /// Keeps a run for later, if it failed with fewer requests than any that failed alike.
    pub(super) fn keep(&mut self, done: Done) {
        let Some(Failed { failure: Some((failure, requests)), text, .. }) = done.failed else {
            return;
        };
        let found = Found { seed: done.verdict.seed, requests, failure, text };
        let key = (done.source, found.failure.to_string());
        if self.fastest.get(&key).is_none_or(|known| found.requests < known.requests) {
            self.fastest.insert(key, found);
        }
    }

    /// A line that is written over, for somebody who watches.
    pub(super) fn progress(&self, took: Duration) {
        let mut out = std::io::stderr();
        if !out.is_terminal() || self.done == 0 {
            return;
        }
        let by_runs = took.mul_f64((self.runs - self.done) as f64 / self.done as f64);
        let by_time = self.limit.map_or(Duration::MAX, |limit| limit.saturating_sub(took));
        let left = by_runs.min(by_time).as_secs();
        let rate = self.done as f64 / took.as_secs_f64().max(f64::EPSILON);
        let (done, failed, reached, flat) = (self.done, self.failed, self.reached.len(), self.flat);
        let _closed = write!(
            out,
            "\r{done} runs, {rate:.0}/s, {failed} failed, {reached} marks reached, none new in {flat}, \
             {left} s left   "
        );
    }

    /// Writes or prints what failed: as it was, and the least of it.
    pub(super) fn deliver(
        &self,
        out: Option<&Path>,
        shrink: Option<Duration>,
    ) -> Result<(), String> {
        for (nth, ((source, what), found)) in (1..).zip(self.fastest.iter().take(SHRUNK_MAX)) {
            let Found { seed, requests, failure, text } = found;
            let source = &self.sources[*source];
            say(&format!("\r{} seed {seed}: {what} after {requests} requests", source.name()));
            let is_drawn = matches!(source.given, Given::Swarm(_));
            let file =
                |folder: &Path, suffix| fresh(folder, &format!("found-{nth}-seed-{seed}{suffix}"));
            match out.map(|folder| file(folder, "")) {
                Some(path) if is_drawn => {
                    fs::write(&path, text)
                        .map_err(|error| format!("{}: {error}", path.display()))?;
                    say(&format!(
                        "  drawn: {}",
                        source.engine.again(&path.display().to_string(), *seed)
                    ));
                }
                None if is_drawn => print(&format!("\n{text}\n"))?,
                _ => {}
            }
            let Some(limit) = shrink else { continue };
            match least(source.name(), text, *seed, source.engine, failure, limit) {
                Ok(shrunk) => {
                    let path = out.map(|folder| file(folder, "-shrunk"));
                    deliver(&shrunk, Output::open(path.as_ref(), &[])?, *seed, source.engine)?;
                }
                Err(why) => say(&format!("  {why}")),
            }
        }
        Ok(())
    }

    pub(super) fn verdict(self, took: Duration) -> Result<ExitCode, String> {
        if let Some(why) = self.wrong {
            return Err(why);
        }
        let mut missing = 0;
        for (source, reached) in self.sources.iter().zip(&self.marks) {
            let Given::Scenario { scenario, .. } = &source.given else { continue };
            for Mark(mark) in scenario.expect.sometimes.iter().filter(|it| !reached.contains(it)) {
                missing += 1;
                say(&format!("\r{} never reached {mark} under any seed", scenario.file));
            }
        }
        let (done, failed, sources) = (self.done, self.failed, self.sources.len());
        let around = match self.sources.first().map(|source| &source.given) {
            Some(Given::Swarm(base)) if base.text.is_none() => Some(" that seeds drew".to_owned()),
            Some(Given::Swarm(_)) if sources == 1 => Some(" drawn around one scenario".to_owned()),
            Some(Given::Swarm(_)) => Some(format!(" drawn around {sources} scenarios")),
            Some(Given::Scenario { .. }) | None => None,
        };
        print(&match around {
            Some(around) => format!(
                "{done} worlds{around}: {failed} failed, {} marks reached, none new in \
                 the last {} runs\n",
                self.reached.len(),
                self.flat,
            ),
            None => format!(
                "{done} runs of {sources} scenarios: {failed} failed, \
                 {missing} marks never reached\n"
            ),
        })?;
        say(&speed(self.simulated, took));
        let worst = self.worst.or((missing > 0).then_some(Class::Toothless));
        Ok(worst.map_or(ExitCode::SUCCESS, |class| ExitCode::from(class.exit_code())))
    }
}

/// A file of this name that is not there yet: what was found before stays.
fn fresh(folder: &Path, name: &str) -> PathBuf {
    let numbered = (2..).map(|nth| folder.join(format!("{name}-{nth}.toml")));
    let mut all = std::iter::once(folder.join(format!("{name}.toml"))).chain(numbered);
    all.find(|path| !path.exists()).expect("no folder has so many files")
}
