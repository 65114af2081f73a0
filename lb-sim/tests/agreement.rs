//! The engines agree: the core alone decides what the proxy decided, and real sockets hold what simulated
//! ones do.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

use lb_sim::agreement::{Apart, Figures};
use lb_sim::invariant::Kind;
use lb_sim::repeat::{self, Ground};
use lb_sim::scenario::Phase;
use lb_sim::{Engine, Scenario, parallel, report, scenario};

/// Scenarios that both engines run, or a few more: one that is left out would be missed.
const KNOWN_MIN: usize = 56;

/// All scenarios that the net engine is made for.
fn scenarios() -> Vec<Scenario> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let read = |file: PathBuf| scenario::read(&file).unwrap().0;
    let all = scenario::files(&folder).unwrap().into_iter().map(read);
    all.filter(|it| Engine::Net.refusals(it).is_empty()).collect()
}

fn load(name: &str, text: &str) -> Scenario {
    let (scenario, diagnostics) = scenario::load(&lb_config::Source { name, text });
    scenario.unwrap_or_else(|| panic!("{diagnostics:#?}"))
}

#[test]
fn every_decision_of_the_proxy_is_one_that_the_core_alone_makes_again() {
    let scenarios = scenarios();
    let repeated = |at: usize| {
        let scenario = &scenarios[at];
        let (run, tape) = repeat::taped(scenario, scenario.seed, Ground::Net);
        (run.panic, repeat::repeat(scenario, scenario.seed, &tape).unwrap())
    };
    parallel::each(scenarios.len(), None, repeated, |at, (panic, done)| {
        let Scenario { file, seed, .. } = &scenarios[at];
        assert_eq!((panic, &done.differs), (None, &None), "{file} seed {seed}");
        assert!(done.decisions > 100, "{file}: {done:?}");
    });
}

#[test]
fn a_decision_that_differs_is_found_and_has_a_place() {
    let scenario = load("brief.toml", BRIEF);
    let (_, tape) = repeat::taped(&scenario, 7, Ground::Net);
    // Other dice: the first choice by chance is another one.
    let done = repeat::repeat(&scenario, 8, &tape).unwrap();
    let differs = done.differs.unwrap();
    assert!(differs.line > 0 && differs.was != differs.is, "{differs:?}");
}

#[test]
fn model_and_net_measure_the_same_latencies() {
    let both = |it: &Scenario| Engine::Model.refusals(it).is_empty();
    let scenarios: Vec<Scenario> = scenarios().into_iter().filter(both).collect();
    assert!(scenarios.len() >= KNOWN_MIN, "too few to compare: {}", scenarios.len());
    let runs = |at: usize| {
        let scenario = &scenarios[at];
        [Engine::Net, Engine::Model].map(|engine| engine.run(scenario, scenario.seed))
    };
    parallel::each(scenarios.len(), None, runs, |at, runs| {
        let scenario = &scenarios[at];
        for phase in [None, Some(Phase::Healed)] {
            let [net, model] = [0, 1].map(|at| Figures::of(scenario, &runs[at], phase));
            let too_far = net.apart(&model, scenario).into_iter().filter(|it| !it.is_tolerable());
            let told: Vec<String> = too_far.map(|apart: Apart| apart.to_string()).collect();
            assert!(told.is_empty(), "{} {phase:?}: {}", scenario.file, told.join(", "));
        }
    });
}

#[test]
fn what_is_safe_in_the_simulation_is_safe_on_real_sockets() {
    let scenario = load("brief.toml", BRIEF);
    let (run, tape) = repeat::taped(&scenario, 7, Ground::Real);
    let (verdict, _late) = Engine::Real.verdict(&scenario, 7, &run);
    assert_eq!(verdict.panic, None);
    // How soon things happen is the machine's business, and this one may be busy.
    let broken =
        verdict.findings.iter().any(|it| it.kind == Kind::Safety && !it.violations.is_empty());
    assert!(!broken, "{}", report::failures(&verdict));
    let figures = Figures::of(&scenario, &run, None);
    assert!(figures.requests > 100, "{figures:?}");
    assert!(figures.shares.iter().all(|share| *share > 0.0), "{figures:?}");
    // Whatever the wall's clock did, the core would do it again.
    let done = repeat::repeat(&scenario, 7, &tape).unwrap();
    assert_eq!(done.differs, None);
}

#[test]
fn real_time_is_bounded() {
    let long = BRIEF.replace("duration = \"3s\"", "duration = \"90s\"");
    let refusals = Engine::Real.refusals(&load("long.toml", &long));
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert!(refusals[0].contains("shorten `duration`"), "{refusals:?}");
}

/// Faults of the network and of a server, within three seconds.
const BRIEF: &str = r#"# A backend that fails, stops, and is lost on the way costs no client an answer
schema = 1
seed = 7
duration = "3s"
recover_within = "500ms"
network = { min = "1ms", max = "2ms" }

[[config.listener]]
bind = "0.0.0.0:80"

[[config.service]]
name = "web"
hosts = ["*"]

[config.service.timeouts]
connect = "200ms"
first_byte = "400ms"

[config.service.breaker]
consecutive_failures = 3
open_for = "300ms"
open_for_max = "600ms"

[[config.service.pool]]
backends = [{ url = "http://b1" }, { url = "http://b2" }, { url = "http://b3" }]

[[origin]]
at = "b1:80"

[[origin]]
at = "b2:80"

[[origin]]
at = "b3:80"

[workload]
rate = 80

[[fault]]
at = "400ms"
for = "400ms"
origin = "b1:80"
kind = "status"
code = 503

[[fault]]
at = "1s"
for = "400ms"
origin = "b2:80"
kind = "refuse"

[[fault]]
at = "1500ms"
for = "400ms"
origin = "b3:80"
kind = "blackhole"
"#;
