//! Services to test with, a listener that remembers, and dice for proptest that replay.

use core::cell::RefCell;
use core::time::Duration;
use std::sync::Arc;

use lb_core::config::{
    BackendConfig, BreakerConfig, BudgetConfig, Policy, PoolConfig, RetryConfig, ServiceConfig,
    StatusSet,
};
use lb_core::{
    Ask, Attempt, Event, Exchange, ExchangeId, Observe, Repeat, Service, Step, Time, Unobserved,
};
use proptest::test_runner::{Config, RngSeed};

pub(crate) const POLICIES: [Policy; 17] = [
    Policy::RoundRobin,
    Policy::WeightedRandom,
    Policy::LeastRequest,
    Policy::LeastRequestExact,
    Policy::PeakEwma,
    Policy::Prequal,
    Policy::Fastest,
    Policy::Performance,
    Policy::PerformanceNaive,
    Policy::HealthScore,
    Policy::First,
    Policy::Ring,
    Policy::Maglev,
    Policy::Rendezvous,
    Policy::JavaHashModulo,
    Policy::Sha256Modulo,
    Policy::Hash31Modulo,
];

/// The same `cases` in every run, and no file left behind: a failure prints its input.
pub(crate) fn cases(cases: u32) -> Config {
    Config { cases, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..Config::default() }
}

/// One pool per slice of weights; a breaker that opens for an hour at the first failure.
pub(crate) fn config(policy: Policy, pools: &[&[u32]]) -> ServiceConfig {
    let pool = |(index, weights): (usize, &&[u32])| {
        let backends = (0..).zip(*weights).map(|(place, weight)| BackendConfig {
            weight: *weight,
            ..BackendConfig::new(&format!("http://{index}-{place}"))
        });
        PoolConfig::new(&format!("pool-{index}"), backends.collect())
    };
    let pools = pools.iter().enumerate().map(pool).collect();
    ServiceConfig {
        policy,
        breaker: Some(BreakerConfig {
            consecutive_failures: 1,
            open_for: Duration::from_secs(3_600),
            open_for_max: Duration::from_secs(3_600),
            half_open_trials: 1,
            half_open_successes: 1,
            error_rate: None,
        }),
        retry: RetryConfig {
            attempts_max: 1,
            statuses: StatusSet::NONE,
            budget: BudgetConfig { percent: 0, min_per_second: 0, burst: 100_000 },
            ..RetryConfig::default()
        },
        ..ServiceConfig::new("tested", pools)
    }
}

pub(crate) fn service(config: &ServiceConfig) -> Arc<Service> {
    Arc::new(Service::new(config, 3, 7).expect("the configuration is meaningful"))
}

pub(crate) fn ask(id: u64) -> Ask<'static> {
    Ask::bare(ExchangeId(id), Repeat::Idempotent)
}

/// Starts an exchange that nobody watches.
pub(crate) fn start(service: &Service, id: u64, now: Time) -> Step<'_> {
    Exchange::start(service, &Unobserved, ask(id), now)
}

/// The attempt that `step` asks for.
pub(crate) fn attempt(step: Step<'_>) -> Attempt<'_> {
    match step {
        Step::Attempt(attempt) => attempt,
        other => panic!("an attempt was expected: {other:?}"),
    }
}

pub(crate) fn place(attempt: &Attempt<'_>) -> usize {
    usize::from(attempt.backend().id().backend)
}

pub(crate) fn in_flight(service: &Service) -> Vec<u32> {
    service.backends().map(|backend| backend.in_flight()).collect()
}

pub(crate) const fn secs(secs: u64) -> Time {
    Time::from_millis(1_000 * secs)
}

/// Remembers all it is told.
#[derive(Debug, Default)]
pub(crate) struct Log(RefCell<Vec<(Time, Event)>>);

impl Log {
    /// What was told since this was asked last.
    pub(crate) fn take(&self) -> Vec<(Time, Event)> {
        self.0.take()
    }
}

impl Observe for Log {
    fn on(&self, now: Time, event: &Event) {
        self.0.borrow_mut().push((now, *event));
    }
}
