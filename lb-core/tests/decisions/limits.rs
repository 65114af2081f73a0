//! What may be in flight: caps that are never passed, a line in order, and everything given back.

use core::net::IpAddr;
use core::time::Duration;

use lb_core::config::{AdaptiveConfig, KeySource, LimitConfig, Policy, ServiceConfig};
use lb_core::{
    Ask, Attempt, Body, BodyEnd, Delivery, Exchange, ExchangeId, Facts, Outcome, Queue, Rejection,
    Repeat, Rng, Service, Step, Time, Unobserved,
};
use proptest::prelude::*;

use crate::support::{POLICIES, cases, config, in_flight, secs, service, start};

/// Who asks, and how urgently.
#[derive(Clone, Copy)]
struct Says {
    user: &'static str,
    priority: &'static str,
}

impl Facts for Says {
    fn client(&self) -> Option<IpAddr> {
        None
    }
    fn header(&self, name: &str) -> Option<&[u8]> {
        match name {
            "x-user" => Some(self.user.as_bytes()),
            "priority" => Some(self.priority.as_bytes()),
            _ => None,
        }
    }
    fn path(&self) -> &'static str {
        "/"
    }
    fn query(&self) -> Option<&str> {
        None
    }
}

fn limited(policy: Policy, backends: usize, limits: LimitConfig) -> ServiceConfig {
    ServiceConfig { limits, ..config(policy, &[&vec![1; backends]]) }
}

fn rejected(step: Step<'_>) -> Rejection {
    match step {
        Step::Reject(rejection, _) => rejection,
        other => panic!("a rejection was expected: {other:?}"),
    }
}

fn queued(step: Step<'_>) -> Queue<'_> {
    match step {
        Step::Queue(queue) => queue,
        other => panic!("a wait in line was expected: {other:?}"),
    }
}

#[test]
fn without_a_queue_one_too_many_is_turned_away_and_the_next_is_not() {
    for policy in POLICIES {
        let limits = LimitConfig { per_service: Some(3), ..LimitConfig::default() };
        let service = service(&limited(policy, 2, limits));
        let held: Vec<_> = (0..3).map(|id| start(&service, id, Time::ZERO)).collect();
        assert_eq!(rejected(start(&service, 3, Time::ZERO)), Rejection::Overloaded);
        assert_eq!(service.running(), 3);
        drop(held);
        assert_eq!((service.running(), service.has_room()), (0, true));
        assert!(matches!(start(&service, 4, Time::ZERO), Step::Attempt(_)), "{policy:?}");
    }
}

#[test]
fn a_place_is_held_to_the_last_byte() {
    let limits = LimitConfig { per_service: Some(1), ..LimitConfig::default() };
    let service = service(&limited(Policy::RoundRobin, 1, limits));
    let Step::Attempt(attempt) = start(&service, 0, Time::ZERO) else { panic!("it is empty") };
    let step = attempt.finish(Outcome::Answered(200), Body::Intact, Time::ZERO);
    let Step::Deliver(delivery) = step else { panic!("it was answered") };
    assert_eq!(rejected(start(&service, 1, Time::ZERO)), Rejection::Overloaded);
    delivery.end(BodyEnd::Complete, &service, Time::ZERO, &Unobserved);
    assert!(matches!(start(&service, 2, Time::ZERO), Step::Attempt(_)));
}

#[test]
fn whoever_waits_is_served_in_order_or_told_when_its_time_is_up() {
    let limits = LimitConfig {
        per_service: Some(1),
        queue_max: 3,
        queue_timeout: Duration::from_secs(5),
        ..LimitConfig::default()
    };
    let service = service(&limited(Policy::RoundRobin, 1, limits));
    let running = start(&service, 0, Time::ZERO);
    let mut line: Vec<_> = (1..4).map(|id| queued(start(&service, id, secs(id)))).collect();
    assert_eq!(rejected(start(&service, 4, secs(4))), Rejection::Overloaded, "the queue is full");
    assert!(line.windows(2).all(|two| two[0].rank() < two[1].rank()));
    // Nothing has ended: a wake that comes early finds no place, and the rank is kept.
    let first = line.remove(0);
    let (rank, until) = (first.rank(), first.until());
    let first = queued(first.wake(secs(4)));
    assert_eq!((first.rank(), first.until()), (rank, until));
    drop((running, line.pop()));
    // Nobody passes those who wait, though there is a place.
    let newcomer = queued(start(&service, 5, secs(5)));
    assert!(newcomer.rank() > line[0].rank());
    let served = first.wake(secs(5));
    assert!(matches!(served, Step::Attempt(_)));
    assert_eq!(rejected(line.remove(0).wake(secs(7))), Rejection::QueueTimeout);
    assert_eq!(service.waiting(), 1);
    drop((served, line, newcomer));
    assert_eq!((service.waiting(), service.running()), (0, 0));
}

#[test]
fn a_backend_has_no_more_in_flight_than_it_may_and_others_wait() {
    for policy in POLICIES {
        let limits = LimitConfig { per_backend: Some(2), queue_max: 10, ..LimitConfig::default() };
        let service = service(&limited(policy, 3, limits));
        let mut held: Vec<_> = (0..6).map(|id| start(&service, id, Time::ZERO)).collect();
        assert_eq!(in_flight(&service), [2, 2, 2], "{policy:?}");
        let waiting = queued(start(&service, 6, Time::ZERO));
        held.pop();
        assert!(matches!(waiting.wake(Time::ZERO), Step::Attempt(_)), "{policy:?}");
        // Unfit is not full: nobody waits for a backend that will not come back by being left alone.
        held.clear();
        (0..3).for_each(|place| service.drain(place, true));
        assert_eq!(rejected(start(&service, 7, Time::ZERO)), Rejection::NoFitBackend);
    }
}

#[test]
fn each_client_has_its_own_limit() {
    let limits = LimitConfig {
        per_client: Some(2),
        client: vec![KeySource::Header("x-user".into())],
        ..LimitConfig::default()
    };
    let service = service(&limited(Policy::RoundRobin, 1, limits));
    let asks = |user, id| {
        let facts = &*Box::leak(Box::new(Says { user, priority: "" }));
        Exchange::start(
            &service,
            &Unobserved,
            Ask { id: ExchangeId(id), repeat: Repeat::Safe, facts, bodiless: true },
            Time::ZERO,
        )
    };
    let held = [asks("ann", 0), asks("ann", 1)];
    assert_eq!(rejected(asks("ann", 2)), Rejection::ClientBusy);
    assert!(matches!(asks("bob", 3), Step::Attempt(_)));
    drop(held);
    assert!(matches!(asks("ann", 4), Step::Attempt(_)));
}

/// An open loop of twice what the service can do: without a limit everything waits in the backend and
/// is late, with one that finds itself nearly all of what is admitted is in time.
#[test]
fn an_adaptive_limit_keeps_a_service_that_is_asked_too_much_quick() {
    let late = |adaptive: Option<AdaptiveConfig>| {
        let limits = LimitConfig { adaptive, ..LimitConfig::default() };
        let config = ServiceConfig { breaker: None, ..limited(Policy::RoundRobin, 1, limits) };
        let service = service(&config);
        // 16 at once, 20 ms each: 800 a second. Asked: 1,600.
        let (workers, span, gap) = (16, 20_000, 625);
        let mut free_at = vec![0_u64; workers];
        let mut ends: Vec<(u64, Attempt<'_>)> = Vec::new();
        let (mut served, mut late) = (0, 0);
        for id in 0..16_000_u64 {
            let now = id * gap;
            while let Some(at) = ends.iter().position(|(end, _)| *end <= now) {
                let (end, attempt) = ends.remove(at);
                let time = Time::from_micros(end);
                if let Step::Deliver(delivery) =
                    attempt.finish(Outcome::Answered(200), Body::Intact, time)
                {
                    delivery.end(BodyEnd::Complete, &service, time, &Unobserved);
                }
            }
            if let Step::Attempt(attempt) = start(&service, id, Time::from_micros(now)) {
                let worker = free_at.iter_mut().min().expect("there are some");
                *worker = now.max(*worker) + span;
                // Those that come while the limit is being found do not count.
                if id > 8_000 {
                    served += 1;
                    late += u64::from(*worker - now > 3 * span);
                }
                ends.push((*worker, attempt));
                ends.sort_by_key(|(end, _)| *end);
            }
        }
        (served, late)
    };
    let (served, late_without) = late(None);
    assert_eq!(served, late_without, "all of them are late");
    let adaptive = AdaptiveConfig { min: 4, max: 1_000, tolerance_percent: 150 };
    let (served, late_with) = late(Some(adaptive));
    assert!(late_with * 100 <= served, "{late_with} of {served}");
    assert!(served > 3_600, "and what it can do is made use of: {served} of 4,000");
}

proptest! {
    #![proptest_config(cases(200))]

    /// Whatever comes and goes, no cap is passed, and in the end everything is given back.
    #[test]
    fn no_cap_is_ever_passed_and_nothing_is_lost(
        per_backend in 1..4_u32,
        per_service in 1..10_u32,
        queue_max in 0..6_u32,
        seed in any::<u64>(),
        policy in prop::sample::select(&POLICIES),
    ) {
        let limits = LimitConfig {
            per_backend: Some(per_backend),
            per_service: Some(per_service),
            per_client: Some(3),
            client: vec![KeySource::Header("x-user".into())],
            queue_max,
            urgency: true,
            ..LimitConfig::default()
        };
        let service = service(&limited(policy, 3, limits));
        let mut world = World { service: &service, attempts: Vec::new(), bodies: Vec::new(), line: Vec::new() };
        let mut dice = Rng::stream(seed, 0);
        for id in 0..200 {
            world.go_on(id, &mut dice);
            prop_assert!(in_flight(&service).iter().all(|count| *count <= per_backend));
            prop_assert!(service.running() <= per_service);
            prop_assert_eq!(world.line.len(), service.waiting() as usize);
            prop_assert!(service.waiting() <= queue_max);
            prop_assert!(world.attempts.len() + world.bodies.len() == service.running() as usize);
        }
        drop(world);
        prop_assert_eq!((service.running(), service.waiting()), (0, 0));
        prop_assert!(in_flight(&service).iter().all(|count| *count == 0));
    }
}

/// Exchanges at every stage.
struct World<'s> {
    service: &'s Service,
    attempts: Vec<Attempt<'s>>,
    bodies: Vec<Delivery>,
    line: Vec<Queue<'s>>,
}

impl<'s> World<'s> {
    fn go_on(&mut self, id: u64, dice: &mut Rng) {
        let now = Time::from_millis(id * 50);
        let any = |count: usize, dice: &mut Rng| {
            dice.below(u32::try_from(count).expect("a few")) as usize
        };
        match dice.below(6) {
            0 if !self.attempts.is_empty() => {
                let attempt = self.attempts.swap_remove(any(self.attempts.len(), dice));
                let status = if dice.below(4) == 0 { 500 } else { 200 };
                self.take(attempt.finish(Outcome::Answered(status), Body::Intact, now));
            }
            1 if !self.bodies.is_empty() => {
                let body = self.bodies.swap_remove(any(self.bodies.len(), dice));
                body.end(BodyEnd::Complete, self.service, now, &Unobserved);
            }
            // A client hangs up, wherever its request is.
            2 if !self.attempts.is_empty() => drop(self.attempts.pop()),
            2 if !self.line.is_empty() => drop(self.line.pop()),
            3 if !self.line.is_empty() => {
                self.line.sort_by_key(Queue::rank);
                let first = self.line.remove(0);
                self.take(first.wake(now));
            }
            _ => {
                let users = ["ann", "bob", "cy"];
                let priorities = ["", "u=0", "u=6"];
                let facts = Says { user: users[any(3, dice)], priority: priorities[any(3, dice)] };
                let ask =
                    Ask { id: ExchangeId(id), repeat: Repeat::Safe, facts: &facts, bodiless: true };
                self.take(Exchange::start(self.service, &Unobserved, ask, now));
            }
        }
    }

    fn take(&mut self, step: Step<'s>) {
        match step {
            Step::Attempt(attempt) => self.attempts.push(attempt),
            Step::Queue(queue) => self.line.push(queue),
            Step::Deliver(delivery) => self.bodies.push(delivery),
            Step::Wait(_) | Step::Reject(..) => {}
        }
    }
}

/// Whoever drives a line wakes the first in it when a reload has come.
#[test]
fn who_waits_when_a_reload_comes_goes_by_what_it_says() {
    let line = |limits: LimitConfig| LimitConfig { queue_max: 4, ..limits };
    let of = |most| line(LimitConfig { per_service: most, ..LimitConfig::default() });
    let at = |most| line(LimitConfig { per_backend: most, ..LimitConfig::default() });
    let found = AdaptiveConfig { min: 3, max: 9, ..AdaptiveConfig::default() };
    let adaptive = line(LimitConfig { adaptive: Some(found), ..LimitConfig::default() });
    let none = LimitConfig::default();
    for (full, roomy) in [
        (of(Some(1)), of(Some(3))),
        (of(Some(1)), of(None)),
        (of(Some(1)), none.clone()),
        (of(Some(1)), adaptive),
        (at(Some(1)), at(Some(3))),
        (at(Some(1)), at(None)),
        (at(Some(1)), none),
        (at(Some(1)), of(Some(9))),
    ] {
        let config = |limits: &LimitConfig| limited(Policy::RoundRobin, 1, limits.clone());
        let before = service(&config(&full));
        let runs = start(&before, 0, Time::ZERO);
        let waits = queued(start(&before, 1, Time::ZERO));
        let after = before.succeed(&config(&roomy), 3, 7, Time::ZERO).expect("it is meaningful");
        let served = waits.wake(Time::ZERO);
        assert!(matches!(served, Step::Attempt(_)), "{roomy:?} after {full:?}: {served:?}");
        let new = start(&after, 2, Time::ZERO);
        assert!(matches!(new, Step::Attempt(_)), "{roomy:?} after {full:?}: {new:?}");
        drop((runs, served, new));
        assert_eq!((after.running(), after.waiting(), in_flight(&after)), (0, 0, vec![0]));
    }
}

#[test]
fn who_waits_when_a_reload_takes_room_away_waits_for_what_is_left() {
    let of = |per_service| {
        let limits = LimitConfig { per_service, queue_max: 4, ..LimitConfig::default() };
        limited(Policy::RoundRobin, 1, limits)
    };
    let before = service(&of(Some(3)));
    let mut running: Vec<_> = (0..3).map(|id| start(&before, id, Time::ZERO)).collect();
    let mut waits = queued(start(&before, 3, Time::ZERO));
    let after = before.succeed(&of(Some(1)), 3, 7, Time::ZERO).expect("it is meaningful");
    for left in [2, 1] {
        drop(running.pop());
        assert_eq!((after.running(), after.has_room()), (left, false));
        waits = queued(waits.wake(Time::ZERO));
    }
    drop(running.pop());
    assert!(matches!(waits.wake(Time::ZERO), Step::Attempt(_)));
}

#[test]
fn nobody_stands_behind_others_where_nobody_may_wait_or_for_nothing() {
    let of = |per_service, queue_max| {
        let limits = LimitConfig { per_service, queue_max, ..LimitConfig::default() };
        limited(Policy::RoundRobin, 1, limits)
    };
    for after in [of(None, 4), of(None, 0), of(Some(2), 0)] {
        let before = service(&of(Some(1), 4));
        let runs = start(&before, 0, Time::ZERO);
        let waits = queued(start(&before, 1, Time::ZERO));
        let after = before.succeed(&after, 3, 7, Time::ZERO).expect("it is meaningful");
        // Before whoever waits was called.
        let new = start(&after, 2, Time::ZERO);
        assert!(matches!(new, Step::Attempt(_)), "{new:?}");
        drop((runs, waits, new));
    }
    let before = service(&of(Some(1), 4));
    let runs = start(&before, 0, Time::ZERO);
    let waits = queued(start(&before, 1, Time::ZERO));
    let after = before.succeed(&of(Some(2), 4), 3, 7, Time::ZERO).expect("it is meaningful");
    drop((queued(start(&after, 2, Time::ZERO)), runs, waits));
}
