//! The health checks of a service, for whoever carries them out.

use core::time::Duration;

use crate::balance::is_sooner;
use crate::config::LatencyConfig;
use crate::config::ProbeConfig;
use crate::event::{Event, Observe};
use crate::input::Input;
use crate::pool::Pool;
use crate::probe::{Checked, Streak, Then, judge, wait};
use crate::rng::Rng;
use crate::service::Service;
use crate::standing::Standing;
use crate::time::Time;

/// How much sooner checks come of a backend that is not trusted yet, and was well in all so far: nobody waits
/// for an interval at a start, and one that has failed rises as slowly as was asked for.
const HASTE: u32 = 10;
/// And at least this often.
const HASTE_PAUSE_MAX: Duration = Duration::from_secs(1);

impl Service {
    /// How backends are asked how they are, if they are.
    pub const fn probe(&self) -> Option<&ProbeConfig> {
        self.config.probe.as_ref()
    }

    /// When the first check of the backend at `place` begins, which is known since then; `None`: there are
    /// no checks.
    pub fn first_check(&self, place: u16, since: Time) -> Option<Time> {
        let wait = wait(self.probe()?, 0, Streak::default(), &mut self.check_dice(place, 0));
        // Who goes by what checks find, or trusts nobody before, has nothing to go by before the first.
        let at_once = self.goes_by_checks() || self.probe()?.distrusts;
        Some(if at_once { since } else { since + wait })
    }

    /// What a check of the backend at `place` asks for first.
    pub fn check_path(&self, place: u16) -> Option<&str> {
        Some(self.backend(place).backend.streak.get().path(self.probe()?))
    }

    /// Takes into account what a check of the backend at `place` found.
    ///
    /// # Panics
    /// If the service has no checks: then nobody carried one out.
    pub fn checked(&self, place: u16, checked: Checked, now: Time, observe: &dyn Observe) -> Then {
        let config = self.probe().expect("a check was asked for");
        let backend = self.backend(place).id();
        observe.hears(now, Input::Checked { backend, checked });
        let Checked { round, began, took, found } = checked;
        let pool = self.pool_of(place);
        let member = pool.at(place);
        // One driver carries out the checks: nobody steps in between.
        let before = member.backend.streak.get();
        let (next, ask) = before.answered(found, config);
        member.backend.streak.step(|_| Some(next));
        if let Some(path) = ask {
            return Then::Ask(path);
        }
        // Checks saw it fail, and see it well: there is nothing left to wait for. Trials still decide.
        if before.fails() && !next.fails() {
            let hastened = member.backend.breaker.step(|breaker| breaker.hasten(now));
            if hastened.is_some() {
                pool.look_again();
                observe.on(now, &Event::Hastened { backend: member.id() });
            }
        }
        if self.goes_by_checks() {
            let latency =
                LatencyConfig { half_life: config.interval, failure_penalty: config.timeout };
            let took = if judge(found, config) { took } else { took.max(config.timeout) };
            member.backend.rtt.step(|rtt| Some(rtt.observe(took, now, &latency)));
        }
        let moved = member.backend.standing.step(|standing| {
            let unhealthy = next.moves(standing.unhealthy, config)?;
            Some(Standing { unhealthy, ..standing })
        });
        if let Some((_, entered)) = moved {
            pool.look_again();
            let healthy = !entered.unhealthy;
            if healthy {
                member.backend.cool(now, member.rules);
            }
            observe.on(now, &Event::HealthMoved { backend: member.id(), healthy });
        }
        if self.goes_by_checks() {
            self.rank(pool, now);
        }
        let mut dice = self.check_dice(place, round + 1);
        let mut pause = wait(config, round + 1, next, &mut dice);
        if config.distrusts && next.is_rising_since_the_first(round, config) {
            pause = (pause / HASTE).min(HASTE_PAUSE_MAX);
        }
        Then::Wait((began + pause).max(now))
    }

    /// Whether a choice goes by how long backends take to answer checks.
    fn goes_by_checks(&self) -> bool {
        self.rules.ranks
    }

    /// A check of a backend in `pool` has ended: works out anew who answers soonest.
    fn rank(&self, pool: &Pool, now: Time) {
        pool.rank(now);
        let Some(fastest) = self.steering.fastest() else { return };
        let pools = self.pools();
        let others = (0..pools.len()).filter(|nth| self.steering.steers(*nth));
        let mean = |nth: usize| pools[nth].mean_rtt();
        let best = others.min_by_key(|nth| mean(*nth).unwrap_or(u64::MAX));
        let Some(best) = best else { return };
        if is_sooner(mean(best), mean(fastest), self.config.switch_margin) {
            self.steering.set_fastest(best);
        }
    }

    /// Works out who answers checks soonest from what is known, where anybody asks for it.
    pub(crate) fn rank_all(&self, now: Time) {
        if self.goes_by_checks() {
            self.pools().iter().for_each(|pool| self.rank(pool, now));
        }
    }

    fn check_dice(&self, place: u16, round: u64) -> Rng {
        self.dice((1 << 63) | (u64::from(place) << 40) | (round & ((1 << 40) - 1)))
    }
}
