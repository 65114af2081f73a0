//! The ledger takes each configuration over from the one before it, as the core does, whether or not a
//! request was served by that one.

use std::time::Duration;

use lb_core::{BackendId, BreakerState, Event};
use lb_sim::ledger::Ledger;
use lb_sim::log::{Entry, What};
use lb_sim::{Scenario, scenario};

const B2: BackendId = BackendId { service: 0, backend: 1 };

/// Two backends, of which the second is taken out, and comes back by the next reload.
fn world() -> Scenario {
    let config = |table: &str, backends: &str| {
        format!(
            "[[{table}.listener]]\nbind = \"0.0.0.0:8080\"\n[[{table}.service]]\nname = \"web\"\n\
             hosts = [\"*\"]\n[{table}.service.health]\nenabled = true\npath = \"/\"\n\
             initial = \"unhealthy\"\n[[{table}.service.pool]]\nbackends = [{backends}]\n"
        )
    };
    let (one, both) =
        ("{ url = \"http://b1\" }", "{ url = \"http://b1\" }, { url = \"http://b2\" }");
    let reload = |backends| {
        format!("[[action]]\nat = \"1s\"\nkind = \"reload\"\n{}", config("action.config", backends))
    };
    let text = format!(
        "# A test of reloads.\nschema = 1\nduration = \"3s\"\n[workload]\nrate = 50\n\
         [[origin]]\nat = \"b1:80\"\n[[origin]]\nat = \"b2:80\"\n{}{}{}",
        config("config", both),
        reload(one),
        reload(both)
    );
    let (scenario, said) = scenario::load(&lb_config::Source { name: "s.toml", text: &text });
    scenario.unwrap_or_else(|| panic!("{said:#?}"))
}

/// The account of all that happened, a millisecond apart.
fn account(scenario: &Scenario, all: impl IntoIterator<Item = What>) -> Ledger<'_> {
    let mut ledger = Ledger::new(scenario);
    for (ms, what) in (1..).zip(all) {
        ledger.enter(&Entry { at: Duration::from_millis(ms), what });
    }
    ledger
}

/// Checks say that it is well, and its breaker opens.
fn known() -> [What; 2] {
    let (from, to) = (BreakerState::Closed, BreakerState::Open);
    let moved = Event::BreakerMoved { backend: B2, from, to };
    [What::Core(Event::HealthMoved { backend: B2, healthy: true }), What::Core(moved)]
}

#[test]
fn who_comes_back_by_the_second_of_two_reloads_is_not_believed_before_its_first_check() {
    let scenario = world();
    let reloads = [What::Reloaded(1), What::Reloaded(2)];
    let ledger = account(&scenario, known().into_iter().chain(reloads));
    assert!(ledger.unhealthy.contains(&B2));
}

#[test]
fn who_comes_back_though_no_request_came_in_between_has_the_breaker_that_it_had() {
    let scenario = world();
    let before = account(&scenario, known());
    assert_eq!(before.breaker(B2), BreakerState::Open);
    let reloads = [What::Reloaded(1), What::Reloaded(2), What::Serves(2)];
    let ledger = account(&scenario, known().into_iter().chain(reloads));
    assert_eq!(ledger.breaker(B2), BreakerState::Open);
}

#[test]
fn what_is_not_taken_out_stays_known_through_both() {
    let (scenario, b1) = (world(), BackendId { service: 0, backend: 0 });
    let (from, to) = (BreakerState::Closed, BreakerState::Open);
    let moved = What::Core(Event::BreakerMoved { backend: b1, from, to });
    let well = What::Core(Event::HealthMoved { backend: b1, healthy: true });
    let reloads = [What::Reloaded(1), What::Reloaded(2), What::Serves(2)];
    let ledger = account(&scenario, [well, moved].into_iter().chain(reloads));
    assert_eq!(ledger.breaker(b1), BreakerState::Open);
    assert!(!ledger.unhealthy.contains(&b1));
}
