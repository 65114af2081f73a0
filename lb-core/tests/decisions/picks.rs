//! Where a pick may go, in services of any size and state: compared before each pick with all that
//! can be seen from outside.

use std::collections::BTreeSet;

use lb_core::config::{Policy, ServiceConfig, StatusSet, WhenAllUnfit};
use lb_core::{
    Body, Choice, Event, Exchange, Failure, How, Outcome, Rejection, Repeat, Rng, Role, Service,
    Step, Time,
};
use proptest::prelude::*;

use crate::support::{
    Log, POLICIES, ask, attempt, cases, config, in_flight, place, service, start,
};

const ATTEMPTS_MAX: u8 = 6;
/// Worth another attempt although the backend is well.
const NOT_YET: Outcome = Outcome::Answered(404);

/// Who could be chosen just before a pick, seen from outside.
struct View<'s> {
    config: &'s ServiceConfig,
    /// The places of each pool.
    pools: Vec<core::ops::Range<usize>>,
    weights: Vec<u32>,
    fit: Vec<bool>,
    in_flight: Vec<u32>,
    tried: BTreeSet<usize>,
    /// Whose answer is kept while its exchange waits.
    kept: Option<usize>,
}

/// What a pick must come to.
#[derive(Debug)]
struct Expected {
    pool: usize,
    places: Vec<usize>,
    again: bool,
    role: Role,
}

impl<'s> View<'s> {
    fn new(config: &'s ServiceConfig, service: &Service) -> Self {
        let mut end = 0;
        let pools = config.pools.iter().map(|pool| {
            end += pool.backends.len();
            end - pool.backends.len()..end
        });
        Self {
            pools: pools.collect(),
            config,
            weights: config.pools.iter().flat_map(|p| &p.backends).map(|b| b.weight).collect(),
            fit: service.backends().map(|backend| backend.is_fit()).collect(),
            in_flight: in_flight(service),
            tried: BTreeSet::new(),
            kept: None,
        }
    }

    /// The lease of a failed attempt is gone; that of an answer is kept until the next attempt. What
    /// is a failure has opened the breaker.
    fn conclude(&mut self, place: usize, outcome: Outcome) {
        match outcome {
            Outcome::Answered(_) => self.kept = Some(place),
            Outcome::Failed(_) => self.in_flight[place] -= 1,
        }
        self.fit[place] &= outcome == NOT_YET;
    }

    /// The candidates of the first pool that has any.
    fn among(&self, may: impl Fn(usize) -> bool) -> Option<(usize, Vec<usize>)> {
        self.pools.iter().enumerate().find_map(|(index, pool)| {
            let places: Vec<usize> = pool.clone().filter(|place| may(*place)).collect();
            (!places.is_empty()).then_some((index, places))
        })
    }

    fn fresh(&self) -> Option<Expected> {
        let (pool, places) = self.among(|p| self.fit[p] && !self.tried.contains(&p))?;
        Some(Expected { pool, places, again: false, role: Role::Normal })
    }

    fn expected(&self) -> Option<Expected> {
        let fit = || {
            let (pool, places) = self.among(|place| self.fit[place])?;
            Some(Expected { pool, places, again: true, role: Role::Normal })
        };
        let panic = || {
            let fresh = self.among(|place| !self.tried.contains(&place));
            let again = fresh.is_none();
            let (pool, places) = fresh.or_else(|| self.among(|_| true))?;
            let panics = self.config.when_all_unfit == WhenAllUnfit::FailOpen;
            panics.then_some(Expected { pool, places, again, role: Role::Panic })
        };
        self.fresh().or_else(fit).or_else(panic)
    }

    fn assert_chosen(&mut self, expected: &Expected, place: usize, choice: Choice) {
        assert!(expected.places.contains(&place), "{place} is not in {expected:?}");
        assert_eq!(usize::from(choice.pool), expected.pool, "{expected:?}");
        assert_eq!((choice.again, choice.role), (expected.again, expected.role), "{expected:?}");
        match (self.config.policy, choice.how) {
            (Policy::RoundRobin, How::Turn | How::Weight)
            | (Policy::WeightedRandom, How::Weight) => {}
            // Nothing is known of these requests: they have no key.
            (policy, How::Weight) if policy.hashes() => {}
            // Nobody was checked: none is known to be sooner than the first.
            (Policy::First, How::First) | (Policy::Fastest, How::Soonest { micros: None }) => {
                assert_eq!(expected.places.first(), Some(&place), "{expected:?}");
            }
            (Policy::LeastRequestExact, How::Least { in_flight }) => {
                assert_eq!(in_flight, self.in_flight[place]);
                let cost = |place: usize| {
                    f64::from(self.in_flight[place] + 1) / f64::from(self.weights[place])
                };
                assert!(expected.places.iter().all(|other| cost(place) <= cost(*other) + 1e-9));
            }
            (Policy::Prequal, How::Cold { in_flight, hot_above, .. }) => {
                assert_eq!(in_flight, self.in_flight[place]);
                assert!(in_flight <= hot_above, "a hot one was chosen: {choice:?}");
            }
            (policy, How::Scored { share }) if policy.scores() => {
                assert!(share <= 1_000, "{share}: {expected:?}");
            }
            (Policy::PeakEwma, How::Sooner { micros, than, than_micros }) => {
                assert!(usize::from(than) != place && micros > 0, "{choice:?}");
                assert!(micros <= than_micros, "the slower one was chosen: {choice:?}");
            }
            (Policy::LeastRequest | Policy::PeakEwma, How::Only) => {
                assert_eq!(expected.places, [place])
            }
            (Policy::LeastRequest, How::LessLoaded { in_flight, than, than_in_flight }) => {
                let than = usize::from(than);
                // The other may be one whose breaker opened since somebody asked it.
                let may = self.pools[expected.pool].contains(&than)
                    && (expected.again || !self.tried.contains(&than));
                assert!(may && than != place, "{than}: {expected:?}");
                assert_eq!(in_flight, self.in_flight[place]);
                assert_eq!(than_in_flight, self.in_flight[than]);
                let load = |place: usize| {
                    f64::from(self.in_flight[place]) / f64::from(self.weights[place])
                };
                assert!(load(place) <= load(than), "the more loaded was chosen: {choice:?}");
            }
            (policy, how) => panic!("{policy:?} does not choose by {how:?}"),
        }
        if let Some(kept) = self.kept.take() {
            self.in_flight[kept] -= 1;
        }
        self.tried.insert(place);
        self.in_flight[place] += 1;
    }
}

/// Drives one exchange through as many attempts as it gets; the last answer is kept or dropped.
fn drive<'s>(
    view: &mut View<'_>,
    service: &'s Service,
    log: &'s Log,
    id: u64,
    dice: &mut Rng,
) -> Option<Step<'s>> {
    let mut step = Exchange::start(service, log, ask(id), Time::ZERO);
    let mut expected = view.expected();
    loop {
        let told = log.take();
        let chosen = told.iter().find_map(|(_, event)| match event {
            Event::Attempted { backend, choice, .. } => {
                Some((usize::from(backend.backend), *choice))
            }
            _ => None,
        });
        step = match (step, expected) {
            (Step::Attempt(attempt), Some(wanted)) => {
                let (at, choice) = chosen.expect("an attempt is told");
                assert_eq!(at, place(&attempt));
                view.assert_chosen(&wanted, at, choice);
                let outcome = match dice.below(6) {
                    0 => Outcome::Answered(200),
                    1 => Outcome::Answered(503),
                    2 | 3 => Outcome::Failed(Failure::ConnectRefused),
                    _ => NOT_YET,
                };
                let number = attempt.number();
                let next = attempt.finish(outcome, Body::Intact, Time::ZERO);
                if matches!(next, Step::Deliver(_)) {
                    view.fit[at] &=
                        outcome.verdict(StatusSet::FAILURES) != lb_core::Verdict::Failure;
                    return Some(next);
                }
                view.conclude(at, outcome);
                assert!(number < ATTEMPTS_MAX || matches!(next, Step::Reject(..)));
                expected = view.fresh();
                next
            }
            (Step::Wait(wait), fresh) => {
                // At once only after a request that never arrived, and only to a fresh one.
                let refused = |event: &Event| {
                    matches!(event, Event::Concluded { outcome: Outcome::Failed(_), .. })
                };
                assert!(fresh.is_none() || !told.iter().any(|(_, event)| refused(event)));
                expected = view.expected();
                wait.wake(Time::ZERO)
            }
            // Nobody was there to take a retry: the answer that was kept goes out.
            (delivery @ Step::Deliver(_), None) => return Some(delivery),
            (Step::Reject(Rejection::NoFitBackend, _), expected) => {
                assert!(expected.is_none(), "{expected:?}");
                return None;
            }
            (Step::Reject(Rejection::AttemptFailed(_), _), _) => return None,
            (step, expected) => panic!("{expected:?} was expected: {step:?}"),
        };
    }
}

fn check(config: &ServiceConfig, failing: u32, seed: u64) {
    let service = service(config);
    let mut dice = Rng::stream(seed, 0);
    let count = service.backends().count() as u64;
    // Some breakers open at once, unknown to the bitmap, some while others are chosen.
    let all_at_once = dice.below(2) == 0;
    let mut held = Vec::new();
    for id in 0..2 * count {
        let Step::Attempt(attempt) = start(&service, id, Time::ZERO) else { break };
        if dice.below(100) < failing {
            held.push(attempt);
        }
        if !all_at_once || id + 1 == 2 * count {
            for attempt in held.drain(..) {
                drop(attempt.finish(Outcome::Answered(500), Body::Intact, Time::ZERO));
            }
        }
    }
    held.clear();
    let log = Log::default();
    let mut delivered = Vec::new();
    for id in 0..20 {
        let mut view = View::new(config, &service);
        delivered.extend(drive(&mut view, &service, &log, (1 << 32) + id, &mut dice));
        if dice.below(3) == 0 {
            delivered.clear();
        }
    }
    drop(delivered);
    assert!(in_flight(&service).iter().all(|held| *held == 0));
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn a_pick_goes_to_a_fit_and_fresh_one_if_there_is_one_and_says_why(
        policy in prop::sample::select(&POLICIES),
        when_all_unfit in prop::sample::select(&[WhenAllUnfit::FailFast, WhenAllUnfit::FailOpen]),
        pools in prop_oneof![
            3 => prop::collection::vec(prop::collection::vec(1..=1_000_u32, 1..5), 1..4),
            1 => prop::collection::vec(prop::collection::vec(1..=3_u32, 1..200), 1..2),
            1 => prop::collection::vec(prop::collection::vec(1..=1_000_u32, 1..70), 1..4),
        ],
        failing in prop_oneof![Just(0_u32), Just(100), 0..100_u32],
        seed: u64,
    ) {
        let pools: Vec<&[u32]> = pools.iter().map(Vec::as_slice).collect();
        let mut config = config(policy, &pools);
        config.when_all_unfit = when_all_unfit;
        config.retry.attempts_max = ATTEMPTS_MAX;
        config.retry.statuses = StatusSet::NONE.with(404).with(503);
        config.retry.budget.burst = 100_000;
        check(&config, failing, seed);
    }
}

#[test]
fn the_dice_of_one_exchange_do_not_depend_on_the_others() {
    // Weighted random looks at nothing but fitness: all of the exchange is the same.
    let mut config = config(Policy::WeightedRandom, &[&[3, 1, 4, 1, 5, 9, 2, 6]]);
    config.breaker = None;
    config.retry.attempts_max = 4;
    config.retry.statuses = StatusSet::NONE.with(503);
    let told = |others: u64| {
        let service = service(&config);
        let log = Log::default();
        let _held: Vec<Step<'_>> =
            (0..others).map(|id| start(&service, 2 * id, Time::ZERO)).collect();
        let mut step = Exchange::start(&service, &log, ask(77), Time::ZERO);
        loop {
            drop(start(&service, 1_000 + others, Time::ZERO));
            step = match step {
                Step::Attempt(attempt) => {
                    attempt.finish(Outcome::Answered(503), Body::Intact, Time::ZERO)
                }
                Step::Wait(wait) => wait.wake(Time::ZERO),
                Step::Deliver(_) | Step::Queue(_) | Step::Reject(..) => return log.take(),
            };
        }
    };
    let alone = told(0);
    assert_eq!(alone.len(), 1 + 3 * 3 + 2 + 2, "four attempts: {alone:#?}");
    for others in [1, 5, 50] {
        assert_eq!(told(others), alone);
    }
}

#[test]
fn the_two_that_are_compared_do_not_depend_on_the_load() {
    let config = config(Policy::LeastRequest, &[&[3, 1, 4, 1, 5, 9, 2, 6]]);
    let compared = |others: u64| {
        let service = service(&config);
        let log = Log::default();
        let held: Vec<Step<'_>> =
            (0..others).map(|id| start(&service, 1_000 + id, Time::ZERO)).collect();
        let pairs: Vec<_> = (0..50)
            .map(|id| {
                let chosen = place(&attempt(Exchange::start(&service, &log, ask(id), Time::ZERO)));
                match log.take()[1].1 {
                    Event::Attempted {
                        choice: Choice { how: How::LessLoaded { than, .. }, .. },
                        ..
                    } => BTreeSet::from([chosen, usize::from(than)]),
                    other => panic!("two of eight are compared: {other:?}"),
                }
            })
            .collect();
        drop(held);
        pairs
    };
    assert_eq!(compared(0), compared(17));
}

#[test]
fn the_dice_depend_on_the_seed_the_service_and_the_exchange() {
    let config = config(Policy::WeightedRandom, &[&[1; 1_000]]);
    let places = |index: u16, seed: u64, first: u64| -> Vec<usize> {
        let service = Service::new(&config, index, seed).expect("the configuration is meaningful");
        (first..first + 50).map(|id| place(&attempt(start(&service, id, Time::ZERO)))).collect()
    };
    let thrown = places(3, 7, 0);
    assert_eq!(thrown, places(3, 7, 0));
    for other in [places(3, 8, 0), places(4, 7, 0), places(3, 7, 50)] {
        // By chance one of fifty in a thousand falls alike now and then, but not five.
        let alike = thrown.iter().zip(&other).filter(|(a, b)| a == b).count();
        assert!(alike < 5, "{alike} of 50 fell alike");
    }
}

#[test]
fn an_exchange_that_may_not_be_repeated_has_the_same_dice() {
    let config = config(Policy::WeightedRandom, &[&[1; 100]]);
    let service = service(&config);
    for id in 0..20 {
        let once = lb_core::Ask { repeat: Repeat::Once, ..ask(id) };
        let first = place(&attempt(start(&service, id, Time::ZERO)));
        let again = place(&attempt(Exchange::start(&service, &Log::default(), once, Time::ZERO)));
        assert_eq!(first, again);
    }
}
