//! Pools without backends, as while they are yet to be found.

use lb_core::config::{
    BackendConfig, PoolConfig, ServiceConfig, SlowStartConfig, SteeringPolicy, WhenAllUnfit,
};
use lb_core::{Rejection, Step, Time};

use crate::support::{POLICIES, attempt, config, secs, service, start};

const STEERING: [SteeringPolicy; 7] = [
    SteeringPolicy::Priority,
    SteeringPolicy::Weighted,
    SteeringPolicy::Random,
    SteeringPolicy::LeastOutstanding,
    SteeringPolicy::Geo,
    SteeringPolicy::Proximity,
    SteeringPolicy::Fastest,
];

/// Every policy over every kind of steering with every way out.
fn services(pools: &[PoolConfig]) -> impl Iterator<Item = ServiceConfig> {
    let ways = [
        WhenAllUnfit::FailFast,
        WhenAllUnfit::AskAnswering,
        WhenAllUnfit::FailOpen,
        WhenAllUnfit::FallbackPool(1),
        WhenAllUnfit::Reset,
    ];
    let kinds = POLICIES.into_iter().flat_map(|policy| STEERING.map(|steering| (policy, steering)));
    kinds
        .flat_map(move |(policy, steering)| {
            let spills = [None, Some(140)];
            ways.into_iter().flat_map(move |way| spills.map(|spill| (policy, steering, way, spill)))
        })
        .map({
            let pools = pools.to_vec();
            move |(policy, steering, when_all_unfit, overprovision_percent)| {
                let mut config = ServiceConfig {
                    pools: pools.clone(),
                    when_all_unfit,
                    panic_below: if when_all_unfit == WhenAllUnfit::FailOpen { 50 } else { 0 },
                    ..config(policy, &[&[1]])
                };
                config.steering.policy = steering;
                config.steering.overprovision_percent = overprovision_percent;
                config
            }
        })
}

fn pool(name: &str, backends: &[&str]) -> PoolConfig {
    PoolConfig::new(name, backends.iter().map(|name| BackendConfig::new(name)).collect())
}

#[test]
fn a_service_without_any_backend_refuses_in_every_policy() {
    for config in services(&[pool("near", &[]), pool("far", &[])]) {
        let service = service(&config);
        for id in 0..3 {
            let Step::Reject(why, _) = start(&service, id, secs(1)) else { panic!("{config:?}") };
            assert_eq!(why, Rejection::NoFitBackend);
        }
    }
}

#[test]
fn an_empty_pool_is_passed_over_in_every_policy() {
    for pools in [
        [pool("near", &[]), pool("far", &["http://a"])],
        [pool("near", &["http://a"]), pool("far", &[])],
    ] {
        for config in services(&pools) {
            let service = service(&config);
            for id in 0..3 {
                assert_eq!(attempt(start(&service, id, secs(1))).backend().name(), "http://a");
            }
        }
    }
}

#[test]
fn who_comes_where_nobody_was_is_not_spared_for_being_new() {
    let slow = Some(SlowStartConfig { window: secs(100) - Time::ZERO, floor_percent: 1 });
    let of = |names: &[&str]| ServiceConfig {
        pools: vec![pool("all", names)],
        slow_start: slow,
        ..config(POLICIES[0], &[&[1]])
    };
    let shares = |first: &[&str]| {
        let before = service(&of(first));
        let after = before.succeed(&of(&["http://a", "http://b"]), 3, 7, secs(1)).expect("sound");
        let chosen = |id| attempt(start(&after, id, secs(1))).backend().name().to_owned();
        (0..100).filter(|id| chosen(*id) == "http://b").count()
    };
    assert!(shares(&["http://a"]) < 20, "beside somebody who is warm, the new one is spared");
    assert_eq!(shares(&[]), 50, "of two new ones neither is");
}
