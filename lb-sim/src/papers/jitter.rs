//! Clients that contend for one row, and wait before they try again.
//!
//! The setting of "Exponential backoff and jitter" (AWS, 2015): each client reads a version and writes on
//! the condition that it is still that version, over a network that takes 10 ms, more or less. One of those
//! that come at the same time succeeds; the others wait. The waits are those of our own
//! [`BackoffConfig`], in units of a millisecond: 5 at first, 2,000 at most.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use lb_core::Rng;
use lb_core::config::{BackoffConfig, Jitter};

use crate::dice::Chance;

use super::{Row, Unit};

/// Runs that a figure is the mean of.
const RUNS: u64 = 30;

/// What a message is, and whose.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Arrives {
    /// A client is to begin (anew).
    Client,
    /// A question for the version, at the server.
    Read,
    /// The answer, at the client.
    Version(u64),
    /// A write on condition of a version, at the server.
    Write(u64),
    /// Whether it was done, at the client.
    Written(bool),
}

struct Client {
    /// One more than there were: in that setting the first ceiling is doubled already.
    attempts: u8,
    waited: Duration,
}

pub(super) fn rows() -> Vec<Row> {
    // Calls and seconds, for 100 clients: as the authors' own simulator says.
    let said = [
        ("no wait", None, "2424", "2.0"),
        ("exponential, no jitter", Some(Jitter::None), "1858", "63.5"),
        ("decorrelated", Some(Jitter::Decorrelated), "1006", "4.8"),
        ("equal jitter", Some(Jitter::Equal), "811", "6.6"),
        ("full jitter", Some(Jitter::Full), "797", "5.0"),
    ];
    let rows = said.into_iter().flat_map(|(name, jitter, calls, seconds)| {
        let (our_calls, our_seconds) = mean(jitter, 100);
        [
            Row::new(format!("{name}: calls of 100 clients"), calls, our_calls, Unit::Plain),
            Row::new(
                format!("{name}: seconds until all are done"),
                seconds,
                our_seconds,
                Unit::Plain,
            ),
        ]
    });
    rows.collect()
}

fn mean(jitter: Option<Jitter>, clients: usize) -> (f64, f64) {
    let runs = (1..=RUNS).map(|seed| contend(jitter, clients, seed));
    let (calls, seconds) = runs.fold((0.0, 0.0), |sum, run| (sum.0 + run.0, sum.1 + run.1));
    (calls / RUNS as f64, seconds / RUNS as f64)
}

/// How many writes were tried, and how many seconds it took until each client had succeeded.
fn contend(jitter: Option<Jitter>, clients: usize, seed: u64) -> (f64, f64) {
    let ms = Duration::from_millis;
    let jitter = jitter.map(|jitter| BackoffConfig { base: ms(5), max: ms(2_000), jitter });
    let mut rng = Rng::stream(seed, 0x6a69_7474_6572);
    let mut heap = BinaryHeap::new();
    let mut all: Vec<Client> =
        (0..clients).map(|_| Client { attempts: 1, waited: Duration::ZERO }).collect();
    heap.extend((0..clients).map(|client| Reverse((Duration::ZERO, client, Arrives::Client))));
    let (mut version, mut calls, mut done) = (0_u64, 0_u32, Duration::ZERO);
    while let Some(Reverse((now, client, what))) = heap.pop() {
        let next = match what {
            Arrives::Client => Arrives::Read,
            Arrives::Read => Arrives::Version(version),
            Arrives::Version(known) => Arrives::Write(known),
            Arrives::Write(known) => {
                calls += 1;
                let fits = known == version;
                version += u64::from(fits);
                Arrives::Written(fits)
            }
            Arrives::Written(true) => {
                done = now;
                continue;
            }
            Arrives::Written(false) => {
                let Client { attempts, waited } = &mut all[client];
                *attempts = attempts.saturating_add(1);
                let wait = |it: BackoffConfig| it.wait(*attempts, *waited, &mut rng);
                *waited = jitter.map_or(Duration::ZERO, wait);
                heap.push(Reverse((now + *waited, client, Arrives::Client)));
                continue;
            }
        };
        let trip = (0.010 + 0.002 * rng.normal()).abs();
        heap.push(Reverse((now + Duration::from_secs_f64(trip), client, next)));
    }
    (f64::from(calls), done.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_jitter_asks_least_and_waits_without_jitter_meet_again() {
        let calls = |jitter| mean(jitter, 50).0;
        let (none, full) = (calls(Some(Jitter::None)), calls(Some(Jitter::Full)));
        assert!(full < calls(Some(Jitter::Decorrelated)) * 1.02 && full < none, "{full} {none}");
        assert!(mean(Some(Jitter::None), 50).1 > 3.0 * mean(Some(Jitter::Full), 50).1);
    }
}
