//! A configuration changes while exchanges run: what was learned about a backend stays with its
//! name, and nobody loses count.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lb_core::config::{BackendConfig, Policy, PoolConfig, ServiceConfig, SteeringPolicy};
use lb_core::{
    Body, BodyEnd, BreakerState, Failure, Learned, Measured, Outcome, Rng, Service, Step, Time,
    Unobserved,
};
use proptest::prelude::*;

use crate::support::{POLICIES, attempt, cases, config, in_flight, secs, service, start};

/// A service of these backends.
fn of(policy: Policy, names: &[&str]) -> ServiceConfig {
    let backends = names.iter().map(|name| BackendConfig::new(name)).collect();
    let pools = vec![PoolConfig::new("all", backends)];
    ServiceConfig { pools, ..config(policy, &[&[1]]) }
}

fn succeed(service: &Arc<Service>, config: &ServiceConfig) -> Arc<Service> {
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
fn a_service_that_is_asked_for_as_before_is_the_same_one() {
    let config = of(Policy::RoundRobin, &["http://a", "http://b"]);
    let before = service(&config);
    assert!(Arc::ptr_eq(&before, &succeed(&before, &config)));
    let moved = before.succeed(&config, 4, 7, Time::ZERO).expect("it is meaningful");
    assert!(!Arc::ptr_eq(&before, &moved), "in another place its backends are called otherwise");
    let other = of(Policy::RoundRobin, &["http://b", "http://a"]);
    assert!(!Arc::ptr_eq(&before, &succeed(&before, &other)));
}

#[test]
fn who_is_missing_from_one_list_keeps_what_it_holds_and_what_speaks_against_it() {
    let mut all = of(Policy::RoundRobin, &["http://a", "http://b"]);
    all.limits.per_backend = Some(1);
    let mut one = all.clone();
    one.pools[0].backends.remove(0);
    let before = service(&all);
    let running = attempt(start(&before, 1, Time::ZERO));
    assert_eq!(running.backend().name(), "http://a");
    let without = before.succeed(&one, 3, 7, secs(1)).expect("it is meaningful");
    assert_eq!(without.gone(secs(1)).collect::<Vec<_>>(), ["http://a"]);
    // As long as something is in flight there, however long that is.
    let later = without.succeed(&other_timeout(&one), 3, 7, secs(3_000)).expect("it is meaningful");
    let back = later.succeed(&all, 3, 7, secs(3_001)).expect("it is meaningful");
    assert_eq!((in_flight(&back), back.gone(secs(1)).count()), (vec![1, 0], 0));
    assert!((0..20).all(|id| match start(&back, id, secs(3_001)) {
        Step::Attempt(attempt) => attempt.backend().name() == "http://b",
        step => matches!(step, Step::Reject(..)),
    }));
    drop(running.finish(Outcome::Answered(500), Body::Intact, secs(3_001)));
    assert_eq!(back.backend(0).breaker().state(), BreakerState::Open);
    let without = back.succeed(&one, 3, 7, secs(3_002)).expect("it is meaningful");
    let again = without.succeed(&all, 3, 7, secs(3_601)).expect("it is meaningful");
    assert_eq!(again.backend(0).breaker().state(), BreakerState::Open, "after ten minutes");
    let without = again.succeed(&one, 3, 7, secs(4_000)).expect("it is meaningful");
    let long = without.succeed(&other_timeout(&one), 3, 7, secs(4_600)).expect("it is meaningful");
    assert_eq!(long.gone(secs(1)).count(), 0);
    let new = long.succeed(&all, 3, 7, secs(4_601)).expect("it is meaningful");
    assert_eq!(new.backend(0).breaker().state(), BreakerState::Closed, "and not for ever");
}

/// The same service, and yet another one.
fn other_timeout(config: &ServiceConfig) -> ServiceConfig {
    let mut other = config.clone();
    other.timeouts.connect += Duration::from_millis(1);
    other
}

#[test]
fn of_many_who_left_those_are_remembered_who_hold_something_and_who_left_last() {
    let names: Vec<String> = (0..3_000).map(|nth| format!("http://{nth:04}")).collect();
    let of_these = |from: usize| {
        let names: Vec<&str> = names[from..].iter().map(String::as_str).collect();
        of(Policy::First, &names)
    };
    let all = service(&of_these(0));
    let running = attempt(start(&all, 1, Time::ZERO));
    assert_eq!(running.backend().name(), "http://0000");
    let fewer = all.succeed(&of_these(1_500), 3, 7, secs(1)).expect("it is meaningful");
    assert_eq!(fewer.gone(secs(1)).count(), 1_024);
    let few = fewer.succeed(&of_these(2_000), 3, 7, secs(2)).expect("it is meaningful");
    let gone: Vec<&str> = few.gone(secs(2)).collect();
    assert_eq!((gone.len(), gone[0]), (1_024, "http://0000"));
    assert_eq!(gone.iter().filter(|name| **name >= "http://1500").count(), 500);
    drop(running);
}

/// Were each to begin the round anew, the first three of the four would have all the turns.
#[test]
fn a_round_goes_on_when_the_service_changes() {
    let mut config = of(Policy::RoundRobin, &["http://a", "http://b", "http://c", "http://d"]);
    let mut service = service(&config);
    let mut served = BTreeMap::new();
    for id in 0..120 {
        if id % 3 == 0 {
            config = other_timeout(&config);
            service = service.succeed(&config, 3, 7, secs(id)).expect("it is meaningful");
        }
        let name = attempt(start(&service, id, secs(id))).backend().name().to_owned();
        *served.entry(name).or_insert(0) += 1;
    }
    assert_eq!(served.values().copied().collect::<Vec<_>>(), [30; 4]);
}

/// What a check took, as one process tells it to another.
fn took(ms: u64) -> Option<(Learned, Duration)> {
    let check = Measured { took: Duration::from_millis(ms), age: Duration::ZERO };
    Some((Learned { check: Some(check), ..Learned::default() }, Duration::ZERO))
}

#[test]
fn who_answers_checks_soonest_still_does_when_the_list_changes() {
    let before = service(&of(Policy::Fastest, &["http://slow", "http://quick", "http://near"]));
    let known = |name: &str| took(if name == "http://slow" { 150 } else { 10 });
    assert_eq!(before.recall(known, Time::ZERO), 3);
    let who = |service: &Service| attempt(start(service, 1, secs(1))).backend().name().to_owned();
    assert_eq!(who(&before), "http://quick");
    let names = ["http://slow", "http://new", "http://near", "http://quick"];
    let after = succeed(&before, &of(Policy::Fastest, &names));
    assert_eq!(who(&after), "http://quick", "nobody is sooner by the margin");
    let without = succeed(&after, &of(Policy::Fastest, &names[..3]));
    assert_eq!(who(&without), "http://near");
}

#[test]
fn the_pool_that_answers_checks_soonest_still_does_when_another_list_changes() {
    let mut config = config(Policy::RoundRobin, &[&[1], &[1]]);
    config.steering.policy = SteeringPolicy::Fastest;
    let before = service(&config);
    let known = |name: &str| took(if name == "http://0-0" { 150 } else { 10 });
    before.recall(known, Time::ZERO);
    let who = |service: &Service| attempt(start(service, 1, secs(1))).backend().name().to_owned();
    assert_eq!(who(&before), "http://1-0");
    config.pools[0].backends[0].weight = 2;
    config.pools.insert(0, PoolConfig::new("first", vec![BackendConfig::new("http://new")]));
    assert_eq!(who(&succeed(&before, &config)), "http://1-0");
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
    for service in &services {
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
            // One that was away in between as well.
            assert_eq!(counted, leases.get(&name).copied().unwrap_or(0), "{name}");
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
