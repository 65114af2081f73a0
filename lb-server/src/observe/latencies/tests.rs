//! What is read off is what was recorded, as exactly as promised.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;

const ASKED: [u64; 7] = [0, 250, 500, 900, 990, 999, 1_000];
/// What the module promises.
const ERROR_MAX: f64 = 1.0 / 80.0;

fn at(secs: u64) -> Time {
    Time::from_millis(secs * 1_000)
}

fn us(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

fn recorded(samples: &[u64]) -> Latencies {
    let latencies = Latencies::default();
    samples.iter().for_each(|micros| latencies.record(at(1), us(*micros)));
    latencies
}

fn spread(latencies: &Latencies, now: Time) -> Spread {
    let mut spread = Spread::default();
    latencies.add_to(&mut spread, now);
    spread
}

/// As many short times as long ones.
fn time() -> impl Strategy<Value = u64> {
    (0..34_u32, any::<u64>()).prop_map(|(bits, dice)| {
        let least = 1 << bits;
        (least + dice % least).min(cells::LONGEST_US)
    })
}

proptest! {
    #![proptest_config(Config {
        cases: 500,
        rng_seed: RngSeed::Fixed(7),
        failure_persistence: None,
        ..Config::default()
    })]

    #[test]
    fn a_quantile_is_an_eightieth_off_at_most(mut samples in prop::collection::vec(time(), 1..3_000)) {
        let found = recorded(&samples).quantiles(at(1), ASKED).expect("there are samples");
        samples.sort_unstable();
        for (share, found) in ASKED.into_iter().zip(found) {
            let not_above = samples.len() * usize::try_from(share).unwrap();
            let exact = samples[not_above.div_ceil(1_000).max(1) - 1] as f64 / 1e6;
            prop_assert!((found - exact).abs() <= exact * ERROR_MAX, "{share}: {found} for {exact}");
        }
    }

    #[test]
    fn buckets_are_exact_and_so_is_the_sum(samples in prop::collection::vec(time(), 0..500)) {
        let tally = recorded(&samples).tally();
        let mut up_to = 0;
        for (bound, count) in SECONDS.into_iter().chain([f64::INFINITY]).zip(tally.counts) {
            up_to += count;
            let exact = samples.iter().filter(|micros| **micros as f64 <= bound * 1e6).count();
            prop_assert_eq!(up_to, exact as u64, "up to {}", bound);
        }
        prop_assert_eq!(tally.sum, us(samples.iter().sum()));
    }

    #[test]
    fn two_series_together_are_as_one(
        ours in prop::collection::vec(time(), 0..200),
        theirs in prop::collection::vec(time(), 0..200),
    ) {
        let mut both = spread(&recorded(&ours), at(1));
        recorded(&theirs).add_to(&mut both, at(1));
        prop_assert_eq!(both, spread(&recorded(&[ours, theirs].concat()), at(1)));
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what threads do to each other takes threads")]
fn workers_that_record_at_once_lose_nothing_even_while_minutes_end_and_somebody_reads() {
    const EACH: u64 = 20_000;
    let shared = Latencies::default();
    std::thread::scope(|scope| {
        for worker in 0..3 {
            let shared = &shared;
            scope.spawn(move || {
                for n in 0..EACH {
                    shared.record(at(n / 50), us(1 + (n * 7 + worker) % 100_000));
                }
            });
        }
        let mut before = 0;
        for _ in 0..1_000 {
            let count = shared.tally().count();
            assert!(count >= before, "a counter fell from {before} to {count}");
            before = count;
        }
    });
    let samples = (0..3).flat_map(|worker| (0..EACH).map(move |n| 1 + (n * 7 + worker) % 100_000));
    let alone = recorded(&samples.collect::<Vec<_>>()).tally();
    assert_eq!((shared.tally().counts, shared.tally().sum), (alone.counts, alone.sum));
}

#[test]
fn quantiles_are_of_five_minutes_and_the_running_one_whoever_asks_how_often() {
    let median = |latencies: &Latencies, now| latencies.quantiles(at(now), [500]);
    let often = recorded(&[1_000; 10]);
    for now in 1..360 {
        assert_eq!(median(&often, now), Some([0.000_995_5]), "at {now} s");
    }
    assert_eq!(median(&often, 360), None);
    let seldom = recorded(&[1_000; 10]);
    assert_eq!(median(&seldom, 359), Some([0.000_995_5]));
    assert_eq!(median(&seldom, 3_600), None);
    assert_eq!(seldom.tally().count(), 10, "the histogram forgets nothing");
}

#[test]
fn what_is_recorded_after_a_pause_belongs_to_its_own_minute() {
    let latencies = recorded(&[10; 100]);
    latencies.record(at(200), us(20));
    latencies.record(at(400), us(30));
    assert_eq!(spread(&latencies, at(400)).count(), 2);
    assert_eq!(latencies.quantiles(at(400), [500, 1_000]), Some([0.000_02, 0.000_03]));
    // A worker whose clock was read a moment before the minute ended.
    latencies.record(at(359), us(40));
    assert_eq!(spread(&latencies, at(400)).count(), 3);
}

#[test]
fn times_beyond_all_bounds_are_counted_at_the_edges() {
    let latencies = recorded(&[0]);
    latencies.record(at(1), Duration::MAX);
    let [least, most] = latencies.quantiles(at(1), [0, 1_000]).unwrap();
    assert_eq!(least, 0.000_001);
    assert!((9_875.0..=10_000.0).contains(&most), "{most}");
    let counts = latencies.tally().counts;
    assert_eq!((counts[0], counts[BOUNDS]), (1, 1));
}

#[test]
fn bounds_are_the_same_in_both_units() {
    assert_eq!(BOUNDS_US.map(|micros| micros as f64 / 1e6), SECONDS);
}

#[test]
fn a_series_is_as_small_as_the_documents_say() {
    assert_eq!(size_of::<OnceLock<Box<Latencies>>>(), 16);
    assert_eq!(size_of::<Latencies>(), 424);
    assert_eq!(size_of::<(u16, u32)>(), 8);
    assert!(fresh(3).len() * size_of::<AtomicU32>() <= 640);
}
