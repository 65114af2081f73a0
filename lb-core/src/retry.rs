//! Whether an exchange may try again, and after how long.
//!
//! Four questions in order: was it worth it (the outcome), may it be done (method, body), can it
//! be afforded (attempts, budget), is there time (deadline). The budget is asked last of all that
//! can refuse, so that no token is spent on a retry that is not made.

use core::time::Duration;

use crate::budget::Budget;
use crate::config::{BackoffConfig, Jitter, RetryConfig};
use crate::outcome::{Outcome, Reach};
use crate::rng::Rng;
use crate::time::{Time, micros};
use crate::word::Shared;

/// Whether a request may be carried out twice (RFC 9110 §9.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Twice is as once: GET, HEAD, OPTIONS, TRACE, PUT, DELETE.
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
    pub const ALL: [Self; 6] = [
        Self::AttemptsSpent,
        Self::NotIdempotent,
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
    budget: Shared<Budget>,
}

impl Retry {
    pub(crate) fn new(config: RetryConfig) -> Self {
        let budget = Shared::new(Budget::full(&config.budget));
        Self { config, budget }
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
            Outcome::Failed(_) => true,
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
        if outcome.reach() == Reach::Maybe && repeat == Repeat::Once {
            Err(Withheld::NotIdempotent)
        } else if body == Body::Spent {
            Err(Withheld::BodySpent)
        } else if attempts >= self.config.attempts_max {
            Err(Withheld::AttemptsSpent)
        } else {
            Ok(())
        }
    }

    /// How long to wait after `attempts` of them.
    pub(crate) fn backoff(&self, attempts: u8, rng: &mut Rng) -> Duration {
        backoff(&self.config.backoff, attempts, rng)
    }
}

/// The ceiling doubles with each attempt; jitter says where below it the wait lies. Full jitter
/// collides least (AWS, "Exponential backoff and jitter", 2015).
fn backoff(config: &BackoffConfig, attempts: u8, rng: &mut Rng) -> Duration {
    let doubled = micros(config.base).saturating_mul(1 << attempts.saturating_sub(1).min(31));
    let ceiling = doubled.min(micros(config.max));
    Duration::from_micros(match config.jitter {
        Jitter::Full => rng.up_to(ceiling),
        Jitter::Equal => ceiling - rng.up_to(ceiling / 2),
        Jitter::None => ceiling,
    })
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::String;

    use expect_test::expect;

    use super::*;

    /// The least, the greatest and the mean of many waits after each count of attempts.
    fn waits(jitter: Jitter) -> String {
        let ms = Duration::from_millis;
        let config = BackoffConfig { base: ms(100), max: ms(1_000), jitter };
        let mut rng = Rng::stream(7, 7);
        let mut table = String::new();
        for attempts in 1..=6 {
            let waits: alloc::vec::Vec<u64> =
                (0..10_000).map(|_| micros(backoff(&config, attempts, &mut rng)) / 1_000).collect();
            let (least, most) = (waits.iter().min(), waits.iter().max());
            let mean = waits.iter().sum::<u64>() / waits.len() as u64;
            let (least, most) = (least.expect("10,000 waits"), most.expect("10,000 waits"));
            table += &format!("{attempts}: {least}..={most} ms, {mean} on average\n");
        }
        table
    }

    #[test]
    fn waits_double_up_to_the_ceiling_and_lie_where_jitter_says() {
        expect![[r#"
            1: 0..=99 ms, 49 on average
            2: 0..=199 ms, 99 on average
            3: 0..=399 ms, 200 on average
            4: 0..=799 ms, 401 on average
            5: 0..=1000 ms, 498 on average
            6: 0..=999 ms, 500 on average
        "#]]
        .assert_eq(&waits(Jitter::Full));
        expect![[r#"
            1: 50..=99 ms, 74 on average
            2: 100..=199 ms, 149 on average
            3: 200..=399 ms, 298 on average
            4: 400..=799 ms, 598 on average
            5: 500..=999 ms, 749 on average
            6: 500..=999 ms, 749 on average
        "#]]
        .assert_eq(&waits(Jitter::Equal));
        expect![[r#"
            1: 100..=100 ms, 100 on average
            2: 200..=200 ms, 200 on average
            3: 400..=400 ms, 400 on average
            4: 800..=800 ms, 800 on average
            5: 1000..=1000 ms, 1000 on average
            6: 1000..=1000 ms, 1000 on average
        "#]]
        .assert_eq(&waits(Jitter::None));
    }

    #[test]
    fn the_longest_waits_do_not_overflow() {
        let max = crate::config::DURATION_MAX;
        for jitter in [Jitter::Full, Jitter::Equal, Jitter::None] {
            for base in [Duration::ZERO, Duration::from_micros(1), max, Duration::MAX] {
                let config = BackoffConfig { base, max, jitter };
                for attempts in 0..=u8::MAX {
                    let wait = backoff(&config, attempts, &mut Rng::stream(7, 7));
                    assert!(wait <= max.min(base.saturating_mul(1 << 31)), "{config:?}: {wait:?}");
                }
            }
        }
    }
}
