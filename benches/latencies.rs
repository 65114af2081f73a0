//! What it costs to count how long something took, alone and with other threads at the same series.
//!
//! `cargo bench --bench latencies`; how to read it: benches/README.md.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use lb_core::Time;
use lb_server::Latencies;

/// Times as a service has them: most around 3 ms, some twenty times as long. In order of no kind, so that
/// no processor guesses the next one.
fn times() -> Vec<Duration> {
    let dice = |n: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) % 4_000;
    (0..4_096)
        .map(|n| {
            let micros = 1_000 + dice(n);
            Duration::from_micros(if n % 50 == 0 { 20 * micros } else { micros })
        })
        .collect()
}

fn alone(criterion: &mut Criterion) {
    let (latencies, times) = (Latencies::default(), times());
    let (mut now, mut times) = (0, times.iter().cycle());
    criterion.bench_function("record", |bencher| {
        bencher.iter(|| {
            now += 1;
            let took = *times.next().expect("a cycle has no end");
            latencies.record(Time::from_micros(now), black_box(took));
        });
    });
    criterion.bench_function("quantiles", |bencher| {
        bencher.iter(|| latencies.quantiles(Time::from_micros(now), [500, 900, 990, 999, 1_000]));
    });
}

/// Time per record of each thread, where all have the same series.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time, on threads")]
fn contended(criterion: &mut Criterion) {
    let (latencies, times) = (Latencies::default(), times());
    let mut group = criterion.benchmark_group("contention");
    for threads in [1_usize, 2] {
        group.bench_function(BenchmarkId::new("record", threads), |bencher| {
            bencher.iter_custom(|rounds| {
                let began = Instant::now();
                std::thread::scope(|scope| {
                    for thread in 0..threads {
                        let mut times = times.iter().cycle().skip(thread * 1_000);
                        let latencies = &latencies;
                        scope.spawn(move || {
                            for now in 0..rounds {
                                let took = *times.next().expect("a cycle has no end");
                                latencies.record(Time::from_micros(now), black_box(took));
                            }
                        });
                    }
                });
                began.elapsed()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, alone, contended);
criterion_main!(benches);
