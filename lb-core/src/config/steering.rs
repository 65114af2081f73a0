//! What was asked for of the choice between pools.

use alloc::string::String;
use alloc::vec::Vec;

/// Pools of one service.
pub const POOLS_MAX: usize = 64;
/// Regions that the backends of one service can be in.
pub const REGIONS_MAX: usize = 64;
/// The highest weight of a pool.
pub const POOL_WEIGHT_MAX: u32 = 10_000;
/// The highest overprovisioning, in percent.
pub const OVERPROVISION_MAX: u32 = 1_000;

/// How a pool is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SteeringPolicy {
    /// The first that can serve, in the order of the file.
    Priority,
    /// By chance and weight, as for a canary.
    Weighted,
    /// By chance and number of backends.
    Random,
    /// By chance, number of backends and what they have in flight.
    LeastOutstanding,
    /// Those for the client's country, else those for its region, else all; each in order.
    Geo,
    /// The nearest to the client on the globe.
    Proximity,
    /// The one whose backends answer checks soonest.
    Fastest,
}

/// How a pool is chosen, and where clients are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SteeringConfig {
    /// How.
    pub policy: SteeringPolicy,
    /// For [`SteeringPolicy::Priority`]: a pool gives some of its traffic to the next when fewer than
    /// 100/this of its backends are fit: `100..=OVERPROVISION_MAX`, in percent. `None`: when none is.
    pub overprovision_percent: Option<u32>,
    /// The region or zone of the proxy itself: backends in it are asked first, wherever the client
    /// is. `None`: those in the client's region are.
    pub zone: Option<String>,
    /// The headers that say where a client is.
    pub headers: AreaHeaders,
    /// Regions by country, before the usual ones.
    pub countries: Vec<(Country, String)>,
}

/// The headers that say where a client is, their names in lower case. A CDN or a proxy in front sets
/// them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AreaHeaders {
    /// Two letters (ISO 3166-1).
    pub country: Option<String>,
    /// A region's name.
    pub region: Option<String>,
    /// Degrees north.
    pub latitude: Option<String>,
    /// Degrees east.
    pub longitude: Option<String>,
}

/// A country by its two letters (ISO 3166-1), in upper case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Country([u8; 2]);

impl Country {
    /// The country of two letters.
    pub fn new(letters: &[u8]) -> Option<Self> {
        let letters: [u8; 2] = letters.try_into().ok()?;
        letters
            .iter()
            .all(u8::is_ascii_alphabetic)
            .then(|| Self(letters.map(|it| it.to_ascii_uppercase())))
    }

    /// Its letters.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).expect("they are ASCII")
    }
}

/// A place on the globe, in millionths of a degree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// North: −90 to 90 degrees.
    pub latitude: i32,
    /// East: −180 to 180 degrees.
    pub longitude: i32,
}

impl Default for SteeringConfig {
    fn default() -> Self {
        Self {
            policy: SteeringPolicy::Priority,
            overprovision_percent: None,
            zone: None,
            headers: AreaHeaders::default(),
            countries: Vec::new(),
        }
    }
}
