//! What pictures show is what the facts, the ledger and the configuration say.

use super::*;
use crate::ledger::Ledger;
use crate::measure::Facts;
use crate::{Engine, scenario};

/// A scenario of the folder, and what the model makes of it.
fn run(name: &str) -> (Scenario, Vec<Entry>) {
    let file = format!("{}/../scenarios/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&file).expect("the scenario is there");
    let (scenario, said) = scenario::load(&lb_config::Source { name: &file, text: &text });
    let scenario = scenario.unwrap_or_else(|| panic!("{said:?}"));
    let log = Engine::Model.run(&scenario, 7).log;
    (scenario, log)
}

#[test]
fn every_good_answer_stands_once_in_the_bin_of_its_request() {
    for name in ["partition", "outage", "overload", "hedge"] {
        let (scenario, log) = run(name);
        let axis = Axis::new(scenario.duration, 120);
        let (history, facts) = (History::of(&scenario, &log, axis), Facts::of(&scenario, &log));
        for (bin, span) in axis.bins().enumerate() {
            let measure = facts.measure(&scenario, &span);
            let drawn: u32 = history.latencies[bin].values().sum();
            let good = measure.requests - measure.errors;
            assert_eq!(u64::from(drawn), good, "{name} at {span:?}");
        }
    }
}

#[test]
fn what_is_in_flight_is_never_more_than_the_ledger_knows_and_comes_back() {
    for name in ["partition", "outage", "overload", "hedge", "crash"] {
        let (scenario, log) = run(name);
        let mut reader = Reader::new(&scenario, Axis::new(scenario.duration, 120));
        let mut ledger = Ledger::new(&scenario);
        for (nth, entry) in log.iter().enumerate() {
            reader.enter(entry);
            ledger.enter(entry);
            if nth % 1_001 != 0 {
                continue;
            }
            for backend in scenario.roster.backends(0, 0) {
                let origin = origin_of(&scenario, backend);
                let (mine, known) =
                    (reader.now_in_flight[origin] as usize, ledger.in_flight(backend));
                assert!(mine <= known, "{name} at {:?}: {mine} > {known}", entry.at);
            }
        }
        assert!(reader.now_in_flight.iter().all(|held| *held == 0), "{name}");
        assert!(reader.end().in_flight.iter().flatten().any(|most| *most > 0), "{name}");
    }
}

#[test]
fn a_budget_that_an_outage_spends_is_drawn_empty_and_fills_again() {
    let (scenario, log) = run("outage");
    let axis = Axis::new(scenario.duration, 120);
    let history = History::of(&scenario, &log, axis);
    let left = &history.budgets[&0];
    assert!(left.iter().any(|left| *left < 0.05), "{left:?}");
    assert!(left.iter().all(|left| (0.0..=1.0).contains(left)), "{left:?}");
    assert!(left.last() > left.iter().min_by(|one, other| one.total_cmp(other)), "{left:?}");
    assert!(history.withheld.iter().any(|count| *count > 0));
}

#[test]
fn a_breaker_that_opens_is_a_band_within_the_run_and_its_state_is_the_ledgers() {
    let (scenario, log) = run("partition");
    let axis = Axis::new(scenario.duration, 120);
    let history = History::of(&scenario, &log, axis);
    let opened = log.iter().filter(|entry| {
        let open = lb_core::BreakerState::Open;
        matches!(entry.what, What::Core(Event::BreakerMoved { to, .. }) if to == open)
    });
    let open = crate::page::standing::Standing::Open;
    let bands: Vec<&Band> =
        history.bands.values().flatten().filter(|band| band.standing == open).collect();
    assert_eq!(bands.len(), opened.count());
    assert!(!bands.is_empty());
    assert!(bands.iter().all(|band| band.span.start < band.span.end), "{bands:?}");
}
