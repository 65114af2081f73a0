//! What was asked for of retries.

use core::time::Duration;

use crate::outcome::Failure;
use crate::statuses::StatusSet;

/// What may be tried again, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryConfig {
    /// Attempts of one exchange, the first included: `1..=ATTEMPTS_MAX`. 1 turns retries off.
    pub attempts_max: u8,
    /// Attempts of one exchange at the same backend before another one is asked:
    /// `1..=ATTEMPTS_MAX`.
    pub attempts_per_backend: u8,
    /// What may be sent again after a backend may have acted on it.
    pub methods: Methods,
    /// Failures that are worth another attempt.
    pub failures: FailureSet,
    /// Answers that are worth another attempt.
    pub statuses: StatusSet,
    /// The longest that a backend's `Retry-After` is waited for; one that asks for more is not
    /// tried again.
    pub retry_after_max: Duration,
    /// What a client gets when the last answer was worth another attempt and none is made.
    pub when_spent: WhenSpent,
    /// The bound on retries as a share of requests.
    pub budget: BudgetConfig,
    /// How long to wait before trying again.
    pub backoff: BackoffConfig,
    /// When another backend is asked beside one that takes long, if ever.
    pub hedge: Option<HedgeAfter>,
}

/// When another backend is asked beside one that has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HedgeAfter {
    /// After this long.
    Fixed(Duration),
    /// After as long as so many percent of the service's answers take: `50..=99`.
    Percentile(u8),
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            attempts_max: 3,
            attempts_per_backend: 1,
            methods: Methods::Idempotent,
            failures: FailureSet::ALL,
            statuses: StatusSet::RETRIED,
            retry_after_max: Duration::from_secs(1),
            when_spent: WhenSpent::Pass,
            budget: BudgetConfig::default(),
            backoff: BackoffConfig::default(),
            hedge: None,
        }
    }
}

/// The bound on retries: over any span of `t` seconds at most
/// `burst + percent/100 × requests + min_per_second × t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetConfig {
    /// Retries per hundred requests.
    pub percent: u32,
    /// Retries per second that are allowed however few requests there are.
    pub min_per_second: u32,
    /// Retries that may be saved up.
    pub burst: u32,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self { percent: 20, min_per_second: 10, burst: 50 }
    }
}

/// How long to wait before another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffConfig {
    /// The ceiling of the first wait; doubled for each further one.
    pub base: Duration,
    /// The highest ceiling.
    pub max: Duration,
    /// Where below the ceiling the wait lies.
    pub jitter: Jitter,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self { base: Duration::from_millis(25), max: Duration::from_secs(1), jitter: Jitter::Full }
    }
}

/// Where below its ceiling a wait lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jitter {
    /// Anywhere: fewest collisions.
    Full,
    /// In the upper half.
    Equal,
    /// Anywhere between the base and three times the wait before.
    Decorrelated,
    /// At the ceiling.
    None,
}

/// What may be sent again after a backend may have acted on it. What never reached a backend may
/// go elsewhere whatever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Methods {
    /// Only what asks for nothing to be done (RFC 9110 §9.2.1).
    Safe,
    /// What is as good twice as once (RFC 9110 §9.2.2).
    Idempotent,
    /// Everything: for services that recognise a request that they have seen.
    Any,
}

/// What a client gets when the last answer was worth another attempt and none is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenSpent {
    /// That answer.
    Pass,
    /// An error of ours.
    Replace,
}

/// A set of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureSet(u16);

impl FailureSet {
    /// No failure.
    pub const NONE: Self = Self(0);
    /// Every failure that another attempt may mend: where one backend opens no tunnel, none does.
    pub const ALL: Self = Self::CONNECT
        .and(Self::REFUSED_STREAM)
        .and(Self::RESET)
        .and(Self::TIMEOUT)
        .and(Self::MALFORMED);
    /// The backend never had the request: nothing was connected, or nothing was written.
    pub const CONNECT: Self = Self::NONE.with(&[
        Failure::NoAddress,
        Failure::ConnectRefused,
        Failure::ConnectFailed,
        Failure::ConnectTimeout,
        Failure::TlsFailed,
        Failure::Unsent,
        Failure::Exhausted,
        Failure::Crowded,
    ]);
    /// The backend refused an HTTP/2 stream unprocessed.
    pub const REFUSED_STREAM: Self = Self::NONE.with(&[Failure::RefusedStream]);
    /// The connection broke after the request was written, or a part of it.
    pub const RESET: Self =
        Self::NONE.with(&[Failure::Reset, Failure::BodyAwaited, Failure::ConnectionLost]);
    /// No head came in time.
    pub const TIMEOUT: Self = Self::NONE.with(&[Failure::FirstByteTimeout, Failure::OutOfTime]);
    /// What came was not HTTP.
    pub const MALFORMED: Self = Self::NONE.with(&[Failure::Malformed]);

    /// Whether `failure` is in the set.
    pub const fn contains(self, failure: Failure) -> bool {
        self.0 & (1 << failure as u16) != 0
    }

    /// Both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn with(mut self, failures: &[Failure]) -> Self {
        let mut index = 0;
        while index < failures.len() {
            self.0 |= 1 << failures[index] as u16;
            index += 1;
        }
        self
    }
}
