//! What was asked for of the ejection of outliers, and of slow starts.

use core::time::Duration;

/// Backends and requests that a comparison can ask for.
pub const OUTLIER_BACKENDS_MAX: u16 = 1_000;
/// See [`OUTLIER_BACKENDS_MAX`].
pub const OUTLIER_REQUESTS_MAX: u32 = 1_000_000;
/// Standard deviations, in thousandths.
pub const DEVIATIONS_MAX: u32 = 10_000;

/// When a backend does so much worse than the others of its pool that it is taken out for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlierConfig {
    /// How often the backends of a pool are compared.
    pub interval: Duration,
    /// How long one is taken out the first time. Each further time without calm in between doubles it.
    pub eject_for: Duration,
    /// The longest that one is taken out.
    pub eject_for_max: Duration,
    /// The share of a pool that may be out at once, in percent, at least one backend: `1..=100`.
    pub eject_percent_max: u8,
    /// Requests within an interval below which a backend is not judged:
    /// `1..=OUTLIER_REQUESTS_MAX`.
    pub min_requests: u32,
    /// Backends with so many below which nobody is judged: `2..=OUTLIER_BACKENDS_MAX`.
    pub min_backends: u16,
    /// One whose success rate is below the mean by so many thousandths of a standard deviation is
    /// out: `1..=DEVIATIONS_MAX`. `None`: nobody is, for that.
    pub deviations: Option<u32>,
    /// One that fails so many of a hundred requests is out: `1..=100`. `None`: nobody is, for that.
    pub failure_percent: Option<u8>,
}

impl Default for OutlierConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            eject_for: Duration::from_secs(30),
            eject_for_max: Duration::from_secs(300),
            eject_percent_max: 10,
            min_requests: 100,
            min_backends: 5,
            deviations: Some(1_900),
            failure_percent: None,
        }
    }
}

/// How a backend that is new or has recovered comes to its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowStartConfig {
    /// After how long it has all of it. It grows evenly until then.
    pub window: Duration,
    /// What it has of it at once, in percent: `1..=100`.
    pub floor_percent: u8,
}
