//! Whether an exchange may try again, and after how long.
//!
//! Four questions in order: was it worth it (the outcome), may it be done (method, body), can it
//! be afforded (attempts, budget), is there time (deadline). The budget is asked last of all that
//! can refuse, so that no token is spent on a retry that is not made.

use alloc::sync::Arc;
use core::time::Duration;

use crate::budget::Budget;
use crate::config::{HedgeAfter, Methods, RetryConfig, WhenSpent};
use crate::outcome::{Outcome, Reach};
use crate::quantile::Quantile;
use crate::rng::Rng;
use crate::time::Time;
use crate::word::Shared;

/// Whether a request may be carried out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Nothing is carried out: GET, HEAD, OPTIONS, TRACE (RFC 9110 §9.2.1).
    Safe,
    /// Twice is as once: PUT, DELETE (RFC 9110 §9.2.2).
    Idempotent,
    /// Twice is not as once: POST, PATCH, CONNECT, and whatever else there is.
    Once,
}

/// Whether the request's body can be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// All of it is there: nothing was read from the client, or all that was read was kept.
    Intact,
    /// Some of it is gone.
    Spent,
}

/// Why a retry that was worth making was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// The exchange has had all its attempts.
    AttemptsSpent,
    /// The backend may have acted on a request that must not be carried out twice.
    NotIdempotent,
    /// The backend asks to be left alone for longer than an exchange waits.
    RetryAfterFar,
    /// The body cannot be sent again.
    BodySpent,
    /// The service has made too many retries lately.
    BudgetSpent,
    /// The exchange's time would be up first.
    DeadlineNear,
    /// There is no fit backend to try.
    NoFitBackend,
}

impl Withheld {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::AttemptsSpent,
        Self::NotIdempotent,
        Self::RetryAfterFar,
        Self::BodySpent,
        Self::BudgetSpent,
        Self::DeadlineNear,
        Self::NoFitBackend,
    ];

    /// As written in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AttemptsSpent => "attempts_spent",
            Self::NotIdempotent => "not_idempotent",
            Self::RetryAfterFar => "retry_after_far",
            Self::BodySpent => "body_spent",
            Self::BudgetSpent => "budget_spent",
            Self::DeadlineNear => "deadline_near",
            Self::NoFitBackend => "no_fit_backend",
        }
    }
}

/// The rules of one service, and what is left of its budget.
#[derive(Debug)]
pub(crate) struct Retry {
    config: RetryConfig,
    budget: Arc<Shared<Budget>>,
    /// How long all but a few answers take, where hedges go by it.
    usual: Arc<Shared<Quantile>>,
}

impl Retry {
    pub(crate) fn new(config: RetryConfig) -> Self {
        let budget = Arc::new(Shared::new(Budget::full(&config.budget)));
        Self { config, budget, usual: Arc::new(Shared::new(Quantile::default())) }
    }

    /// New rules for the same budget.
    pub(crate) fn succeed(&self, config: RetryConfig) -> Self {
        Self { config, budget: Arc::clone(&self.budget), usual: Arc::clone(&self.usual) }
    }

    /// An answer took this long.
    pub(crate) fn learn(&self, took: Duration) {
        if let Some(HedgeAfter::Percentile(percent)) = self.config.hedge {
            self.usual.step(|usual| Some(usual.after(took, percent)));
        }
    }

    /// After how long another backend is asked beside one that has not answered, as far as is known.
    pub(crate) fn hedge_after(&self) -> Option<Duration> {
        match self.config.hedge? {
            HedgeAfter::Fixed(after) => Some(after),
            HedgeAfter::Percentile(_) => self.usual.get().estimate(),
        }
    }

    /// Whether another attempt may be made after so many.
    pub(crate) const fn leaves_room(&self, attempts: u8) -> bool {
        attempts < self.config.attempts_max
    }

    /// A request came in.
    pub(crate) fn deposit(&self, now: Time) {
        self.budget.step(|budget| budget.deposit(now, &self.config.budget));
    }

    /// Takes the price of one retry, if it is there.
    pub(crate) fn withdraw(&self, now: Time) -> bool {
        self.budget.step(|budget| budget.withdraw(now, &self.config.budget)).is_some()
    }

    /// Retries that the budget would allow at `now`.
    pub(crate) fn left(&self, now: Time) -> f64 {
        let hundredths = u32::try_from(self.budget.get().left(now, &self.config.budget));
        f64::from(hundredths.expect("a budget is at most BUDGET_RETRIES_MAX")) / 100.0
    }

    /// Whether an outcome is worth another attempt.
    pub(crate) fn wants(&self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Failed(failure) => self.config.failures.contains(failure),
            Outcome::Answered(status) => self.config.statuses.contains(status),
        }
    }

    /// Whether another attempt may be made at all, after `attempts` of them.
    pub(crate) fn allows(
        &self,
        outcome: Outcome,
        repeat: Repeat,
        body: Body,
        attempts: u8,
    ) -> Result<(), Withheld> {
        if outcome.reach() == Reach::Maybe && !self.may_be_repeated(repeat) {
            Err(Withheld::NotIdempotent)
        } else if body == Body::Spent {
            Err(Withheld::BodySpent)
        } else if attempts >= self.config.attempts_max {
            Err(Withheld::AttemptsSpent)
        } else {
            Ok(())
        }
    }

    /// Whether a request may be carried out twice.
    pub(crate) const fn may_be_repeated(&self, repeat: Repeat) -> bool {
        match self.config.methods {
            Methods::Safe => matches!(repeat, Repeat::Safe),
            Methods::Idempotent => matches!(repeat, Repeat::Safe | Repeat::Idempotent),
            Methods::Any => true,
        }
    }

    /// Whether the backend that was asked `times` is asked once more before another one is.
    pub(crate) const fn stays(&self, times: u8) -> bool {
        times < self.config.attempts_per_backend
    }

    /// What the client gets when no further attempt is made.
    pub(crate) const fn when_spent(&self) -> WhenSpent {
        self.config.when_spent
    }

    /// How long to wait after `attempts` of them, the wait before the last having been `last`. A
    /// backend that asked for `asked` gets at least that.
    ///
    /// # Errors
    /// [`Withheld::RetryAfterFar`] when it asked for too much.
    pub(crate) fn wait(
        &self,
        attempts: u8,
        last: Duration,
        asked: Option<Duration>,
        rng: &mut Rng,
    ) -> Result<Duration, Withheld> {
        let wait = self.config.backoff.wait(attempts, last, rng);
        match asked {
            Some(asked) if asked > self.config.retry_after_max => Err(Withheld::RetryAfterFar),
            asked => Ok(wait.max(asked.unwrap_or_default())),
        }
    }
}
