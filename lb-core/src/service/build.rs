//! How a service is made: anew, or in place of another one.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::gone::{Gone, Known, Numbers};
use super::{Meaningless, Service, check};
use crate::affinity::Affinity;
use crate::area::{Locator, Meant, Regions};
use crate::backend::{Backend, Rules};
use crate::config::{BackendConfig, ServiceConfig, SteeringPolicy};
use crate::event::BackendId;
use crate::key::Keys;
use crate::latency::Latency;
use crate::limit::Limits;
use crate::outlier::{Outliers, Tally};
use crate::pool::Pool;
use crate::probe::Streak;
use crate::rate::Rate;
use crate::retry::Retry;
use crate::standing::Standing;
use crate::steer::Steering;
use crate::time::Time;

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

    /// Whether there can be a service that `config` describes. A successor that was not asked about before, and
    /// is none in the end, may have left its mark on what it shares with the one before.
    ///
    /// # Errors
    /// As [`Service::new`].
    pub fn check(config: &ServiceConfig) -> Result<(), Meaningless> {
        check::check(config)
    }

    /// The service that takes the place of this one: this one, if it is the same that is asked for.
    /// Otherwise what was learned about a backend of the same name lives on, what policies came to, and
    /// what is left of the retry budget. Exchanges that run end at the service that they began at, and
    /// what they show is known to both. Who is new at `now` starts slowly, if anybody does. Who is no
    /// longer in it is remembered for a while: what it holds goes on to be counted, and when it is back what
    /// spoke against it still does.
    ///
    /// # Errors
    /// As [`Service::new`]. This one stays as it is.
    pub fn succeed(
        self: &Arc<Self>,
        config: &ServiceConfig,
        index: u16,
        seed: u64,
        now: Time,
    ) -> Result<Arc<Self>, Meaningless> {
        if (config, index, seed) == (&self.config, self.index, self.seed) {
            return Ok(Arc::clone(self));
        }
        let service = Self::build(config, index, seed, Some((self, now)))?;
        service.pools.iter().for_each(Pool::look_again);
        service.rank_all(now);
        Ok(Arc::new(service))
    }

    fn build(
        config: &ServiceConfig,
        index: u16,
        seed: u64,
        before: Option<(&Self, Time)>,
    ) -> Result<Self, Meaningless> {
        check::check(config)?;
        let since = before.and_then(|(service, now)| service.has_anybody().then_some(now));
        let now = before.map_or(Time::ZERO, |(_, now)| now);
        let before = before.map(|(service, _)| service);
        let limits = Limits::new(&config.limits, seed, before.map(|service| &service.limits));
        let rules = Rules::new(config, &limits, before.map(|service| &service.rules));
        let known = before.map(|service| Known::of(service, now)).unwrap_or_default();
        let mut numbers = Numbers::beside(&known, before.map_or(0, |service| service.next_number));
        let mut backend = |said: &BackendConfig| {
            let backend = known.here(&said.name).cloned().unwrap_or_else(|| {
                let gone = known.gone(&said.name);
                let new = || Arc::new(Backend::new(&said.name, numbers.take()));
                let backend = gone.map_or_else(new, |gone| Arc::clone(gone.backend()));
                gone.iter().for_each(|gone| welcome(gone, config, now));
                greet(&backend, config, since, &rules);
                backend
            });
            place(&backend, said, config);
            backend
        };
        let all = || config.pools.iter().flat_map(|pool| &pool.backends);
        let regions = Regions::new(all().filter_map(|said| said.region.as_deref()));
        let mut first = BackendId { service: index, backend: 0 };
        let mut pools = Vec::with_capacity(config.pools.len());
        for pool in &config.pools {
            let backends: Vec<_> = pool.backends.iter().map(&mut backend).collect();
            let before = before.and_then(|service| service.pool_named(&pool.name));
            let rules = rules.of_pool(config, before.map(Pool::rules));
            pools.push(Pool::new(config, pool, first, &rules, &regions, &backends, before));
            first.backend = pools.last().map_or(0, Pool::end);
        }
        let members = pools.iter().flat_map(Pool::backends).map(|member| &**member.backend);
        let affinity = config.affinity.as_ref().map(|affinity| {
            let known = before.and_then(|service| service.affinity.as_ref());
            Affinity::new(affinity, &config.name, members, seed, known)
        });
        Ok(Self {
            index,
            seed,
            steering: steering(config, before),
            locator: locator(config, regions),
            rules,
            keys: Keys::new(config.policy, &config.hash.sources),
            affinity,
            pools: pools.into(),
            rate: rate(config, seed, before.map(|service| (service, now))),
            limits,
            outliers: config.outliers.map(|outliers| {
                let known = before.and_then(|service| service.outliers.as_ref());
                known.map_or_else(|| Outliers::new(outliers, now), |it| it.succeed(outliers, now))
            }),
            retry: match before {
                Some(service) => service.retry.succeed(config.retry.clone()),
                None => Retry::new(config.retry.clone()),
            },
            next_number: numbers.next(),
            gone: left(known.without(all().map(|said| said.name.as_str()), now), config),
            config: config.clone(),
        })
    }

    /// Whether it has a backend. Where there is nobody, whoever comes is not spared for being new.
    fn has_anybody(&self) -> bool {
        self.backends().next().is_some()
    }
}

/// Somebody is back: how soon it answered says nothing any more, nor how often it did in an interval that is over.
fn welcome(gone: &Gone, config: &ServiceConfig, now: Time) {
    let backend = gone.backend();
    backend.rtt.step(|_| Some(Latency::default()));
    backend.latency.step(|_| Some(Latency::default()));
    if config.outliers.is_some_and(|outliers| gone.was_away(now, outliers.interval)) {
        backend.tally.step(|_| Some(Tally::default()));
    }
}

/// Those who left. Where nobody is checked any more, nobody stays ill.
fn left(all: Box<[Gone]>, config: &ServiceConfig) -> Box<[Gone]> {
    for gone in all.iter().filter(|_| config.probe.is_none()) {
        gone.backend()
            .standing
            .step(|it| it.unhealthy.then_some(Standing { unhealthy: false, ..it }));
    }
    all
}

/// Somebody is new, or back: nothing speaks for it that was before.
fn greet(backend: &Backend, config: &ServiceConfig, since: Option<Time>, rules: &Rules) {
    let distrusted = config.probe.as_ref().is_some_and(|probe| probe.distrusts);
    backend.streak.step(|_| Some(Streak::default()));
    backend.standing.step(|standing| {
        let unhealthy = standing.unhealthy || distrusted;
        Some(Standing { unhealthy, ..standing })
    });
    since.iter().for_each(|now| backend.cool(*now, rules));
}

/// What is said of a backend that is in the service.
fn place(backend: &Backend, said: &BackendConfig, config: &ServiceConfig) {
    backend.standing.step(|standing| {
        // Nobody would ever say again that it is healthy.
        let unhealthy = standing.unhealthy && config.probe.is_some();
        Some(Standing { draining: said.draining, unhealthy, ..standing })
    });
}

/// What clients may ask, if that is limited, where there was a service before.
fn rate(config: &ServiceConfig, seed: u64, before: Option<(&Service, Time)>) -> Option<Rate> {
    let known = before.and_then(|(service, now)| Some((service.rate.as_ref()?, now)));
    config.rate.as_ref().map(|rate| Rate::new(rate, seed, known))
}

/// How pools are chosen among; the one that was fastest still is, wherever it stands, unless it is now the one that
/// none is chosen for.
fn steering(config: &ServiceConfig, before: Option<&Service>) -> Steering {
    let steering = Steering::new(config);
    let fastest = before.and_then(|service| {
        let name = service.pools[service.steering.fastest()?].name();
        config.pools.iter().position(|pool| pool.name == name)
    });
    let first = || (0..config.pools.len()).find(|pool| steering.steers(*pool));
    let fastest = fastest.filter(|pool| steering.steers(*pool)).or_else(first);
    fastest.into_iter().for_each(|pool| steering.set_fastest(pool));
    steering
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
