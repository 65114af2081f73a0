//! What was asked for of rate limits.

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use crate::config::KeySource;

/// Requests that a limit can allow in its span, and at once.
pub const RATE_MAX: u32 = 1_000_000;

/// How many requests each client may make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateConfig {
    /// Requests in each span: `1..=RATE_MAX`.
    pub requests: u32,
    /// The span.
    pub per: Duration,
    /// Requests that may come at once after a pause: `1..=RATE_MAX`.
    pub burst: u32,
    /// Who a client is: the first source that the request has. Those without any share one limit.
    pub key: Vec<KeySource>,
}

impl Default for RateConfig {
    fn default() -> Self {
        let key = vec![KeySource::ClientIp];
        Self { requests: 100, per: Duration::from_secs(1), burst: 200, key }
    }
}
