//! Policies that go by a key, asked for many keys.

use std::net::IpAddr;

use lb_core::config::{BackendConfig, HashConfig, KeySource, Policy, PoolConfig, ServiceConfig};
use lb_core::{
    Ask, Attempt, Exchange, ExchangeId, Facts, Repeat, Rng, Service, Step, Time, Unobserved,
};

use crate::dice::Chance;

use super::{Row, Unit};

/// Keys that are asked for: enough to see a thousandth of them move.
const KEYS: u32 = 50_000;

/// A request of which nothing but its key is known.
struct Keyed<'k>(&'k [u8]);

impl Facts for Keyed<'_> {
    fn client(&self) -> Option<IpAddr> {
        None
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        (name == "x-user").then_some(self.0)
    }

    fn path(&self) -> &'static str {
        "/"
    }

    fn query(&self) -> Option<&str> {
        None
    }
}

fn service(policy: Policy, backends: impl Iterator<Item = u32>, bound: Option<u32>) -> Service {
    let backends = backends.map(|nth| BackendConfig::new(&format!("http://b{nth}")));
    let pool = PoolConfig::new("all", backends.collect());
    let sources = vec![KeySource::Header("x-user".to_owned())];
    let hash = HashConfig { sources, load_percent: bound };
    let config = ServiceConfig { policy, hash, ..ServiceConfig::new("keys", vec![pool]) };
    Service::new(&config, 0, 1).expect("a service of a few backends")
}

/// Sends a request with a key. The lease lasts as long as what is returned.
fn ask<'s>(service: &'s Service, key: u32, nth: u32) -> Attempt<'s> {
    let key = key.to_string();
    let facts = Keyed(key.as_bytes());
    let id = ExchangeId(nth.into());
    let ask = Ask { id, repeat: Repeat::Safe, facts: &facts, bodiless: true };
    match Exchange::start(service, &Unobserved, ask, Time::ZERO) {
        Step::Attempt(attempt) => attempt,
        step => unreachable!("all backends are fit: {step:?}"),
    }
}

/// The share of the keys that get another backend when the last `gone` of `count` go.
fn moved(policy: Policy, count: u32, gone: u32) -> f64 {
    let (before, after) = (service(policy, 0..count, None), service(policy, 0..count - gone, None));
    let moves = |key: &u32| {
        let (old, new) = (ask(&before, *key, *key), ask(&after, *key, *key));
        old.backend().name() != new.backend().name()
    };
    (0..KEYS).filter(moves).count() as f64 / f64::from(KEYS)
}

/// Maglev: what moves when backends go.
pub(super) fn disruption() -> Vec<Row> {
    let row = |count, gone, paper: &str| {
        let what = format!("{gone} of {count} goes: keys that move");
        Row::new(what, paper, moved(Policy::Maglev, count, gone), Unit::Percent)
    };
    let other = |name, policy, paper: &str| {
        let what = format!("the same of 100, by {name}");
        Row::new(what, paper, moved(policy, 100, 1), Unit::Percent)
    };
    vec![
        row(10, 1, "10.21 %"),
        row(100, 1, "1.57 %"),
        row(1_000, 1, "0.69 %"),
        row(1_000, 10, "3.32 %"),
        row(1_000, 50, "8.26 %"),
        row(1_000, 100, "13.54 %"),
        other("rendezvous, which moves what it must", Policy::Rendezvous, "1.00 %"),
        other("Java's hash modulo n, as others do", Policy::JavaHashModulo, "99 %"),
    ]
}

/// Backends and requests in flight of the table with a bound.
const BACKENDS: u32 = 50;
const IN_FLIGHT: usize = 1_000;
/// Requests that come and go.
const TURNS: u32 = 50_000;
/// How popular keys are: the k-th is asked for k^-1.1 times as often as the first.
const ZIPF: f64 = 1.1;
const POPULAR: usize = 5_000;

/// Bounded loads: nobody has more than the bound, whatever keys are popular.
pub(super) fn bounded() -> Vec<Row> {
    let row = |what, paper, bound| Row::new(what, paper, fullest(bound), Unit::Plain);
    vec![
        row("no bound: most in flight at one of 50, in averages", "no bound", None),
        row("bound of 1.25: the same", "<= 1.25", Some(125)),
        row("bound of 2: the same", "<= 2.00", Some(200)),
    ]
}

/// The most that one backend had in flight at any time, as a multiple of the average.
fn fullest(bound: Option<u32>) -> f64 {
    let service = service(Policy::Ring, 0..BACKENDS, bound);
    let mut rng = Rng::stream(1, 0x7a69_7066);
    let mut below = 0.0;
    let marks: Vec<f64> = (1..=POPULAR)
        .map(|rank| {
            below += libm::pow(rank as f64, -ZIPF);
            below
        })
        .collect();
    let mut open = Vec::with_capacity(IN_FLIGHT);
    let mut worst = 0.0_f64;
    for turn in 0..TURNS {
        if open.len() == IN_FLIGHT {
            let ends = rng.below(u32::try_from(IN_FLIGHT).expect("a thousand")) as usize;
            drop(open.swap_remove(ends));
        }
        let mark = rng.unit() * below;
        let key = marks.partition_point(|below| *below < mark);
        open.push(ask(&service, u32::try_from(key).expect("some thousand"), turn));
        if open.len() == IN_FLIGHT {
            let all = service.backends().map(lb_core::Member::in_flight);
            let most = f64::from(all.max().expect("there are backends"));
            worst = worst.max(most * f64::from(BACKENDS) / IN_FLIGHT as f64);
        }
    }
    worst
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_more_than_the_bound_and_without_one_somebody_does() {
        assert!(fullest(Some(125)) <= 1.25, "{}", fullest(Some(125)));
        assert!(fullest(None) > 2.0, "{}", fullest(None));
    }
}
