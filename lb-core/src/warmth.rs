//! How warm a backend is that came up a while ago: its share grows evenly over a window.
//!
//! A fresh process has cold caches and no connections, and its full share at once may take it down
//! again. So a choice that falls on it holds with a chance that grows from a floor to certainty, and
//! what it is spared goes to the others by their shares. Alone it gets everything.

use core::time::Duration;

use crate::config::SlowStartConfig;
use crate::time::{Time, micros};
use crate::word::Word;

/// Since when a backend is up, as far as it is remembered; zero is always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Warmth(Time);

/// Chances are in units of one in so many.
pub(crate) const CERTAIN: u32 = 1 << 16;

impl Warmth {
    /// Up since `now`.
    pub(crate) const fn cold(now: Time) -> Self {
        Self(now)
    }

    /// The chance that a choice holds at `now`, out of [`CERTAIN`]; `out_until` is when it was last
    /// let in again.
    pub(crate) fn chance(self, out_until: Time, now: Time, config: &SlowStartConfig) -> u32 {
        let since = self.0.max(out_until);
        let (age, window) = (now - since, micros(config.window).max(1));
        if since == Time::ZERO || age >= Duration::from_micros(window) {
            return CERTAIN;
        }
        let grown = u128::from(micros(age)) * u128::from(CERTAIN) / u128::from(window);
        let floor = CERTAIN * u32::from(config.floor_percent) / 100;
        u32::try_from(grown).unwrap_or(CERTAIN).max(floor)
    }
}

impl Word for Warmth {
    fn pack(self) -> u64 {
        self.0.as_micros()
    }

    fn unpack(bits: u64) -> Self {
        Self(Time::from_micros(bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_grows_evenly_from_its_floor_and_never_falls() {
        let config = SlowStartConfig { window: Duration::from_secs(10), floor_percent: 10 };
        let cold = Warmth::cold(Time::from_millis(5_000));
        let chance = |ms| cold.chance(Time::ZERO, Time::from_millis(ms), &config);
        let tenth = CERTAIN * 10 / 100;
        assert_eq!([5_000, 6_000].map(chance), [tenth, tenth]);
        assert_eq!([10_000, 15_000, 99_000].map(chance), [CERTAIN / 2, CERTAIN, CERTAIN]);
        assert!((5_000..20_000).all(|ms| chance(ms) <= chance(ms + 1)));
        let ejected = cold.chance(Time::from_millis(20_000), Time::from_millis(25_000), &config);
        assert_eq!(ejected, CERTAIN / 2, "who was ejected starts again");
        assert_eq!(Warmth::default().chance(Time::ZERO, Time::from_millis(1), &config), CERTAIN);
    }
}
