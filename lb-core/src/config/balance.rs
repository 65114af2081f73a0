//! What was asked for of the choice within a pool.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

/// The highest bound on load, in percent of the average.
pub const LOAD_PERCENT_MAX: u32 = 1_000;
/// Sources that a key may come from.
pub const KEY_SOURCES_MAX: usize = 8;

/// How a backend is chosen within a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Smooth weighted round robin: exact shares over every cycle, evenly spread within it.
    RoundRobin,
    /// Weighted random by alias table.
    WeightedRandom,
    /// The least loaded of some, drawn at random by weight.
    LeastRequest,
    /// The least loaded of all.
    LeastRequestExact,
    /// The one of two, drawn at random by weight, that will answer sooner.
    PeakEwma,
    /// Of a few samples the quickest that has not too much in flight.
    Prequal,
    /// The one that answers checks soonest, until another one is clearly sooner.
    Fastest,
    /// By chance, weight and Proxy Worker's score of errors and time to answer.
    Performance,
    /// The same as its source has it: weights do not count, and new backends get next to nothing.
    PerformanceNaive,
    /// By chance, weight and FlowBalance's score of errors, time to answer and reach.
    HealthScore,
    /// The first one that is fit.
    First,
    /// By key: the next point on a ring that the backends have points on.
    Ring,
    /// By key: a table that gives each backend almost exactly its share.
    Maglev,
    /// By key: the backend whose name and the key hash highest together.
    Rendezvous,
    /// By key, as AIOStreams does: Java's hash modulo the number of fit backends. When one of n
    /// fails, nearly all clients move.
    JavaHashModulo,
    /// By key, as the plugin of Backworks does: SHA-256 modulo the number of fit backends.
    Sha256Modulo,
    /// By key, as Backworks did before: a 31-hash of bytes modulo the number of fit backends.
    Hash31Modulo,
}

/// Backends that least request compares.
pub const CHOICES_MAX: u8 = 8;

/// Percent by which a backend has to be sooner to take over, at most.
pub const SWITCH_MARGIN_MAX: u8 = 90;

/// How latency is measured, for policies that go by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatencyConfig {
    /// After this long half of what was measured is forgotten.
    pub half_life: Duration,
    /// A failure counts as at least this long.
    pub failure_penalty: Duration,
}

impl Default for LatencyConfig {
    fn default() -> Self {
        Self { half_life: Duration::from_secs(10), failure_penalty: Duration::from_secs(1) }
    }
}

/// What policies that go by a key go by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashConfig {
    /// Where the key comes from: the first source that the request has. One without any goes by
    /// chance. `1..=KEY_SOURCES_MAX` of them.
    pub sources: Vec<KeySource>,
    /// A backend with more than this share of the average in flight, in percent, is passed over by
    /// ring, Maglev and rendezvous: `101..=LOAD_PERCENT_MAX`. `None` bounds nothing.
    pub load_percent: Option<u32>,
}

/// Where a key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The client's address.
    ClientIp,
    /// The first address in `X-Forwarded-For`.
    ForwardedFor,
    /// A header, its name in lower case.
    Header(String),
    /// A cookie.
    Cookie(String),
    /// The path.
    Path,
    /// The whole query.
    Query,
    /// A parameter of the query.
    Parameter(String),
    /// Always this text: the end of a chain.
    Text(String),
}

impl Policy {
    /// Whether it goes by how long backends take to answer requests.
    pub const fn measures(self) -> bool {
        matches!(self, Self::PeakEwma | Self::Prequal)
    }

    /// Whether it goes by a record of requests and errors.
    pub const fn scores(self) -> bool {
        matches!(self, Self::Performance | Self::PerformanceNaive | Self::HealthScore)
    }

    /// Whether it goes by a key.
    pub const fn hashes(self) -> bool {
        self.is_consistent()
            || matches!(self, Self::JavaHashModulo | Self::Sha256Modulo | Self::Hash31Modulo)
    }

    /// Whether it goes by a key and moves few of them when backends come and go.
    pub const fn is_consistent(self) -> bool {
        matches!(self, Self::Ring | Self::Maglev | Self::Rendezvous)
    }
}

impl Default for HashConfig {
    fn default() -> Self {
        Self { sources: vec![KeySource::ClientIp], load_percent: None }
    }
}
