//! Servers with queues, and the choices between them: what theory and others' troubles predict,
//! found again by an event heap around the core.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use lb_core::config::{Policy, ServiceConfig};
use lb_core::{Attempt, Body, BodyEnd, Failure, Outcome, Rng, Step, Time, Unobserved};

use crate::support::{attempt, config, service, start};

const MS: u64 = 1_000;
const SECOND: u64 = 1_000 * MS;
/// What a server takes for a request on average.
const MEAN: u64 = 10 * MS;

/// How long a server serves the request that it begins now, and whether it succeeds.
type Serve<'w> = &'w dyn Fn(usize, u64, &mut Rng) -> (u64, bool);

/// What came of a request, in microseconds.
struct Served {
    arrived: u64,
    server: usize,
    took: u64,
}

/// Exponentially distributed.
fn exponential(rng: &mut Rng, mean: u64) -> u64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a float holds")]
    let (uniform, mean) =
        (((rng.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64, mean as f64);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some seconds")]
    let span = (-uniform.ln() * mean) as u64;
    span
}

/// Poisson arrivals at first-come-first-served servers until `requests` are served, told one by one.
/// Returns how many arrived.
fn tell(
    config: &ServiceConfig,
    gap: u64,
    requests: usize,
    serve: Serve<'_>,
    mut told: impl FnMut(Served),
) -> u64 {
    let service = service(config);
    let mut rng = Rng::stream(7, 0);
    let count = service.backends().count();
    let mut queues: Vec<VecDeque<(u64, Attempt<'_>)>> =
        (0..count).map(|_| VecDeque::new()).collect();
    let mut good = vec![true; count];
    // When something happens, and at which server; `count` stands for an arrival.
    let mut heap = BinaryHeap::from([Reverse((0, count))]);
    let (mut served, mut id) = (0, 0);
    while served < requests {
        let Reverse((now, at)) = heap.pop().expect("arrivals go on");
        let time = Time::from_micros(now);
        let place = if at == count {
            id += 1;
            let attempt = attempt(start(&service, id, time));
            let place = usize::from(attempt.backend().id().backend);
            queues[place].push_back((now, attempt));
            heap.push(Reverse((now + exponential(&mut rng, gap), count)));
            if queues[place].len() > 1 {
                continue;
            }
            place
        } else {
            let (arrived, attempt) = queues[at].pop_front().expect("it is being served");
            served += 1;
            told(Served { arrived, server: at, took: now - arrived });
            let outcome = if good[at] { Ok(200) } else { Err(Failure::Reset) };
            let outcome = outcome.map_or_else(Outcome::Failed, Outcome::Answered);
            if let Step::Deliver(delivery) = attempt.finish(outcome, Body::Intact, time) {
                delivery.end(BodyEnd::Complete, &service, time, &Unobserved);
            }
            at
        };
        if !queues[place].is_empty() {
            let (span, is_good) = serve(place, now, &mut rng);
            good[place] = is_good;
            heap.push(Reverse((now + span, place)));
        }
    }
    id
}

/// The same, all at once.
fn run(config: &ServiceConfig, gap: u64, requests: usize, serve: Serve<'_>) -> Vec<Served> {
    let mut served = Vec::with_capacity(requests);
    tell(config, gap, requests, serve, |it| served.push(it));
    served
}

fn of(policy: Policy, servers: usize) -> ServiceConfig {
    ServiceConfig { breaker: None, ..config(policy, &[&vec![1; servers]]) }
}

#[expect(clippy::cast_precision_loss, reason = "some millions")]
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

/// D1, Mitzenmacher's supermarket model: the mean time of a request, in mean services, for one, two
/// and three choices. 500 servers are within five percent of infinitely many.
#[test]
fn choices_shorten_queues_as_theory_says() {
    for (choices, loads) in [
        (1, [(0.5, 2.0), (0.9, 10.0), (0.95, 20.0)]),
        (2, [(0.5, 1.2657), (0.9, 2.6141), (0.95, 3.3830)]),
        (3, [(0.5, 1.1252), (0.9, 2.0279), (0.95, 2.5351)]),
    ] {
        let policy = if choices == 1 { Policy::WeightedRandom } else { Policy::LeastRequest };
        let config = ServiceConfig { choices: choices.max(2), ..of(policy, 500) };
        for (load, expected) in loads {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "µs")]
            let gap = (10_000.0 / 500.0 / load * 1_000.0) as u64;
            // Times a thousand, so that gaps of some microseconds are not rounded.
            let serve = |_, _, rng: &mut Rng| (exponential(rng, 1_000 * MEAN), true);
            // A single queue settles in some 1/(1−√load)² services; choices are much quicker.
            let requests = match (choices, load > 0.9) {
                (1, true) => 8_000_000,
                (1, false) => 2_000_000,
                _ => 500_000,
            };
            let (mut count, mut settled, mut sum) = (0, 0_u32, 0);
            tell(&config, gap, requests, &serve, |it| {
                count += 1;
                if count > requests / 2 {
                    settled += 1;
                    sum += it.took / 1_000;
                }
            });
            #[expect(clippy::cast_precision_loss, reason = "a mean needs no more than 52 bits")]
            let mean = sum as f64 / f64::from(settled) / MEAN as f64;
            let off = (mean / expected - 1.0).abs();
            assert!(off < 0.05, "{choices} choices at {load}: {mean}, not {expected}");
        }
    }
}

/// D15, linkerd/linkerd2-proxy#4537: a backend that fails in a millisecond looks fast.
#[test]
fn a_backend_that_fails_fast_draws_no_traffic() {
    let sick = |server, _, rng: &mut Rng| match server {
        0 => (MS, false),
        _ => (exponential(rng, MEAN), true),
    };
    let served = run(&of(Policy::PeakEwma, 10), 2 * MS, 30_000, &sick);
    let later = served.iter().filter(|it| it.arrived >= 5 * SECOND);
    let (there, all) = (later.clone().filter(|it| it.server == 0).count(), later.count());
    assert!(ratio(there, all) <= 0.1, "{there} of {all}");
    assert!(there > 0, "it is asked now and then whether it is well again");
}

/// traefik/traefik#12306: a backend that was slow gets its share back, without a sample meanwhile.
#[test]
fn a_backend_that_was_slow_gets_its_share_back() {
    let slow_at_first = |server, now, rng: &mut Rng| match server {
        0 if now < 10 * SECOND => (SECOND, true),
        _ => (exponential(rng, MEAN), true),
    };
    let served = run(&of(Policy::PeakEwma, 10), 2 * MS, 75_000, &slow_at_first);
    let share = |from: u64, to: u64| {
        let within = served.iter().filter(|it| (from..to).contains(&(it.arrived / SECOND)));
        ratio(within.clone().filter(|it| it.server == 0).count(), within.count())
    };
    assert!(share(2, 10) < 0.02, "while it is slow: {}", share(2, 10));
    assert!(share(120, 145) > 0.05, "when it is well: {}", share(120, 145));
}

/// D4, linkerd 2016: one of eleven takes two seconds more. In turns one request in eleven is late; by
/// latency hardly any is.
#[test]
fn a_slow_replica_is_hardly_noticed() {
    let one_slow = |server, _, rng: &mut Rng| match server {
        0 => (2 * SECOND + exponential(rng, MEAN), true),
        _ => (exponential(rng, MEAN), true),
    };
    let in_time = |policy| {
        let mut in_time = 0;
        // Who still waits at the end is late.
        let arrived = tell(&of(policy, 11), 2 * MS, 100_000, &one_slow, |it| {
            in_time += usize::from(it.took < SECOND);
        });
        ratio(in_time, usize::try_from(arrived).expect("some thousands"))
    };
    assert!(in_time(Policy::PeakEwma) >= 0.995, "{}", in_time(Policy::PeakEwma));
    assert!(in_time(Policy::RoundRobin) < 1.0 - 1.0 / 12.0, "{}", in_time(Policy::RoundRobin));
}

/// D3, Prequal: a tenth of the servers have lost most of their machines to somebody else. In turns their
/// queues have no end; by load and latency they get what they can do, and nobody waits.
#[test]
fn servers_that_have_lost_their_machines_get_what_they_can_do() {
    let robbed = |server, _, rng: &mut Rng| match server {
        0..10 => (exponential(rng, 6 * MEAN), true),
        _ => (exponential(rng, MEAN), true),
    };
    // 100 servers at seven tenths of what all could do if nobody had lost anything.
    let tail = |policy| {
        let mut took: Vec<u64> = run(&of(policy, 100), MEAN / 70, 300_000, &robbed)
            .iter()
            .filter(|it| it.arrived > 2 * SECOND)
            .map(|it| it.took)
            .collect();
        took.sort_unstable();
        took[took.len() * 999 / 1_000]
    };
    let (in_turns, prequal) = (tail(Policy::RoundRobin), tail(Policy::Prequal));
    assert!(prequal * 4 <= in_turns, "p99.9 of {prequal} µs against {in_turns}");
    assert!(prequal <= 60 * MEAN, "{prequal} µs");
}

/// A new backend gets its share by load at once, and is not flooded while its latency is unknown.
#[test]
fn a_backend_of_which_nothing_is_known_gets_its_share_and_no_more() {
    let serve = |_, _, rng: &mut Rng| (exponential(rng, MEAN), true);
    let served = run(&of(Policy::PeakEwma, 10), 2 * MS, 2_000, &serve);
    for server in 0..10 {
        let there = served.iter().filter(|it| it.server == server).count();
        assert!((100..=320).contains(&there), "{there} of 2,000 at {server}");
    }
}
