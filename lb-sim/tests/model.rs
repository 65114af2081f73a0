//! The model engine: what it says of a scenario is what the net engine says, in a hundredth of the time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};

use lb_sim::measure::{Facts, Measure, span};
use lb_sim::scenario::Phase;
use lb_sim::{Scenario, Verdict, engine, model, report, scenario, trace};

/// The scenarios that the model knows everything of.
fn scenarios() -> Vec<Scenario> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    let all = files.into_iter().map(|file| {
        let (name, text) = (file.display().to_string(), fs::read_to_string(&file).unwrap());
        let source = lb_config::Source { name: &name, text: &text };
        let (scenario, diagnostics) = scenario::load(&source);
        scenario.unwrap_or_else(|| panic!("{diagnostics:#?}"))
    });
    let known: Vec<_> = all.filter(|it| model::refusals(it).is_empty()).collect();
    assert!(known.len() >= 28, "the model has forgotten something: {} scenarios", known.len());
    known
}

#[test]
fn scenarios_hold_in_the_model_as_well() {
    for scenario in scenarios() {
        for seed in 1..=5 {
            let verdict = Verdict::of(&scenario, seed, &model::run(&scenario, seed));
            let failures = report::failures(&verdict);
            assert_eq!(verdict.class(), None, "{} seed {seed}: {failures}", scenario.file);
        }
    }
}

#[test]
fn a_run_of_the_model_repeats() {
    for scenario in scenarios() {
        let once = trace::text(&model::run(&scenario, 11).log);
        let again = trace::text(&model::run(&scenario, 11).log);
        let differs = trace::first_difference(&once, &again);
        assert_eq!(differs, None, "{}", scenario.file);
    }
}

/// How far the two may be apart in a share of the requests: beyond luck, which differs between them.
const APART_MAX: f64 = 0.08;

#[test]
fn both_engines_measure_the_same_within_a_few_percent() {
    for scenario in scenarios() {
        let measures = [engine::run, model::run].map(|run| {
            let facts = Facts::of(&scenario, &run(&scenario, scenario.seed).log);
            [None, Some(Phase::Faults)].map(|it| facts.measure(&scenario, &span(&scenario, it)))
        });
        let [net, model] = measures;
        for (net, model) in net.iter().zip(&model) {
            let apart = |of: &dyn Fn(&Measure) -> f64| (of(net) - of(model)).abs();
            let share = |it: &Measure, origin| it.share(Some(origin)).unwrap_or(0.0);
            let ratio = |part: u64, it: &Measure| part as f64 / it.requests.max(1) as f64;
            let mut all = vec![
                ("errors", apart(&|it| ratio(it.errors, it))),
                ("retries", apart(&|it| ratio(it.retries, it))),
            ];
            let shares = (0..scenario.origins.len()).map(|at| apart(&|it| share(it, at)));
            all.extend(shares.map(|apart| ("a share", apart)));
            for (what, apart) in all {
                assert!(apart <= APART_MAX, "{}: {what} differs by {apart:.3}", scenario.file);
            }
        }
    }
}
