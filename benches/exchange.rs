//! What an exchange costs from its start to its last byte, and what threads cost each other.
//!
//! `cargo bench --bench exchange`; how to read it: benches/README.md.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use lb_core::config::{BackendConfig, Policy, PoolConfig, ServiceConfig};
use lb_core::{
    Ask, Body, BodyEnd, Exchange, ExchangeId, Outcome, Repeat, Service, Step, Time, Unobserved,
};

const POLICIES: [(&str, Policy); 4] = [
    ("round_robin", Policy::RoundRobin),
    ("weighted_random", Policy::WeightedRandom),
    ("least_request", Policy::LeastRequest),
    ("peak_ewma", Policy::PeakEwma),
];

fn service(policy: Policy) -> Service {
    let backends = (0..16).map(|n| BackendConfig::new(&format!("http://backend-{n}"))).collect();
    let pools = vec![PoolConfig::new("all", backends)];
    let config = ServiceConfig { policy, ..ServiceConfig::new("bench", pools) };
    Service::new(&config, 0, 7).expect("the configuration is meaningful")
}

fn exchange(service: &Service, id: u64) {
    let now = Time::from_micros(id);
    let ask = Ask::bare(ExchangeId(id), Repeat::Safe);
    if let Step::Attempt(attempt) = Exchange::start(service, &Unobserved, ask, now)
        && let Step::Deliver(delivery) = attempt.finish(Outcome::Answered(200), Body::Intact, now)
    {
        delivery.end(BodyEnd::Complete, service, now, &Unobserved);
    }
}

/// Start, attempt, answer, last byte.
fn whole(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("exchange");
    for (name, policy) in POLICIES {
        let service = service(policy);
        let mut id = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                id += 1;
                exchange(black_box(&service), id);
            });
        });
    }
    group.finish();
}

/// The same on several threads at one service: time per exchange of each thread.
fn contended(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("contention");
    for (name, policy) in POLICIES {
        for threads in [1_u64, 2, 4] {
            let service = service(policy);
            group.bench_function(BenchmarkId::new(name, threads), |bencher| {
                bencher.iter_custom(|count| spent(&service, threads, count));
            });
        }
    }
    group.finish();
}

fn spent(service: &Service, threads: u64, count: u64) -> Duration {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time, on threads")]
    std::thread::scope(|scope| {
        let began = Instant::now();
        for thread in 0..threads {
            scope.spawn(move || {
                (0..count).for_each(|id| exchange(service, thread << 48 | id));
            });
        }
        began
    })
    .elapsed()
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30);
    targets = whole, contended
}
criterion_main!(benches);
