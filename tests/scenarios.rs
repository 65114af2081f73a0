//! Every scenario proves its sentence, under its own seed and a few others.

use std::path::Path;

use lb_sim::{Engine, Scenario, parallel, report, scenario};

/// Beside the scenario's own seed; a sweep takes many more.
const SEED: u64 = 1;

#[test]
fn every_scenario_proves_its_sentence() {
    // A file is named in reports as whoever repeats a run in this folder names it.
    let files = scenario::files(Path::new("scenarios")).unwrap();
    let scenarios = files.iter().map(|file| scenario::read(file).unwrap().0);
    // Those for the model engine are run by lb-sim/tests/papers.rs.
    let scenarios: Vec<Scenario> = scenarios.filter(|it| !it.model_only).collect();
    assert!(scenarios.len() >= 60, "the scenarios are gone: {}", scenarios.len());
    let verdicts = |at: usize| {
        let scenario = &scenarios[at];
        [SEED, scenario.seed].map(|seed| Engine::Net.judged(scenario, seed))
    };
    parallel::each(scenarios.len(), None, verdicts, |at, verdicts| {
        for verdict in verdicts {
            let report = || report::verdict(&scenarios[at], &verdict, Engine::Net);
            assert_eq!(verdict.class(), None, "{}", report());
        }
    });
}
