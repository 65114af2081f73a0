//! What was asked for of limits on what is in flight.

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use crate::config::KeySource;

/// Requests in flight that a limit can allow, and requests that can wait.
pub const IN_FLIGHT_MAX: u32 = 1_000_000;

/// How much may be in flight, and what happens to what is beyond it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitConfig {
    /// Attempts in flight at one backend: `1..=IN_FLIGHT_MAX`.
    pub per_backend: Option<u32>,
    /// Exchanges in flight at the service: `1..=IN_FLIGHT_MAX`. Without meaning beside `adaptive`.
    pub per_service: Option<u32>,
    /// Exchanges in flight of one client: `1..=IN_FLIGHT_MAX`.
    pub per_client: Option<u32>,
    /// Who a client is: the first source that the request has. Those without any share one limit.
    pub client: Vec<KeySource>,
    /// A limit on exchanges in flight at the service that finds itself.
    pub adaptive: Option<AdaptiveConfig>,
    /// Exchanges that may wait for a place: `0..=IN_FLIGHT_MAX`.
    pub queue_max: u32,
    /// How long one waits.
    pub queue_timeout: Duration,
    /// Whether clients say how urgent a request is (`Priority: u=0` to `u=7`, RFC 9218): the most
    /// urgent leaves the queue first, and background requests may fill half of it.
    pub urgency: bool,
}

/// A limit that follows how long answers take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveConfig {
    /// The least: `1..=max`.
    pub min: u32,
    /// The most: `1..=ADAPTIVE_MAX`.
    pub max: u32,
    /// How much longer than usual an answer may take, in percent, before the limit falls:
    /// `100..=1_000`.
    pub tolerance_percent: u32,
}

/// The highest limit that finds itself.
pub const ADAPTIVE_MAX: u32 = 60_000;
/// The highest tolerance.
pub const TOLERANCE_MAX: u32 = 1_000;

impl Default for LimitConfig {
    fn default() -> Self {
        Self {
            per_backend: None,
            per_service: None,
            per_client: None,
            client: vec![KeySource::ClientIp],
            adaptive: None,
            queue_max: 0,
            queue_timeout: Duration::from_secs(1),
            urgency: false,
        }
    }
}

impl Default for AdaptiveConfig {
    fn default() -> Self {
        Self { min: 4, max: 10_000, tolerance_percent: 150 }
    }
}
