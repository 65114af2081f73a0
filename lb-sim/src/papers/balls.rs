//! Balls into bins: as many requests as backends, none of which ends.
//!
//! With one choice the fullest bin has about ln n / ln ln n balls, with d it has ln ln n / ln d and a
//! constant (Azar, Broder, Karlin, Upfal 1994). The bins are leases of real backends.

use lb_core::config::{BackendConfig, Policy, PoolConfig, ServiceConfig};
use lb_core::{Ask, Exchange, ExchangeId, Repeat, Service, Step, Time, Unobserved};

use super::{Row, Unit};

/// Bins: as many backends as a service may have.
const BINS: u32 = 16_384;
/// Under as many seeds as the figures beside it were made of.
const SEEDS: u64 = 12;

pub(super) fn rows() -> Vec<Row> {
    let row = |what, paper, policy, choices| {
        let fullest = (1..=SEEDS).map(|seed| f64::from(fullest(policy, choices, seed)));
        let mean = fullest.sum::<f64>() / SEEDS as f64;
        Row::new(format!("{what}: balls in the fullest bin"), paper, mean, Unit::Plain)
    };
    vec![
        row("one choice", "6 to 9", Policy::WeightedRandom, 2),
        row("two choices", "3 to 4", Policy::LeastRequest, 2),
        row("three choices", "3", Policy::LeastRequest, 3),
    ]
}

fn fullest(policy: Policy, choices: u8, seed: u64) -> u32 {
    let backends = (0..BINS).map(|bin| BackendConfig::new(&format!("http://b{bin}")));
    let pool = PoolConfig::new("bins", backends.collect());
    let config = ServiceConfig { policy, choices, ..ServiceConfig::new("balls", vec![pool]) };
    let service = Service::new(&config, 0, seed).expect("as many backends as there may be");
    let throw = |ball: u32| {
        let ask = Ask::bare(ExchangeId(ball.into()), Repeat::Safe);
        match Exchange::start(&service, &Unobserved, ask, Time::ZERO) {
            Step::Attempt(attempt) => attempt,
            step => unreachable!("all backends are fit: {step:?}"),
        }
    };
    let _balls: Vec<_> = (0..BINS).map(throw).collect();
    service.backends().map(lb_core::Member::in_flight).max().expect("there are bins")
}
