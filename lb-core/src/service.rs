//! What a host name is served by: pools in order of preference, and the policies over them.

mod build;
mod check;
mod gone;
mod pick;

use alloc::boxed::Box;
use core::time::Duration;

use crate::affinity::Affinity;
use crate::area::Locator;
use crate::backend::{Member, Rules};
use crate::config::{ServiceConfig, Timeouts};
use crate::event::Observe;
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
use gone::Gone;

pub use check::Meaningless;
pub use gone::GONE_FOR;

/// One service, shared by all threads. Build it from a [`ServiceConfig`], then start exchanges.
#[derive(Debug)]
pub struct Service {
    pub(crate) config: ServiceConfig,
    index: u16,
    seed: u64,
    pools: Box<[Pool]>,
    pub(crate) steering: Steering,
    pub(crate) locator: Option<Locator>,
    pub(crate) rules: Rules,
    pub(crate) keys: Option<Keys>,
    pub(crate) affinity: Option<Affinity>,
    rate: Option<Rate>,
    pub(crate) limits: Limits,
    outliers: Option<Outliers>,
    pub(crate) retry: Retry,
    /// Who was in it and may be back.
    gone: Box<[Gone]>,
    /// Where the numbers of newcomers begin.
    next_number: u16,
}

impl Service {
    /// Its name, unique in its configuration.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Its place in its configuration.
    pub const fn index(&self) -> u16 {
        self.index
    }

    /// Its pools in order of preference.
    pub fn pools(&self) -> &[Pool] {
        &self.pools
    }

    /// Its backends over all pools, in the order of [`BackendId::backend`](crate::BackendId::backend).
    pub fn backends(&self) -> impl Iterator<Item = Member<'_>> {
        self.pools.iter().flat_map(Pool::backends)
    }

    /// The backend at `place` ([`BackendId::backend`](crate::BackendId::backend)).
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
        &self.config.timeouts
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
