//! Many seeds: every scenario under every seed, on as many threads as there are cores.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use lb_sim::scenario::Mark;
use lb_sim::{Class, Scenario, Scrutiny, Verdict, engine, model, report};

use crate::cli::Engine;
use crate::parallel;
use crate::{Watch, files, print, read, say, speed};

/// What became of one run.
struct Done {
    scenario: usize,
    verdict: Verdict,
}

pub(crate) fn sweep(
    path: &Path,
    seeds: RangeInclusive<u64>,
    engine: Engine,
    jobs: Option<u16>,
) -> Result<ExitCode, String> {
    let scenarios: Vec<Scenario> =
        files(path)?.iter().map(|file| read(file)).collect::<Result<_, _>>()?;
    // What one has no notion of, or is too much for it, is left to the other.
    let can = |it: &Scenario| match engine {
        Engine::Net => engine::refusals(it).is_empty(),
        Engine::Model => model::refusals(it).is_empty(),
    };
    let scenarios: Vec<Scenario> = scenarios.into_iter().filter(can).collect();
    if scenarios.is_empty() {
        return Err(format!("{}: there is no scenario (*.toml) here", path.display()));
    }
    let runs: Vec<(usize, u64)> =
        seeds.flat_map(|seed| (0..scenarios.len()).map(move |scenario| (scenario, seed))).collect();
    let watch = Watch::start();
    let mut tally = Tally::new(&scenarios, runs.len());
    let work = |at: usize| {
        let (scenario, seed) = runs[at];
        let world = &scenarios[scenario];
        let verdict = match engine {
            Engine::Net => Verdict::of(world, seed, &engine::run(world, seed)),
            Engine::Model => model::judged(world, seed, Scrutiny::UNTRACED),
        };
        Done { scenario, verdict }
    };
    parallel::each(runs.len(), jobs, work, |_, done| {
        tally.add(&done);
        tally.progress(watch.took());
    });
    Ok(tally.verdict(watch.took()))
}

/// What the runs came to so far.
struct Tally<'s> {
    scenarios: &'s [Scenario],
    runs: usize,
    done: usize,
    failed: usize,
    worst: Option<Class>,
    simulated: Duration,
    marks: Vec<BTreeSet<Mark>>,
}

impl<'s> Tally<'s> {
    fn new(scenarios: &'s [Scenario], runs: usize) -> Self {
        let marks = vec![BTreeSet::new(); scenarios.len()];
        let simulated = Duration::ZERO;
        Self { scenarios, runs, done: 0, failed: 0, worst: None, simulated, marks }
    }

    fn add(&mut self, done: &Done) {
        let Done { scenario, verdict } = done;
        self.done += 1;
        self.simulated += verdict.simulated;
        self.marks[*scenario].extend(verdict.marks.iter().cloned());
        if let Some(class) = verdict.class() {
            self.failed += 1;
            self.worst = self.worst.map_or(Some(class), |worst| Some(worst.min(class)));
            let scenario = &self.scenarios[*scenario];
            say(&format!(
                "\r{} seed {} fails, {}: {}\n  again: {}",
                scenario.file,
                verdict.seed,
                class.as_str(),
                report::failures(verdict),
                report::replay(scenario, verdict.seed),
            ));
        }
    }

    /// A line that is written over, for somebody who watches.
    fn progress(&self, took: Duration) {
        let mut out = std::io::stderr();
        if !out.is_terminal() {
            return;
        }
        let left = took.mul_f64((self.runs - self.done) as f64 / self.done as f64);
        let (done, runs, failed, left) = (self.done, self.runs, self.failed, left.as_secs());
        let _closed = write!(out, "\r{done} of {runs} runs, {failed} failed, {left} s left   ");
    }

    fn verdict(&self, took: Duration) -> ExitCode {
        let mut missing = 0;
        for (scenario, reached) in self.scenarios.iter().zip(&self.marks) {
            for Mark(mark) in scenario.expect.sometimes.iter().filter(|it| !reached.contains(it)) {
                missing += 1;
                say(&format!("\r{} never reached {mark} under any seed", scenario.file));
            }
        }
        print(&format!(
            "{} runs of {} scenarios: {} failed, {missing} marks never reached\n",
            self.done,
            self.scenarios.len(),
            self.failed,
        ));
        say(&speed(self.simulated, took));
        let worst = self.worst.or((missing > 0).then_some(Class::Toothless));
        worst.map_or(ExitCode::SUCCESS, |class| ExitCode::from(class.exit_code()))
    }
}
