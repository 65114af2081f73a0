//! All chance of a run: a ChaCha stream per user, named after it.
//!
//! A draw that is added in one place must not shift what happens in another, or every change to the
//! simulator would be a different world. So nobody shares a stream, and what belongs to one request
//! is drawn from a stream of that request's own.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::scenario::Span;
use crate::ziggurat;

/// A stream of chance.
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream of `user` under `seed`; `number` tells apart streams of users that have many.
    pub(crate) fn new(seed: u64, user: &str, number: u64) -> Self {
        let mut name = seed.to_be_bytes().to_vec();
        name.extend_from_slice(&number.to_be_bytes());
        name.extend_from_slice(user.as_bytes());
        Self(ChaCha8Rng::seed_from_u64(lb_core::stable_hash(&name)))
    }
}

/// Tells the dice of checks from those of requests.
pub(crate) const CHECKS: u64 = 0x6368_6563_6b73;

/// A stream of chance, whoever makes it.
pub(crate) trait Chance {
    /// Any of 2⁶⁴ numbers.
    fn bits(&mut self) -> u64;

    /// A number in `0.0..1.0`.
    fn unit(&mut self) -> f64 {
        share(self.bits())
    }

    /// A number below `bound`, which is at least 1.
    fn below(&mut self, bound: u32) -> u32 {
        let scaled = ((self.bits() >> 32) * u64::from(bound)) >> 32;
        u32::try_from(scaled).expect("a 32-bit number times a fraction")
    }

    /// A gap between two independent arrivals, `mean` on average: exponential.
    fn gap(&mut self, mean: Duration) -> Duration
    where
        Self: Sized,
    {
        times(mean, ziggurat::exponential(self))
    }

    /// A number from the standard normal distribution.
    fn normal(&mut self) -> f64
    where
        Self: Sized,
    {
        ziggurat::normal(self)
    }

    /// A duration of `span`, in whole nanoseconds.
    fn within(&mut self, span: Span) -> Duration {
        let (min, max) = (nanos(span.min), nanos(span.max));
        let part = (u128::from(max.saturating_sub(min)) * u128::from(self.bits())) >> 64;
        Duration::from_nanos(min + u64::try_from(part).expect("a fraction of 64 bits"))
    }
}

impl Chance for Dice {
    fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }
}

impl Chance for lb_core::Rng {
    fn bits(&mut self) -> u64 {
        self.next_u64()
    }
}

/// The higher 53 of 64 bits, as a number in `0.0..1.0`.
#[expect(clippy::cast_precision_loss, reason = "53 bits are what a float has")]
pub(crate) fn share(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// So many times a span, which is a scenario's: far below the 104 days of nanoseconds that a float tells apart.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "what is too long for 64 bits is cut off there"
)]
pub(crate) fn times(span: Duration, factor: f64) -> Duration {
    Duration::from_nanos((nanos(span) as f64 * factor) as u64)
}

/// 64 bits last 584 years.
fn nanos(span: Duration) -> u64 {
    span.as_secs().saturating_mul(1_000_000_000).saturating_add(span.subsec_nanos().into())
}
