//! How long to wait before another attempt.

use core::time::Duration;

use crate::config::{BackoffConfig, Jitter};
use crate::rng::Rng;
use crate::time::micros;

impl BackoffConfig {
    /// How long to wait after `attempts` of them, the wait before the last having been `last`.
    ///
    /// The ceiling doubles with each attempt; jitter says where below it the wait lies. Full jitter
    /// collides least (AWS, "Exponential backoff and jitter", 2015).
    pub fn wait(&self, attempts: u8, last: Duration, rng: &mut Rng) -> Duration {
        let doubled = micros(self.base).saturating_mul(1 << attempts.saturating_sub(1).min(31));
        let ceiling = doubled.min(micros(self.max));
        Duration::from_micros(match self.jitter {
            Jitter::Full => rng.up_to(ceiling),
            Jitter::Equal => ceiling - rng.up_to(ceiling / 2),
            Jitter::Decorrelated => self.decorrelated(last, rng),
            Jitter::None => ceiling,
        })
    }

    /// The wait depends on the one before it and not on the count of attempts.
    fn decorrelated(&self, last: Duration, rng: &mut Rng) -> u64 {
        let base = micros(self.base);
        let most = micros(last).max(base).saturating_mul(3);
        (base + rng.up_to(most - base)).min(micros(self.max))
    }
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
            let waits: alloc::vec::Vec<u64> = (0..10_000)
                .map(|_| micros(config.wait(attempts, Duration::ZERO, &mut rng)) / 1_000)
                .collect();
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
        for jitter in [Jitter::Full, Jitter::Equal, Jitter::Decorrelated, Jitter::None] {
            for base in [Duration::ZERO, Duration::from_micros(1), max, Duration::MAX] {
                let config = BackoffConfig { base, max, jitter };
                for attempts in 0..=u8::MAX {
                    let wait = config.wait(attempts, base, &mut Rng::stream(7, 7));
                    assert!(wait <= max.min(base.saturating_mul(1 << 31)), "{config:?}: {wait:?}");
                }
            }
        }
    }
}
