//! Which pool is asked, and which after it.
//!
//! A pool that serves nobody is passed over, whatever the policy, so that failover and failback are
//! the same rule. With overprovisioning the first pools give up their traffic by degrees (Envoy's
//! priority levels): one with 71 of 100 fit backends still carries all of it at 140 %, one with 50
//! carries 70 % and the next one the rest.

use alloc::boxed::Box;

use crate::area::Point;
use crate::balance::Draw;
use crate::config::{POOLS_MAX, ServiceConfig, SteeringPolicy, WhenAllUnfit};
use crate::pool::Pool;
use crate::rng::Rng;
use crate::word::atomic::{AtomicU16, Ordering};

/// Why a pool was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Steered {
    /// It is the first in order.
    Order,
    /// It takes over a share of what those before it can no longer carry.
    Spilled,
    /// By chance, in proportion to its weight, its size or its load.
    Weight,
    /// It is meant for where the client is.
    Area,
    /// It is the nearest to the client.
    Nearest,
    /// It answers checks soonest.
    Fastest,
    /// Another one suited better, and could not serve.
    Next,
    /// None of the others could serve.
    Fallback,
    /// It was a backend that was looked for, and not a pool.
    Backend,
}

impl Steered {
    /// As written in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Spilled => "spilled",
            Self::Weight => "weight",
            Self::Area => "area",
            Self::Nearest => "nearest",
            Self::Fastest => "fastest",
            Self::Next => "next",
            Self::Fallback => "fallback",
            Self::Backend => "backend",
        }
    }
}

/// Some of a service's pools, a bit each.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PoolSet(u64);

impl PoolSet {
    pub(crate) const fn contains(self, pool: usize) -> bool {
        self.0 >> pool & 1 != 0
    }

    pub(crate) const fn add(&mut self, pool: usize) {
        self.0 |= 1 << pool;
    }
}

/// How the pools of a service are chosen among.
#[derive(Debug)]
pub(crate) struct Steering {
    policy: SteeringPolicy,
    overprovision_percent: Option<u32>,
    weights: Box<[u32]>,
    points: Box<[Option<Point>]>,
    /// Asked when no other can serve, and never otherwise.
    fallback: Option<usize>,
    /// The pool that answers checks soonest.
    fastest: AtomicU16,
    /// Whether it goes by how many backends are fit.
    counts: bool,
}

/// In units of which shares of load are reckoned.
const PERCENT: u32 = 100;

impl Steering {
    pub(crate) fn new(config: &ServiceConfig) -> Self {
        let pools = &config.pools;
        Self {
            policy: config.steering.policy,
            overprovision_percent: config.steering.overprovision_percent,
            weights: pools.iter().map(|pool| pool.weight).collect(),
            points: pools.iter().map(|pool| pool.location.map(Point::of)).collect(),
            fallback: match config.when_all_unfit {
                WhenAllUnfit::FallbackPool(pool) => Some(pool.into()),
                _ => None,
            },
            fastest: AtomicU16::new(0),
            counts: config.steering.overprovision_percent.is_some()
                || config.panic_below > 0
                || pools.iter().any(|pool| pool.min_fit > 1),
        }
    }

    /// The pool to ask next, after those in `asked`; `None` when there is no other. The fallback pool
    /// is never among them.
    pub(crate) fn next(
        &self,
        pools: &[Pool],
        asked: PoolSet,
        draw: &mut Draw<'_>,
    ) -> Option<(usize, Steered)> {
        if self.counts {
            pools.iter().for_each(|pool| pool.refresh(draw.now));
        }
        let can =
            |nth: &usize| self.steers(*nth) && !asked.contains(*nth) && pools[*nth].has_enough();
        let rest = || (0..pools.len()).filter(can);
        let first = rest().next()?;
        let is_first = asked.0 == 0;
        let order = if is_first { Steered::Order } else { Steered::Next };
        let found = match self.policy {
            SteeringPolicy::Priority => match self.overprovision_percent {
                Some(percent) if is_first => self.by_load(pools, percent, draw.rng),
                _ => None,
            },
            SteeringPolicy::Weighted => {
                by_chance(rest(), |nth| u64::from(self.weights[nth]), draw.rng)
            }
            SteeringPolicy::Random => by_chance(rest(), |nth| pools[nth].count() as u64, draw.rng),
            SteeringPolicy::LeastOutstanding => {
                let share = |nth: usize| {
                    let load = u64::from(pools[nth].in_flight()) + 1;
                    ((pools[nth].count() as u64) << 32) / load
                };
                by_chance(rest(), share, draw.rng)
            }
            SteeringPolicy::Geo => {
                rest().find(|nth| draw.area.pools >> *nth & 1 != 0).map(|nth| (nth, Steered::Area))
            }
            SteeringPolicy::Proximity => {
                let distance = |nth: &usize| Some(draw.area.at?.distance(self.points[*nth]?));
                let nearest = rest().filter_map(|nth| Some((distance(&nth)?, nth)));
                nearest.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, nth)| (nth, Steered::Nearest))
            }
            SteeringPolicy::Fastest => {
                let fastest = usize::from(self.fastest.load(Ordering::Relaxed));
                rest().find(|nth| *nth == fastest).map(|nth| (nth, Steered::Fastest))
            }
        };
        // A pool that was drawn may lack what it takes; then order decides.
        Some(found.filter(|(nth, _)| can(nth)).unwrap_or((first, order)))
    }

    /// Whether a pool takes part in what is not the last resort.
    pub(crate) fn steers(&self, pool: usize) -> bool {
        self.fallback != Some(pool)
    }

    /// The pool that is asked when no other can serve.
    pub(crate) const fn fallback(&self) -> Option<usize> {
        self.fallback
    }

    /// Whether a choice goes by how many backends are fit.
    pub(crate) const fn counts(&self) -> bool {
        self.counts
    }

    /// Remembers which pool answers checks soonest.
    pub(crate) fn set_fastest(&self, pool: usize) {
        self.fastest.store(u16::try_from(pool).unwrap_or(0), Ordering::Relaxed);
    }

    pub(crate) fn fastest(&self) -> Option<usize> {
        (self.policy == SteeringPolicy::Fastest)
            .then(|| usize::from(self.fastest.load(Ordering::Relaxed)))
    }

    /// Draws a pool by what each can carry.
    fn by_load(&self, pools: &[Pool], percent: u32, rng: &mut Rng) -> Option<(usize, Steered)> {
        let loads = self.loads(pools, percent);
        let mark = rng.below(PERCENT);
        let mut below = 0;
        let nth = loads.iter().position(|load| {
            below += load;
            mark < below
        })?;
        let is_first = (0..nth).all(|before| loads[before] == 0 && !self.steers(before));
        Some((nth, if is_first { Steered::Order } else { Steered::Spilled }))
    }

    /// What each pool carries, in percent; nothing where no pool has a fit backend.
    pub(crate) fn loads(&self, pools: &[Pool], percent: u32) -> [u32; POOLS_MAX] {
        let capacity = |nth: usize| match self.steers(nth) && pools[nth].has_enough() {
            true => capacity(pools[nth].fit_count(), pools[nth].count(), percent),
            false => 0,
        };
        let mut loads = [0; POOLS_MAX];
        let total = (0..pools.len()).map(capacity).sum::<u32>().min(PERCENT);
        if total == 0 {
            return loads;
        }
        let mut left = PERCENT;
        for (nth, load) in loads.iter_mut().enumerate().take(pools.len()) {
            *load = ((capacity(nth) * PERCENT + total / 2) / total).min(left);
            left -= *load;
        }
        // What is lost to rounding goes to the first that carries anything.
        if let Some(first) = loads.iter_mut().find(|load| **load > 0) {
            *first += left;
        }
        loads
    }

    /// Whether all pools together can carry all traffic, as far as overprovisioning goes.
    pub(crate) fn is_carried(&self, pools: &[Pool]) -> bool {
        let percent = self.overprovision_percent.unwrap_or(PERCENT);
        let of = |nth: usize| capacity(pools[nth].fit_count(), pools[nth].count(), percent);
        let carried = (0..pools.len()).filter(|nth| self.steers(*nth)).map(of).sum::<u32>();
        self.policy == SteeringPolicy::Priority
            && self.overprovision_percent.is_some()
            && carried >= PERCENT
    }
}

/// What `fit` of `count` backends can carry, in percent of all traffic: of none, nothing.
pub(crate) fn capacity(fit: usize, count: usize, percent: u32) -> u32 {
    let carried = fit as u64 * u64::from(percent) / (count as u64).max(1);
    u32::try_from(carried).unwrap_or(PERCENT).min(PERCENT)
}

fn by_chance(
    pools: impl Iterator<Item = usize> + Clone,
    share: impl Fn(usize) -> u64,
    rng: &mut Rng,
) -> Option<(usize, Steered)> {
    let total: u64 = pools.clone().map(&share).sum();
    let mut mark = rng.up_to(total.checked_sub(1)?);
    for nth in pools {
        match mark.checked_sub(share(nth)) {
            Some(rest) => mark = rest,
            None => return Some((nth, Steered::Weight)),
        }
    }
    None
}
