//! What a pick costs: nanoseconds from a request to a lease on a backend, and back.
//!
//! Each iteration starts an exchange and drops it: budget, dice, choice, breaker, lease, return of
//! the lease. That is what a request pays, and it must not grow with the number of backends.
//! `cargo bench --bench pick`; how to read it: benches/README.md.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use lb_core::config::{
    BackendConfig, BreakerConfig, Policy, PoolConfig, RetryConfig, ServiceConfig,
};
use lb_core::{
    Ask, Body, Exchange, ExchangeId, Failure, Outcome, Repeat, Service, Step, Time, Unobserved,
};

const POLICIES: [(&str, Policy); 11] = [
    ("round_robin", Policy::RoundRobin),
    ("weighted_random", Policy::WeightedRandom),
    ("least_request", Policy::LeastRequest),
    ("peak_ewma", Policy::PeakEwma),
    ("ring", Policy::Ring),
    ("maglev", Policy::Maglev),
    ("rendezvous", Policy::Rendezvous),
    ("prequal", Policy::Prequal),
    ("fastest", Policy::Fastest),
    ("performance", Policy::Performance),
    ("least_request_exact", Policy::LeastRequestExact),
];
/// Policies that go by what each backend has shown.
const SCORED: [(&str, Policy); 3] = [
    ("performance", Policy::Performance),
    ("performance_naive", Policy::PerformanceNaive),
    ("health_score", Policy::HealthScore),
];
const COUNTS: [usize; 4] = [3, 100, 1_000, 10_000];

fn service(policy: Policy, count: usize) -> Service {
    let backends =
        (0..count).map(|index| BackendConfig::new(&format!("http://backend-{index}"))).collect();
    let pools = vec![PoolConfig::new("all", backends)];
    let config = ServiceConfig {
        policy,
        breaker: Some(BreakerConfig {
            consecutive_failures: 1,
            open_for: Duration::from_secs(3_600),
            open_for_max: Duration::from_secs(3_600),
            ..BreakerConfig::default()
        }),
        retry: RetryConfig { attempts_max: 1, ..RetryConfig::default() },
        ..ServiceConfig::new("bench", pools)
    };
    Service::new(&config, 0, 7).expect("the configuration is meaningful")
}

fn start(service: &Service, id: u64) -> Step<'_> {
    // A client of its own for each request, so that keys differ.
    let client = u32::try_from(id & 0xffff_ffff).expect("32 bits").wrapping_mul(2_654_435_761);
    let client = IpAddr::from(Ipv4Addr::from_bits(client));
    let ask =
        Ask { id: ExchangeId(id), repeat: Repeat::Idempotent, facts: &client, bodiless: true };
    Exchange::start(service, &Unobserved, ask, Time::from_millis(1))
}

/// Lets requests fail until `share` percent of the breakers are open.
fn make_unfit(service: &Service, share: usize) {
    let wanted = (service.backends().count() * share).div_ceil(100);
    let mut id = 1 << 32;
    while service.backends().filter(|backend| !backend.is_fit()).count() < wanted {
        id += 1;
        if let Step::Attempt(attempt) = start(service, id) {
            let reset = Outcome::Failed(Failure::Reset);
            drop(attempt.finish(reset, Body::Intact, Time::from_millis(1)));
        }
    }
}

/// Lets every backend answer some requests, in a time of its own: up to five seconds.
fn make_known(service: &Service) {
    let ids = (1 << 33)..;
    for id in ids.take(4 * service.backends().count()) {
        if let Step::Attempt(attempt) = start(service, id) {
            let number = u64::from(attempt.backend().id().backend);
            let answered = Time::from_millis(1 + number.wrapping_mul(2_654_435_761) % 5_000);
            drop(attempt.finish(Outcome::Answered(200), Body::Intact, answered));
        }
    }
}

fn pick(criterion: &mut Criterion) {
    for (unfit, share) in [("all_fit", 0), ("tenth_unfit", 10)] {
        for (name, policy) in POLICIES {
            let mut group = criterion.benchmark_group(format!("{name}/{unfit}"));
            for count in COUNTS {
                let service = service(policy, count);
                make_unfit(&service, share);
                let mut id = 0;
                group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
                    bencher.iter(|| {
                        id += 1;
                        drop(black_box(start(&service, id)));
                    });
                });
            }
            group.finish();
        }
    }
}

fn pick_scored(criterion: &mut Criterion) {
    for (name, policy) in SCORED {
        let mut group = criterion.benchmark_group(format!("{name}/all_known"));
        for count in COUNTS {
            let service = service(policy, count);
            make_known(&service);
            let mut id = 0;
            group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
                bencher.iter(|| {
                    id += 1;
                    drop(black_box(start(&service, id)));
                });
            });
        }
        group.finish();
    }
}

/// What a new configuration costs before it serves.
fn build(criterion: &mut Criterion) {
    for (name, policy) in POLICIES {
        let mut group = criterion.benchmark_group(format!("build/{name}"));
        group.bench_function(BenchmarkId::from_parameter(1_000), |bencher| {
            bencher.iter(|| black_box(service(policy, 1_000)));
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(50);
    targets = pick, pick_scored, build
}
criterion_main!(benches);
