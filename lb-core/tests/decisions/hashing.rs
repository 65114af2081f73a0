//! The same key finds the same backend, few keys move when backends come and go, and none of them
//! drowns its backend.

use core::net::{IpAddr, Ipv4Addr};

use lb_core::config::{BackendConfig, Policy, PoolConfig, ServiceConfig};
use lb_core::{
    Ask, Attempt, Body, Exchange, ExchangeId, Failure, How, Observe, Outcome, Repeat, Service,
    Time, Unobserved,
};
use proptest::prelude::*;

use crate::support::{Log, attempt, cases, config, secs, service};

const CONSISTENT: [Policy; 3] = [Policy::Ring, Policy::Maglev, Policy::Rendezvous];

fn ip(client: u32) -> IpAddr {
    Ipv4Addr::from_bits(client.wrapping_mul(2_654_435_761)).into()
}

fn ask_from<'s>(
    service: &'s Service,
    client: IpAddr,
    id: u64,
    observe: &'s dyn Observe,
) -> Attempt<'s> {
    let ask = Ask { id: ExchangeId(id), repeat: Repeat::Once, facts: &client, bodiless: true };
    attempt(Exchange::start(service, observe, ask, secs(1)))
}

fn name(service: &Service, client: u32) -> String {
    ask_from(service, ip(client), u64::from(client), &Unobserved).backend().name().to_owned()
}

/// Backends of these numbers and weights.
fn of(policy: Policy, backends: &[(u32, u32)]) -> ServiceConfig {
    let backends = backends.iter().map(|(number, weight)| BackendConfig {
        weight: *weight,
        ..BackendConfig::new(&format!("http://backend-{number}"))
    });
    let pools = vec![PoolConfig::new("all", backends.collect())];
    ServiceConfig { pools, ..config(policy, &[&[1]]) }
}

fn many(count: u32) -> Vec<(u32, u32)> {
    (0..count).map(|number| (number, 1)).collect()
}

#[test]
fn a_client_stays_whatever_the_order_of_the_backends() {
    for policy in CONSISTENT {
        let forward = service(&of(policy, &many(20)));
        let mut backwards = many(20);
        backwards.reverse();
        let backwards = service(&of(policy, &backwards));
        for client in 0..500 {
            let home = name(&forward, client);
            assert_eq!(name(&forward, client), home, "{policy:?}");
            assert_eq!(name(&backwards, client), home, "{policy:?}");
        }
    }
}

#[test]
fn a_backend_that_goes_moves_its_own_clients_and_hardly_any_other() {
    for policy in CONSISTENT {
        let all = service(&of(policy, &many(20)));
        let without = service(&of(policy, &many(19)));
        let others: Vec<u32> =
            (0..5_000).filter(|client| name(&all, *client) != "http://backend-19").collect();
        let moved = others.iter().filter(|it| name(&all, **it) != name(&without, **it)).count();
        let most = if policy == Policy::Maglev { others.len() / 25 } else { 0 };
        assert!(moved <= most, "{policy:?}: {moved} of {}", others.len());
    }
}

/// One that fails is passed over, and its clients spread; nobody else's move at all.
#[test]
fn a_backend_that_fails_moves_its_own_clients_and_no_other() {
    for policy in CONSISTENT {
        let service = service(&of(policy, &many(10)));
        let homes: Vec<String> = (0..3_000).map(|client| name(&service, client)).collect();
        let lost = homes[0].clone();
        let reset = Outcome::Failed(Failure::Reset);
        drop(ask_from(&service, ip(0), 0, &Unobserved).finish(reset, Body::Intact, secs(1)));
        let mut heirs = std::collections::BTreeMap::new();
        for (client, home) in (0..).zip(&homes) {
            let now = name(&service, client);
            assert_ne!(now, lost, "{policy:?}");
            if *home == lost {
                *heirs.entry(now).or_insert(0) += 1;
            } else {
                assert_eq!(now, *home, "{policy:?}");
            }
        }
        assert!(heirs.len() >= 8, "{policy:?}: they spread: {heirs:?}");
    }
}

#[test]
fn shares_follow_the_weights() {
    for policy in CONSISTENT {
        let weights = [(0, 1), (1, 2), (2, 4), (3, 3)];
        let service = service(&of(policy, &weights));
        let mut counts = [0_u32; 4];
        for client in 0..20_000 {
            let attempt = ask_from(&service, ip(client), u64::from(client), &Unobserved);
            counts[usize::from(attempt.backend().id().backend)] += 1;
        }
        for ((_, weight), count) in weights.iter().zip(counts) {
            let expected = f64::from(*weight) * 2_000.0;
            let off = (f64::from(count) / expected - 1.0).abs();
            assert!(off < 0.2, "{policy:?}: {counts:?}");
        }
    }
}

/// The price of modulo, as it is known (compat/aiostreams.md): half of the clients of surviving
/// backends move when one of three goes.
#[test]
fn modulo_moves_nearly_everybody() {
    let all = service(&of(Policy::JavaHashModulo, &many(3)));
    let without = service(&of(Policy::JavaHashModulo, &many(2)));
    let others: Vec<u32> =
        (0..20_000).filter(|client| name(&all, *client) != "http://backend-2").collect();
    let moved = others.iter().filter(|it| name(&all, **it) != name(&without, **it)).count();
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let ratio = moved as f64 / others.len() as f64;
    assert!((ratio - 0.503).abs() < 0.02, "{ratio}");
}

/// With one that is unfit, a pool is to modulo what it would be without it.
#[test]
fn modulo_counts_only_those_that_are_fit() {
    for policy in [Policy::JavaHashModulo, Policy::Sha256Modulo, Policy::Hash31Modulo] {
        for gone in [0, 63, 64, 100, 129] {
            let rest: Vec<(u32, u32)> = many(130).into_iter().filter(|it| it.0 != gone).collect();
            let without = service(&of(policy, &rest));
            let all = service(&of(policy, &many(130)));
            let its_name = format!("http://backend-{gone}");
            let its_client = (0..10_000).find(|client| name(&all, *client) == its_name);
            let its_client = its_client.expect("one in 130 clients belongs to it");
            let failing = ask_from(&all, ip(its_client), 0, &Unobserved);
            drop(failing.finish(Outcome::Failed(Failure::Reset), Body::Intact, secs(1)));
            // Its breaker is asked by the next one that would go there: from then on nobody counts it.
            assert_eq!(name(&all, its_client), name(&without, its_client), "{policy:?}");
            for client in 0..200 {
                assert_eq!(name(&all, client), name(&without, client), "{policy:?} without {gone}");
            }
        }
    }
}

/// compat/aiostreams.md §3: hash modulo 3 and, with the last one gone, modulo 2.
#[test]
fn modulo_chooses_as_aiostreams_does() {
    let (three, two) = (
        service(&of(Policy::JavaHashModulo, &many(3))),
        service(&of(Policy::JavaHashModulo, &many(2))),
    );
    for (client, of_three, of_two) in [
        ("127.0.0.1", 2, 1),
        ("203.0.113.7", 2, 1),
        ("198.51.100.23", 0, 0),
        ("10.0.0.1", 2, 0),
        ("::1", 0, 1),
    ] {
        let place = |service: &Service| {
            let client = client.parse().expect("an address");
            ask_from(service, client, 1, &Unobserved).backend().id().backend
        };
        assert_eq!((place(&three), place(&two)), (of_three, of_two), "{client}");
    }
}

#[test]
fn a_request_without_a_key_goes_by_weight_and_says_so() {
    let service = service(&of(Policy::Maglev, &many(3)));
    let log = Log::default();
    let bare = Ask::bare(ExchangeId(1), Repeat::Once);
    drop(Exchange::start(&service, &log, bare, Time::ZERO));
    drop(ask_from(&service, ip(1), 2, &log));
    let hows: Vec<How> = log
        .take()
        .iter()
        .filter_map(|(_, event)| match event {
            lb_core::Event::Attempted { choice, .. } => Some(choice.how),
            _ => None,
        })
        .collect();
    assert_eq!(hows, [How::Weight, How::Key]);
}

proptest! {
    #![proptest_config(cases(60))]

    /// D7: nobody has more than ⌈c · average⌉ in flight, however few keys there are.
    #[test]
    fn bounded_load_bounds_the_load(
        policy in prop::sample::select(&CONSISTENT),
        weights in prop::collection::vec(1..=5_u32, 1..12),
        percent in 101..=300_u32,
        clients in 1..5_u32,
        requests in 1..200_u32,
    ) {
        let backends: Vec<(u32, u32)> = (0..).zip(weights.iter().copied()).collect();
        let mut config = of(policy, &backends);
        config.hash.load_percent = Some(percent);
        let service = service(&config);
        let total: u64 = weights.iter().copied().map(u64::from).sum();
        let mut held = Vec::new();
        for id in 0..requests {
            let attempt = ask_from(&service, ip(id % clients), id.into(), &Unobserved);
            let member = attempt.backend();
            let weight = u64::from(weights[usize::from(member.id().backend)]);
            let cap = (u64::from(id + 1) * weight * u64::from(percent)).div_ceil(total * 100);
            prop_assert!(u64::from(member.in_flight()) <= cap, "{} of {cap}", member.in_flight());
            held.push(attempt);
        }
    }
}
