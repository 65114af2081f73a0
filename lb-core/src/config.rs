//! What a service was asked to do, as plain values.
//!
//! `lb-config` reads files into these and reports mistakes with their place; [`Service::new`]
//! refuses what would have no meaning. Every duration and count is finite, and each has a named
//! bound here, so that both crates speak of the same one. [`ServiceConfig::new`] and the `Default`s
//! are what holds where nothing is said: safe, finite, and written down here alone.
//!
//! [`Service::new`]: crate::Service::new

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

mod affinity;
mod balance;
mod limit;
mod outliers;
mod probe;
mod rate;
mod retry;
mod route;
mod steering;

pub use crate::request::Scheme;
pub use crate::statuses::StatusSet;
pub use affinity::{
    AffinityConfig, CookieConfig, CookieValue, SameSite, Secret, StickBy, StickConfig,
};
pub use balance::{
    CHOICES_MAX, HashConfig, KEY_SOURCES_MAX, KeySource, LOAD_PERCENT_MAX, LatencyConfig, Policy,
    SWITCH_MARGIN_MAX,
};
pub use limit::{ADAPTIVE_MAX, AdaptiveConfig, IN_FLIGHT_MAX, LimitConfig, TOLERANCE_MAX};
pub use outliers::{
    DEVIATIONS_MAX, OUTLIER_BACKENDS_MAX, OUTLIER_REQUESTS_MAX, OutlierConfig, SlowStartConfig,
};
pub use probe::{BODY_MAX, PATHS, PROBE_HEADERS_MAX, ProbeConfig, ProbeKind, STREAK_MAX};
pub use rate::{RATE_MAX, RateConfig};
pub use retry::{
    BackoffConfig, BudgetConfig, FailureSet, HedgeAfter, Jitter, Methods, RetryConfig, WhenSpent,
};
pub use route::*;
pub use steering::{
    AreaHeaders, Country, Location, OVERPROVISION_MAX, POOL_WEIGHT_MAX, POOLS_MAX, REGIONS_MAX,
    SteeringConfig, SteeringPolicy,
};

/// Weights run from 1 to this. Zero is refused: a backend without traffic is removed, not weighted.
pub const WEIGHT_MAX: u32 = 1_000;
/// Backends of one service, over all its pools.
pub const BACKENDS_MAX: usize = 16_384;
/// Attempts of one exchange, the first included.
pub const ATTEMPTS_MAX: u8 = 8;
/// Consecutive failures that a breaker can be told to wait for.
pub const CONSECUTIVE_FAILURES_MAX: u16 = 1_000;
/// Requests that an error rate can ask for.
pub const MIN_REQUESTS_MAX: u16 = 10_000;
/// Concurrent trials of a half-open breaker, and successes it may ask for.
pub const TRIALS_MAX: u8 = 100;
/// The longest duration any setting accepts: seven days.
pub const DURATION_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Retries per hundred requests that a budget can allow.
pub const BUDGET_PERCENT_MAX: u32 = 1_000;
/// Retries that a budget can allow per second, and at once.
pub const BUDGET_RETRIES_MAX: u32 = 100_000;

/// One service: pools in order, and the policies over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceConfig {
    /// Unique within a configuration; a label in metrics and logs.
    pub name: String,
    /// How a pool is chosen.
    pub steering: SteeringConfig,
    /// How a backend is chosen within a pool.
    pub policy: Policy,
    /// Backends that least request compares: `2..=CHOICES_MAX`.
    pub choices: u8,
    /// How latency is measured, for policies that go by it.
    pub latency: LatencyConfig,
    /// Percent by which a backend, or a pool, has to answer checks sooner to take over:
    /// `0..=SWITCH_MARGIN_MAX`.
    pub switch_margin: u8,
    /// What policies that go by a key go by.
    pub hash: HashConfig,
    /// What happens when no backend is fit.
    pub when_all_unfit: WhenAllUnfit,
    /// With [`WhenAllUnfit::FailOpen`]: the share of fit backends of a pool, in percent, below which all
    /// of it is balanced over as well, unless the others carry its traffic: `0..=100`.
    pub panic_below: u8,
    /// The breaker of each backend; `None` turns breakers off.
    pub breaker: Option<BreakerConfig>,
    /// When a backend that does worse than the others is taken out, if it is.
    pub outliers: Option<OutlierConfig>,
    /// How a backend that is new or has recovered comes to its share; `None`: at once.
    pub slow_start: Option<SlowStartConfig>,
    /// What may be tried again, where, and after how long.
    pub retry: RetryConfig,
    /// Answers that count against the backend that gave them.
    pub failures: StatusSet,
    /// What makes a client stick to a backend, if anything.
    pub affinity: Option<AffinityConfig>,
    /// How backends are asked how they are, if they are.
    pub probe: Option<ProbeConfig>,
    /// How many requests each client may make, if there is a limit.
    pub rate: Option<RateConfig>,
    /// How much may be in flight.
    pub limits: LimitConfig,
    /// How long each part of an exchange may take.
    pub timeouts: Timeouts,
    /// In order. At least one, at most [`POOLS_MAX`].
    pub pools: Vec<PoolConfig>,
}

impl ServiceConfig {
    /// A service where nothing but its pools was said.
    pub fn new(name: &str, pools: Vec<PoolConfig>) -> Self {
        Self {
            name: name.into(),
            steering: SteeringConfig::default(),
            policy: Policy::LeastRequest,
            choices: 2,
            latency: LatencyConfig::default(),
            switch_margin: 10,
            hash: HashConfig::default(),
            when_all_unfit: WhenAllUnfit::FailFast,
            panic_below: 0,
            breaker: Some(BreakerConfig::default()),
            outliers: None,
            slow_start: None,
            retry: RetryConfig::default(),
            failures: StatusSet::FAILURES,
            affinity: None,
            probe: None,
            rate: None,
            limits: LimitConfig::default(),
            timeouts: Timeouts::default(),
            pools,
        }
    }
}

/// A group of backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Unique within its service.
    pub name: String,
    /// None while they are yet to be found.
    pub backends: Vec<BackendConfig>,
    /// Fit backends below which the pool does not serve: at least 1.
    pub min_fit: u16,
    /// Its share of the traffic under [`SteeringPolicy::Weighted`]: `0..=POOL_WEIGHT_MAX`.
    pub weight: u32,
    /// The countries that it is meant for.
    pub countries: Vec<Country>,
    /// The regions that it is meant for.
    pub regions: Vec<String>,
    /// Where it is.
    pub location: Option<Location>,
}

impl PoolConfig {
    /// A pool of which nothing but its backends was said.
    pub fn new(name: &str, backends: Vec<BackendConfig>) -> Self {
        Self {
            name: name.into(),
            backends,
            min_fit: 1,
            weight: 1,
            countries: Vec::new(),
            regions: Vec::new(),
            location: None,
        }
    }
}

/// One upstream server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendConfig {
    /// Its identity, unique within the service: the url, as in `http://10.0.0.1:3000`.
    pub name: String,
    /// Its share of the traffic relative to the others: `1..=WEIGHT_MAX`.
    pub weight: u32,
    /// Whether it only finishes what it has.
    pub draining: bool,
    /// The region or zone that it is in.
    pub region: Option<String>,
}

impl BackendConfig {
    /// A backend of weight 1.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), weight: 1, draining: false, region: None }
    }
}

/// What happens when no backend is fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenAllUnfit {
    /// Panic: balance over all backends of the first pool as if they were fit.
    FailOpen,
    /// Answer 503 at once.
    FailFast,
    /// Balance over those that still answer, whose breakers opened by what a request may have brought about
    /// ([`Outcome::is_asked_on`](crate::Outcome::is_asked_on)); without any, answer 503.
    AskAnswering,
    /// Ask this pool, counted from 0, which is asked for nothing else.
    FallbackPool(u16),
    /// Forget all that speaks against backends but what their checks say, and ask the first one
    /// (AIOStreams).
    Reset,
}

/// When a breaker opens, for how long, and what closes it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Failures in a row that open it: `1..=CONSECUTIVE_FAILURES_MAX`.
    pub consecutive_failures: u16,
    /// How long it stays open the first time. Each further opening without calm between doubles it.
    pub open_for: Duration,
    /// The longest it stays open.
    pub open_for_max: Duration,
    /// Trials that may run at once when half-open: `1..=TRIALS_MAX`.
    pub half_open_trials: u8,
    /// Trials that must succeed to close it: `1..=TRIALS_MAX`.
    pub half_open_successes: u8,
    /// The share of failures that opens it as well, if one does.
    pub error_rate: Option<ErrorRateConfig>,
}

impl BreakerConfig {
    /// How long a trial that shows nothing keeps others from beginning: as long as the breaker is open
    /// first, and long enough to be answered. A client that sends by drops, or asks for something that takes
    /// long, must not keep a backend out that is back.
    pub fn trial_max(&self) -> Duration {
        self.open_for.max(TRIAL_MIN)
    }
}

/// The least of [`BreakerConfig::trial_max`].
const TRIAL_MIN: Duration = Duration::from_secs(1);

/// How many failures among how many requests open a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorRateConfig {
    /// Failures per hundred requests: `1..=100`.
    pub percent: u8,
    /// Over how long; what counts is between half of it and all of it old.
    pub window: Duration,
    /// Requests below which no share says anything: `1..=MIN_REQUESTS_MAX`.
    pub min_requests: u16,
}

impl Default for ErrorRateConfig {
    fn default() -> Self {
        Self { percent: 50, window: Duration::from_secs(10), min_requests: 20 }
    }
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            open_for: Duration::from_secs(10),
            open_for_max: Duration::from_secs(300),
            half_open_trials: 3,
            half_open_successes: 2,
            error_rate: None,
        }
    }
}

/// How long each part of an exchange may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From asking for a connection to having one.
    pub connect: Duration,
    /// From the start of an attempt, or from the last piece of the request's body that the backend
    /// took, to the head of its response. Waiting for the client does not count.
    pub first_byte: Duration,
    /// Between two pieces of a body, in either direction.
    pub body_idle: Duration,
    /// From the request's head to the last byte of the response, all attempts included.
    pub exchange: Duration,
    /// Between two bytes on a connection that was turned over to another protocol. `exchange` ends
    /// with the answer that says so.
    pub tunnel_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            first_byte: Duration::from_secs(15),
            body_idle: Duration::from_secs(30),
            exchange: Duration::from_secs(300),
            tunnel_idle: Duration::from_secs(3_600),
        }
    }
}
