//! What was asked for of active health checks.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::statuses::StatusSet;

/// Checks in a row that a rise or a fall can ask for.
pub const STREAK_MAX: u8 = 100;

/// Header lines of a check.
pub const PROBE_HEADERS_MAX: usize = 32;

/// When a backend is asked how it is, and what is a good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeConfig {
    /// What is asked.
    pub kind: ProbeKind,
    /// From one check of a backend to the next, up to a tenth more or less.
    pub interval: Duration,
    /// With every good check the interval grows by half, up to this; a bad one brings it back. `None`:
    /// it stays as it is.
    pub interval_max: Option<Duration>,
    /// How long a check may take.
    pub timeout: Duration,
    /// Good checks in a row that bring a backend back: `1..=STREAK_MAX`.
    pub rise: u8,
    /// Bad checks in a row that take it out: `1..=STREAK_MAX`.
    pub fall: u8,
    /// Whether a backend that was never checked counts as unhealthy.
    pub distrusts: bool,
}

/// What a check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// Whether a connection comes about.
    Tcp,
    /// What an HTTP request is answered.
    Http {
        /// What is asked for; `None` finds out ([`PATHS`](crate::config::PATHS)).
        path: Option<String>,
        /// Whether HEAD is sent instead of GET.
        head: bool,
        /// The statuses that are good.
        expect: StatusSet,
        /// What the body has to contain, within its first [`BODY_MAX`](crate::config::BODY_MAX)
        /// bytes.
        expect_body: Option<String>,
        /// Header lines of the request, names in lower case, up to [`PROBE_HEADERS_MAX`].
        headers: Vec<(String, String)>,
    },
}

/// Bytes of an answer's body that are looked at.
pub const BODY_MAX: usize = 64 * 1024;

/// Where servers commonly say how they are, in the order in which they are asked (FlowBalance's).
pub const PATHS: [&str; 11] = [
    "/health",
    "/healthz",
    "/health-check",
    "/status",
    "/ping",
    "/api/health",
    "/api/healthz",
    "/api/status",
    "/_health",
    "/.well-known/health-check",
    "/",
];

impl Default for ProbeConfig {
    fn default() -> Self {
        Self {
            kind: ProbeKind::Http {
                path: None,
                head: false,
                expect: StatusSet::GOOD,
                expect_body: None,
                headers: Vec::new(),
            },
            interval: Duration::from_secs(30),
            interval_max: None,
            timeout: Duration::from_secs(5),
            rise: 2,
            fall: 3,
            distrusts: false,
        }
    }
}
