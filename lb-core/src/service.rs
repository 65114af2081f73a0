//! What a host name is served by: pools in order of preference, and the policies over them.

mod check;
mod pick;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::affinity::Affinity;
use crate::area::{Locator, Meant, Regions};
use crate::backend::{Backend, Member, Rules};
use crate::config::{
    BackendConfig, ProbeConfig, ServiceConfig, SteeringPolicy, Timeouts, WhenAllUnfit,
};
use crate::event::{BackendId, Observe};
use crate::facts::Facts;
use crate::key::Keys;
use crate::lease::Lease;
use crate::limit::Limits;
use crate::outlier::Outliers;
use crate::pool::Pool;
use crate::rate::{Allowance, Rate};
use crate::retry::Retry;
use crate::rng::Rng;
use crate::standing::Standing;
use crate::steer::Steering;
use crate::time::Time;

pub use check::Meaningless;

/// One service, shared by all threads. Build it from a [`ServiceConfig`], then start exchanges.
#[derive(Debug)]
pub struct Service {
    name: Box<str>,
    index: u16,
    seed: u64,
    pools: Box<[Pool]>,
    pub(crate) steering: Steering,
    pub(crate) locator: Option<Locator>,
    when_all_unfit: WhenAllUnfit,
    panic_below: u32,
    pub(crate) switch_margin: u8,
    timeouts: Timeouts,
    pub(crate) rules: Rules,
    pub(crate) keys: Option<Keys>,
    pub(crate) affinity: Option<Affinity>,
    pub(crate) probe: Option<ProbeConfig>,
    rate: Option<Rate>,
    pub(crate) limits: Limits,
    outliers: Option<Outliers>,
    pub(crate) retry: Retry,
}

impl Service {
    /// Builds the service that `config` describes, the `index`-th of its configuration. All chance
    /// in it comes from `seed`.
    ///
    /// # Errors
    /// [`Meaningless`] when the configuration has no pool, or a number outside its bounds. A pool
    /// may be empty: its backends may be yet to be found.
    pub fn new(config: &ServiceConfig, index: u16, seed: u64) -> Result<Self, Meaningless> {
        Self::build(config, index, seed, None)
    }

    /// Builds the service that takes the place of this one: what was learned about a backend of the
    /// same name lives on, and so does what is left of the retry budget. Exchanges that run end at
    /// the service that they began at, and what they show is known to both. Who is new at `now` starts
    /// slowly, if anybody does.
    ///
    /// # Errors
    /// As [`Service::new`]. This one stays as it is.
    pub fn succeed(
        &self,
        config: &ServiceConfig,
        index: u16,
        seed: u64,
        now: Time,
    ) -> Result<Self, Meaningless> {
        Self::build(config, index, seed, Some((self, now)))
    }

    fn build(
        config: &ServiceConfig,
        index: u16,
        seed: u64,
        before: Option<(&Self, Time)>,
    ) -> Result<Self, Meaningless> {
        check::check(config)?;
        let since = before.and_then(|(service, now)| service.has_anybody().then_some(now));
        let before = before.map(|(service, _)| service);
        let known: BTreeMap<&str, &Arc<Backend>> = before
            .iter()
            .flat_map(|service| service.backends())
            .map(|member| (member.backend.name(), member.backend))
            .collect();
        let limits = Limits::new(&config.limits, seed, before.map(|service| &service.limits));
        let rules = Rules::new(config, &limits, before.map(|service| &service.rules));
        let backend = |said: &BackendConfig| {
            let backend = match known.get(said.name.as_str()) {
                Some(backend) => Arc::clone(backend),
                None => {
                    let backend = Backend::new(&said.name);
                    let unhealthy = config.probe.as_ref().is_some_and(|probe| probe.distrusts);
                    backend.standing.step(|standing| Some(Standing { unhealthy, ..standing }));
                    since.iter().for_each(|now| backend.cool(*now, &rules));
                    Arc::new(backend)
                }
            };
            // Nobody would ever say again that it is healthy.
            let unchecked = config.probe.is_none();
            backend.standing.step(|standing| {
                let unhealthy = standing.unhealthy && !unchecked;
                Some(Standing { draining: said.draining, unhealthy, ..standing })
            });
            backend
        };
        let all = || config.pools.iter().flat_map(|pool| &pool.backends);
        let regions = Regions::new(all().filter_map(|said| said.region.as_deref()));
        let mut first = BackendId { service: index, backend: 0 };
        let mut pools = Vec::with_capacity(config.pools.len());
        for pool in &config.pools {
            let backends: Box<[_]> = pool.backends.iter().map(backend).collect();
            let known = before.and_then(|service| service.pool_named(&pool.name));
            let rules = rules.of_pool(config, known.map(Pool::rules));
            pools.push(Pool::new(config, pool, first, &rules, &regions, &backends));
            first.backend = pools.last().map_or(0, Pool::end);
        }
        Ok(Self {
            name: config.name.as_str().into(),
            index,
            seed,
            pools: pools.into(),
            steering: Steering::new(config),
            locator: locator(config, regions),
            when_all_unfit: config.when_all_unfit,
            panic_below: config.panic_below.into(),
            switch_margin: config.switch_margin,
            timeouts: config.timeouts,
            rules,
            keys: Keys::new(config.policy, &config.hash.sources),
            affinity: config.affinity.as_ref().map(|affinity| {
                let names = || all().map(|said| said.name.as_str());
                let known = before.and_then(|service| service.affinity.as_ref());
                let moved = |place: u16| {
                    let name = before?.backends().nth(place.into())?.name();
                    u16::try_from(names().position(|other| other == name)?).ok()
                };
                Affinity::new(affinity, &config.name, names(), seed, known, moved)
            }),
            probe: config.probe.clone(),
            rate: rate(config, seed, before.zip(since)),
            limits,
            outliers: config.outliers.map(Outliers::new),
            retry: match before {
                Some(service) => service.retry.succeed(config.retry.clone()),
                None => Retry::new(config.retry.clone()),
            },
        })
    }

    /// Whether it has a backend. Where there is nobody, whoever comes is not spared for being new.
    fn has_anybody(&self) -> bool {
        self.backends().next().is_some()
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
        &self.pools[self.pool_index(place)]
    }

    fn pool_named(&self, name: &str) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.name() == name)
    }

    /// Whether clients may stick to the backend at `place`: to nobody who is asked only while no other can
    /// serve.
    pub(crate) fn binds(&self, place: u16) -> bool {
        self.steering.fallback() != Some(self.pool_index(place))
    }

    fn pool_index(&self, place: u16) -> usize {
        self.pools.partition_point(|pool| pool.end() <= place)
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

    /// Judges what an attempt showed; where a choice goes by how many backends are fit, a breaker
    /// that moves has them counted anew.
    pub(crate) fn judge(&self, lease: &mut Lease, judge: impl FnOnce(&mut Lease)) {
        if !self.steering.counts() {
            return judge(lease);
        }
        let state = |lease: &Lease| lease.backend().breaker.get().state();
        let before = state(lease);
        judge(lease);
        if state(lease) != before {
            self.pool_of(lease.id().backend).look_again();
        }
    }

    /// Compares backends, if that is due.
    pub(crate) fn compare(&self, now: Time, observe: &dyn Observe) {
        let due = self.outliers.as_ref().filter(|outliers| outliers.is_due(now));
        for (outliers, pool) in
            due.iter().flat_map(|it| self.pools.iter().map(move |pool| (it, pool)))
        {
            pool.compare(outliers, now, observe);
        }
    }

    /// How long each part of an exchange may take.
    pub const fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Retries that the budget would allow at `now`.
    pub fn retries_left(&self, now: Time) -> f64 {
        self.retry.left(now)
    }

    /// Exchanges in flight, where that is limited.
    pub fn running(&self) -> u32 {
        self.limits.running()
    }

    /// Exchanges that may be in flight, if that is limited.
    pub fn running_max(&self) -> Option<u32> {
        self.limits.most()
    }

    /// Exchanges that wait for a place.
    pub fn waiting(&self) -> u32 {
        self.limits.waiting()
    }

    /// Whether whoever waits longest would find a place now, as far as the service goes.
    pub fn has_room(&self) -> bool {
        self.limits.most().is_none_or(|most| self.limits.running() < most)
    }

    /// Who asks, as far as the service tells clients apart: by what it makes them stick, or else by what its
    /// policy chooses. `None`: it does neither, or the request has nothing of it.
    pub fn key_of(&self, facts: &dyn Facts) -> Option<u64> {
        let stuck = self.affinity.as_ref().and_then(|affinity| affinity.key_of(facts));
        stuck.or_else(|| self.keys.as_ref()?.of(facts))
    }

    /// The dice of one exchange.
    pub(crate) fn dice(&self, exchange: u64) -> Rng {
        Rng::stream(self.seed ^ (u64::from(self.index) << 48), exchange)
    }

    /// Takes one request from the allowance of whoever asks; how long to wait if there is none left.
    pub(crate) fn admit(
        &self,
        facts: &dyn Facts,
        now: Time,
    ) -> Result<Option<Allowance>, Duration> {
        let Some(rate) = &self.rate else { return Ok(None) };
        rate.take(rate.keys().of(facts).unwrap_or_default(), now).map(Some)
    }
}

/// What clients may ask, if that is limited, where there was a service before.
fn rate(config: &ServiceConfig, seed: u64, before: Option<(&Service, Time)>) -> Option<Rate> {
    let known = before.and_then(|(service, now)| Some((service.rate.as_ref()?, now)));
    config.rate.as_ref().map(|rate| Rate::new(rate, seed, known))
}

/// Where clients are, if anybody asks.
fn locator(config: &ServiceConfig, regions: Regions) -> Option<Locator> {
    let steering = &config.steering;
    let by_area = matches!(steering.policy, SteeringPolicy::Geo | SteeringPolicy::Proximity);
    let meant = config.pools.iter().map(|pool| Meant {
        countries: pool.countries.clone().into(),
        regions: pool.regions.clone().into(),
    });
    (by_area || regions.count() > 0).then(|| Locator::new(steering, regions, meant.collect()))
}
