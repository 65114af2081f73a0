//! What only several threads can break, under every order in which they can meet.
//!
//! loom runs each model again and again, once per interleaving and per value that a weakly ordered
//! load may return. Models of a whole service are bounded to two preemptions, which finds nearly
//! all races and ends in seconds. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p lb-core --release --test loom`.

#![cfg(loom)]

use core::time::Duration;

use lb_core::config::{
    BackendConfig, BackoffConfig, BreakerConfig, BudgetConfig, Jitter, Policy, PoolConfig,
    ProbeConfig, ProbeKind, RetryConfig, ServiceConfig,
};
use lb_core::{
    Ask, Attempt, Body, BodyEnd, Breaker, BreakerState, Checked, Exchange, ExchangeId, Failure,
    Found, Outcome, Permit, Repeat, Role, Service, Shared, Step, Time, Unobserved, Verdict, Word,
};
use loom::sync::Arc;
use loom::thread;

const CONFIG: BreakerConfig = BreakerConfig {
    consecutive_failures: 2,
    open_for: Duration::from_secs(1),
    open_for_max: Duration::from_secs(60),
    half_open_trials: 1,
    half_open_successes: 1,
    error_rate: None,
};

const fn secs(secs: u64) -> Time {
    Time::from_millis(1_000 * secs)
}

/// Runs `body` on its own thread and on this one.
fn twice<T: 'static>(body: impl Fn(u64) -> T + Clone + 'static) -> [T; 2] {
    let other = body.clone();
    let other = thread::spawn(move || other(1));
    let own = body(0);
    [own, other.join().expect("no model panics")]
}

const fn checked(round: u64, found: Found) -> Checked {
    Checked { round, began: Time::ZERO, took: Duration::ZERO, found }
}

fn admit(breaker: &Shared<Breaker>, now: Time) -> Option<Permit> {
    breaker.step(|breaker| breaker.admit(now, &CONFIG).ok()).map(|(_, to)| to.permit())
}

/// Whether this verdict made the breaker move into another state.
fn judge(breaker: &Shared<Breaker>, permit: Permit, verdict: Verdict, now: Time) -> bool {
    breaker
        .step(|breaker| breaker.judge(permit, verdict, now, &CONFIG))
        .is_some_and(|(from, to)| from.state() != to.state())
}

/// A breaker that opened at zero: its trials begin at one second.
fn opened() -> Breaker {
    let mut breaker = Breaker::new();
    for _ in 0..CONFIG.consecutive_failures {
        let struck = breaker.judge(breaker.permit(), Verdict::Failure, Time::ZERO, &CONFIG);
        breaker = struck.expect("it is closed");
    }
    assert_eq!(breaker.state(), BreakerState::Open);
    breaker
}

#[test]
fn no_step_of_a_word_is_lost() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Count(u64);
    impl Word for Count {
        fn pack(self) -> u64 {
            self.0
        }
        fn unpack(bits: u64) -> Self {
            Self(bits)
        }
    }

    loom::model(|| {
        let count = Arc::new(Shared::new(Count(0)));
        let shared = Arc::clone(&count);
        let left = twice(move |_| {
            // The second of the three is declined once the count is there.
            (0..2)
                .filter(|_| shared.step(|Count(n)| (n < 3).then_some(Count(n + 1))).is_some())
                .count()
        });
        assert_eq!((left[0] + left[1], count.get()), (3, Count(3)));
    });
}

#[test]
fn failures_on_two_threads_open_a_breaker_once() {
    loom::model(|| {
        let breaker = Arc::new(Shared::new(Breaker::new()));
        let shared = Arc::clone(&breaker);
        let opened = twice(move |thread| {
            let permits: Vec<_> = (0..2).map(|_| shared.get().permit()).collect();
            let now = Time::from_millis(thread);
            let mut moves = 0;
            for permit in permits {
                moves += u32::from(judge(&shared, permit, Verdict::Failure, now));
            }
            moves
        });
        assert_eq!(opened[0] + opened[1], 1, "the third and fourth strike are stragglers");
        assert_eq!(breaker.get().state(), BreakerState::Open);
        assert!(breaker.get().open_until() <= Some(Time::from_millis(1_001)), "once, not twice");
    });
}

#[test]
fn three_threads_share_one_place_for_a_trial() {
    loom::model(|| {
        let breaker = Arc::new(Shared::new(opened()));
        let handles: Vec<_> = (0..2)
            .map(|_| {
                let breaker = Arc::clone(&breaker);
                thread::spawn(move || admit(&breaker, secs(1)))
            })
            .collect();
        let mut permits: Vec<_> = admit(&breaker, secs(1)).into_iter().collect();
        permits.extend(handles.into_iter().filter_map(|h| h.join().expect("no model panics")));
        assert_eq!(permits.len(), 1);
        assert_eq!(permits[0].role, Role::Trial);
        assert_eq!((breaker.get().state(), breaker.get().trials()), (BreakerState::HalfOpen, 1));
    });
}

#[test]
fn a_trial_given_back_can_be_taken_and_decides_alone() {
    loom::model(|| {
        let breaker = Arc::new(Shared::new(opened()));
        let shared = Arc::clone(&breaker);
        let closings = twice(move |thread| {
            let Some(permit) = admit(&shared, secs(1)) else { return 0 };
            assert!(shared.get().trials() <= 1 || shared.get().state() != BreakerState::HalfOpen);
            // One of them hangs up, the other succeeds.
            let verdict = if thread == 0 { Verdict::Abandoned } else { Verdict::Success };
            u32::from(judge(&shared, permit, verdict, secs(1)))
        });
        let (state, trials) = (breaker.get().state(), breaker.get().trials());
        assert_eq!(trials, 0, "every place was given back");
        let closed = u32::from(state == BreakerState::Closed);
        assert_eq!(closings[0] + closings[1], closed, "{state:?}");
    });
}

fn service(policy: Policy, consecutive_failures: u16) -> Service {
    let backends = vec![BackendConfig::new("http://a"), BackendConfig::new("http://b")];
    let config = ServiceConfig {
        policy,
        breaker: Some(BreakerConfig { consecutive_failures, ..CONFIG }),
        retry: RetryConfig {
            attempts_max: 2,
            budget: BudgetConfig { percent: 0, min_per_second: 0, burst: 1 },
            backoff: BackoffConfig {
                base: Duration::ZERO,
                max: Duration::ZERO,
                jitter: Jitter::None,
            },
            ..RetryConfig::default()
        },
        ..ServiceConfig::new("loom", vec![PoolConfig::new("all", backends)])
    };
    Service::new(&config, 0, 7).expect("the configuration is meaningful")
}

fn start(service: &Service, id: u64, now: Time) -> Step<'_> {
    let ask = Ask::bare(ExchangeId(id), Repeat::Once);
    Exchange::start(service, &Unobserved, ask, now)
}

fn attempt(step: Step<'_>) -> Attempt<'_> {
    match step {
        Step::Attempt(attempt) => attempt,
        other => panic!("an attempt was expected: {other:?}"),
    }
}

fn place(attempt: &Attempt<'_>) -> u16 {
    attempt.backend().id().backend
}

/// As `loom::model`, with a bound on preemptions.
fn bounded(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
}

#[test]
fn two_threads_of_exchanges_give_every_lease_back() {
    bounded(|| {
        let service = Arc::new(service(Policy::LeastRequest, 2));
        let shared = Arc::clone(&service);
        let retried = twice(move |thread| {
            let refused = Outcome::Failed(Failure::ConnectRefused);
            let first = attempt(start(&shared, thread, Time::ZERO));
            let tried = place(&first);
            match first.finish(refused, Body::Intact, Time::ZERO) {
                Step::Attempt(second) => {
                    assert_ne!(place(&second), tried);
                    let answered = Outcome::Answered(200);
                    let Step::Deliver(delivery) = second.finish(answered, Body::Intact, Time::ZERO)
                    else {
                        panic!("200 is an answer")
                    };
                    if thread == 0 {
                        delivery.end(BodyEnd::Complete, &shared, Time::ZERO, &Unobserved);
                    }
                    1
                }
                Step::Reject(..) => 0,
                step => panic!("elsewhere at once or not at all: {step:?}"),
            }
        });
        assert_eq!(retried[0] + retried[1], 1, "the budget is one retry");
        assert!(service.backends().all(|backend| backend.in_flight() == 0));
        assert!(service.retries_left(Time::ZERO) < 1.0);
    });
}

#[test]
fn two_threads_never_try_one_half_open_backend_at_once() {
    bounded(|| {
        let service = Arc::new(service(Policy::RoundRobin, 1));
        fail(&service, 0, Time::ZERO);
        fail(&service, 1, Time::ZERO);
        let shared = Arc::clone(&service);
        twice(move |thread| {
            for id in 0..2 {
                // Never given back, so that all that was granted is there at the end.
                core::mem::forget(start(&shared, 100 + 2 * thread + id, secs(1)));
            }
        });
        for backend in service.backends() {
            assert_eq!((backend.in_flight(), backend.breaker().trials()), (1, 1));
        }
    });
}

#[test]
fn two_threads_give_their_trials_back() {
    bounded(|| {
        let service = Arc::new(service(Policy::RoundRobin, 1));
        fail(&service, 0, Time::ZERO);
        fail(&service, 1, Time::ZERO);
        let shared = Arc::clone(&service);
        twice(move |thread| {
            for id in 0..2 {
                drop(start(&shared, 100 + 2 * thread + id, secs(1)));
            }
        });
        for backend in service.backends() {
            assert_eq!((backend.in_flight(), backend.breaker().trials()), (0, 0));
        }
    });
}

/// Opens the breaker of a backend at `now`; round robin and one strike are given.
fn fail(service: &Service, wanted: u16, now: Time) {
    loop {
        let attempt = attempt(start(service, 1_000, now));
        if place(&attempt) == wanted {
            let reset = Outcome::Failed(Failure::Reset);
            drop(attempt.finish(reset, Body::Intact, now));
            return;
        }
    }
}

#[test]
fn a_rested_backend_is_always_looked_at_again_when_it_is_due() {
    bounded(|| {
        // The second rests until one second: a pick has seen it and cleared its bit. The first is
        // open until two seconds, and no pick has seen that yet.
        let service = Arc::new(service(Policy::RoundRobin, 1));
        fail(&service, 1, Time::ZERO);
        drop(attempt(start(&service, 1, Time::ZERO)));
        drop(attempt(start(&service, 2, Time::ZERO)));
        assert_eq!(service.pools()[0].fit_count(), 1);
        fail(&service, 0, Time::from_millis(999));

        // One thread's pick looks at the cleared bits while the other's clears a bit.
        let shared = Arc::clone(&service);
        twice(move |thread| {
            let now = if thread == 0 { secs(1) } else { Time::from_millis(999) };
            drop(start(&shared, 10 + thread, now));
        });

        // When both are due, one pick finds both.
        drop(start(&service, 20, secs(2)));
        assert_eq!(service.pools()[0].fit_count(), 2);
    });
}

/// A pick may clear the bit of a backend at the moment at which checks bring it back.
#[test]
fn a_backend_that_checks_bring_back_is_found_again() {
    bounded(|| {
        let service = Arc::new(checked_service());
        service.checked(1, checked(0, Found::Nothing), Time::ZERO, &Unobserved);
        let picking = Arc::clone(&service);
        let picker = thread::spawn(move || drop(start(&picking, 1, Time::ZERO)));
        service.checked(1, checked(1, Found::Connected), Time::ZERO, &Unobserved);
        drop(start(&service, 2, Time::ZERO));
        picker.join().expect("no model panics");
        drop(start(&service, 3, secs(1)));
        assert_eq!(service.pools()[0].fit_count(), 2);
    });
}

/// Two backends in turns; one bad check takes one out, and one good check brings it back.
fn checked_service() -> Service {
    let backends = vec![BackendConfig::new("http://a"), BackendConfig::new("http://b")];
    let probe = ProbeConfig { kind: ProbeKind::Tcp, rise: 1, fall: 1, ..ProbeConfig::default() };
    let config = ServiceConfig {
        policy: Policy::RoundRobin,
        breaker: None,
        probe: Some(probe),
        ..ServiceConfig::new("loom", vec![PoolConfig::new("all", backends)])
    };
    Service::new(&config, 0, 7).expect("the configuration is meaningful")
}
