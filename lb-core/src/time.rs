//! Points in time, as numbers that somebody else measured.

use core::ops::{Add, Sub};
use core::time::Duration;

/// Monotonic time in microseconds since the driver's start.
///
/// `u64` microseconds last 584,000 years. Arithmetic saturates: a deadline beyond the end of time
/// is the end of time, and a clock that steps back makes an elapsed time of zero.
///
/// ```
/// use core::time::Duration;
/// use lb_core::Time;
///
/// let start = Time::from_micros(1_000);
/// let later = start + Duration::from_millis(5);
/// assert_eq!(later - start, Duration::from_millis(5));
/// assert_eq!(start - later, Duration::ZERO);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The driver's start.
    pub const ZERO: Self = Self(0);
    /// Later than everything: "never".
    pub const MAX: Self = Self(u64::MAX);

    /// The point `micros` microseconds after the driver's start.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The point `millis` milliseconds after the driver's start.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Microseconds since the driver's start.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Milliseconds since the driver's start, rounded up, so that "not before" stays true.
    pub const fn as_millis_ceil(self) -> u64 {
        self.0.div_ceil(1_000)
    }
}

/// Whole microseconds of a duration, at most `u64::MAX`.
pub(crate) fn micros(span: Duration) -> u64 {
    // In 64 bits: deadlines are added up several times in every exchange.
    span.as_secs().saturating_mul(1_000_000).saturating_add(span.subsec_micros().into())
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(micros(span)))
    }
}

impl Sub for Time {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}
