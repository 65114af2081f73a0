//! Real threads at one service: whatever the order in which they meet, the books balance in the end.

#![cfg(not(loom))]

use core::time::Duration;
use std::sync::atomic::{AtomicU64, Ordering};

use lb_core::config::{
    BackendConfig, BackoffConfig, BreakerConfig, BudgetConfig, ErrorRateConfig, Jitter,
    LimitConfig, OutlierConfig, Policy, PoolConfig, RateConfig, RetryConfig, ServiceConfig,
};
use lb_core::{
    Ask, Body, BodyEnd, Exchange, ExchangeId, Failure, Outcome, Repeat, Rng, Service, Step, Time,
    Unobserved,
};

const THREADS: u64 = 4;
const EXCHANGES: u64 = 20_000;
const BURST: u32 = 500;

fn service(policy: Policy) -> Service {
    let backends = (0..5).map(|n| BackendConfig::new(&format!("http://backend-{n}"))).collect();
    let pools = vec![PoolConfig::new("all", backends)];
    let config = ServiceConfig {
        policy,
        breaker: Some(BreakerConfig {
            consecutive_failures: 3,
            open_for: Duration::from_millis(5),
            open_for_max: Duration::from_millis(20),
            half_open_trials: 2,
            half_open_successes: 2,
            error_rate: Some(ErrorRateConfig {
                percent: 50,
                window: Duration::from_millis(50),
                min_requests: 10,
            }),
        }),
        retry: RetryConfig {
            budget: BudgetConfig { percent: 0, min_per_second: 0, burst: BURST },
            backoff: BackoffConfig {
                base: Duration::ZERO,
                max: Duration::ZERO,
                jitter: Jitter::None,
            },
            ..RetryConfig::default()
        },
        rate: Some(RateConfig { requests: 1_000_000, burst: 1_000_000, ..RateConfig::default() }),
        // Of four threads one finds no place, and often no backend.
        limits: LimitConfig {
            per_service: Some(3),
            per_backend: Some(1),
            per_client: Some(4),
            queue_max: 2,
            queue_timeout: Duration::from_micros(700),
            ..LimitConfig::default()
        },
        outliers: Some(OutlierConfig {
            interval: Duration::from_millis(10),
            eject_for: Duration::from_millis(3),
            min_backends: 2,
            min_requests: 5,
            ..OutlierConfig::default()
        }),
        ..ServiceConfig::new("stress", pools)
    };
    Service::new(&config, 0, 7).expect("the configuration is meaningful")
}

/// One exchange to an end that chance decides, or dropped on the way. Returns its retries.
fn exchange(service: &Service, id: u64, clock: &AtomicU64, dice: &mut Rng) -> u64 {
    let now = || Time::from_micros(clock.fetch_add(7, Ordering::Relaxed));
    let ask = Ask::bare(ExchangeId(id), Repeat::Idempotent);
    let (mut step, mut attempts) = (Exchange::start(service, &Unobserved, ask, now()), 0_u64);
    loop {
        step = match step {
            Step::Attempt(attempt) => {
                attempts += 1;
                match dice.below(8) {
                    0 => return attempts - 1, // the client hangs up
                    1 => attempt.finish(Outcome::Failed(Failure::Reset), Body::Intact, now()),
                    2 => {
                        let refused = Outcome::Failed(Failure::ConnectRefused);
                        attempt.finish(refused, Body::Intact, now())
                    }
                    3 => attempt.finish(Outcome::Answered(503), Body::Intact, now()),
                    _ => attempt.finish(Outcome::Answered(200), Body::Intact, now()),
                }
            }
            Step::Wait(wait) => wait.wake(now()),
            // Time passes with every look: it is served, or its time is up.
            Step::Queue(queue) => queue.wake(now()),
            Step::Deliver(delivery) => {
                let end =
                    if dice.below(9) == 0 { BodyEnd::BackendBroke } else { BodyEnd::Complete };
                if dice.below(5) > 0 {
                    delivery.end(end, service, now(), &Unobserved);
                }
                return attempts - 1;
            }
            Step::Reject(..) => return attempts.saturating_sub(1),
        };
    }
}

#[test]
fn leases_trials_and_budgets_end_exact() {
    for policy in [
        Policy::RoundRobin,
        Policy::LeastRequest,
        Policy::PeakEwma,
        Policy::Prequal,
        Policy::LeastRequestExact,
        Policy::Performance,
        Policy::Maglev,
        Policy::Rendezvous,
    ] {
        let service = service(policy);
        let (clock, retries) = (AtomicU64::new(0), AtomicU64::new(0));
        #[expect(clippy::disallowed_methods, reason = "this is about threads")]
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (service, clock, retries) = (&service, &clock, &retries);
                scope.spawn(move || {
                    let mut dice = Rng::stream(7, thread);
                    let made: u64 = (0..EXCHANGES)
                        .map(|n| exchange(service, thread << 48 | n, clock, &mut dice))
                        .sum();
                    retries.fetch_add(made, Ordering::Relaxed);
                });
            }
        });
        for backend in service.backends() {
            assert_eq!(backend.in_flight(), 0, "{policy:?}: {}", backend.name());
            assert_eq!(backend.breaker().trials(), 0, "{policy:?}: {}", backend.name());
        }
        assert_eq!((service.running(), service.waiting()), (0, 0), "{policy:?}");
        // Nothing fills the budget: what is gone was withdrawn, a retry for each.
        let end = Time::from_micros(clock.load(Ordering::Relaxed));
        let spent = f64::from(BURST) - service.retries_left(end);
        let made = u32::try_from(retries.load(Ordering::Relaxed)).expect("some thousands");
        assert!(made > 0 && f64::from(made) <= spent, "{policy:?}: {made} retries for {spent}");
    }
}
