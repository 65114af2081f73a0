//! Which backend an attempt goes to: the pool that steering names, and what is done when none can.

use crate::balance::{Draw, How};
use crate::config::WhenAllUnfit;
use crate::event::{Choice, Observe};
use crate::group::Picked;
use crate::lease::Lease;
use crate::pool::Pool;
use crate::service::Service;
use crate::steer::{PoolSet, Steered, capacity};
use crate::time::Time;
use crate::tried::Places;

impl Service {
    /// Whether a pick at `at` may find somebody outside of `tried`, as far as is known.
    pub(crate) fn may_serve(&self, tried: &Places, at: Time) -> bool {
        self.pools.iter().any(|pool| pool.may_serve(tried, at))
    }

    /// Whether a pick at `at` may find anybody at all.
    pub(crate) fn may_serve_at_all(&self, at: Time) -> bool {
        let may_panic = match self.config.when_all_unfit {
            WhenAllUnfit::FailOpen | WhenAllUnfit::Reset => true,
            WhenAllUnfit::FailFast | WhenAllUnfit::FallbackPool(_) => false,
            WhenAllUnfit::AskAnswering => self.backends().any(|member| member.backend.answers(at)),
        };
        may_panic || self.may_serve(&Places::NONE, at)
    }

    /// Whether somebody would be asked at `now` if there were not so much in flight.
    pub(crate) fn is_full(&self, now: Time) -> bool {
        self.rules.in_flight_max().is_some() && self.pools().iter().any(|pool| pool.is_full(now))
    }

    /// A fit backend that was not tried, from the first pool that has one.
    pub(crate) fn pick_fresh(
        &self,
        tried: &Places,
        draw: &mut Draw<'_>,
        observe: &dyn Observe,
    ) -> Option<(Lease, Choice)> {
        let mut asked = PoolSet::default();
        while let Some((pool, steered)) = self.steering.next(&self.pools, asked, draw) {
            asked.add(pool);
            let picked = match self.panics(pool) {
                true => self.pools[pool].pick_in_panic(tried, draw),
                false => self.pools[pool].pick(tried, draw, observe),
            };
            if let Some(picked) = picked {
                return Some(chosen(picked, pool, steered));
            }
        }
        let fallback = self.steering.fallback()?;
        let picked = self.pools[fallback].pick(tried, draw, observe)?;
        Some(chosen(picked, fallback, Steered::Fallback))
    }

    /// Whether so few backends of a pool are fit that all of it is balanced over.
    fn panics(&self, pool: usize) -> bool {
        if self.config.panic_below == 0 || self.config.when_all_unfit != WhenAllUnfit::FailOpen {
            return false;
        }
        let (fit, count) = (self.pools[pool].fit_count(), self.pools[pool].count());
        capacity(fit, count, 100) < u32::from(self.config.panic_below)
            && !self.steering.is_carried(&self.pools)
    }

    /// The backend that was asked last, once more, if nobody speaks against it.
    pub(crate) fn pick_again(
        &self,
        place: u16,
        now: Time,
        observe: &dyn Observe,
    ) -> Option<(Lease, Choice)> {
        let pool = self.pool_index(place);
        let picked = self.pools[pool].pick_again(place, now, observe)?;
        let (lease, choice) = chosen(picked, pool, Steered::Backend);
        Some((lease, Choice { again: true, ..choice }))
    }

    /// The backend that the client sticks to, if nobody speaks against it.
    pub(crate) fn pick_known(
        &self,
        place: u16,
        now: Time,
        observe: &dyn Observe,
    ) -> Option<(Lease, Choice)> {
        let pool = self.pool_index(place);
        let picked = self.pools[pool].pick_known(place, now, observe)?;
        Some(chosen(picked, pool, Steered::Backend))
    }

    /// A backend for an attempt: fit and fresh, else fit, else whatever is done in panic.
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
        match self.config.when_all_unfit {
            WhenAllUnfit::FailFast | WhenAllUnfit::FallbackPool(_) => None,
            WhenAllUnfit::FailOpen => self.pick_in_order(tried, draw, Pool::pick_in_panic),
            WhenAllUnfit::AskAnswering => self.pick_in_order(tried, draw, Pool::pick_answering),
            WhenAllUnfit::Reset => self.pick_after_reset(tried, draw.now, observe),
        }
    }

    /// Pools in order, as without panic: a fallback pool is not struck as long as the first one is
    /// worth a try.
    fn pick_in_order(
        &self,
        tried: &Places,
        draw: &mut Draw<'_>,
        pick: impl Fn(&Pool, &Places, &mut Draw<'_>) -> Option<Picked>,
    ) -> Option<(Lease, Choice)> {
        [(tried, false), (&Places::NONE, true)].into_iter().find_map(|(tried, again)| {
            self.pools.iter().enumerate().find_map(|(pool, of)| {
                let (lease, choice) = chosen(pick(of, tried, draw)?, pool, Steered::Order);
                Some((lease, Choice { again, ..choice }))
            })
        })
    }

    /// Forgets what speaks against backends, and asks the first of those that were not tried.
    #[cold]
    fn pick_after_reset(
        &self,
        tried: &Places,
        now: Time,
        observe: &dyn Observe,
    ) -> Option<(Lease, Choice)> {
        for member in self.backends() {
            member.forget(now, observe);
        }
        self.pools.iter().for_each(Pool::look_again);
        let places = || self.backends().map(|member| member.id().backend);
        let first = |skip: &Places, again| {
            places().filter(|place| !skip.contains(*place)).find_map(|place| {
                let (lease, choice) = self.pick_again(place, now, observe)?;
                Some((lease, Choice { how: How::First, again, ..choice }))
            })
        };
        first(tried, false).or_else(|| first(&Places::NONE, true))
    }
}

fn chosen(picked: Picked, pool: usize, steered: Steered) -> (Lease, Choice) {
    let Picked { lease, how } = picked;
    let pool = u16::try_from(pool).expect("POOLS_MAX fits in 16 bits");
    let role = lease.role();
    (lease, Choice { role, pool, steered, how, again: false, hedge: false })
}
