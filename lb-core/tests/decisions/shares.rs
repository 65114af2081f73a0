//! Who gets how much: exact sequences of round robin, shares of chance within four deviations.

use expect_test::{Expect, expect};
use lb_core::config::{Policy, WEIGHT_MAX};
use lb_core::{Attempt, Body, Failure, Outcome, Service, Time};
use proptest::prelude::*;

use crate::support::{attempt, cases, config, in_flight, place, service, start};

/// Whose turn it is, `picks` times. Nothing stays in flight.
fn turns(service: &Service, picks: u64) -> Vec<usize> {
    (0..picks).map(|id| place(&attempt(start(service, id, Time::ZERO)))).collect()
}

fn counts(service: &Service, picks: u64) -> Vec<u64> {
    let mut counts = vec![0; service.backends().count()];
    turns(service, picks).into_iter().for_each(|place| counts[place] += 1);
    counts
}

fn check(weights: &[u32], cycles: u64, expected: &Expect) {
    let service = service(&config(Policy::RoundRobin, &[weights]));
    let cycle: u32 = weights.iter().sum();
    let names = ["a", "b", "c", "d"];
    let lines: Vec<String> = (0..cycles)
        .map(|_| turns(&service, cycle.into()).into_iter().map(|place| names[place]).collect())
        .collect();
    expected.assert_eq(&lines.join(" "));
}

#[test]
fn round_robin_is_smooth_and_the_same_in_every_cycle() {
    check(&[1, 1, 1], 3, &expect!["abc abc abc"]);
    check(&[1, 2, 1], 3, &expect!["bacb bacb bacb"]);
    check(&[3, 1], 3, &expect!["aaba aaba aaba"]);
    check(&[5, 1, 1], 2, &expect!["aabacaa aabacaa"]);
    // A common factor only makes the cycle shorter.
    check(&[4, 2], 1, &expect!["abaaba"]);
}

#[test]
fn round_robin_turns_by_deadline_are_exact_over_a_cycle() {
    // 200 backends × 20,100 turns: too much to work out smoothly.
    let weights: Vec<u32> = (1..=200).map(|weight| 5 * weight).chain([WEIGHT_MAX - 1]).collect();
    let service = service(&config(Policy::RoundRobin, &[&weights]));
    let cycle: u32 = weights.iter().sum();
    let expected: Vec<u64> = weights.iter().copied().map(u64::from).collect();
    assert_eq!(counts(&service, cycle.into()), expected);
    assert_eq!(counts(&service, cycle.into()), expected);
}

#[test]
fn more_turns_than_a_cycle_may_have_halve_the_weights_and_lose_nobody() {
    // 1,099 × 1,000 + 1 turns are beyond 2²⁰: the small one gets twice its share.
    let mut weights = vec![WEIGHT_MAX; 1_099];
    weights.push(1);
    let service = service(&config(Policy::RoundRobin, &[&weights]));
    let mut expected = vec![500; 1_099];
    expected.push(1);
    assert_eq!(counts(&service, 1_099 * 500 + 1), expected);
}

/// Far more than any test here needs to see every backend once.
const PICKS_MAX: u64 = 100_000;

/// Opens the breakers of these places by one failure each, all at once.
fn make_unfit(service: &Service, unfit: impl Fn(usize) -> bool) {
    let count = service.backends().count();
    let mut failing: Vec<Option<Attempt<'_>>> = (0..count).map(|_| None).collect();
    let all_fail =
        |failing: &[Option<_>]| (0..count).all(|place| failing[place].is_some() == unfit(place));
    for id in (1 << 32)..(1 << 32) + PICKS_MAX {
        if all_fail(&failing) {
            break;
        }
        let attempt = attempt(start(service, id, Time::ZERO));
        let place = place(&attempt);
        if unfit(place) {
            failing[place] = Some(attempt);
        }
    }
    assert!(all_fail(&failing), "some backend was never chosen in {PICKS_MAX} picks");
    for attempt in failing.into_iter().flatten() {
        drop(attempt.finish(Outcome::Failed(Failure::Reset), Body::Intact, Time::ZERO));
    }
}

#[test]
fn a_pool_without_one_backend_is_shared_by_the_others_in_proportion() {
    let service = service(&config(Policy::RoundRobin, &[&[2, 1, 3, 1]]));
    make_unfit(&service, |place| place == 2);
    // The cycle loses the turns of the third and keeps the others.
    assert_eq!(counts(&service, 4 * 25), [50, 25, 0, 25]);
}

#[test]
fn a_heavy_backend_that_is_unfit_leaves_its_turns_to_all_others_alike() {
    let service = service(&config(Policy::RoundRobin, &[&[1_000, 2, 1, 1]]));
    make_unfit(&service, |place| place == 0);
    assert_within_four_deviations(&counts(&service, 4_000), &[0, 2, 1, 1]);
}

#[test]
fn a_row_of_unfit_backends_does_not_burden_its_neighbour() {
    // A zone of 300 among 600 is gone, in a row.
    let service = service(&config(Policy::RoundRobin, &[&[1; 600]]));
    make_unfit(&service, |place| (100..400).contains(&place));
    let counts = counts(&service, 3_000);
    let most = counts.iter().max().expect("there are backends");
    assert!(*most <= 18, "ten each were expected, {most} came: {counts:?}");
}

/// In a large pool a die is thrown for them, in a small one all are looked at: the shares are the same.
#[test]
fn exact_least_request_shares_among_the_idle_of_the_highest_weight_alike() {
    for (backends, busy) in [(6, 1), (128, 24), (128, 62)] {
        let weights: Vec<u32> = (0..backends).map(|place| 1 + place % 2).collect();
        let service = service(&config(Policy::LeastRequestExact, &[&weights]));
        let busy: Vec<Attempt<'_>> =
            (0..busy).map(|id| attempt(start(&service, (1 << 40) + id, Time::ZERO))).collect();
        let taken: Vec<usize> = busy.iter().map(place).collect();
        let idle = |(at, weight): (usize, &u32)| u32::from(*weight == 2 && !taken.contains(&at));
        let shares: Vec<u32> = weights.iter().enumerate().map(idle).collect();
        let left = weights.len() / 2 - busy.len();
        assert_eq!(
            shares.iter().sum::<u32>() as usize,
            left,
            "one has two, others none: {taken:?}"
        );
        assert_within_four_deviations(&counts(&service, 40_000), &shares);
    }
}

/// Where first attempts go when one of `count` backends refuses every request without a breaker
/// that would notice, and each is repeated at once.
fn first_attempts(policy: Policy, count: usize) -> Vec<u64> {
    let mut config = config(policy, &[&vec![1; count]]);
    config.breaker = None;
    config.retry.attempts_max = 2;
    let service = service(&config);
    let mut counts = vec![0; count];
    for id in 0..1_200 {
        let first = attempt(start(&service, id, Time::ZERO));
        counts[place(&first)] += 1;
        if place(&first) == 0 {
            let refused = Outcome::Failed(Failure::ConnectRefused);
            let second = attempt(first.finish(refused, Body::Intact, Time::ZERO));
            assert_ne!(place(&second), 0);
        }
    }
    counts
}

/// If a retry took a turn of the round, then where requests come one by one and one of two backends
/// refuses, every first attempt would meet that one.
#[test]
fn retries_take_nothing_from_the_shares_of_first_attempts() {
    assert_eq!(first_attempts(Policy::RoundRobin, 2), [600, 600]);
    assert_eq!(first_attempts(Policy::RoundRobin, 3), [400, 400, 400]);
    assert_eq!(first_attempts(Policy::RoundRobin, 4), [300, 300, 300, 300]);
    for policy in [Policy::WeightedRandom, Policy::LeastRequest] {
        assert_within_four_deviations(&first_attempts(policy, 3), &[1, 1, 1]);
    }
}

fn assert_within_four_deviations(counts: &[u64], weights: &[u32]) {
    let total: u64 = counts.iter().sum();
    let weight: u32 = weights.iter().sum();
    for (place, count) in counts.iter().enumerate() {
        let share = f64::from(weights[place]) / f64::from(weight);
        let expected = total as f64 * share;
        let deviation = (expected * (1.0 - share)).sqrt();
        let off = (*count as f64 - expected).abs();
        assert!(off <= 4.0 * deviation, "{place}: {count}, not {expected} ± {deviation}");
    }
}

fn chance() -> impl Strategy<Value = Policy> {
    prop_oneof![Just(Policy::WeightedRandom), Just(Policy::LeastRequest)]
}

#[test]
fn chance_shares_by_small_weights() {
    // A table that is off by one would not show in the shares of many.
    for policy in [Policy::WeightedRandom, Policy::LeastRequest] {
        for weights in [&[1, 2][..], &[3, 1], &[1, 1, 5], &[2, 3, 4, 1]] {
            let service = service(&config(policy, &[weights]));
            assert_within_four_deviations(&counts(&service, 10_000), weights);
        }
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn chance_shares_by_weight(
        policy in chance(),
        weights in prop::collection::vec(1..20_u32, 2..30),
    ) {
        let service = service(&config(policy, &[&weights]));
        assert_within_four_deviations(&counts(&service, 10_000), &weights);
    }

    #[test]
    fn chance_shares_by_weight_among_the_fit(
        policy in chance(),
        weights in prop::collection::vec(1..20_u32, 3..30),
        unfit in prop::collection::vec(any::<bool>(), 30),
    ) {
        let service = service(&config(policy, &[&weights]));
        make_unfit(&service, |place| place > 0 && unfit[place]);
        let fit: Vec<u32> = (0..)
            .zip(&weights)
            .map(|(place, weight)| if place > 0 && unfit[place] { 0 } else { *weight })
            .collect();
        assert_within_four_deviations(&counts(&service, 10_000), &fit);
    }
}

#[test]
fn the_second_of_two_choices_is_drawn_by_weight_as_well() {
    let service = service(&config(Policy::LeastRequest, &[&[1_000, 2, 1, 1]]));
    let heavy = attempt(start(&service, 0, Time::ZERO));
    assert_eq!(place(&heavy), 0);
    // One request keeps the heavy one busier than any idle one it is compared with.
    assert_within_four_deviations(&counts(&service, 4_000), &[0, 2, 1, 1]);
}

#[test]
fn a_pick_after_most_breakers_opened_at_once_burdens_nobody() {
    // The bitmap does not know yet: nearly every draw is declined.
    for policy in [Policy::RoundRobin, Policy::WeightedRandom, Policy::LeastRequest] {
        let service = service(&config(policy, &[&[1; 400]]));
        make_unfit(&service, |place| place % 10 > 0);
        let counts = counts(&service, 400);
        let most = counts.iter().max().expect("there are backends");
        assert!(*most <= 24, "{policy:?}: ten each were expected, {most} came: {counts:?}");
    }
}

/// The fullest of 4,096 backends, when as many requests stay.
fn most_loaded(policy: Policy) -> u32 {
    const COUNT: usize = 1 << 12;
    let service = service(&config(policy, &[&[1; COUNT]]));
    let held: Vec<_> = (0..COUNT as u64).map(|id| start(&service, id, Time::ZERO)).collect();
    let most = in_flight(&service).into_iter().max().expect("there are backends");
    drop(held);
    assert_eq!(in_flight(&service), [0; COUNT]);
    most
}

#[test]
fn two_choices_spread_load_better_than_one() {
    // ln n / ln ln n is 3.9 and ln ln n / ln 2 is 3.1 (Mitzenmacher 2001), each plus a constant.
    let (one, two) = (most_loaded(Policy::WeightedRandom), most_loaded(Policy::LeastRequest));
    expect!["one 6, two 3"].assert_eq(&format!("one {one}, two {two}"));
    assert!(one >= 5 && two < 5);
}
