//! A choice of lb-core beside one of pingora-load-balancing, over the same backends.
//!
//! Ours does more: budget, breaker, lease and its return are in it, since there is no choice without
//! them. Theirs chooses a healthy backend. `cargo bench` in this folder; see benches/README.md.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use lb_core::config::{BackendConfig, Policy, PoolConfig, ServiceConfig};
use lb_core::{Ask, Exchange, ExchangeId, Facts, Repeat, Service, Time, Unobserved};
use pingora_load_balancing::LoadBalancer;
use pingora_load_balancing::selection::{BackendIter, BackendSelection, Consistent, Random, RoundRobin};

const COUNTS: [u16; 3] = [16, 100, 1_000];

fn address(n: u16) -> String {
    format!("10.0.{}.{}:80", n / 250, n % 250 + 1)
}

struct Client(IpAddr);

impl Facts for Client {
    fn client(&self) -> Option<IpAddr> {
        Some(self.0)
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

fn ours(criterion: &mut Criterion, name: &str, policy: Policy) {
    let mut group = criterion.benchmark_group(format!("{name}/lb"));
    for count in COUNTS {
        let backends =
            (0..count).map(|n| BackendConfig::new(&format!("http://{}", address(n)))).collect();
        let pools = vec![PoolConfig::new("all", backends)];
        let config = ServiceConfig { policy, ..ServiceConfig::new("bench", pools) };
        let service = Service::new(&config, 0, 7).expect("the configuration is meaningful");
        let mut id = 0_u32;
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                id = id.wrapping_add(1);
                let client = Client(Ipv4Addr::from_bits(id).into());
                let ask = Ask { id: ExchangeId(id.into()), repeat: Repeat::Safe, facts: &client, bodiless: true };
                drop(black_box(Exchange::start(&service, &Unobserved, ask, Time::from_millis(1))));
            });
        });
    }
    group.finish();
}

fn theirs<S>(criterion: &mut Criterion, name: &str)
where
    S: BackendSelection + 'static,
    S::Iter: BackendIter,
{
    let mut group = criterion.benchmark_group(format!("{name}/pingora"));
    for count in COUNTS {
        let balancer = LoadBalancer::<S>::try_from_iter((0..count).map(address))
            .expect("addresses that can be read");
        let mut id = 0_u32;
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                id = id.wrapping_add(1);
                black_box(balancer.select(&id.to_be_bytes(), 256))
            });
        });
    }
    group.finish();
}

fn select(criterion: &mut Criterion) {
    ours(criterion, "round_robin", Policy::RoundRobin);
    theirs::<RoundRobin>(criterion, "round_robin");
    ours(criterion, "random", Policy::WeightedRandom);
    theirs::<Random>(criterion, "random");
    ours(criterion, "ring", Policy::Ring);
    ours(criterion, "maglev", Policy::Maglev);
    theirs::<Consistent>(criterion, "ring");
}

criterion_group!(benches, select);
criterion_main!(benches);
