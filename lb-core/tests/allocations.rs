//! An exchange that succeeds takes nothing from the heap, under every policy.

#![cfg(not(loom))]

use core::net::{IpAddr, Ipv4Addr};
use std::alloc::System;

use lb_core::config::{
    BackendConfig, BreakerConfig, ErrorRateConfig, Policy, PoolConfig, RateConfig, ServiceConfig,
};
use lb_core::{
    Ask, Body, BodyEnd, Exchange, ExchangeId, Outcome, Repeat, Service, Step, Time, Unobserved,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Everything that costs something is on.
fn service(policy: Policy) -> Service {
    let backends = (0..16).map(|n| BackendConfig::new(&format!("http://backend-{n}"))).collect();
    let pools = vec![PoolConfig::new("all", backends)];
    let breaker =
        BreakerConfig { error_rate: Some(ErrorRateConfig::default()), ..BreakerConfig::default() };
    let mut config = ServiceConfig {
        policy,
        breaker: Some(breaker),
        rate: Some(RateConfig { burst: 1_000_000, ..RateConfig::default() }),
        ..ServiceConfig::new("heap", pools)
    };
    config.hash.load_percent = policy.is_consistent().then_some(125);
    Service::new(&config, 0, 7).expect("the configuration is meaningful")
}

fn exchange(service: &Service, id: u32) {
    let now = Time::from_millis(id.into());
    let client = IpAddr::from(Ipv4Addr::from_bits(id.wrapping_mul(2_654_435_761)));
    let id = ExchangeId(id.into());
    let ask = Ask { id, repeat: Repeat::Safe, facts: &client, bodiless: true };
    let Step::Attempt(attempt) = Exchange::start(service, &Unobserved, ask, now) else {
        panic!("all are fit")
    };
    let Step::Deliver(delivery) = attempt.finish(Outcome::Answered(200), Body::Intact, now) else {
        panic!("it was answered")
    };
    delivery.end(BodyEnd::Complete, service, now, &Unobserved);
}

#[test]
fn an_exchange_that_succeeds_takes_nothing_from_the_heap() {
    for policy in [
        Policy::RoundRobin,
        Policy::WeightedRandom,
        Policy::LeastRequest,
        Policy::PeakEwma,
        Policy::LeastRequestExact,
        Policy::Prequal,
        Policy::Fastest,
        Policy::Performance,
        Policy::PerformanceNaive,
        Policy::HealthScore,
        Policy::First,
        Policy::Ring,
        Policy::Maglev,
        Policy::Rendezvous,
        Policy::JavaHashModulo,
    ] {
        let region = Region::new(HEAP);
        let service = service(policy);
        assert!(region.change().allocations > 0, "the heap is watched");
        exchange(&service, 0);
        // The harness has a thread of its own that takes from the heap now and then. What an exchange
        // takes it takes every time.
        let taken = (0..10).map(|round| {
            let region = Region::new(HEAP);
            (1..2_000).for_each(|id| exchange(&service, 2_000 * round + id));
            region.change().allocations + region.change().reallocations
        });
        let least = taken.min().expect("ten rounds");
        assert_eq!(least, 0, "{policy:?}");
    }
}
