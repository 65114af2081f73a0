//! The health checks of a service, for whoever carries them out.

use crate::config::ProbeConfig;
use crate::event::{Event, Observe};
use crate::probe::{Found, Then, wait};
use crate::rng::Rng;
use crate::service::Service;
use crate::standing::Standing;
use crate::time::Time;

impl Service {
    /// How backends are asked how they are, if they are.
    pub const fn probe(&self) -> Option<&ProbeConfig> {
        self.probe.as_ref()
    }

    /// When the first check of the backend at `place` begins; `None`: there are no checks.
    pub fn first_check(&self, place: u16) -> Option<Time> {
        let wait = wait(self.probe()?, 0, &mut self.check_dice(place, 0));
        Some(Time::ZERO + wait)
    }

    /// What a check of the backend at `place` asks for first.
    pub fn check_path(&self, place: u16) -> Option<&str> {
        Some(self.backend(place).backend.streak.get().path(self.probe()?))
    }

    /// Takes into account what a check found that began at `began`, the `round`-th of this backend.
    ///
    /// # Panics
    /// If the service has no checks: then nobody carried one out.
    pub fn checked(
        &self,
        place: u16,
        round: u64,
        began: Time,
        found: Found,
        now: Time,
        observe: &dyn Observe,
    ) -> Then {
        let config = self.probe().expect("a check was asked for");
        let pool = self.pool_of(place);
        let member = pool.at(place);
        // One driver carries out the checks: nobody steps in between.
        let (next, ask) = member.backend.streak.get().answered(found, config);
        member.backend.streak.step(|_| Some(next));
        if let Some(path) = ask {
            return Then::Ask(path);
        }
        let moved = member.backend.standing.step(|standing| {
            let unhealthy = next.moves(standing.unhealthy, config)?;
            Some(Standing { unhealthy, ..standing })
        });
        if let Some((_, entered)) = moved {
            pool.look_again();
            let healthy = !entered.unhealthy;
            observe.on(now, &Event::HealthMoved { backend: member.id(), healthy });
        }
        Then::Wait(
            (began + wait(config, round + 1, &mut self.check_dice(place, round + 1))).max(now),
        )
    }

    fn check_dice(&self, place: u16, round: u64) -> Rng {
        self.dice((1 << 63) | (u64::from(place) << 40) | (round & ((1 << 40) - 1)))
    }
}
