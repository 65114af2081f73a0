//! A configuration changes while exchanges run: what was learned about a backend stays with its
//! name, and nobody loses count.

use std::collections::BTreeMap;

use lb_core::config::{BackendConfig, Policy, PoolConfig, ServiceConfig};
use lb_core::{
    Body, BodyEnd, BreakerState, Failure, Outcome, Rng, Service, Step, Time, Unobserved,
};
use proptest::prelude::*;

use crate::support::{POLICIES, attempt, cases, config, in_flight, secs, service, start};

/// A service of these backends.
fn of(policy: Policy, names: &[&str]) -> ServiceConfig {
    let backends = names.iter().map(|name| BackendConfig::new(name)).collect();
    let pools = vec![PoolConfig::new("all", backends)];
    ServiceConfig { pools, ..config(policy, &[&[1]]) }
}

fn succeed(service: &Service, config: &ServiceConfig) -> Service {
    service.succeed(config, 3, 7, Time::ZERO).expect("the configuration is meaningful")
}

fn in_flight_by_name(service: &Service) -> BTreeMap<String, u32> {
    service.backends().map(|it| (it.name().to_owned(), it.in_flight())).collect()
}

#[test]
fn an_open_breaker_stays_open_wherever_its_backend_moves() {
    let before = service(&of(Policy::RoundRobin, &["http://a", "http://b"]));
    let refused = Outcome::Failed(Failure::ConnectRefused);
    drop(attempt(start(&before, 1, Time::ZERO)).finish(refused, Body::Intact, Time::ZERO));
    let after =
        succeed(&before, &of(Policy::LeastRequest, &["http://new", "http://b", "http://a"]));
    let states: Vec<_> = after.backends().map(|it| (it.name(), it.breaker().state())).collect();
    let closed = BreakerState::Closed;
    assert_eq!(
        states,
        [("http://new", closed), ("http://b", closed), ("http://a", BreakerState::Open)]
    );
    for id in 0..100 {
        let chosen = attempt(start(&after, id, secs(1)));
        assert_ne!(chosen.backend().name(), "http://a");
    }
}

#[test]
fn an_attempt_of_the_past_counts_in_the_present_and_ends_at_both() {
    let before = service(&of(Policy::RoundRobin, &["http://a", "http://b"]));
    let running = attempt(start(&before, 1, Time::ZERO));
    let after = succeed(&before, &of(Policy::RoundRobin, &["http://c", "http://a"]));
    assert_eq!(in_flight(&after), [0, 1]);
    let answered = running.finish(Outcome::Answered(200), Body::Intact, secs(1));
    let Step::Deliver(delivery) = answered else { panic!("an answer") };
    delivery.end(BodyEnd::BackendBroke, &before, secs(2), &Unobserved);
    assert_eq!(in_flight(&after), [0, 0]);
    assert_eq!(after.backend(1).breaker().state(), BreakerState::Open, "what it showed is known");
}

#[test]
fn a_draining_backend_finishes_what_it_has_and_gets_nothing_new() {
    let mut config = of(Policy::RoundRobin, &["http://a", "http://b"]);
    let before = service(&config);
    let running = attempt(start(&before, 1, Time::ZERO));
    config.pools[0].backends[0].draining = true;
    let after = succeed(&before, &config);
    assert!((0..100).all(|id| attempt(start(&after, id, secs(1))).backend().name() == "http://b"));
    assert_eq!(in_flight(&after), [1, 0]);
    drop(running);
    assert_eq!(in_flight(&after), [0, 0]);
    config.pools[0].backends[0].draining = false;
    let back = succeed(&after, &config);
    let chosen = |id| attempt(start(&back, id, secs(2))).backend().name().to_owned();
    assert_eq!([chosen(1), chosen(2)], ["http://a", "http://b"]);
    // An operator can say so without a new configuration as well.
    back.drain(1, true);
    assert!((0..100).all(|id| chosen(id) == "http://a"));
    back.drain(1, false);
    assert!((0..100).any(|id| chosen(id) == "http://b"));
}

#[test]
fn a_retry_budget_that_was_spent_stays_spent() {
    let mut config = of(Policy::RoundRobin, &["http://a", "http://b"]);
    config.retry.budget.burst = 5;
    config.retry.attempts_max = 2;
    let before = service(&config);
    let refused = Outcome::Failed(Failure::ConnectRefused);
    drop(attempt(start(&before, 1, Time::ZERO)).finish(refused, Body::Intact, Time::ZERO));
    assert_eq!(before.retries_left(Time::ZERO), 4.0);
    assert_eq!(succeed(&before, &config).retries_left(Time::ZERO), 4.0);
    config.retry.budget.burst = 2;
    assert_eq!(succeed(&before, &config).retries_left(Time::ZERO), 2.0);
}

#[test]
fn a_meaningless_successor_leaves_the_service_as_it_is() {
    let before = service(&of(Policy::RoundRobin, &["http://a"]));
    let nothing = ServiceConfig { pools: Vec::new(), ..of(Policy::RoundRobin, &[]) };
    assert!(before.succeed(&nothing, 3, 7, Time::ZERO).is_err());
    assert_eq!(attempt(start(&before, 1, Time::ZERO)).backend().name(), "http://a");
}

/// Some of six backends.
fn some(dice: &mut Rng) -> Vec<&'static str> {
    const ALL: [&str; 6] = ["http://a", "http://b", "http://c", "http://d", "http://e", "http://f"];
    let mut names: Vec<_> = ALL.into_iter().filter(|_| dice.below(2) == 0).collect();
    if names.is_empty() {
        names.push(ALL[dice.below(6) as usize]);
    }
    if dice.below(2) == 0 {
        names.reverse();
    }
    names
}

/// Attempts begin and end at ten configurations in turn; every one is counted by its name.
fn check(policy: Policy, seed: u64) {
    let mut dice = Rng::stream(seed, 1);
    let mut services = vec![service(&of(policy, &some(&mut dice)))];
    for _ in 0..10 {
        let next = of(policy, &some(&mut dice));
        services.push(succeed(services.last().expect("there is one"), &next));
    }
    let mut held: Vec<Step<'_>> = Vec::new();
    for (index, service) in services.iter().enumerate() {
        for _ in 0..dice.below(20) {
            match dice.below(3) {
                0 if !held.is_empty() => {
                    let place = dice.below(u32::try_from(held.len()).expect("few")) as usize;
                    drop(held.swap_remove(place));
                }
                _ => held.push(start(service, dice.next_u64(), Time::ZERO)),
            }
        }
        let mut leases = BTreeMap::new();
        for step in &held {
            if let Step::Attempt(attempt) = step {
                *leases.entry(attempt.backend().name().to_owned()).or_insert(0) += 1;
            }
        }
        for (name, counted) in in_flight_by_name(service) {
            // One that was away in between is known anew, and its old attempts are not.
            let always =
                services[..=index].iter().all(|it| it.backends().any(|b| b.name() == name));
            let expected = leases.get(&name).copied().unwrap_or(0);
            assert!(if always { counted == expected } else { counted <= expected }, "{name}");
        }
    }
    held.clear();
    for service in &services {
        assert!(in_flight(service).iter().all(|count| *count == 0));
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn attempts_are_counted_by_name_through_every_change(
        policy in prop::sample::select(&POLICIES),
        seed: u64,
    ) {
        check(policy, seed);
    }
}
