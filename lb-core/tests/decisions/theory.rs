//! What is known of retries from others' experiments, done again with our own code.

use core::time::Duration;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use lb_core::config::{BackoffConfig, BudgetConfig, Jitter, Policy, StatusSet};
use lb_core::{Body, Outcome, Rng, Step, Time};

use crate::support::{attempt, config, service, start};

/// Clients that all want to write one row, optimistically: whoever wrote first since it was read
/// wins, everybody else backs off and begins anew (AWS, "Exponential backoff and jitter", 2015).
/// Returns the calls made and the seconds until the last client has written.
fn contend(jitter: Jitter, clients: usize, seed: u64) -> (u64, f64) {
    let ms = Duration::from_millis;
    let config = BackoffConfig { base: ms(5), max: ms(2_000), jitter };
    let mut rng = Rng::stream(seed, 0);
    // A message takes 10 ± 2 ms: the sum of three dice is normal enough.
    let flight = |rng: &mut Rng| {
        let dice: u64 = (0..3).map(|_| u64::from(rng.below(4_001))).sum();
        10_000_u64.saturating_add(dice).saturating_sub(6_000)
    };
    let mut version = 0_u64;
    let (mut calls, mut end) = (0, 0);
    let mut attempts = vec![0_u8; clients];
    let mut waits = vec![Duration::ZERO; clients];
    // When, whose, and the version that it read (none yet: it reads now).
    let mut heap: BinaryHeap<Reverse<(u64, usize, Option<u64>)>> =
        (0..clients).map(|client| Reverse((flight(&mut rng), client, None))).collect();
    while let Some(Reverse((now, client, read))) = heap.pop() {
        match read {
            None => {
                // Read, told, and the write on its way.
                let arrives = now + flight(&mut rng) + flight(&mut rng);
                heap.push(Reverse((arrives, client, Some(version))));
            }
            Some(seen) => {
                calls += 1;
                if seen == version {
                    version += 1;
                    end = now;
                    continue;
                }
                attempts[client] = attempts[client].saturating_add(1);
                waits[client] = config.wait(attempts[client], waits[client], &mut rng);
                let wait = u64::try_from(waits[client].as_micros()).expect("seconds");
                let again = now + flight(&mut rng) + wait + flight(&mut rng);
                heap.push(Reverse((again, client, None)));
            }
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "some seconds")]
    (calls, end as f64 / 1e6)
}

/// The mean over 30 runs, as there.
fn mean(jitter: Jitter, clients: usize) -> (f64, f64) {
    let runs = (0..30).map(|seed| contend(jitter, clients, seed));
    let (calls, secs) = runs.fold((0, 0.0), |(calls, secs), run| (calls + run.0, secs + run.1));
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    (calls as f64 / 30.0, secs / 30.0)
}

/// D13: exponential without jitter 1,858 calls in 63.5 s, decorrelated 1,006 in 4.8, equal 811 in
/// 6.6, full 797 in 5.0.
#[test]
fn a_hundred_contending_clients_are_done_soonest_and_cheapest_with_jitter() {
    let near = |(calls, secs): (f64, f64), wanted_calls: f64, wanted_secs: f64| {
        let within = |is: f64, wanted: f64| (is / wanted - 1.0).abs() < 0.15;
        assert!(
            within(calls, wanted_calls) && within(secs, wanted_secs),
            "{calls} calls in {secs} s, not {wanted_calls} in {wanted_secs}"
        );
    };
    let [none, decorrelated, equal, full] =
        [Jitter::None, Jitter::Decorrelated, Jitter::Equal, Jitter::Full]
            .map(|jitter| mean(jitter, 100));
    near(decorrelated, 1_006.0, 4.8);
    near(equal, 811.0, 6.6);
    near(full, 797.0, 5.0);
    near(none, 1_858.0, 63.5);
    assert!(full.0 <= decorrelated.0 && decorrelated.0 < none.0);
}

/// D12, SRE book ch. 22: three attempts each turn a total outage into three times the load, a
/// budget of a tenth into 1.1 times.
#[test]
fn a_total_outage_grows_by_a_tenth_with_a_budget_of_a_tenth() {
    let growth = |percent| {
        let mut config = config(Policy::RoundRobin, &[&[1, 1, 1, 1]]);
        config.breaker = None;
        config.retry.attempts_max = 3;
        config.retry.statuses = StatusSet::NONE.with(503);
        config.retry.budget = BudgetConfig { percent, min_per_second: 0, burst: 10 };
        let service = service(&config);
        let (requests, mut attempts) = (60_000_u32, 0_u32);
        for id in 0..requests {
            let now = Time::from_millis(id.into());
            let mut step = Step::Attempt(attempt(start(&service, id.into(), now)));
            loop {
                step = match step {
                    Step::Attempt(attempt) => {
                        attempts += 1;
                        attempt.finish(Outcome::Answered(503), Body::Intact, now)
                    }
                    Step::Wait(wait) => wait.wake(now),
                    Step::Deliver(_) | Step::Queue(_) | Step::Reject(..) => break,
                };
            }
        }
        f64::from(attempts) / f64::from(requests)
    };
    let burst = 10.0 / 60_000.0;
    assert!(growth(10) <= 1.1 + burst, "{}", growth(10));
    assert!(growth(10) > 1.09, "what may be spent is spent: {}", growth(10));
    assert_eq!(growth(200), 3.0);
}
