//! The breaker of one backend: closed, open, half-open.
//!
//! A backend that keeps failing is left alone for a while, then asked by a few trials whether it
//! is back. Each opening without calm in between doubles the time it stays open.
//!
//! ```text
//!            failures in a row                    open_for·2^level passed, a request asks
//!  Closed ────────────────────► Open ─────────────────────────────► HalfOpen
//!    ▲                           ▲            a trial fails            │  │
//!    │                           └─────────────────────────────────────┘  │
//!    └────────────────────────────────────────────────────────────────────┘
//!                       enough trials succeed
//! ```
//!
//! Every state has an *era*, a number that changes with each move. A [`Permit`] remembers the era
//! in which its request was let through, and a verdict on a past era changes nothing: the answer
//! to a request from before the outage neither closes a breaker nor opens it again.

mod packed;
mod permit;

use core::time::Duration;

use crate::config::BreakerConfig;
use crate::learned::LearnedBreaker;
use crate::time::{Time, micros};

pub use permit::{Permit, Role};

/// The breaker as one word.
///
/// The working: 2 bits say which state, 14 the era, 4 the level, 44 the rest. An era would have to
/// come round 16,384 moves later to be mistaken, at least 5,000 openings within one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    era: u16,
    level: u8,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// 11 bits count failures in a row; 33 bits hold the second after which the level is forgotten
    /// (272 years).
    Closed { failures: u16, calm_at_s: u64 },
    /// 43 bits hold the millisecond at which trials may begin (278 years), one whether what opened it is
    /// [no reason](crate::Outcome::is_asked_on) not to ask on where nobody is better.
    Open { until_ms: u64, answers: bool },
    /// 7 bits for trials and for successes, 5 for the round, 24 for when the last trial began, in beats of
    /// 16 ms (of three days), and the same one as above. Trials of earlier rounds take nobody's place, and
    /// after the last round a new era begins, so that none is mistaken for one of its own.
    HalfOpen { trials: u8, successes: u8, round: u8, began: u32, answers: bool },
}

/// Which of the three states, without its counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BreakerState {
    /// Everything passes.
    Closed,
    /// Nothing passes.
    Open,
    /// A few trials pass.
    HalfOpen,
}

impl BreakerState {
    /// As written in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// What a request showed about its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It works.
    Success,
    /// It does not.
    Failure,
    /// Nothing: the client left, or nobody looked. A trial gives its place back.
    Abandoned,
}

/// Why a request was not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declined {
    /// Open until then.
    Until(Time),
    /// All places for trials are taken.
    TrialsTaken,
    /// As much is in flight there as may be.
    Full,
}

const ERA_BITS: u32 = 14;
const LEVEL_MAX: u8 = 15;
const REST_BITS: u32 = 44;
const FAILURE_BITS: u32 = 11;
const UNTIL_BITS: u32 = 43;
const UNTIL_MS_MAX: u64 = (1 << UNTIL_BITS) - 1;
const CALM_S_MAX: u64 = (1 << (REST_BITS - FAILURE_BITS)) - 1;
const BEGAN_BITS: u32 = 24;
const COUNT_BITS: u32 = 7;
const ROUND_BITS: u32 = 5;
const ROUNDS: u8 = 1 << ROUND_BITS;
const BEAT_MS: u32 = 16;

impl Breaker {
    /// A breaker that has seen nothing.
    pub const fn new() -> Self {
        Self { era: 0, level: 0, phase: Phase::Closed { failures: 0, calm_at_s: 0 } }
    }

    /// Which state it is in.
    pub const fn state(self) -> BreakerState {
        match self.phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Failures in a row, as long as it is closed.
    pub const fn failures(self) -> u16 {
        match self.phase {
            Phase::Closed { failures, .. } => failures,
            Phase::Open { .. } | Phase::HalfOpen { .. } => 0,
        }
    }

    /// Trials under way.
    pub const fn trials(self) -> u8 {
        match self.phase {
            Phase::HalfOpen { trials, .. } => trials,
            Phase::Closed { .. } | Phase::Open { .. } => 0,
        }
    }

    /// When trials may begin, if it is open.
    pub const fn open_until(self) -> Option<Time> {
        match self.phase {
            Phase::Open { until_ms, .. } => Some(Time::from_millis(until_ms)),
            Phase::Closed { .. } | Phase::HalfOpen { .. } => None,
        }
    }

    /// Whether requests may be answered there, for all that is known: nothing speaks against it but what they
    /// brought about themselves, or that nobody knew where it is.
    pub const fn answers(self) -> bool {
        match self.phase {
            Phase::Closed { .. } => true,
            Phase::Open { answers, .. } | Phase::HalfOpen { answers, .. } => answers,
        }
    }

    /// The same that has opened, if it has, by something after which it may be asked on, or by anything else.
    pub(crate) fn opened_by(self, is_asked_on: bool) -> Self {
        let phase = match self.phase {
            Phase::Open { until_ms, .. } => Phase::Open { until_ms, answers: is_asked_on },
            phase => phase,
        };
        Self { phase, ..self }
    }

    /// Lets a request through, or says why not. The breaker returned is the one to be stored, and
    /// [`Breaker::permit`] is what it gave out; a closed breaker stays as it is.
    ///
    /// # Errors
    /// [`Declined`] when it is open, or half-open with all places taken.
    pub fn admit(self, now: Time, config: &BreakerConfig) -> Result<Self, Declined> {
        match self.phase {
            Phase::Closed { .. } => Ok(self),
            Phase::Open { until_ms, .. } if now < Time::from_millis(until_ms) => {
                Err(Declined::Until(Time::from_millis(until_ms)))
            }
            Phase::Open { .. } => Ok(self.next_era().trying(1, 0, 0, now)),
            Phase::HalfOpen { trials, successes, round, .. }
                if trials < config.half_open_trials =>
            {
                Ok(self.trying(trials + 1, successes, round, now))
            }
            Phase::HalfOpen { successes, round, began, .. } if is_overdue(began, now, config) => {
                let next = (round + 1) % ROUNDS;
                let this = if next == 0 { self.next_era() } else { self };
                Ok(this.trying(1, successes, next, now))
            }
            Phase::HalfOpen { .. } => Err(Declined::TrialsTaken),
        }
    }

    /// What the request that [`Breaker::admit`] just let through was given.
    pub const fn permit(self) -> Permit {
        let era = self.era;
        match self.phase {
            Phase::HalfOpen { round, .. } => Permit { era, role: Role::Trial, round },
            Phase::Closed { .. } | Phase::Open { .. } => {
                Permit { era, role: Role::Normal, round: 0 }
            }
        }
    }

    /// A permit that asks nobody: what panic uses.
    pub const fn waive(self) -> Permit {
        Permit { era: self.era, role: Role::Panic, round: 0 }
    }

    /// Takes a verdict into account. `None`: it changes nothing, and nothing has to be stored.
    pub fn judge(
        self,
        permit: Permit,
        verdict: Verdict,
        now: Time,
        config: &BreakerConfig,
    ) -> Option<Self> {
        if permit.era != self.era {
            return None; // a straggler from a past era
        }
        match (self.phase, verdict) {
            (_, Verdict::Abandoned) => self.give_back(permit),
            (Phase::Closed { failures, calm_at_s }, Verdict::Success) => {
                let level = self.level_after_calm(calm_at_s, now);
                let changed = failures != 0 || level != self.level;
                let phase = Phase::Closed { failures: 0, calm_at_s };
                changed.then_some(Self { level, phase, ..self })
            }
            (Phase::Closed { failures, calm_at_s }, Verdict::Failure) => {
                let failures = failures + 1;
                let level = self.level_after_calm(calm_at_s, now);
                let struck = Self { level, phase: Phase::Closed { failures, calm_at_s }, ..self };
                let stays = failures < config.consecutive_failures;
                Some(if stays { struck } else { struck.open(now, config) })
            }
            (Phase::HalfOpen { .. }, Verdict::Failure) if permit.role == Role::Trial => {
                Some(self.open(now, config))
            }
            (Phase::HalfOpen { trials, successes, round, began, answers }, Verdict::Success)
                if permit.role == Role::Trial =>
            {
                let (trials, successes) = (permit.leaves(trials, round), successes + 1);
                let phase = Phase::HalfOpen { trials, successes, round, began, answers };
                Some(Self { phase, ..self }.closed_by(successes, now, config))
            }
            // What panic sent to an open or half-open backend proves nothing about its trials.
            (Phase::Open { .. } | Phase::HalfOpen { .. }, _) => None,
        }
    }

    /// Whether `permit` is of the present era.
    pub const fn is_current(self, permit: Permit) -> bool {
        permit.era == self.era
    }

    /// Opens a closed breaker whatever its row of failures, unless the permit is of a past era.
    pub fn trip(self, permit: Permit, now: Time, config: &BreakerConfig) -> Option<Self> {
        let closed = matches!(self.phase, Phase::Closed { .. }) && permit.era == self.era;
        let Phase::Closed { calm_at_s, .. } = self.phase else { return None };
        let level = self.level_after_calm(calm_at_s, now);
        closed.then(|| Self { level, ..self }.open(now, config))
    }

    /// Closes whatever it has seen, and forgets it. `None`: it is closed.
    pub fn reset(self) -> Option<Self> {
        let phase = Phase::Closed { failures: 0, calm_at_s: 0 };
        let closed = matches!(self.phase, Phase::Closed { .. });
        (!closed).then(|| Self { level: 0, phase, ..self.next_era() })
    }

    /// Ends the wait of an open one: trials may begin at `now`. `None`: it does not wait.
    ///
    /// How often it opened in a row counts on: should trials fail, it waits for longer than before.
    pub fn hasten(self, now: Time) -> Option<Self> {
        let Phase::Open { until_ms, answers } = self.phase else { return None };
        let now_ms = now.as_micros() / 1_000;
        let phase = Phase::Open { until_ms: now_ms, answers };
        (now_ms < until_ms).then_some(Self { phase, ..self })
    }

    /// As it can outlive the process, as of `now`.
    pub(crate) fn learned(self, now: Time) -> LearnedBreaker {
        match self.phase {
            Phase::Closed { failures, calm_at_s } => LearnedBreaker::Closed {
                failures,
                level: self.level_after_calm(calm_at_s, now),
                calm_in: Time::from_millis(calm_at_s.saturating_mul(1_000)) - now,
            },
            Phase::Open { until_ms, .. } => {
                LearnedBreaker::Open { level: self.level, left: Time::from_millis(until_ms) - now }
            }
            Phase::HalfOpen { .. } => {
                LearnedBreaker::Open { level: self.level, left: Duration::ZERO }
            }
        }
    }

    /// What another process learned, `away` ago. Whatever it says, the bounds of `config` hold.
    pub(crate) fn recalled(
        learned: LearnedBreaker,
        away: Duration,
        now: Time,
        config: &BreakerConfig,
    ) -> Self {
        let left = |span: Duration| now + span.saturating_sub(away).min(config.open_for_max);
        match learned {
            LearnedBreaker::Closed { failures, level, calm_in } => {
                let calm_at_s = left(calm_in).as_micros().div_ceil(1_000_000).min(CALM_S_MAX);
                // One fewer than open it: the next one does.
                let failures = failures.min(config.consecutive_failures.saturating_sub(1));
                let phase = Phase::Closed { failures, calm_at_s };
                Self { level: level.min(LEVEL_MAX), phase, ..Self::new() }
            }
            LearnedBreaker::Open { level, left: span } => {
                let until_ms = left(span).as_millis_ceil().min(UNTIL_MS_MAX);
                let phase = Phase::Open { until_ms, answers: false };
                Self { level: level.min(LEVEL_MAX), phase, ..Self::new().next_era() }
            }
        }
    }

    /// Gives back the place of a trial that showed nothing. `None`: the permit holds no place.
    pub fn give_back(self, permit: Permit) -> Option<Self> {
        match self.phase {
            Phase::HalfOpen { trials, successes, round, began, answers }
                if permit.role == Role::Trial && permit.era == self.era =>
            {
                let trials = permit.leaves(trials, round);
                let phase = Phase::HalfOpen { trials, successes, round, began, answers };
                Some(Self { phase, ..self })
            }
            Phase::Closed { .. } | Phase::Open { .. } | Phase::HalfOpen { .. } => None,
        }
    }

    /// Another trial begins.
    fn trying(self, trials: u8, successes: u8, round: u8, now: Time) -> Self {
        let (began, answers) = (beginning(now), self.answers());
        let phase = Phase::HalfOpen { trials, successes, round, began, answers };
        Self { phase, ..self }
    }

    /// What so many successful trials make of it.
    fn closed_by(self, successes: u8, now: Time, config: &BreakerConfig) -> Self {
        if successes < config.half_open_successes {
            return self;
        }
        // As long as it was open last, it has to stay closed before the level is forgotten.
        let calm_at = now + open_for(self.level.saturating_sub(1), config);
        let calm_at_s = calm_at.as_micros().div_ceil(1_000_000).min(CALM_S_MAX);
        Self { phase: Phase::Closed { failures: 0, calm_at_s }, ..self.next_era() }
    }

    /// After calm, past openings are forgotten.
    fn level_after_calm(self, calm_at_s: u64, now: Time) -> u8 {
        if now.as_micros() / 1_000_000 >= calm_at_s { 0 } else { self.level }
    }

    /// The level counts openings without calm: each doubles the time of the next.
    fn open(self, now: Time, config: &BreakerConfig) -> Self {
        let until_ms = (now + open_for(self.level, config)).as_millis_ceil().min(UNTIL_MS_MAX);
        let level = (self.level + 1).min(LEVEL_MAX);
        Self { level, phase: Phase::Open { until_ms, answers: false }, ..self.next_era() }
    }

    const fn next_era(self) -> Self {
        Self { era: (self.era + 1) % (1 << ERA_BITS), ..self }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self::new()
    }
}

/// How long an opening at `level` lasts.
fn open_for(level: u8, config: &BreakerConfig) -> Duration {
    let doubled = micros(config.open_for).saturating_mul(1 << level.min(LEVEL_MAX));
    Duration::from_micros(doubled).min(config.open_for_max)
}

/// A moment as a trial remembers it.
fn beginning(now: Time) -> u32 {
    let beats = (now.as_micros() / (1_000 * u64::from(BEAT_MS))) % (1 << BEGAN_BITS);
    u32::try_from(beats).expect("the field is 24 bits wide")
}

/// Whether the last trial began so long ago that others may begin, whatever holds those up: a client that
/// sends by drops, or one that asked for something that takes long.
fn is_overdue(began: u32, now: Time, config: &BreakerConfig) -> bool {
    let since = beginning(now).wrapping_sub(began) % (1 << BEGAN_BITS);
    // It may have begun at the end of its beat.
    since > 0 && Duration::from_millis(u64::from((since - 1) * BEAT_MS)) >= config.trial_max()
}
