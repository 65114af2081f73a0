//! How long all but a few answers take, in one word.
//!
//! A running quantile: each sample above the estimate raises it a little, each one below lowers it by
//! so much less that both are in balance where the wanted share lies below (after Ma, Muthukrishnan
//! and Sandler, "Frugal streaming for estimating quantiles", 2013, with steps in proportion).

use core::time::Duration;

use crate::time::micros;
use crate::word::Word;

/// 48 bits of estimate in units of 1/256 µs, 16 bits of samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quantile {
    estimate: u64,
    samples: u64,
}

const UNIT: u64 = 256;
const ESTIMATE_MAX: u64 = (1 << 48) - 1;
const SAMPLES_MAX: u64 = (1 << 16) - 1;
/// A step is at most this part of the estimate.
const STEP_OF: u64 = 32;
/// Samples before an estimate is worth anything.
const SAMPLES_MIN: u64 = 100;

impl Quantile {
    /// The same after one more sample; `percent` of them are to lie below.
    pub(crate) fn after(self, took: Duration, percent: u8) -> Self {
        let sample = micros(took).saturating_mul(UNIT).clamp(1, ESTIMATE_MAX);
        let samples = (self.samples + 1).min(SAMPLES_MAX);
        if self.samples == 0 {
            return Self { estimate: sample, samples };
        }
        let step = self.estimate / STEP_OF + 1;
        let percent = u64::from(percent);
        let estimate = if sample > self.estimate {
            (self.estimate + (step * percent).div_ceil(100)).min(ESTIMATE_MAX)
        } else {
            self.estimate - step * (100 - percent) / 100
        };
        Self { estimate, samples }
    }

    /// What so many percent lie below; `None` where too little is known.
    pub(crate) fn estimate(self) -> Option<Duration> {
        (self.samples >= SAMPLES_MIN).then(|| Duration::from_micros(self.estimate / UNIT))
    }
}

impl Word for Quantile {
    fn pack(self) -> u64 {
        (self.samples << 48) | self.estimate
    }

    fn unpack(bits: u64) -> Self {
        Self { estimate: bits & ESTIMATE_MAX, samples: bits >> 48 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn about_so_many_samples_lie_below() {
        for percent in [50, 90, 95, 99] {
            let mut rng = Rng::stream(7, percent.into());
            let mut quantile = Quantile::default();
            let mut below = 0;
            for nth in 0..40_000 {
                // From 1 to 100 ms, most of them short.
                let took =
                    Duration::from_micros(100_000_000 / (1_000 + u64::from(rng.below(99_000))));
                if nth >= 20_000 {
                    let estimate = quantile.estimate().expect("there are enough");
                    below += u32::from(took <= estimate);
                }
                quantile = quantile.after(took, percent);
                assert_eq!(Quantile::unpack(quantile.pack()), quantile);
            }
            let share = f64::from(below) / 200.0;
            assert!((share - f64::from(percent)).abs() < 1.5, "{share} and not {percent}");
        }
    }

    #[test]
    fn it_follows_a_change_and_says_nothing_before_it_knows() {
        let of = |quantile, ms, count| {
            (0..count).fold(quantile, |it: Quantile, _| it.after(Duration::from_millis(ms), 95))
        };
        assert_eq!(of(Quantile::default(), 10, 99).estimate(), None);
        let fast = of(Quantile::default(), 10, 100);
        let slow = of(fast, 1_000, 200).estimate().expect("there are enough");
        assert!(slow >= Duration::from_millis(990), "{slow:?}");
        let most = (0..100_000).fold(fast, |it, _| it.after(Duration::MAX, 99));
        assert_eq!(Quantile::unpack(most.pack()), most);
    }
}
