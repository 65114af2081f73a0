//! How a backend is chosen among those that may be chosen.
//!
//! Every policy draws from its own table first, since that costs the same however many backends
//! there are, and refuses what may not be chosen; what it draws stays in proportion. When most may
//! not be chosen, drawing would go on for long, so after [`DRAWS_MAX`] refusals the policy looks at
//! the candidates one by one.

mod alias;
pub(crate) mod ends;
mod fastest;
mod formula;
mod keyed;
mod least_request;
mod maglev;
mod minimum;
mod peak_ewma;
mod prequal;
mod rank;
mod rendezvous;
mod ring;
mod round_robin;
mod scored;
mod weighted_random;

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::area::Area;
use crate::backend::Backend;
use crate::config::{BackendConfig, Policy, ServiceConfig};
use crate::rng::Rng;
use crate::time::Time;
use fastest::Fastest;
use keyed::{First, Keyed, Modulo};
use least_request::LeastRequest;
use minimum::Minimum;
use peak_ewma::PeakEwma;
use prequal::Prequal;
use round_robin::RoundRobin;
use scored::Scored;
use weighted_random::WeightedRandom;

/// Refused draws before a policy looks at the candidates one by one. With half of the backends
/// unfit one pick in 65,536 gets there.
const DRAWS_MAX: usize = 16;

/// By what draw a backend was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Its turn in the round.
    Turn,
    /// A weighted die.
    Weight,
    /// It is the first that is fit.
    First,
    /// The request's key belongs to it.
    Key,
    /// The request's key belongs to another, which may not be chosen, and then to it.
    KeyNext,
    /// It was the less loaded of two.
    LessLoaded {
        /// Its attempts in flight.
        in_flight: u32,
        /// The other's place in the service.
        than: u16,
        /// The other's attempts in flight.
        than_in_flight: u32,
    },
    /// Of two it will answer sooner, for what each has in flight.
    Sooner {
        /// How long it takes to answer with what it would then have in flight, over its weight.
        micros: u32,
        /// The other's place in the service.
        than: u16,
        /// The same of the other.
        than_micros: u32,
    },
    /// It has the least in flight of all.
    Least {
        /// Its attempts in flight.
        in_flight: u32,
    },
    /// Of some samples it is the quickest that is not hot.
    Cold {
        /// Its attempts in flight.
        in_flight: u32,
        /// Attempts in flight beyond which a sample is hot.
        hot_above: u32,
        /// How long it takes to answer with what it would then have in flight, as far as is known.
        micros: Option<u32>,
    },
    /// It answers checks soonest of those that may be chosen.
    Soonest {
        /// How long it takes to answer one, as far as is known.
        micros: Option<u32>,
    },
    /// A die by weight and score.
    Scored {
        /// Its share of the die, in thousandths; in a group of more than 16 backends, of the die as
        /// it was when all of them were last looked at.
        share: u32,
    },
    /// There was no other.
    Only,
    /// It was the last one asked, and is asked once more.
    Same,
    /// The client sticks to it.
    Session,
}

impl How {
    /// As written in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Turn => "turn",
            Self::Weight => "weight",
            Self::First => "first",
            Self::Key => "key",
            Self::KeyNext => "key_next",
            Self::LessLoaded { .. } => "less_loaded",
            Self::Sooner { .. } => "sooner",
            Self::Least { .. } => "least",
            Self::Cold { .. } => "cold",
            Self::Soonest { .. } => "soonest",
            Self::Scored { .. } => "scored",
            Self::Only => "only",
            Self::Same => "same",
            Self::Session => "session",
        }
    }
}

/// Who may be chosen, and what is known of them.
pub(crate) trait Candidates {
    /// Whether this place may be chosen.
    fn admits(&self, place: usize) -> bool;
    /// Whether this place may be chosen, or could be if this exchange had not been there.
    fn is_fit(&self, place: usize) -> bool;
    /// The first place in `from..` that may be chosen.
    fn first_from(&self, from: usize) -> Option<usize>;
    /// How many may be chosen.
    fn count(&self) -> usize {
        walk(self).count()
    }
    /// The one of those that may be chosen that has `nth` of them before it.
    fn nth(&self, nth: usize) -> Option<usize> {
        walk(self).nth(nth)
    }
    /// The backend there.
    fn backend(&self, place: usize) -> &Backend;
    /// Attempts in flight at all backends of the service, where a policy asks for it.
    fn in_flight_of_all(&self) -> u32;
}

/// All that may be chosen, in order.
pub(crate) fn walk<C: Candidates + ?Sized>(among: &C) -> impl Iterator<Item = usize> + '_ {
    core::iter::successors(among.first_from(0), |place| among.first_from(place + 1))
}

/// What a choice is made for, and by.
#[derive(Debug)]
pub(crate) struct Draw<'a> {
    /// The exchange's dice.
    pub(crate) rng: &'a mut Rng,
    /// Whether this is the first attempt. A retry takes no turn of a round: where requests come
    /// one by one and one backend of two refuses, it would be struck by every first attempt.
    pub(crate) first: bool,
    /// When.
    pub(crate) now: Time,
    /// What the request is hashed by.
    pub(crate) key: Option<u64>,
    /// Where the client is.
    pub(crate) area: Area,
}

/// One policy with its tables.
#[derive(Debug)]
pub(crate) enum Balancer {
    RoundRobin(RoundRobin),
    WeightedRandom(WeightedRandom),
    LeastRequest(LeastRequest),
    Minimum(Minimum),
    PeakEwma(PeakEwma),
    Prequal(Prequal),
    Fastest(Fastest),
    Scored(Scored),
    First,
    Keyed(Keyed),
    Modulo,
}

/// A chosen place and the draw that chose it. `than` is a place of the same pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Drawn {
    pub(crate) place: usize,
    pub(crate) how: How,
}

impl Balancer {
    /// Weights are at least 1.
    pub(crate) fn new<'c>(
        config: &ServiceConfig,
        backends: impl Iterator<Item = &'c BackendConfig> + Clone,
    ) -> Self {
        let weights: Vec<u32> = backends.clone().map(|said| said.weight).collect();
        if weights.is_empty() {
            return Self::First; // tables have at least one row, and the first of none is none
        }
        match config.policy {
            Policy::RoundRobin => Self::RoundRobin(RoundRobin::new(&weights)),
            Policy::WeightedRandom => Self::WeightedRandom(WeightedRandom::new(&weights)),
            Policy::LeastRequest => Self::LeastRequest(LeastRequest::new(&weights, config.choices)),
            Policy::PeakEwma => Self::PeakEwma(PeakEwma::new(&weights, config.latency)),
            Policy::LeastRequestExact => Self::Minimum(Minimum::new(&weights)),
            Policy::Prequal => Self::Prequal(Prequal::new(&weights, config.latency)),
            Policy::Fastest => Self::Fastest(Fastest::new(config.switch_margin)),
            policy @ (Policy::Performance | Policy::PerformanceNaive | Policy::HealthScore) => {
                Self::Scored(Scored::new(policy, &weights))
            }
            Policy::First => Self::First,
            policy @ (Policy::Ring | Policy::Maglev | Policy::Rendezvous) => {
                let load_percent = config.hash.load_percent;
                let names = backends.map(|said| said.name.as_str());
                Self::Keyed(Keyed::new(policy, names, &weights, load_percent))
            }
            Policy::JavaHashModulo | Policy::Sha256Modulo | Policy::Hash31Modulo => Self::Modulo,
        }
    }

    /// Goes on where another one of the same policy stands: `moved` says where a place of its group is now.
    pub(crate) fn go_on(&self, from: &Self, moved: impl Fn(usize) -> Option<usize>) {
        match (self, from) {
            (Self::RoundRobin(policy), Self::RoundRobin(from)) => policy.go_on(from),
            (Self::Fastest(policy), Self::Fastest(from)) => policy.go_on(from, moved),
            // What the others know is the backends' own, or seen anew with the next choices.
            _ => {}
        }
    }

    /// A check has ended: for policies that go by what checks find.
    pub(crate) fn rank(&self, among: &impl Candidates) {
        if let Self::Fastest(policy) = self {
            policy.rank(among);
        }
    }

    /// Chooses one that may be chosen; `None` exactly when there is none.
    pub(crate) fn choose(&self, among: &impl Candidates, draw: &mut Draw<'_>) -> Option<Drawn> {
        match self {
            Self::RoundRobin(policy) => policy.choose(among, draw),
            Self::WeightedRandom(policy) => policy.choose(among, draw),
            Self::LeastRequest(policy) => policy.choose(among, draw),
            Self::PeakEwma(policy) => policy.choose(among, draw),
            Self::Minimum(policy) => policy.choose(among, draw),
            Self::Prequal(policy) => policy.choose(among, draw),
            Self::Fastest(policy) => policy.choose(among),
            Self::Scored(policy) => policy.choose(among, draw),
            Self::First => First::choose(among),
            Self::Keyed(policy) => policy.choose(among, draw),
            Self::Modulo => Modulo::choose(among, draw),
        }
    }
}

/// Whether `a` microseconds are less than `b` by the margin.
pub(crate) use fastest::is_sooner;

/// The weights with their common factor taken out.
fn reduced(weights: &[u32]) -> Box<[u32]> {
    let factor = weights.iter().copied().fold(0, common_factor).max(1);
    weights.iter().map(|weight| weight / factor).collect()
}

const fn common_factor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
