//! Exchanges per second of the model engine, on one thread: with nobody listening, with what a scenario
//! expects, and with all invariants.
//!
//! `cargo bench --bench model`; how to read it: benches/README.md.

use std::fmt::Write;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lb_sim::{Scenario, Scrutiny, model, scenario};

/// Requests that would come in the whole of each run; clients begin a moment after it does.
const REQUESTS: u32 = 100_000;

/// Backends that work on eight requests at a time, for 22.7 ms on average.
fn world(backends: u32, rate: u32, policy: &str) -> Scenario {
    let duration = Duration::from_secs(1) * REQUESTS / rate;
    let mut text = format!(
        "# A world for a benchmark.\nschema = 1\nduration = \"{}us\"\n\
         network = {{ min = \"200us\", max = \"400us\" }}\n[workload]\nrate = {rate}\n\
         [expect]\nat_end = [\"error_ratio == 0\", \"p99 <= 500ms\"]\n",
        duration.as_micros()
    );
    let mut put = |line: std::fmt::Arguments<'_>| {
        text.write_fmt(line).expect("writing to a string cannot fail");
    };
    for nth in 0..backends {
        put(format_args!("[[origin]]\nat = \"b{nth}:80\"\nconcurrency = 8\n"));
        put(format_args!("latency = {{ lognormal = \"20ms\", sigma = 0.5 }}\n"));
    }
    put(format_args!("[[config.listener]]\nbind = \"0.0.0.0:8080\"\n[[config.service]]\n"));
    put(format_args!("name = \"web\"\nhosts = [\"web\"]\n[config.service.balance]\n"));
    put(format_args!("policy = \"{policy}\"\n[[config.service.pool]]\nbackends = ["));
    (0..backends).for_each(|nth| put(format_args!("{{ url = \"http://b{nth}\" }},")));
    put(format_args!("]\n"));
    let source = lb_config::Source { name: "bench.toml", text: &text };
    let (scenario, diagnostics) = scenario::load(&source);
    scenario.unwrap_or_else(|| panic!("{diagnostics:?}"))
}

fn exchanges(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("model");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    let worlds = [
        (10, 1_000, "least-request"),
        (1_000, 1_000, "least-request"),
        (1_000, 10_000, "least-request"),
        // Half of what the backends can carry: four thousand exchanges are open at a time.
        (1_000, 176_000, "least-request"),
        (1_000, 10_000, "maglev"),
    ];
    for (backends, rate, policy) in worlds {
        let world = world(backends, rate, policy);
        // Nothing fails, and nobody is asked twice: there are as many exchanges as attempts.
        let exchanges = model::judged(&world, 1, Scrutiny::EXPECTED).attempts;
        group.throughput(Throughput::Elements(exchanges));
        let name = |what: &str| BenchmarkId::new(what, format!("{policy}/{backends} at {rate}"));
        group.bench_function(name("alone"), |bencher| {
            bencher.iter(|| model::run_into(black_box(&world), 1, &mut ()));
        });
        for (what, scrutiny) in
            [("expected", Scrutiny::EXPECTED), ("invariants", Scrutiny::UNTRACED)]
        {
            group.bench_function(name(what), |bencher| {
                bencher.iter(|| model::judged(black_box(&world), 1, scrutiny));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, exchanges);
criterion_main!(benches);
