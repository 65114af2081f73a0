//! All chance of a run: a ChaCha stream per user, named after it.
//!
//! A draw that is added in one place must not shift what happens in another, or every change to the
//! simulator would be a different world. So nobody shares a stream, and what belongs to one request
//! is drawn from a stream of that request's own.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::scenario::Span;

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

/// A stream of chance, whoever makes it.
pub(crate) trait Chance {
    /// Any of 2⁶⁴ numbers.
    fn bits(&mut self) -> u64;

    /// A number in `0.0..1.0`.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a float has")]
    fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number below `bound`, which is at least 1.
    fn below(&mut self, bound: u32) -> u32 {
        let scaled = ((self.bits() >> 32) * u64::from(bound)) >> 32;
        u32::try_from(scaled).expect("a 32-bit number times a fraction")
    }

    /// A gap between two independent arrivals, `mean` on average: exponential. The logarithm is
    /// software's, since the platform's differ in the last bit.
    fn gap(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-libm::log(1.0 - self.unit()))
    }

    /// A number from the standard normal distribution (Box and Muller, 1958).
    fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.unit()));
        radius * libm::cos(2.0 * std::f64::consts::PI * self.unit())
    }

    /// A duration of `span`, in whole microseconds.
    fn within(&mut self, span: Span) -> Duration {
        let width = span.max.saturating_sub(span.min).as_secs_f64();
        span.min + Duration::from_secs_f64(width * self.unit())
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
