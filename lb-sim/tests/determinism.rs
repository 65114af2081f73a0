//! The same scenario under the same seed is the same run, byte for byte, in any process.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lb_sim::{Scenario, engine, scenario, trace};

/// Not the scenarios' own seeds, so that nothing here has been tuned to pass.
const SEEDS: [u64; 2] = [11, 12];

fn scenarios() -> Vec<(PathBuf, Scenario)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 3, "the scenarios are gone: {files:?}");
    files
        .into_iter()
        .map(|file| {
            let (name, text) = (file.display().to_string(), fs::read_to_string(&file).unwrap());
            let source = lb_config::Source { name: &name, text: &text };
            let (scenario, diagnostics) = scenario::load(&source);
            (file, scenario.unwrap_or_else(|| panic!("{diagnostics:#?}")))
        })
        .collect()
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

#[test]
fn a_run_repeats_in_the_same_process() {
    for (file, scenario) in scenarios() {
        let once = trace::text(&engine::run(&scenario, SEEDS[1]).log);
        let again = trace::text(&engine::run(&scenario, SEEDS[1]).log);
        same(&file.display().to_string(), &once, &again);
    }
}

#[test]
fn a_run_repeats_in_another_process() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    for (file, scenario) in scenarios() {
        let here = trace::text(&engine::run(&scenario, SEEDS[0]).log);
        let written = folder.join(file.with_extension("trace").file_name().unwrap());
        let output = Command::new(env!("CARGO_BIN_EXE_lb-sim"))
            .arg("run")
            .arg(&file)
            .args(["--seed", &SEEDS[0].to_string(), "--trace"])
            .arg(&written)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        same(&file.display().to_string(), &here, bare(&fs::read_to_string(&written).unwrap()));
    }
}

#[test]
fn another_seed_is_another_run() {
    let (_, scenario) = scenarios().remove(0);
    let [left, right] = SEEDS.map(|seed| trace::text(&engine::run(&scenario, seed).log));
    assert!(trace::first_difference(&left, &right).is_some());
}
