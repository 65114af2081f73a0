//! The same scenario under the same seed is the same run, byte for byte, in any process.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lb_sim::{Engine, Scenario, parallel, scenario, trace};

/// Not the scenarios' own seeds, so that nothing here has been tuned to pass.
const SEEDS: [u64; 2] = [11, 12];

fn scenarios() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let files = scenario::files(&folder).unwrap().into_iter();
    files.filter(|file| !load(file).model_only).collect()
}

fn load(file: &Path) -> Scenario {
    scenario::read(file).unwrap().0
}

/// A trace that was written to a file, without its first line, which says what it is of.
fn bare(trace: &str) -> &str {
    trace.split_once('\n').unwrap().1
}

/// Fails with the first line that differs.
fn same(what: &str, left: &str, right: &str) {
    if let Some((line, left, right)) = trace::first_difference(left, right) {
        panic!("{what}: line {line} differs\n  {left}\n  {right}");
    }
}

/// One run here, on a thread among others, and one in a process of its own.
#[test]
fn a_run_repeats_in_another_process() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let files = scenarios();
    let runs = |at: usize| {
        let file: &Path = &files[at];
        let here = trace::text(&Engine::Net.run(&load(file), SEEDS[0]).log);
        let written = folder.join(format!("{at}.trace"));
        let output = Command::new(env!("CARGO_BIN_EXE_lb-sim"))
            .arg("run")
            .arg(file)
            .args(["--seed", &SEEDS[0].to_string(), "--trace"])
            .arg(&written)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        (here, fs::read_to_string(&written).unwrap())
    };
    parallel::each(files.len(), None, runs, |at, (here, written)| {
        same(&files[at].display().to_string(), &here, bare(&written));
    });
}

/// What outlives a run on its thread does not show.
#[test]
fn a_run_repeats_on_the_same_thread() {
    let scenario = load(&scenarios()[0]);
    let [once, again] = [(); 2].map(|()| trace::text(&Engine::Net.run(&scenario, SEEDS[1]).log));
    same(&scenario.file, &once, &again);
}

#[test]
fn another_seed_is_another_run() {
    let scenario = load(&scenarios()[0]);
    let [left, right] = SEEDS.map(|seed| trace::text(&Engine::Net.run(&scenario, seed).log));
    assert!(trace::first_difference(&left, &right).is_some());
}
