//! Every scenario proves its sentence, under its own seed and a few others.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};

use lb_sim::{Verdict, engine, report, scenario};

/// Beside the scenario's own. A sweep takes many more: `lb-sim sweep scenarios --seeds 1..200`.
const SEEDS: [u64; 2] = [1, 2];

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn every_scenario_proves_its_sentence() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = files(&root.join("scenarios"));
    assert!(files.len() >= 3, "the scenarios are gone: {files:?}");
    for file in files {
        let name = file.strip_prefix(root).unwrap().display().to_string();
        let text = fs::read_to_string(&file).unwrap();
        let source = lb_config::Source { name: &name, text: &text };
        let (scenario, diagnostics) = scenario::load(&source);
        let scenario = scenario.unwrap_or_else(|| panic!("{diagnostics:#?}"));
        // Those are for the model engine: lb-sim/tests/papers.rs runs them.
        if scenario.model_only {
            continue;
        }
        for seed in SEEDS.into_iter().chain([scenario.seed]) {
            let verdict = Verdict::of(&scenario, seed, &engine::run(&scenario, seed));
            assert_eq!(verdict.class(), None, "{}", report::verdict(&scenario, &verdict));
        }
    }
}
