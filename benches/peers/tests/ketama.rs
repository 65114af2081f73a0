//! Our ring beside pingora-ketama's: as even, and as few keys move when a backend goes.

use std::net::{IpAddr, Ipv4Addr};

use lb_core::config::{BackendConfig, KeySource, Policy, PoolConfig, ServiceConfig};
use lb_core::{Ask, Exchange, ExchangeId, Facts, Repeat, Service, Step, Time, Unobserved};
use pingora_ketama::{Bucket, Continuum};

const KEYS: u32 = 200_000;

fn address(n: u16) -> String {
    format!("10.0.{}.{}:80", n / 250, n % 250 + 1)
}

struct Client(u32);

impl Facts for Client {
    fn client(&self) -> Option<IpAddr> {
        Some(Ipv4Addr::from_bits(self.0).into())
    }
    fn header(&self, _name: &str) -> Option<&[u8]> {
        None
    }
    fn path(&self) -> &'static str {
        "/"
    }
    fn query(&self) -> Option<&str> {
        None
    }
}

/// Where each key goes, among backends with these numbers.
fn ours(numbers: &[u16], policy: Policy) -> Vec<u16> {
    let backends = numbers.iter().map(|n| BackendConfig::new(&format!("http://{}", address(*n))));
    let mut config = ServiceConfig::new("ring", vec![PoolConfig::new("all", backends.collect())]);
    config.policy = policy;
    config.hash.sources = vec![KeySource::ClientIp];
    let service = Service::new(&config, 0, 7).expect("it is meaningful");
    let place = |key: u32| {
        let ask = Ask { id: ExchangeId(key.into()), repeat: Repeat::Safe, facts: &Client(key), bodiless: true };
        match Exchange::start(&service, &Unobserved, ask, Time::ZERO) {
            Step::Attempt(attempt) => numbers[usize::from(attempt.backend().id().backend)],
            other => panic!("somebody is fit: {other:?}"),
        }
    };
    (0..KEYS).map(place).collect()
}

fn theirs(numbers: &[u16]) -> Vec<u16> {
    let buckets: Vec<Bucket> = numbers
        .iter()
        .map(|n| Bucket::new(address(*n).parse().expect("an address"), 1))
        .collect();
    let ring = Continuum::new(&buckets);
    let place = |key: u32| {
        let text = Ipv4Addr::from_bits(key).to_string();
        let found = ring.node(text.as_bytes()).expect("a node").to_string();
        *numbers.iter().find(|n| address(**n) == found).expect("it is one of them")
    };
    (0..KEYS).map(place).collect()
}

/// The largest share over the mean.
fn peak(places: &[u16], numbers: &[u16]) -> f64 {
    let count = |n: &u16| places.iter().filter(|place| *place == n).count();
    let most = numbers.iter().map(count).max().expect("somebody");
    most as f64 * numbers.len() as f64 / places.len() as f64
}

#[test]
fn our_ring_is_as_even_as_ketama_and_moves_as_few_keys() {
    let all: Vec<u16> = (0..50).collect();
    let fewer: Vec<u16> = (0..50).filter(|n| *n != 17).collect();
    let rows: [(&str, Vec<u16>, Vec<u16>); 4] = [
        ("pingora ketama", theirs(&all), theirs(&fewer)),
        ("lb ring", ours(&all, Policy::Ring), ours(&fewer, Policy::Ring)),
        ("lb maglev", ours(&all, Policy::Maglev), ours(&fewer, Policy::Maglev)),
        ("lb rendezvous", ours(&all, Policy::Rendezvous), ours(&fewer, Policy::Rendezvous)),
    ];
    let mut ketamas = 0.0;
    for (name, before, after) in &rows {
        let moved = before.iter().zip(after).filter(|(a, b)| a != b && **a != 17).count();
        let peak = peak(before, &all);
        println!("{name}: peak {peak:.3} times the mean, {moved} of {KEYS} keys moved needlessly");
        if *name == "pingora ketama" {
            (ketamas, _) = (peak, assert_eq!(moved, 0));
        } else {
            assert!(peak <= ketamas * 1.1, "{name}: {peak} and ketama {ketamas}");
            assert!(*name == "lb maglev" || moved == 0, "{name}");
        }
    }
}
