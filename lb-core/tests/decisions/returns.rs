//! Who left a service and is back: what it is known for, and what it is not.

use std::sync::Arc;
use std::time::Duration;

use lb_core::config::{
    BackendConfig, OutlierConfig, Policy, PoolConfig, ProbeConfig, RateConfig, ServiceConfig,
    SteeringPolicy, WhenAllUnfit,
};
use lb_core::{
    Body, BodyEnd, BreakerState, Checked, Failure, Found, Learned, Measured, Outcome, Service,
    Step, Time, Unobserved,
};

use crate::support::{attempt, config, secs, service, start};

fn of(policy: Policy, names: &[&str]) -> ServiceConfig {
    let backends = names.iter().map(|name| BackendConfig::new(name)).collect();
    let pools = vec![PoolConfig::new("all", backends)];
    ServiceConfig { pools, ..config(policy, &[&[1]]) }
}

fn succeed(service: &Arc<Service>, config: &ServiceConfig, now: u64) -> Arc<Service> {
    service.succeed(config, 3, 7, secs(now)).expect("it is meaningful")
}

/// What a check took, as one process tells it to another.
fn took(ms: u64) -> Option<(Learned, Duration)> {
    let check = Measured { took: Duration::from_millis(ms), age: Duration::ZERO };
    Some((Learned { check: Some(check), ..Learned::default() }, Duration::ZERO))
}

/// Who is asked first at that second.
fn asked(service: &Service, now: u64) -> String {
    attempt(start(service, 1, secs(now))).backend().name().to_owned()
}

/// An exchange that comes to this status.
fn answered(service: &Service, id: u64, status: u16, now: Time) {
    let attempt = attempt(start(service, id, now));
    let Step::Deliver(delivery) = attempt.finish(Outcome::Answered(status), Body::Intact, now)
    else {
        panic!("there are no retries");
    };
    delivery.end(BodyEnd::Complete, service, now, &Unobserved);
}

#[test]
fn whoever_was_away_for_days_is_new_though_nothing_else_changed_meanwhile() {
    let all = of(Policy::RoundRobin, &["http://a", "http://b"]);
    let one = of(Policy::RoundRobin, &["http://b"]);
    let before = service(&all);
    let refused = Outcome::Failed(Failure::ConnectRefused);
    drop(attempt(start(&before, 1, Time::ZERO)).finish(refused, Body::Intact, Time::ZERO));
    let mut without = succeed(&before, &one, 1);
    assert_eq!(without.gone(secs(600)).count(), 1);
    let soon = succeed(&without, &all, 600);
    assert_eq!(soon.backend(0).breaker().state(), BreakerState::Open);
    for hour in 1..72 {
        without = succeed(&without, &one, hour * 3_600);
    }
    assert_eq!(without.gone(secs(601)).count(), 0);
    let late = succeed(&without, &all, 72 * 3_600);
    assert_eq!(late.backend(0).breaker().state(), BreakerState::Closed);
}

#[test]
fn how_soon_it_answered_checks_speaks_for_nobody_who_is_back() {
    let all = of(Policy::Fastest, &["http://a", "http://quick"]);
    let before = service(&all);
    before.recall(|name| took(if name == "http://quick" { 1 } else { 50 }), Time::ZERO);
    assert_eq!(asked(&before, 1), "http://quick");
    let without = succeed(&before, &of(Policy::Fastest, &["http://a"]), 1);
    assert_eq!(asked(&succeed(&without, &all, 500), 500), "http://a");
}

#[test]
fn how_soon_it_answered_is_forgotten_though_everybody_was_away() {
    let all = of(Policy::PeakEwma, &["http://a"]);
    let before = service(&all);
    answered(&before, 1, 200, secs(1));
    assert!(before.backend(0).learned(secs(1)).latency.is_some());
    let empty = succeed(&before, &of(Policy::PeakEwma, &[]), 2);
    assert!(succeed(&empty, &all, 3).backend(0).learned(secs(3)).latency.is_none());
}

#[test]
fn failures_of_an_interval_that_is_over_eject_nobody_who_is_back() {
    let outliers = OutlierConfig {
        interval: Duration::from_secs(10),
        min_requests: 5,
        min_backends: 2,
        deviations: None,
        failure_percent: Some(50),
        ..OutlierConfig::default()
    };
    let mut all = of(Policy::RoundRobin, &["http://a", "http://b", "http://c"]);
    (all.breaker, all.outliers) = (None, Some(outliers));
    let mut fewer = all.clone();
    fewer.pools[0].backends.remove(0);
    // Ten of the first one's ten requests fail, and then it is away for so long.
    let ejections = |away: u64| {
        let before = service(&all);
        (0..30).for_each(|id| {
            let status = if id % 3 == 0 { 500 } else { 200 };
            answered(&before, id, status, secs(1));
        });
        let back = succeed(&succeed(&before, &fewer, 2), &all, 2 + away);
        (0..60).for_each(|id| answered(&back, id, 200, secs(13 + away)));
        back.backend(0).standing().ejections
    };
    assert_eq!(ejections(500), 0);
    assert_eq!(ejections(1), 1, "who is missing from one list alone is not spared");
}

#[test]
fn nobody_is_back_ill_where_checks_ended_meanwhile() {
    let mut all = of(Policy::RoundRobin, &["http://a", "http://b"]);
    all.probe = Some(ProbeConfig { fall: 1, ..ProbeConfig::default() });
    let before = service(&all);
    let found = Found::Nothing;
    let checked = Checked { round: 1, began: secs(1), took: Duration::ZERO, found };
    before.checked(0, checked, secs(1), &Unobserved);
    assert!(before.backend(0).standing().unhealthy);
    let mut unchecked = of(Policy::RoundRobin, &["http://b"]);
    unchecked.probe = None;
    let back = succeed(&succeed(&before, &unchecked, 2), &all, 3);
    assert!(!back.backend(0).standing().unhealthy);
}

#[test]
fn clients_get_no_new_allowance_by_a_list_that_was_empty_once() {
    let rate = RateConfig {
        requests: 1,
        per: Duration::from_secs(3_600),
        burst: 1,
        ..RateConfig::default()
    };
    let all = ServiceConfig { rate: Some(rate), ..of(Policy::RoundRobin, &["http://a"]) };
    let mut none = all.clone();
    none.pools[0].backends.clear();
    let before = service(&all);
    drop(attempt(start(&before, 1, secs(1))));
    let back = succeed(&succeed(&before, &none, 2), &all, 3);
    assert!(matches!(start(&back, 2, secs(3)), Step::Reject(..)));
}

/// Three pools, of which requests go to the fastest; checks take so many milliseconds at each.
fn steered(fallback: Option<u16>) -> ServiceConfig {
    let mut config = config(Policy::RoundRobin, &[&[1], &[1], &[1]]);
    config.steering.policy = SteeringPolicy::Fastest;
    config.probe = Some(ProbeConfig::default());
    if let Some(pool) = fallback {
        config.when_all_unfit = WhenAllUnfit::FallbackPool(pool);
    }
    config
}

#[test]
fn the_fastest_pool_is_one_that_requests_are_steered_to() {
    let known = |of: [u64; 3]| move |name: &str| took(of[usize::from(name.as_bytes()[7] - b'0')]);
    let fresh = service(&steered(Some(0)));
    fresh.recall(known([10, 150, 50]), Time::ZERO);
    assert_eq!(asked(&fresh, 1), "http://2-0");
    let before = service(&steered(None));
    before.recall(known([150, 10, 50]), Time::ZERO);
    assert_eq!(asked(&before, 1), "http://1-0");
    assert_eq!(asked(&succeed(&before, &steered(Some(1)), 1), 1), "http://2-0");
}
