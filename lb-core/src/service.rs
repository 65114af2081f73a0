//! What a host name is served by: pools in order of preference, and the policies over them.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::affinity::Affinity;
use crate::backend::{Backend, Member, Rules};
use crate::balance::{Balancer, Draw};
use crate::config::{
    ATTEMPTS_MAX, BACKENDS_MAX, BUDGET_PERCENT_MAX, BUDGET_RETRIES_MAX, BackendConfig,
    BudgetConfig, CHOICES_MAX, CONSECUTIVE_FAILURES_MAX, MIN_REQUESTS_MAX, ProbeConfig, RATE_MAX,
    STREAK_MAX, ServiceConfig, TRIALS_MAX, Timeouts, WEIGHT_MAX, WhenAllUnfit,
};
use crate::event::{BackendId, Choice, Observe};
use crate::facts::Facts;
use crate::key::Keys;
use crate::lease::Lease;
use crate::pool::{Picked, Pool};
use crate::rate::Rate;
use crate::retry::Retry;
use crate::rng::Rng;
use crate::standing::Standing;
use crate::time::Time;
use crate::tried::Places;

/// One service, shared by all threads. Build it from a [`ServiceConfig`], then start exchanges.
#[derive(Debug)]
pub struct Service {
    name: Box<str>,
    index: u16,
    seed: u64,
    pools: Box<[Pool]>,
    when_all_unfit: WhenAllUnfit,
    timeouts: Timeouts,
    pub(crate) rules: Rules,
    pub(crate) keys: Option<Keys>,
    pub(crate) affinity: Option<Affinity>,
    pub(crate) probe: Option<ProbeConfig>,
    rate: Option<Rate>,
    pub(crate) retry: Retry,
}

/// What makes a [`ServiceConfig`] meaningless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaningless {
    /// There is no pool, or a pool without a backend.
    NoBackend,
    /// There are more than [`BACKENDS_MAX`] backends.
    TooManyBackends,
    /// A weight is outside `1..=WEIGHT_MAX`.
    Weight(u32),
    /// A count (attempts, failures, trials, successes) is zero or beyond its bound, or a number of
    /// the budget is beyond its own.
    Count(u32),
}

impl fmt::Display for Meaningless {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBackend => write!(out, "a pool has no backend"),
            Self::TooManyBackends => write!(out, "more than {BACKENDS_MAX} backends"),
            Self::Weight(weight) => write!(out, "weight {weight} is not in 1..={WEIGHT_MAX}"),
            Self::Count(count) => write!(out, "a count of {count} is zero or beyond its bound"),
        }
    }
}

impl core::error::Error for Meaningless {}

impl Service {
    /// Builds the service that `config` describes, the `index`-th of its configuration. All chance
    /// in it comes from `seed`.
    ///
    /// # Errors
    /// [`Meaningless`] when the configuration has no backends, or a number outside its bounds.
    pub fn new(config: &ServiceConfig, index: u16, seed: u64) -> Result<Self, Meaningless> {
        Self::build(config, index, seed, None)
    }

    /// Builds the service that takes the place of this one: what was learned about a backend of the
    /// same name lives on, and so does what is left of the retry budget. Exchanges that run end at
    /// the service that they began at, and what they show is known to both.
    ///
    /// # Errors
    /// As [`Service::new`]. This one stays as it is.
    pub fn succeed(
        &self,
        config: &ServiceConfig,
        index: u16,
        seed: u64,
    ) -> Result<Self, Meaningless> {
        Self::build(config, index, seed, Some(self))
    }

    fn build(
        config: &ServiceConfig,
        index: u16,
        seed: u64,
        before: Option<&Self>,
    ) -> Result<Self, Meaningless> {
        check(config)?;
        let known: BTreeMap<&str, &Arc<Backend>> = before
            .iter()
            .flat_map(|service| service.backends())
            .map(|member| (member.backend.name(), member.backend))
            .collect();
        let backend = |said: &BackendConfig| {
            let backend = match known.get(said.name.as_str()) {
                Some(backend) => Arc::clone(backend),
                None => Arc::new(Backend::new(&said.name)),
            };
            let draining = said.draining;
            // Nobody would ever say again that it is healthy.
            let unchecked = config.probe.is_none();
            backend.standing.step(|standing| {
                let unhealthy = standing.unhealthy && !unchecked;
                Some(Standing { draining, unhealthy, ..standing })
            });
            backend
        };
        let rules = Rules::new(config, before.map(|service| &service.rules));
        let mut first = BackendId { service: index, backend: 0 };
        let mut pools = Vec::with_capacity(config.pools.len());
        for pool in &config.pools {
            let backends: Box<[_]> = pool.backends.iter().map(backend).collect();
            let count = u16::try_from(backends.len()).expect("BACKENDS_MAX fits in 16 bits");
            let balancer = Balancer::new(config, pool);
            pools.push(Pool::new(&pool.name, first, rules.clone(), backends, balancer));
            first.backend += count;
        }
        Ok(Self {
            name: config.name.as_str().into(),
            index,
            seed,
            pools: pools.into(),
            when_all_unfit: config.when_all_unfit,
            timeouts: config.timeouts,
            rules,
            keys: Keys::new(config.policy, &config.hash.sources),
            affinity: config.affinity.clone().map(|affinity| {
                let backends = config.pools.iter().flat_map(|pool| &pool.backends);
                let names = backends.map(|said| said.name.as_str());
                Affinity::new(affinity, &config.name, names, seed)
            }),
            probe: config.probe.clone(),
            rate: config.rate.as_ref().map(Rate::new),
            retry: match before {
                Some(service) => service.retry.succeed(config.retry.clone()),
                None => Retry::new(config.retry.clone()),
            },
        })
    }

    /// Its name, unique in its configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its place in its configuration.
    pub const fn index(&self) -> u16 {
        self.index
    }

    /// Its pools in order of preference.
    pub fn pools(&self) -> &[Pool] {
        &self.pools
    }

    /// Its backends over all pools, in the order of [`BackendId::backend`].
    pub fn backends(&self) -> impl Iterator<Item = Member<'_>> {
        self.pools.iter().flat_map(Pool::backends)
    }

    /// The backend at `place` ([`BackendId::backend`]).
    ///
    /// # Panics
    /// If there is none: a place comes from an event of this service.
    pub fn backend(&self, place: u16) -> Member<'_> {
        self.pool_of(place).at(place)
    }

    pub(crate) fn pool_of(&self, place: u16) -> &Pool {
        &self.pools[usize::from(self.pool_index(place))]
    }

    fn pool_index(&self, place: u16) -> u16 {
        let index = self.pools.partition_point(|pool| pool.end() <= place);
        u16::try_from(index).expect("BACKENDS_MAX fits in 16 bits")
    }

    /// What an operator says: `draining`, the backend at `place` gets nothing new.
    ///
    /// # Panics
    /// If there is no such place.
    pub fn drain(&self, place: u16, draining: bool) {
        let pool = self.pool_of(place);
        let said = |standing: Standing| Some(Standing { draining, ..standing });
        pool.at(place).backend.standing.step(said);
        pool.look_again();
    }

    /// How long each part of an exchange may take.
    pub const fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Retries that the budget would allow at `now`.
    pub fn retries_left(&self, now: Time) -> f64 {
        self.retry.left(now)
    }

    /// The dice of one exchange.
    pub(crate) fn dice(&self, exchange: u64) -> Rng {
        Rng::stream(self.seed ^ (u64::from(self.index) << 48), exchange)
    }

    /// Takes one request from the allowance of whoever asks; how long to wait if there is none left.
    pub(crate) fn admit(&self, facts: &dyn Facts, now: Time) -> Result<(), Duration> {
        let Some(rate) = &self.rate else { return Ok(()) };
        rate.take(rate.keys().of(facts).unwrap_or_default(), now)
    }

    /// Whether a pick at `at` may find somebody outside of `tried`, as far as is known.
    pub(crate) fn may_serve(&self, tried: &Places, at: Time) -> bool {
        self.pools.iter().any(|pool| pool.may_serve(tried, at))
    }

    /// Whether a pick at `at` may find anybody at all.
    pub(crate) fn may_serve_at_all(&self, at: Time) -> bool {
        self.when_all_unfit == WhenAllUnfit::FailOpen || self.may_serve(&Places::NONE, at)
    }

    /// A fit backend that was not tried, from the first pool that has one.
    pub(crate) fn pick_fresh(
        &self,
        tried: &Places,
        draw: &mut Draw<'_>,
        observe: &dyn Observe,
    ) -> Option<(Lease, Choice)> {
        self.pools.iter().zip(0..).find_map(|(pool, index)| {
            let picked = pool.pick(tried, draw, observe)?;
            Some(chosen(picked, index, false))
        })
    }

    /// The backend that was asked last, once more, if nobody speaks against it.
    pub(crate) fn pick_again(
        &self,
        place: u16,
        now: Time,
        observe: &dyn Observe,
    ) -> Option<(Lease, Choice)> {
        let index = self.pool_index(place);
        let picked = self.pools[usize::from(index)].pick_again(place, now, observe)?;
        Some(chosen(picked, index, true))
    }

    /// The backend that the client sticks to, if nobody speaks against it.
    pub(crate) fn pick_known(
        &self,
        place: u16,
        now: Time,
        observe: &dyn Observe,
    ) -> Option<(Lease, Choice)> {
        let index = self.pool_index(place);
        let picked = self.pools[usize::from(index)].pick_known(place, now, observe)?;
        Some(chosen(picked, index, false))
    }

    /// A backend for an attempt: fit and fresh, else fit, else (in panic) whoever is there.
    pub(crate) fn pick(
        &self,
        tried: &Places,
        draw: &mut Draw<'_>,
        observe: &dyn Observe,
    ) -> Option<(Lease, Choice)> {
        let fresh = self.pick_fresh(tried, draw, observe);
        if fresh.is_some() {
            return fresh;
        }
        if !tried.is_empty()
            && let Some((lease, choice)) = self.pick_fresh(&Places::NONE, draw, observe)
        {
            return Some((lease, Choice { again: true, ..choice }));
        }
        match self.when_all_unfit {
            WhenAllUnfit::FailFast => None,
            WhenAllUnfit::FailOpen => self.pick_in_panic(tried, draw),
        }
    }

    /// Pools in order, as without panic: a fallback pool is not struck as long as the first one is
    /// worth a try.
    fn pick_in_panic(&self, tried: &Places, draw: &mut Draw<'_>) -> Option<(Lease, Choice)> {
        [(tried, false), (&Places::NONE, true)].into_iter().find_map(|(tried, again)| {
            self.pools.iter().zip(0..).find_map(|(pool, index)| {
                Some(chosen(pool.pick_in_panic(tried, draw)?, index, again))
            })
        })
    }
}

fn chosen(picked: Picked, pool: u16, again: bool) -> (Lease, Choice) {
    let Picked { lease, how } = picked;
    let role = lease.role();
    (lease, Choice { role, pool, how, again })
}

fn check(config: &ServiceConfig) -> Result<(), Meaningless> {
    let count = |count: u32, max: u32| match count {
        0 => Err(Meaningless::Count(0)),
        _ if count > max => Err(Meaningless::Count(count)),
        _ => Ok(()),
    };
    if config.pools.is_empty() || config.pools.iter().any(|pool| pool.backends.is_empty()) {
        return Err(Meaningless::NoBackend);
    }
    let backends = config.pools.iter().flat_map(|pool| &pool.backends);
    if backends.clone().count() > BACKENDS_MAX {
        return Err(Meaningless::TooManyBackends);
    }
    if let Some(wrong) = backends.map(|said| said.weight).find(|w| !(1..=WEIGHT_MAX).contains(w)) {
        return Err(Meaningless::Weight(wrong));
    }
    // A choice among one is none.
    count(u32::from(config.choices).saturating_sub(1), u32::from(CHOICES_MAX) - 1)?;
    count(config.retry.attempts_max.into(), ATTEMPTS_MAX.into())?;
    count(config.retry.attempts_per_backend.into(), ATTEMPTS_MAX.into())?;
    let BudgetConfig { percent, min_per_second, burst } = config.retry.budget;
    // A budget may be zero.
    count(percent.max(1), BUDGET_PERCENT_MAX)?;
    count(min_per_second.max(1), BUDGET_RETRIES_MAX)?;
    count(burst.max(1), BUDGET_RETRIES_MAX)?;
    if let Some(rate) = &config.rate {
        count(rate.requests, RATE_MAX)?;
        count(rate.burst, RATE_MAX)?;
    }
    if let Some(probe) = &config.probe {
        count(probe.rise.into(), STREAK_MAX.into())?;
        count(probe.fall.into(), STREAK_MAX.into())?;
    }
    if let Some(breaker) = config.breaker {
        count(breaker.consecutive_failures.into(), CONSECUTIVE_FAILURES_MAX.into())?;
        if let Some(rate) = breaker.error_rate {
            count(rate.percent.into(), 100)?;
            count(rate.min_requests.into(), MIN_REQUESTS_MAX.into())?;
        }
        count(breaker.half_open_trials.into(), TRIALS_MAX.into())?;
        count(breaker.half_open_successes.into(), TRIALS_MAX.into())?;
    }
    Ok(())
}
