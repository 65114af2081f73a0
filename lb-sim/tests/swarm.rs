//! Swarms draw worlds that can be read and repeat, and what fails in one is shrunk to what matters.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use lb_sim::sanity::{has_time, is_ample};
use lb_sim::scenario::{self, Scenario};
use lb_sim::shrink::{Question, Shrunk, shrink};
use lb_sim::swarm::{Base, drawn};
use lb_sim::{Class, Engine, Failure, Verdict, report};

fn base() -> Base {
    Base { name: "swarm".to_owned(), text: None }
}

fn read(text: &str) -> Scenario {
    let (scenario, said) = scenario::load(&lb_config::Source { name: "drawn.toml", text });
    scenario.unwrap_or_else(|| panic!("{said:#?}\n{text}"))
}

fn judged(scenario: &Scenario, seed: u64) -> Verdict {
    Verdict::of(scenario, seed, &Engine::Model.run(scenario, seed))
}

#[test]
fn a_seed_draws_one_world_and_another_seed_another() {
    let text = drawn(&base(), 7).unwrap();
    assert_eq!(drawn(&base(), 7).unwrap(), text);
    assert_ne!(drawn(&base(), 8).unwrap(), text);
}

#[test]
fn all_that_is_drawn_can_be_read_and_held_to_its_promises() {
    for seed in 1..=300 {
        let world = read(&drawn(&base(), seed).unwrap());
        assert!(has_time(&world) && is_ample(&world), "seed {seed}");
        assert!(Engine::Model.refusals(&world).is_empty(), "seed {seed}");
        assert_eq!(world.seed, seed);
    }
}

#[test]
fn a_scenario_that_is_drawn_around_keeps_its_services_and_backends() {
    let text = include_str!("../../scenarios/spill-over.toml");
    let base = Base { name: "spill-over".to_owned(), text: Some(text.to_owned()) };
    let (known, world) = (read(text), read(&drawn(&base, 3).unwrap()));
    let backends = |it: &Scenario| {
        let services = it.config.services.iter();
        services.map(|it| (it.core.name.clone(), it.origins.clone())).collect::<Vec<_>>()
    };
    assert_eq!(backends(&world), backends(&known));
}

#[test]
fn drawn_worlds_keep_every_promise() {
    for seed in 1..=60 {
        let text = drawn(&base(), seed).unwrap();
        let verdict = judged(&read(&text), seed);
        let class = verdict.class().filter(|class| *class != Class::Toothless);
        let failures = report::failures(&verdict);
        assert_eq!(class, None, "seed {seed}: {failures}; lb-sim draw --seed {seed}");
    }
}

#[test]
fn the_real_proxy_keeps_them_as_well() {
    let text = drawn(&base(), 2).unwrap();
    let scenario = read(&text);
    let verdict = Verdict::of(&scenario, 2, &Engine::Net.run(&scenario, 2));
    let class = verdict.class().filter(|class| *class != Class::Toothless);
    assert_eq!(class, None, "{}", report::failures(&verdict));
}

/// A world of a swarm that has much in it, and an expectation that cannot hold.
fn wrong_about(expectation: &str) -> (u64, String, Failure) {
    let found = (1..200).find_map(|seed| {
        let text = drawn(&base(), seed).unwrap();
        let text = format!("{text}\n[expect]\nalways = [\"{expectation}\", \"p50 <= 10s\"]\n");
        let scenario = read(&text);
        let failure = Failure::of(&judged(&scenario, seed))?;
        (things(&scenario) >= 8).then_some((seed, text, failure))
    });
    found.unwrap()
}

/// Faults, actions and surges.
fn things(scenario: &Scenario) -> usize {
    scenario.faults.len() + scenario.actions.len() + scenario.workload.surges.len()
}

fn least(seed: u64, text: &str, failure: &Failure, is_over: &dyn Fn() -> bool) -> Shrunk {
    let run = |scenario: &Scenario, seed| {
        Engine::Model.refusals(scenario).is_empty().then(|| judged(scenario, seed))
    };
    let question = Question { name: "drawn.toml", seed, failure, run: &run, is_over };
    shrink(text, &question).unwrap()
}

#[test]
fn what_fails_in_a_swarm_is_shrunk_to_a_few_things_that_happen() {
    let (seed, text, failure) = wrong_about("opened <= 0");
    assert_eq!(failure, Failure::Expectation("always opened <= 0".to_owned()));
    let (before, shrunk) = (read(&text), least(seed, &text, &failure, &|| false));
    let after = read(&shrunk.text);
    assert!(shrunk.is_least && things(&after) <= 5, "{}", shrunk.text);
    assert!(things(&after) < things(&before) && after.origins.len() <= before.origins.len());
    assert!(after.duration < before.duration, "{}", shrunk.text);
    assert!(failure.is_in(&judged(&after, seed)), "{}", shrunk.text);
    assert_eq!(after.seed, seed, "it fails under its own seed");
}

#[test]
fn a_backend_whose_share_is_expected_is_not_left_out() {
    let (seed, text, failure) = wrong_about("share(b1:80) >= 0.99");
    let after = read(&least(seed, &text, &failure, &|| false).text);
    let mut backends = after.config.services.iter().flat_map(|it| &it.origins);
    assert!(backends.any(|it| it.host == "b1"), "its share would be nothing, whatever happens");
}

#[test]
fn shrinking_stops_when_time_is_up_and_says_so() {
    let (seed, text, failure) = wrong_about("retries <= 0");
    let shrunk = least(seed, &text, &failure, &|| true);
    assert!(!shrunk.is_least && shrunk.runs == 0);
    assert!(failure.is_in(&judged(&read(&shrunk.text), seed)), "{}", shrunk.text);
}

#[test]
fn what_does_not_fail_is_not_shrunk() {
    let text = drawn(&base(), 1).unwrap();
    let failure = Failure::Invariant("leases return to zero".to_owned());
    let run = |scenario: &Scenario, seed| Some(judged(scenario, seed));
    let question =
        Question { name: "drawn.toml", seed: 1, failure: &failure, run: &run, is_over: &|| false };
    let said = shrink(&text, &question).unwrap_err();
    assert_eq!(said, "invariant \"leases return to zero\" does not fail under seed 1");
}

#[test]
fn a_scenario_that_its_own_engine_cannot_run_is_told_why() {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("too-fast.toml");
    let text = drawn(&base(), 7).unwrap();
    let rate = text.lines().find(|line| line.starts_with("rate = ")).unwrap();
    fs::write(&file, text.replacen(rate, "rate = 20_000", 1)).unwrap();
    let mut sweep = Command::new(env!("CARGO_BIN_EXE_lb-sim"));
    let done = sweep.arg("sweep").arg(&file).args(["--seeds", "1..2"]).output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("not for the engine net: it is not made for more than"), "{said}");
}
