//! The same decisions as implementations that know nothing of ours.

#![cfg(not(loom))]

use core::num::NonZeroU32;
use core::time::Duration;

use governor::clock::{Clock, FakeRelativeClock};
use governor::{Quota, RateLimiter};
use lb_core::config::{BackendConfig, Policy, PoolConfig, RateConfig, ServiceConfig};
use lb_core::{Ask, Exchange, ExchangeId, Rejection, Repeat, Rng, Service, Step, Time, Unobserved};

fn ask(service: &Service, id: u64, now: Time) -> Step<'_> {
    Exchange::start(service, &Unobserved, Ask::bare(ExchangeId(id), Repeat::Safe), now)
}

fn pool(weights: &[u32]) -> Vec<PoolConfig> {
    let backend = |(place, weight): (usize, &u32)| BackendConfig {
        weight: *weight,
        ..BackendConfig::new(&format!("http://b{place}"))
    };
    vec![PoolConfig::new("all", weights.iter().enumerate().map(backend).collect())]
}

/// `governor` 0.10 implements the same generic cell rate algorithm. Its quota of so many per span and
/// a burst means what ours means; its clock counts nanoseconds, ours tens of microseconds, so that the
/// times drawn here are whole tens of them.
#[test]
fn rate_limits_agree_with_governor_request_by_request() {
    for (requests, per_ms, burst, mean_us) in [
        (10, 1_000, 1, 90_000),
        (100, 1_000, 20, 9_000),
        (50, 500, 200, 4_000),
        (1, 1_000, 3, 700_000),
    ] {
        let rate = RateConfig {
            requests,
            per: Duration::from_millis(per_ms),
            burst,
            ..RateConfig::default()
        };
        let config =
            ServiceConfig { rate: Some(rate), ..ServiceConfig::new("limited", pool(&[1])) };
        let service = Service::new(&config, 0, 7).expect("it is meaningful");
        let clock = FakeRelativeClock::default();
        let period = Duration::from_millis(per_ms) / requests;
        let quota = Quota::with_period(period).expect("a period");
        let quota = quota.allow_burst(NonZeroU32::new(burst).expect("a burst"));
        let reference = RateLimiter::direct_with_clock(quota, clock.clone());
        let mut rng = Rng::stream(7, u64::from(burst));
        let (mut now, mut refused) = (0, 0);
        for id in 0..5_000 {
            let step_us = u64::from(rng.below(2 * mean_us / 10)) * 10;
            clock.advance(Duration::from_micros(step_us));
            now += step_us;
            let theirs = reference.check();
            let ours = match ask(&service, id, Time::from_micros(now)) {
                Step::Reject(Rejection::RateLimited(wait), _) => Err(wait),
                _ => Ok(()),
            };
            match (&theirs, ours) {
                (Ok(()), Ok(())) => {}
                (Err(theirs), Err(ours)) => {
                    refused += 1;
                    let theirs = theirs.wait_time_from(clock.now());
                    let apart = theirs.abs_diff(ours);
                    assert!(apart <= Duration::from_micros(10), "wait {ours:?} and not {theirs:?}");
                }
                (theirs, ours) => panic!("request {id}: governor {theirs:?}, we {ours:?}"),
            }
        }
        assert!((100..4_500).contains(&refused), "both answers are seen: {refused}");
    }
}

/// nginx's rule, written down as it is told: each gains its weight, the richest is chosen and pays the
/// total.
fn smooth(weights: &[u32], picks: usize) -> Vec<usize> {
    let total: i64 = weights.iter().map(|weight| i64::from(*weight)).sum();
    let mut credit = vec![0_i64; weights.len()];
    (0..picks)
        .map(|_| {
            credit.iter_mut().zip(weights).for_each(|(has, gains)| *has += i64::from(*gains));
            let most = *credit.iter().max().expect("somebody");
            let richest = credit.iter().position(|has| *has == most).expect("it is there");
            credit[richest] -= total;
            richest
        })
        .collect()
}

#[test]
fn round_robin_agrees_with_the_rule_turn_by_turn() {
    let mut rng = Rng::stream(7, 1);
    for _ in 0..200 {
        let count = 1 + rng.below(20) as usize;
        let weights: Vec<u32> = (0..count).map(|_| 1 + rng.below(12)).collect();
        let config = ServiceConfig {
            policy: Policy::RoundRobin,
            ..ServiceConfig::new("turns", pool(&weights))
        };
        let service = Service::new(&config, 0, 7).expect("it is meaningful");
        let picks = 3 * weights.iter().sum::<u32>() as usize;
        let ours: Vec<usize> = (0..picks as u64)
            .map(|id| match ask(&service, id, Time::ZERO) {
                Step::Attempt(attempt) => usize::from(attempt.backend().id().backend),
                other => panic!("somebody is fit: {other:?}"),
            })
            .collect();
        assert_eq!(ours, smooth(&weights, picks), "{weights:?}");
    }
}
