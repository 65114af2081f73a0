//! A breaker that opens by the share of failures, where no row of them is long enough.

use core::time::Duration;

use lb_core::config::{BreakerConfig, ErrorRateConfig, Policy, ServiceConfig};
use lb_core::{Attempt, Body, BodyEnd, BreakerState, Outcome, Service, Step, Time, Unobserved};

use crate::support::{attempt, config, secs, service, start};

fn of(percent: u8) -> ServiceConfig {
    let error_rate =
        Some(ErrorRateConfig { percent, window: Duration::from_secs(10), min_requests: 10 });
    let breaker = BreakerConfig {
        consecutive_failures: 1_000,
        open_for: Duration::from_secs(1),
        open_for_max: Duration::from_secs(60),
        half_open_trials: 1,
        half_open_successes: 1,
        error_rate,
    };
    ServiceConfig { breaker: Some(breaker), ..config(Policy::RoundRobin, &[&[1]]) }
}

fn finish(service: &Service, attempt: Attempt<'_>, status: u16, now: Time) {
    if let Step::Deliver(delivery) = attempt.finish(Outcome::Answered(status), Body::Intact, now) {
        delivery.end(BodyEnd::Complete, service, now, &Unobserved);
    }
}

fn ask(service: &Service, id: u64, status: u16, now: Time) {
    finish(service, attempt(start(service, id, now)), status, now);
}

fn state(service: &Service) -> BreakerState {
    service.backend(0).breaker().state()
}

#[test]
fn every_second_failure_opens_it_and_every_third_does_not() {
    let half = service(&of(50));
    for id in 0..9 {
        ask(&half, id, if id % 2 == 0 { 500 } else { 200 }, secs(1));
        assert_eq!(state(&half), BreakerState::Closed, "too few to say: {id}");
    }
    ask(&half, 9, 500, secs(1));
    assert_eq!(state(&half), BreakerState::Open);
    let third = service(&of(50));
    for id in 0..1_000 {
        ask(&third, id, if id % 3 == 0 { 500 } else { 200 }, secs(1 + id / 50));
    }
    assert_eq!(state(&third), BreakerState::Closed);
}

#[test]
fn once_closed_again_it_starts_anew_and_answers_from_before_do_not_count() {
    let service = service(&of(50));
    let late: Vec<Attempt<'_>> =
        (100..120).map(|id| attempt(start(&service, id, secs(1)))).collect();
    for id in 0..10 {
        ask(&service, id, 500, secs(1));
    }
    assert_eq!(state(&service), BreakerState::Open);
    ask(&service, 20, 200, secs(3));
    assert_eq!(state(&service), BreakerState::Closed, "the trial was good");
    for straggler in late {
        finish(&service, straggler, 500, secs(3));
    }
    assert_eq!(state(&service), BreakerState::Closed);
    for id in 30..39 {
        ask(&service, id, 500, secs(4));
    }
    assert_eq!(state(&service), BreakerState::Closed, "what opened it once is forgotten");
}
