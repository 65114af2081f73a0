//! Popularity by Zipf's law: the user of rank k asks in proportion to `1 / k^s`.
//!
//! Drawn by rejection-inversion (Hörmann and Derflinger, "Rejection-inversion to generate variates from monotone
//! discrete distributions", ACM TOMACS 6(3), 1996): a number from the continuous hat `1 / x^s`, whose integral
//! has an inverse, is rounded and mostly kept. That takes no table, and the same time for ten users as for a
//! million.

use crate::dice::Chance;

/// A distribution over ranks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zipf {
    ranks: f64,
    exponent: f64,
    /// The integral at its lower and its upper end.
    from: f64,
    to: f64,
    /// So near below a rank everything is kept without another look.
    near: f64,
}

impl Zipf {
    /// Over `users`, of whom there is at least one.
    pub(crate) fn new(users: u32, exponent: f64) -> Self {
        let ranks = f64::from(users.max(1));
        let bare = Self { ranks, exponent, from: 0.0, to: 0.0, near: 0.0 };
        Self {
            // All of the first rank's weight, 1, lies below its upper edge.
            from: bare.integral(1.5) - 1.0,
            to: bare.integral(ranks + 0.5),
            near: 2.0 - bare.inverse(bare.integral(2.5) - bare.hat(2.0)),
            ..bare
        }
    }

    /// A user: 0 is the one who asks most.
    pub(crate) fn draw(&self, dice: &mut impl Chance) -> u32 {
        loop {
            let area = self.to + dice.unit() * (self.from - self.to);
            let at = self.inverse(area);
            let rank = libm::round(at).clamp(1.0, self.ranks);
            if rank - at <= self.near || area >= self.integral(rank + 0.5) - self.hat(rank) {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a whole number from 1 to the number of users"
                )]
                return rank as u32 - 1;
            }
        }
    }

    fn hat(&self, at: f64) -> f64 {
        libm::exp(-self.exponent * libm::log(at))
    }

    /// The integral of the hat from 1: `(x^(1-s) - 1) / (1 - s)`, which is `ln x` where s is 1.
    fn integral(&self, at: f64) -> f64 {
        let log = libm::log(at);
        ratio((1.0 - self.exponent) * log) * log
    }

    /// Where the integral is `area`.
    fn inverse(&self, area: f64) -> f64 {
        let part = ((1.0 - self.exponent) * area).max(-1.0);
        // ln(1 + t) / t, of which the limit at 0 is 1.
        let share = if part.abs() < TINY { 1.0 - part / 2.0 } else { libm::log1p(part) / part };
        libm::exp(share * area)
    }
}

/// `(e^x - 1) / x`, of which the limit at 0 is 1.
fn ratio(at: f64) -> f64 {
    if at.abs() < TINY { 1.0 + at / 2.0 } else { libm::expm1(at) / at }
}

/// Below this the first two terms of a series say all that a float can hold.
const TINY: f64 = 1e-8;

#[cfg(test)]
mod tests {
    use lb_core::Rng;

    use super::*;

    /// How often each of `users` was drawn, in a million times.
    fn drawn(users: u32, exponent: f64) -> Vec<u32> {
        let (zipf, mut dice) = (Zipf::new(users, exponent), Rng::stream(1, 1));
        let mut counts = vec![0; users as usize];
        for _ in 0..1_000_000 {
            counts[zipf.draw(&mut dice) as usize] += 1;
        }
        counts
    }

    #[test]
    fn each_rank_is_drawn_as_often_as_the_law_says() {
        for exponent in [0.5, 0.99, 1.0, 1.1, 2.0] {
            let counts = drawn(1_000, exponent);
            let weight = |rank: usize| libm::pow(rank as f64, -exponent);
            let total: f64 = (1..=1_000).map(weight).sum();
            for rank in [1, 2, 3, 10, 100, 1_000] {
                let due = weight(rank) / total * 1e6;
                // Five standard deviations.
                let apart = (f64::from(counts[rank - 1]) - due).abs();
                assert!(apart <= 5.0 * due.sqrt() + 1.0, "{exponent}: {rank}: {due} {counts:?}");
            }
        }
    }

    #[test]
    fn a_single_user_and_a_million_are_drawn_like_any_others() {
        assert_eq!(drawn(1, 1.1), [1_000_000]);
        let counts = drawn(1_000_000, 1.1);
        // One over the sum of the weights of a million ranks is 0.1239.
        let first = f64::from(counts[0]) / 1e6;
        assert!((0.121..0.127).contains(&first), "{first}");
    }
}
