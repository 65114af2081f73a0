//! The model engine: what it says of a scenario is what the net engine says, in a hundredth of the time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use lb_sim::log::Entry;
use lb_sim::measure::{Facts, seconds, span};
use lb_sim::scenario::{Expectation, Metric};
use lb_sim::{Engine, Scenario, Scrutiny, Verdict, model, report, scenario, trace};

/// The scenarios that the model knows everything of.
fn scenarios() -> Vec<Scenario> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let files = scenario::files(&folder).unwrap().into_iter();
    let all = files.map(|file| scenario::read(&file).unwrap().0);
    let both = |it: &Scenario| !it.model_only && Engine::Model.refusals(it).is_empty();
    let known: Vec<_> = all.filter(both).collect();
    assert!(known.len() >= 56, "the model has forgotten something: {} scenarios", known.len());
    known
}

#[test]
fn scenarios_hold_in_the_model_as_well() {
    for scenario in scenarios() {
        for seed in 1..=5 {
            let verdict = Verdict::of(&scenario, seed, &Engine::Model.run(&scenario, seed));
            let failures = report::failures(&verdict);
            assert_eq!(verdict.class(), None, "{} seed {seed}: {failures}", scenario.file);
        }
    }
}

#[test]
fn a_run_that_is_judged_while_it_goes_on_comes_to_what_its_log_comes_to() {
    for scenario in scenarios() {
        for seed in [3, 4] {
            let streamed = model::judged(&scenario, seed, Scrutiny::FULL);
            let read = Verdict::of(&scenario, seed, &Engine::Model.run(&scenario, seed));
            assert_eq!(streamed, read, "{} seed {seed}", scenario.file);
            let untraced = model::judged(&scenario, seed, Scrutiny::UNTRACED);
            assert_eq!(untraced, Verdict { trace_hash: None, ..read }, "{}", scenario.file);
        }
    }
}

#[test]
fn the_hash_of_a_trace_is_that_of_its_text() {
    let scenario = scenarios().remove(0);
    let run = Engine::Model.run(&scenario, 3);
    let hash = lb_core::stable_hash(trace::text(&run.log).as_bytes());
    assert_eq!(Verdict::of(&scenario, 3, &run).trace_hash, Some(hash));
}

/// What a scenario expects, looked up in the facts of a log as they were before anything streamed.
fn looked_up(scenario: &Scenario, log: &[Entry]) -> Vec<(u64, Option<(Duration, f64)>)> {
    let facts = Facts::of(scenario, log);
    let every = |expectation: &Expectation, spans: Vec<Range<Duration>>| {
        let measured = spans.into_iter().filter_map(|over| {
            let measure = facts.measure(scenario, &over);
            Some((over.start, measure.of(&expectation.metric, scenario)?))
        });
        let measured: Vec<_> = measured.collect();
        let broken = measured.iter().find(|(_, it)| !expectation.holds(*it)).copied();
        (measured.len() as u64, broken)
    };
    let expect = &scenario.expect;
    let whole: Vec<_> = seconds(&span(scenario, None)).collect();
    let after: Vec<_> = seconds(&(scenario.recovered()..scenario.duration)).collect();
    let always = expect.always.iter().map(|it| every(it, whole.clone()));
    let eventually = expect.eventually.iter().map(|it| every(it, after.clone()));
    let at_end = expect.at_end.iter().map(|it| every(it, vec![span(scenario, it.phase)]));
    always.chain(eventually).chain(at_end).collect()
}

/// Every metric in every second, none of which can hold all the time.
const EVERYTHING: [&str; 13] = [
    "errors < 0",
    "error_ratio < 0",
    "turned_away < 0",
    "attempts < 0",
    "retries <= 1",
    "retry_ratio < 0",
    "attempts_max <= 1",
    "opened < 0",
    "wanderers <= 0.1",
    "answered(200) <= 0.9",
    "p50 <= 8ms",
    "p99.9 <= 40ms",
    "max <= 100ms",
];

#[test]
fn gauges_measure_what_the_facts_of_a_whole_log_say() {
    let everything = || EVERYTHING.iter().map(|it| Expectation::parse(it).unwrap());
    for mut scenario in scenarios() {
        scenario.expect.always.extend(everything());
        scenario.expect.eventually.extend(everything());
        let phases = ["faults", "healed"].into_iter().flat_map(|phase| {
            let of_phase = move |it: &&str| it.replacen(' ', &format!("@{phase} "), 1);
            EVERYTHING.iter().map(of_phase).map(|it| Expectation::parse(&it).unwrap())
        });
        scenario.expect.at_end.extend(phases);
        let run = Engine::Model.run(&scenario, 5);
        let expected = Verdict::of(&scenario, 5, &run).expected;
        let measured: Vec<_> = expected.iter().map(|it| (it.checks, it.broken)).collect();
        assert_eq!(measured, looked_up(&scenario, &run.log), "{}", scenario.file);
    }
}

#[test]
fn a_run_of_the_model_repeats() {
    for scenario in scenarios() {
        let once = trace::text(&Engine::Model.run(&scenario, 11).log);
        let again = trace::text(&Engine::Model.run(&scenario, 11).log);
        let differs = trace::first_difference(&once, &again);
        assert_eq!(differs, None, "{}", scenario.file);
    }
}

/// Two backends, and this in the configuration.
fn with(name: &str, of_service: &str, of_config: &str, workload: &str) -> Scenario {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.toml"));
    let text = format!(
        "# What both engines say.\nschema = 1\nduration = \"12s\"\n[config]\n[[config.listener]]\n\
         bind = \"127.0.0.1:8080\"\n[[config.service]]\nname = \"web\"\nhosts = [\"*\"]\n{of_service}\n\
         [[config.service.pool]]\nbackends = [{{ url = \"http://b1:80\" }}, {{ url = \"http://b2:80\" }}]\n\
         {of_config}\n[[origin]]\nat = \"b1:80\"\n[[origin]]\nat = \"b2:80\"\n[workload]\nrate = 50\n\
         {workload}\n[expect]\nat_end = [\"error_ratio <= 1\"]\n"
    );
    std::fs::write(&file, text).unwrap();
    scenario::read(&file).unwrap().0
}

#[test]
fn a_setting_that_the_model_knows_nothing_of_is_refused() {
    let bounded = with("bounded", "[config.service.keep_alive]\nconnections_max = 2", "", "");
    let route = "[[config.route]]\nname = \"r\"\nhosts = [\"web\"]\nservice = \"web\"\n";
    let mirrored = with("mirrored", "", &format!("{route}mirror = {{ service = \"web\" }}"), "");
    for (scenario, what) in [
        (bounded, "it knows nothing of [service.keep_alive] connections_max"),
        (mirrored, "it knows nothing of [route.mirror] of route r"),
    ] {
        assert_eq!(Engine::Model.refusals(&scenario), [what]);
        assert!(Engine::Net.refusals(&scenario).is_empty());
    }
}

#[test]
fn clients_are_told_the_same_status_by_both_engines() {
    let route = "[[config.route]]\nname = \"r\"\nhosts = [\"web\"]\nservice = \"web\"\n\
                 [config.route.response]\nstatus = 500";
    let edited = with("edited", "", route, "");
    let bodies = "body_bytes_max = \"10B\"";
    let large = with("large", bodies, "", "post = 1.0");
    let small = with("small", bodies, "", "post = 1.0\nbody = \"10B\"");
    for (scenario, status) in [(edited, 500), (large, 413), (small, 200)] {
        for engine in [Engine::Net, Engine::Model] {
            let facts = Facts::of(&scenario, &engine.run(&scenario, 1).log);
            let all = facts.measure(&scenario, &(Duration::ZERO..scenario.duration));
            let told = all.of(&Metric::Answered(status), &scenario);
            assert_eq!(told, Some(1.0), "{} under {engine:?}", scenario.file);
        }
    }
}
