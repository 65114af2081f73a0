//! Two attempts side by side: who wins, what it costs, and what the tail gains.

use core::time::Duration;

use lb_core::config::{HedgeAfter, Policy, RetryConfig, ServiceConfig, StatusSet};
use lb_core::{
    Ask, Attempt, Body, BodyEnd, Event, Exchange, ExchangeId, Failure, Outcome, Repeat, Rng,
    Service, Step, Time, Unobserved,
};

use crate::support::{Log, attempt, config, in_flight, place, service};

const MS: u64 = 1_000;

fn hedged(hedge: HedgeAfter, backends: usize) -> ServiceConfig {
    let base = config(Policy::RoundRobin, &[&vec![1; backends]]);
    let retry = RetryConfig {
        attempts_max: 2,
        statuses: StatusSet::RETRIED,
        hedge: Some(hedge),
        ..base.retry.clone()
    };
    ServiceConfig { retry, breaker: None, ..base }
}

fn after_10_ms() -> HedgeAfter {
    HedgeAfter::Fixed(Duration::from_millis(10))
}

fn begin<'s>(service: &'s Service, log: &'s Log) -> Attempt<'s> {
    let ask = Ask::bare(ExchangeId(1), Repeat::Safe);
    attempt(Exchange::start(service, log, ask, Time::ZERO))
}

const GOOD: Outcome = Outcome::Answered(200);
const BAD: Outcome = Outcome::Answered(503);

fn deliver(service: &Service, step: Step<'_>, now: Time) {
    let Step::Deliver(delivery) = step else { panic!("an answer was expected: {step:?}") };
    delivery.end(BodyEnd::Complete, service, now, &Unobserved);
    assert!(in_flight(service).iter().all(|held| *held == 0));
}

#[test]
fn the_sooner_of_two_is_the_answer_and_the_other_gives_everything_back() {
    let (ten, later) = (Time::from_millis(10), Time::from_millis(12));
    for hedge_wins in [false, true] {
        let service = service(&hedged(after_10_ms(), 3));
        let log = Log::default();
        let mut first = begin(&service, &log);
        assert_eq!(first.hedge_at(), Some(ten));
        let hedge = first.hedge(ten).expect("there are others");
        assert_ne!(hedge.errand().backend(), first.errand().backend());
        assert_eq!(in_flight(&service).iter().sum::<u32>(), 2);
        assert_eq!(first.hedge_at(), None, "once");
        let step = if hedge_wins {
            let at = hedge.errand().backend();
            let won = first.give_way(hedge, None, later);
            assert_eq!((won.backend().id(), won.number()), (at, 2));
            won.finish(GOOD, Body::Intact, later)
        } else {
            first.outrun(hedge, later);
            first.finish(GOOD, Body::Intact, later)
        };
        deliver(&service, step, later);
        let told = log.take();
        let overtaken = told.iter().find_map(|(_, event)| match event {
            Event::Overtaken { attempt, .. } => Some(*attempt),
            _ => None,
        });
        assert_eq!(overtaken, Some(if hedge_wins { 1 } else { 2 }));
    }
}

/// Who never answers never fails either, where a hedge is always sooner.
#[test]
fn attempts_that_were_given_up_count_once_they_have_waited_as_long_as_one_may() {
    let mut config = hedged(after_10_ms(), 2);
    config.timeouts.first_byte = Duration::from_millis(36);
    let service = service(&config);
    let log = Log::default();
    let later = Time::from_millis(12);
    // All of them begin at the same backend, and wait there for 12 ms each.
    let given_up = |answers: bool| {
        let mut first = begin(&service, &log);
        while place(&first) != 0 {
            deliver(&service, first.finish(GOOD, Body::Intact, later), later);
            first = begin(&service, &log);
        }
        log.take();
        if answers {
            deliver(&service, first.finish(BAD, Body::Spent, later), later);
            return None;
        }
        let hedge = first.hedge(Time::from_millis(10)).expect("there is another");
        let won = first.give_way(hedge, None, later);
        deliver(&service, won.finish(GOOD, Body::Intact, later), later);
        log.take().into_iter().find_map(|(_, event)| match event {
            Event::Concluded { attempt: 1, outcome, .. } => Some(outcome),
            _ => None,
        })
    };
    let failed = Some(Outcome::Failed(Failure::FirstByteTimeout));
    assert_eq!([given_up(false), given_up(false)], [None, None], "24 ms");
    assert_eq!(given_up(false), failed, "36 ms");
    assert_eq!(given_up(false), failed, "still nothing");
    // Any answer shows that somebody is there.
    given_up(true);
    assert_eq!([given_up(false), given_up(false)], [None, None]);
    assert_eq!(given_up(false), failed);
}

#[test]
fn an_outcome_that_is_not_worth_handing_on_waits_for_the_other() {
    let (ten, later) = (Time::from_millis(10), Time::from_millis(12));
    let service = service(&hedged(after_10_ms(), 3));
    let log = Log::default();
    let mut first = begin(&service, &log);
    let hedge = first.hedge(ten).expect("there are others");
    assert!(first.settles(GOOD) && first.settles(Outcome::Answered(404)) && !first.settles(BAD));
    first.hedge_failed(hedge, BAD, later);
    deliver(&service, first.finish(GOOD, Body::Intact, later), later);

    let mut first = begin(&service, &log);
    let hedge = first.hedge(ten).expect("there are others");
    let second = first.give_way(hedge, Some(BAD), later);
    deliver(&service, second.finish(GOOD, Body::Intact, later), later);
}

#[test]
fn who_may_not_be_sent_twice_is_not() {
    let service = service(&hedged(after_10_ms(), 3));
    let ask = |repeat, bodiless| Ask { repeat, bodiless, ..Ask::bare(ExchangeId(1), repeat) };
    for (repeat, bodiless) in
        [(Repeat::Once, true), (Repeat::Idempotent, true), (Repeat::Safe, false)]
    {
        let step = Exchange::start(&service, &Unobserved, ask(repeat, bodiless), Time::ZERO);
        let mut attempt = attempt(step);
        assert_eq!(attempt.hedge_at(), None);
        assert!(attempt.hedge(Time::ZERO).is_none());
    }
    let mut config = hedged(after_10_ms(), 3);
    config.retry.attempts_max = 1;
    let alone = crate::support::service(&config);
    assert_eq!(begin(&alone, &Log::default()).hedge_at(), None, "a hedge is an attempt");
    let only = crate::support::service(&hedged(after_10_ms(), 1));
    assert!(begin(&only, &Log::default()).hedge(Time::ZERO).is_none(), "there is no other");
}

#[test]
fn hedges_are_paid_for_from_the_budget() {
    let mut config = hedged(after_10_ms(), 3);
    config.retry.budget.burst = 2;
    let service = service(&config);
    let log = Log::default();
    let mut first: Vec<_> = (0..3).map(|_| begin(&service, &log)).collect();
    let hedges: Vec<_> = first.iter_mut().map(|it| it.hedge(Time::ZERO)).collect();
    let made: Vec<bool> = hedges.iter().map(Option::is_some).collect();
    assert_eq!(made, [true, true, false]);
    drop((first, hedges));
    assert!(in_flight(&service).iter().all(|held| *held == 0));
}

/// D5, "The tail at scale": one request in a hundred takes a hundred times as long. Returns the
/// latency that one in a thousand exceeds, and attempts per request.
fn tail(hedge: Option<HedgeAfter>) -> (u64, f64) {
    let mut config = hedged(after_10_ms(), 100);
    config.retry.hedge = hedge;
    (config.retry.budget.percent, config.retry.budget.burst) = (5, 50);
    let service = service(&config);
    let mut rng = Rng::stream(7, 5);
    let mut takes = || match rng.below(100) {
        0 => u64::from(500 + rng.below(1_000)) * MS,
        _ => u64::from(3_000 + rng.below(5_000)),
    };
    let (mut latencies, mut attempts) = (Vec::new(), 0_u32);
    for id in 0..50_000 {
        let began = id * 20 * MS;
        let at = |micros: u64| Time::from_micros(began + micros);
        let ask = Ask::bare(ExchangeId(id), Repeat::Safe);
        let mut first = attempt(Exchange::start(&service, &Unobserved, ask, at(0)));
        let own = takes();
        attempts += 1;
        let wait = first.hedge_at().map(|hedge_at| hedge_at.as_micros() - began);
        let hedge = match wait {
            Some(wait) if wait < own => first.hedge(at(wait)).map(|hedge| (wait, hedge)),
            _ => None,
        };
        let (took, step) = match hedge {
            Some((wait, hedge)) => {
                attempts += 1;
                let others = wait + takes();
                if others < own {
                    let won = first.give_way(hedge, None, at(others));
                    (others, won.finish(GOOD, Body::Intact, at(others)))
                } else {
                    first.outrun(hedge, at(own));
                    (own, first.finish(GOOD, Body::Intact, at(own)))
                }
            }
            None => (own, first.finish(GOOD, Body::Intact, at(own))),
        };
        deliver(&service, step, at(took));
        latencies.push(took);
    }
    latencies.sort_unstable();
    (latencies[latencies.len() * 999 / 1_000], f64::from(attempts) / 50_000.0)
}

#[test]
fn a_few_requests_more_shorten_the_tail() {
    let (without, once) = tail(None);
    assert!((once - 1.0).abs() < 1e-9);
    for hedge in [after_10_ms(), HedgeAfter::Percentile(95)] {
        let (with, attempts) = tail(Some(hedge));
        assert!(with * 5 <= without, "{hedge:?}: {with} µs against {without}");
        assert!(attempts <= 1.051, "{hedge:?}: {attempts} attempts per request");
    }
}

/// The hedge is chosen like any other attempt: fit, and not tried.
#[test]
fn a_hedge_goes_to_nobody_unfit() {
    let service = service(&hedged(after_10_ms(), 4));
    let log = Log::default();
    let mut first = begin(&service, &log);
    let own = place(&first);
    let fit = (own + 2) % 4;
    for other in (0..4).filter(|other| *other != own && *other != fit) {
        service.drain(u16::try_from(other).expect("of four"), true);
    }
    let hedge = first.hedge(Time::ZERO).expect("one is fit");
    assert_eq!(usize::from(hedge.errand().backend().backend), fit);
}
