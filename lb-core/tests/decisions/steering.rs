//! Which pool serves: by order and spilling, by weight, place, load and time; and in panic.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use lb_core::config::{
    AreaHeaders, Country, Location, Policy, ProbeConfig, ProbeKind, ServiceConfig, SteeringConfig,
    SteeringPolicy, WhenAllUnfit,
};
use lb_core::{
    Ask, Body, Checked, Event, Exchange, ExchangeId, Facts, Failure, Found, Outcome, Rejection,
    Repeat, Role, Service, Steered, Step, Time, Unobserved,
};

use crate::support::{Log, attempt, config, in_flight, place, secs, service, start};

/// Says where it is.
#[derive(Clone, Copy, Default)]
struct From(&'static [(&'static str, &'static str)]);

impl Facts for From {
    fn client(&self) -> Option<IpAddr> {
        None
    }
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(is, _)| *is == name).map(|(_, value)| value.as_bytes())
    }
    fn path(&self) -> &'static str {
        "/"
    }
    fn query(&self) -> Option<&str> {
        None
    }
}

fn steered(policy: SteeringPolicy, pools: &[&[u32]]) -> ServiceConfig {
    let headers = AreaHeaders {
        country: Some("country".into()),
        region: Some("region".into()),
        latitude: Some("latitude".into()),
        longitude: Some("longitude".into()),
    };
    ServiceConfig {
        steering: SteeringConfig { policy, headers, ..SteeringConfig::default() },
        ..config(Policy::WeightedRandom, pools)
    }
}

/// Where `requests` go, by pool, and why. Nothing stays in flight.
fn pools(service: &Service, facts: From, requests: u64) -> BTreeMap<(u16, Steered), u64> {
    let log = Log::default();
    let mut counts = BTreeMap::new();
    for id in 0..requests {
        let ask = Ask { id: ExchangeId(id), repeat: Repeat::Safe, facts: &facts, bodiless: true };
        drop(Exchange::start(service, &log, ask, Time::ZERO));
        for (_, event) in log.take() {
            if let Event::Attempted { choice, .. } = event {
                *counts.entry((choice.pool, choice.steered)).or_default() += 1;
            }
        }
    }
    counts
}

/// Leaves so many backends of each pool fit.
fn leave(service: &Service, fit: &[usize]) {
    for (pool, fit) in service.pools().iter().zip(fit) {
        for (nth, member) in pool.backends().enumerate() {
            service.drain(member.id().backend, nth >= *fit);
        }
    }
}

/// What each pool gets of 100,000 requests, in percent.
fn shares(service: &Service, facts: From) -> Vec<f64> {
    let counts = pools(service, facts, 100_000);
    let of = |pool: u16| counts.iter().filter(move |((it, _), _)| *it == pool);
    let count = u16::try_from(service.pools().len()).expect("there are few");
    (0..count).map(|pool| of(pool).map(|(_, count)| *count as f64 / 1_000.0).sum()).collect()
}

fn assert_shares(service: &Service, expected: &[f64]) {
    let shares = shares(service, From::default());
    let close = |(share, expected): (&f64, &f64)| (share - expected).abs() < 0.6;
    assert!(shares.iter().zip(expected).all(close), "{shares:?} and not {expected:?}");
}

/// Envoy's documented table of priority levels, at its overprovisioning factor of 1.4.
#[test]
fn pools_spill_over_as_in_envoys_table() {
    let hundred = [1; 100];
    let mut config = steered(SteeringPolicy::Priority, &[&hundred, &hundred]);
    config.steering.overprovision_percent = Some(140);
    let service = service(&config);
    for (fit, expected) in [
        ([100, 100], [100.0, 0.0]),
        ([72, 100], [100.0, 0.0]),
        ([71, 100], [99.0, 1.0]),
        ([50, 100], [70.0, 30.0]),
        ([25, 100], [35.0, 65.0]),
        ([0, 100], [0.0, 100.0]),
        // Neither can carry it all: what there is is shared, 35 and 35 of 70.
        ([25, 25], [50.0, 50.0]),
        // 7 and 91 of 98.
        ([5, 65], [7.0, 93.0]),
        // Failback.
        ([100, 100], [100.0, 0.0]),
    ] {
        leave(&service, &fit);
        assert_shares(&service, &expected);
    }
}

#[test]
fn a_pool_panics_below_its_share_unless_the_others_carry_its_traffic() {
    let hundred = [1; 100];
    let mut config = steered(SteeringPolicy::Priority, &[&hundred, &hundred]);
    config.steering.overprovision_percent = Some(140);
    config.when_all_unfit = WhenAllUnfit::FailOpen;
    config.panic_below = 50;
    let service = service(&config);
    let panicking = |fit: [usize; 2]| {
        leave(&service, &fit);
        let mut panicking = [false; 2];
        for id in 0..2_000 {
            let log = Log::default();
            drop(Exchange::start(
                &service,
                &log,
                Ask::bare(ExchangeId(id), Repeat::Safe),
                Time::ZERO,
            ));
            for (_, event) in log.take() {
                let Event::Attempted { choice, .. } = event else { continue };
                panicking[usize::from(choice.pool)] |= choice.role == Role::Panic;
            }
        }
        panicking
    };
    assert_eq!(panicking([100, 100]), [false, false]);
    assert_eq!(panicking([25, 100]), [false, false], "the second carries what the first cannot");
    assert_eq!(panicking([25, 25]), [true, true]);
    assert_eq!(panicking([5, 65]), [true, false]);
}

#[test]
fn a_pool_below_its_least_number_serves_nobody() {
    let mut config = steered(SteeringPolicy::Priority, &[&[1; 3], &[1; 3]]);
    config.pools[0].min_fit = 2;
    let service = service(&config);
    for (fit, expected) in [(3, 0), (2, 0), (1, 1), (0, 1), (2, 0)] {
        leave(&service, &[fit, 3]);
        let counts = pools(&service, From::default(), 100);
        assert_eq!(counts, BTreeMap::from([((expected, Steered::Order), 100)]), "{fit} fit");
    }
}

#[test]
fn a_canary_gets_its_weight_and_nothing_while_it_cannot_serve() {
    let mut config = steered(SteeringPolicy::Weighted, &[&[1; 4], &[1]]);
    (config.pools[0].weight, config.pools[1].weight) = (95, 5);
    let of_config = service(&config);
    assert_shares(&of_config, &[95.0, 5.0]);
    leave(&of_config, &[4, 0]);
    assert_shares(&of_config, &[100.0, 0.0]);
    config.pools[1].weight = 0;
    assert_shares(&service(&config), &[100.0, 0.0]);
}

#[test]
fn random_goes_by_size_and_least_outstanding_by_load_as_well() {
    assert_shares(&service(&steered(SteeringPolicy::Random, &[&[1; 6], &[1; 2]])), &[75.0, 25.0]);
    let service = service(&steered(SteeringPolicy::LeastOutstanding, &[&[1; 6], &[1; 6]]));
    assert_shares(&service, &[50.0, 50.0]);
    // Six to one: 6/(5+1) against 6/(0+1).
    let mut held = Vec::new();
    for id in 0..u64::MAX {
        let attempt = attempt(start(&service, id, Time::ZERO));
        if place(&attempt) < 6 {
            held.push(attempt);
        }
        if held.len() == 5 {
            break;
        }
    }
    assert_eq!(in_flight(&service).iter().sum::<u32>(), 5);
    assert_shares(&service, &[100.0 / 7.0, 600.0 / 7.0]);
}

#[test]
fn geo_goes_by_country_then_by_region_then_in_order() {
    let mut config = steered(SteeringPolicy::Geo, &[&[1], &[1], &[1], &[1]]);
    config.pools[0].regions = vec!["us-west".into()];
    config.pools[1].regions = vec!["europe-west".into()];
    config.pools[2].countries = vec![Country::new(b"FR").unwrap()];
    let service = service(&config);
    let of = |facts: &'static [(&'static str, &'static str)]| {
        let counts = pools(&service, From(facts), 10);
        assert_eq!(counts.len(), 1, "{counts:?}");
        *counts.first_key_value().unwrap().0
    };
    assert_eq!(of(&[("country", "FR"), ("region", "us-west")]), (2, Steered::Area));
    assert_eq!(of(&[("country", "de")]), (1, Steered::Area), "by the table of countries");
    assert_eq!(of(&[("country", "US")]), (0, Steered::Area));
    assert_eq!(of(&[("region", "us-west-2")]), (0, Steered::Area));
    assert_eq!(of(&[("region", "europe-north")]), (1, Steered::Area), "as like as it gets");
    assert_eq!(of(&[("country", "JP")]), (0, Steered::Order));
    assert_eq!(of(&[("country", "\u{fffd}")]), (0, Steered::Order));
    leave(&service, &[1, 0, 1, 1]);
    assert_eq!(of(&[("country", "DE")]), (0, Steered::Next));
}

#[test]
fn proximity_asks_the_nearest_pool_and_then_the_next() {
    let mut config = steered(SteeringPolicy::Proximity, &[&[1], &[1], &[1]]);
    let at = |latitude, longitude| Some(Location { latitude, longitude });
    config.pools[0].location = at(37_770_000, -122_420_000);
    config.pools[1].location = at(50_110_000, 8_680_000);
    let service = service(&config);
    let paris = From(&[("latitude", "48.86"), ("longitude", "2.35")]);
    let tokyo = From(&[("latitude", "35.68"), ("longitude", "139.69")]);
    let only = |facts| *pools(&service, facts, 5).first_key_value().unwrap().0;
    assert_eq!(only(paris), (1, Steered::Nearest));
    assert_eq!(only(tokyo), (0, Steered::Nearest), "over the Pacific");
    assert_eq!(only(From(&[("latitude", "48.86"), ("longitude", "east")])), (0, Steered::Order));
    leave(&service, &[1, 0, 1]);
    assert_eq!(only(paris), (0, Steered::Nearest));
    leave(&service, &[0, 0, 1]);
    assert_eq!(only(paris), (2, Steered::Next), "the one that is nowhere comes last");
}

#[test]
fn backends_of_the_clients_region_are_asked_first_as_far_as_they_can_carry_it() {
    let mut config = steered(SteeringPolicy::Priority, &[&[1; 20]]);
    for (nth, backend) in config.pools[0].backends.iter_mut().enumerate() {
        backend.region = Some(if nth < 10 { "us-west" } else { "europe-west" }.into());
    }
    let service = service(&config);
    let western = |facts| {
        let log = Log::default();
        (0..10_000)
            .filter(|id| {
                let ask = Ask {
                    id: ExchangeId(*id),
                    repeat: Repeat::Safe,
                    facts: &facts,
                    bodiless: true,
                };
                place(&attempt(Exchange::start(&service, &log, ask, Time::ZERO))) < 10
            })
            .count()
    };
    assert_eq!(western(From(&[("country", "US")])), 10_000);
    assert_eq!(western(From(&[("country", "DE")])), 0, "though both are in some west");
    assert!(
        (4_700..5_300).contains(&western(From(&[("country", "ZA")]))),
        "no region: all of them"
    );
    // Half of those in the west are gone: they carry 70 %, and of the other 30 % a third.
    (0..5).for_each(|place| service.drain(place, true));
    assert!((7_700..8_300).contains(&western(From(&[("country", "US")]))));
    (0..10).for_each(|place| service.drain(place, true));
    assert_eq!(western(From(&[("country", "US")])), 0, "and the others when nobody is left");
}

#[test]
fn the_proxys_own_zone_counts_wherever_the_client_is() {
    let mut config = steered(SteeringPolicy::Priority, &[&[1, 1]]);
    config.steering.zone = Some("eu-1a".into());
    config.pools[0].backends[0].region = Some("eu-1b".into());
    config.pools[0].backends[1].region = Some("eu-1a".into());
    let service = service(&config);
    let us = From(&[("country", "US")]);
    let ask = |id| Ask { id: ExchangeId(id), repeat: Repeat::Safe, facts: &us, bodiless: true };
    for id in 0..100 {
        assert_eq!(place(&attempt(Exchange::start(&service, &Unobserved, ask(id), Time::ZERO))), 1);
    }
}

fn checked_every_second(config: ServiceConfig) -> ServiceConfig {
    let probe = ProbeConfig {
        kind: ProbeKind::Tcp,
        interval: Duration::from_secs(1),
        fall: 2,
        ..ProbeConfig::default()
    };
    ServiceConfig { probe: Some(probe), ..config }
}

/// One check of each backend; `None` found nothing.
fn check(service: &Service, round: u64, took_ms: &[Option<u64>]) {
    let began = secs(round);
    for (place, took) in (0..).zip(took_ms) {
        let found = took.map_or(Found::Nothing, |_| Found::Connected);
        let took = Duration::from_millis(took.unwrap_or(1));
        service.checked(place, Checked { round, began, took, found }, began, &Unobserved);
    }
}

#[test]
fn the_fastest_backend_serves_until_another_is_clearly_faster() {
    let mut config = checked_every_second(config(Policy::Fastest, &[&[1; 3]]));
    config.switch_margin = 20;
    let service = service(&config);
    assert_eq!(service.first_check(2, secs(9)), Some(secs(9)), "nothing to go by before the first");
    let at = |round| place(&attempt(start(&service, round, secs(round))));
    assert_eq!(at(0), 0, "nobody knows better");
    check(&service, 1, &[Some(30), Some(20), Some(25)]);
    assert_eq!(at(1), 1);
    // Not by the margin of a fifth: two that are alike do not take turns.
    check(&service, 20, &[Some(30), Some(20), Some(17)]);
    assert_eq!(at(20), 1);
    check(&service, 40, &[Some(30), Some(20), Some(15)]);
    assert_eq!(at(40), 2);
    // One check that finds nothing is as slow as its timeout; the next in time takes over.
    check(&service, 41, &[Some(30), Some(20), None]);
    assert_eq!(at(41), 1);
    service.drain(1, true);
    assert_eq!(at(42), 0, "of those left the sooner, not the next in the file");
}

#[test]
fn a_retry_goes_to_the_next_fastest() {
    let mut config = checked_every_second(config(Policy::Fastest, &[&[1; 3]]));
    config.retry.attempts_max = 3;
    let service = service(&config);
    check(&service, 1, &[Some(30), Some(10), Some(20)]);
    let first = attempt(start(&service, 1, secs(1)));
    assert_eq!(place(&first), 1);
    let refused = Outcome::Failed(lb_core::Failure::ConnectRefused);
    let second = attempt(first.finish(refused, lb_core::Body::Intact, secs(1)));
    assert_eq!(place(&second), 2);
}

#[test]
fn the_fastest_pool_serves_by_the_mean_of_its_backends() {
    let mut config = checked_every_second(steered(SteeringPolicy::Fastest, &[&[1, 1], &[1, 1]]));
    config.policy = Policy::RoundRobin;
    let service = service(&config);
    let at = |round| place(&attempt(start(&service, round, secs(round)))) / 2;
    check(&service, 1, &[Some(40), Some(10), Some(20), Some(20)]);
    assert_eq!(at(1), 1, "25 ms against 20");
    check(&service, 20, &[Some(28), Some(10), Some(20), Some(20)]);
    assert_eq!(at(20), 1, "not by the margin");
    check(&service, 40, &[Some(10), Some(10), Some(21), Some(21)]);
    assert_eq!(at(40), 0);
    service.drain(0, true);
    service.drain(1, true);
    assert_eq!(at(41), 1);
}

#[test]
fn a_fallback_pool_is_asked_when_no_other_can_serve_and_never_otherwise() {
    for policy in [SteeringPolicy::Priority, SteeringPolicy::Weighted, SteeringPolicy::Random] {
        let mut config = steered(policy, &[&[1], &[1], &[1]]);
        config.when_all_unfit = WhenAllUnfit::FallbackPool(0);
        let service = service(&config);
        let counts = pools(&service, From::default(), 1_000);
        assert!(counts.keys().all(|(pool, _)| *pool != 0), "{counts:?}");
        leave(&service, &[1, 0, 0]);
        let counts = pools(&service, From::default(), 100);
        assert_eq!(counts, BTreeMap::from([((0, Steered::Fallback), 100)]));
        leave(&service, &[0, 0, 0]);
        let step = start(&service, 1, Time::ZERO);
        assert!(matches!(step, Step::Reject(Rejection::NoFitBackend, _)));
    }
}

/// AIOStreams: when all are marked down, the marks are cleared and the first one is asked.
#[test]
fn reset_forgets_what_speaks_against_backends_and_asks_the_first() {
    let mut config = config(Policy::Sha256Modulo, &[&[1, 1, 1]]);
    config.when_all_unfit = WhenAllUnfit::Reset;
    let service = service(&config);
    for id in 0.. {
        if service.backends().all(|backend| !backend.is_fit()) {
            break;
        }
        let attempt = attempt(start(&service, id, Time::ZERO));
        drop(attempt.finish(Outcome::Answered(500), lb_core::Body::Intact, Time::ZERO));
    }
    let log = Log::default();
    let ask = Ask::bare(ExchangeId(1 << 32), Repeat::Safe);
    assert_eq!(place(&attempt(Exchange::start(&service, &log, ask, Time::ZERO))), 0);
    assert!(service.backends().all(|backend| backend.is_fit()));
    let closed = |(_, event): &(Time, Event)| matches!(event, Event::BreakerMoved { .. });
    assert_eq!(log.take().iter().filter(|it| closed(it)).count(), 3);
    // What an operator or a check says stands.
    (0..3).for_each(|place| service.drain(place, true));
    assert!(matches!(start(&service, 2 << 32, Time::ZERO), Step::Reject(..)));
}

/// Whether a request reaches the first of two backends whose breaker opens for an hour.
fn asks_the_first(service: &Service, id: u64, now: Time) -> bool {
    (0..20).any(|nth| place(&attempt(start(service, id + nth, now))) == 0)
}

#[test]
fn checks_that_saw_a_backend_fail_and_see_it_well_end_the_wait_of_its_breaker() {
    let two = || service(&checked_every_second(config(Policy::RoundRobin, &[&[1, 1]])));
    let open = |service: &Service| {
        let refused = Outcome::Failed(Failure::ConnectRefused);
        let Step::Attempt(first) = start(service, 1, Time::ZERO) else { panic!("all are fit") };
        assert_eq!(place(&first), 0);
        let _other = first.finish(refused, Body::Intact, Time::ZERO);
        assert!(!asks_the_first(service, 100, secs(9)), "it is open for an hour");
    };
    let seen = two();
    open(&seen);
    check(&seen, 1, &[None, Some(1)]);
    assert!(!asks_the_first(&seen, 200, secs(1)));
    check(&seen, 2, &[Some(1), Some(1)]);
    assert!(asks_the_first(&seen, 300, secs(2)), "one that failed checks and is well is tried");

    let blind = two();
    open(&blind);
    check(&blind, 1, &[Some(1), Some(1)]);
    check(&blind, 2, &[Some(1), Some(1)]);
    assert!(!asks_the_first(&blind, 200, secs(2)), "checks that saw nothing say nothing");
}
