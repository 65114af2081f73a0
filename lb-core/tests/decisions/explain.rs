//! What a choice was made from, told before it is made.

use core::cell::RefCell;
use core::time::Duration;

use expect_test::{Expect, expect};
use lb_core::config::{LimitConfig, Policy, ServiceConfig, SlowStartConfig};
use lb_core::{
    Ask, Body, Event, Exchange, ExchangeId, Explanation, Failure, Observe, Outcome, Repeat, Step,
    Time,
};

use crate::support::{attempt, config, place, secs, service, start};

/// Remembers what it is told of choices, for people.
#[derive(Default)]
struct Told(RefCell<String>);

impl Observe for Told {
    fn on(&self, _now: Time, event: &Event) {
        if let Event::Attempted { backend, .. } = event {
            *self.0.borrow_mut() += &format!("→ {}\n", backend.backend);
        }
    }

    fn explains(&self) -> bool {
        true
    }

    fn explained(&self, explanation: &Explanation<'_>) {
        *self.0.borrow_mut() += &format!("{explanation}\n");
    }
}

fn check(told: &Told, expected: &Expect) {
    expected.assert_eq(&told.0.take());
}

#[test]
fn everybody_is_told_of_with_what_speaks_against_them() {
    let limits =
        LimitConfig { per_backend: Some(1), per_service: Some(9), ..LimitConfig::default() };
    let slow_start = SlowStartConfig { window: Duration::from_secs(100), floor_percent: 10 };
    let mut config = ServiceConfig {
        limits,
        slow_start: Some(slow_start),
        ..config(Policy::First, &[&[1, 2, 1, 1], &[5]])
    };
    config.retry.attempts_max = 2;
    let mut shorter = config.clone();
    shorter.pools.pop();
    let service = service(&shorter).succeed(&config, 3, 7, secs(10)).expect("it is meaningful");
    // The first is full, the second drains, the third's breaker opens.
    let held = attempt(start(&service, 1, secs(20)));
    service.drain(1, true);
    let failing = attempt(start(&service, 2, secs(20)));
    assert_eq!((place(&held), place(&failing)), (0, 2));
    drop(failing.finish(Outcome::Answered(500), Body::Intact, secs(20)));
    let told = Told::default();
    let ask = Ask::bare(ExchangeId(3), Repeat::Safe);
    let first = attempt(Exchange::start(&service, &told, ask, secs(30)));
    let refused = Outcome::Failed(Failure::ConnectRefused);
    let Step::Attempt(second) = first.finish(refused, Body::Intact, secs(30)) else {
        panic!("the other pool is fit")
    };
    assert_eq!(place(&second), 4);
    check(
        &told,
        &expect![[r#"
            attempt 1, 100000 retries left, 2 of 9 in flight, 0 waiting
              pool pool-0: 3 of 4 fit
              pool pool-1: 1 of 1 fit
              http://0-0 (pool 0, weight 1): left out, full; 1 in flight, breaker closed
              http://0-1 (pool 0, weight 2): left out, draining; 0 in flight, breaker closed
              http://0-2 (pool 0, weight 1): left out, open for 3590s; 0 in flight, breaker open
              http://0-3 (pool 0, weight 1): may be chosen; 0 in flight, breaker closed
              http://1-0 (pool 1, weight 5): may be chosen; 0 in flight, breaker closed, holds with 20 %
            → 3
            attempt 2, 99999 retries left, 2 of 9 in flight, 0 waiting
              pool pool-0: 2 of 4 fit
              pool pool-1: 1 of 1 fit
              http://0-0 (pool 0, weight 1): left out, full; 1 in flight, breaker closed
              http://0-1 (pool 0, weight 2): left out, draining; 0 in flight, breaker closed
              http://0-2 (pool 0, weight 1): left out, open for 3590s; 0 in flight, breaker open
              http://0-3 (pool 0, weight 1): left out, tried; 0 in flight, breaker open
              http://1-0 (pool 1, weight 5): may be chosen; 0 in flight, breaker closed, holds with 20 %
            → 4
        "#]],
    );
}

#[test]
fn a_service_with_many_backends_tells_of_some_and_counts_the_others() {
    let service = service(&config(Policy::Maglev, &[&[1; 300]]));
    let told = Told::default();
    let ask = Ask::bare(ExchangeId(3), Repeat::Safe);
    drop(Exchange::start(&service, &told, ask, secs(30)));
    let text = told.0.take();
    assert_eq!(text.lines().count(), 1 + 256 + 1 + 1);
    assert!(text.contains("\n  and 44 backends more\n→ "), "{text}");
}
