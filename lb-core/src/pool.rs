//! A group of backends: who is fit, who may be chosen now, and the lease of the one chosen.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;

use crate::backend::{Backend, Member, Rules};
use crate::balance::{Balancer, Candidates, Draw, Drawn, How};
use crate::breaker::Declined;
use crate::event::{BackendId, Observe};
use crate::fitness::Fitness;
use crate::lease::Lease;
use crate::time::Time;
use crate::tried::Places;

/// Some of a service's backends, balanced by one policy.
#[derive(Debug)]
pub struct Pool {
    name: Box<str>,
    service: u16,
    /// The place of the first one in the service.
    first: u16,
    rules: Rules,
    backends: Box<[Arc<Backend>]>,
    fitness: Fitness,
    balancer: Balancer,
}

/// A backend that was chosen, and the lease on it.
#[derive(Debug)]
pub(crate) struct Picked {
    pub(crate) lease: Lease,
    pub(crate) how: How,
}

/// The longest that a backend is left out without another look at it.
const REST_MAX: Duration = Duration::from_secs(1);
/// Draws that breakers may decline before the pool asks them first.
const DECLINES_MAX: usize = 8;

impl Pool {
    pub(crate) fn new(
        name: &str,
        first: BackendId,
        rules: Rules,
        backends: Box<[Arc<Backend>]>,
        balancer: Balancer,
    ) -> Self {
        let BackendId { service, backend: first } = first;
        let fitness = Fitness::all(backends.len());
        Self { name: name.into(), service, first, rules, backends, fitness, balancer }
    }

    /// Its name, unique in its service.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its backends in order.
    pub fn backends(&self) -> impl Iterator<Item = Member<'_>> {
        (self.first..self.end()).map(|place| self.at(place))
    }

    /// The place in the service behind its last backend.
    pub(crate) fn end(&self) -> u16 {
        self.first + small(self.backends.len())
    }

    /// The backend at a place in the service that lies within this pool.
    pub(crate) fn at(&self, place: u16) -> Member<'_> {
        let backend = &self.backends[usize::from(place - self.first)];
        let id = BackendId { service: self.service, backend: place };
        Member { id, backend, rules: &self.rules }
    }

    /// How many backends may be chosen as a matter of course, as far as is known.
    pub fn fit_count(&self) -> usize {
        self.fitness.fit_count()
    }

    /// Has the next pick look at every backend that rests: somebody spoke for one.
    pub(crate) fn look_again(&self) {
        self.fitness.look_again();
    }

    /// Whether a pick at `at` may find somebody outside of `tried`, as far as is known.
    pub(crate) fn may_serve(&self, tried: &Places, at: Time) -> bool {
        let among = Asked { fit: Fit { pool: self, left_out: tried }, now: at };
        among.first_from(0).is_some() || self.fitness.due() <= at
    }

    /// Chooses among the fit that are not in `tried`, and takes the lease.
    pub(crate) fn pick(
        &self,
        tried: &Places,
        draw: &mut Draw<'_>,
        observe: &dyn Observe,
    ) -> Option<Picked> {
        let now = draw.now;
        self.fitness.refresh(now, |place| self.backends[place].rests_until(now, &self.rules));
        let mut left_out = *tried;
        for _ in 0..DECLINES_MAX {
            let among = Fit { pool: self, left_out: &left_out };
            let Drawn { place, how } = self.balancer.choose(&among, draw)?;
            match self.lease(place, now, observe) {
                Ok(lease) => return Some(Picked { lease, how: self.in_service(how) }),
                // Somebody may speak for it while its bit is being cleared, and nobody would hear.
                Err(Declined::Until(due)) => self.fitness.rest(place, due.min(now + REST_MAX)),
                Err(Declined::TrialsTaken) => {
                    if !left_out.add(self.first + small(place)) {
                        break;
                    }
                }
            }
        }
        self.pick_asked(tried, draw, observe)
    }

    fn lease(&self, place: usize, now: Time, observe: &dyn Observe) -> Result<Lease, Declined> {
        Lease::take(&self.backends[place], self.id(place), &self.rules, now, observe)
    }

    fn id(&self, place: usize) -> BackendId {
        BackendId { service: self.service, backend: self.first + small(place) }
    }

    /// Takes a lease on the backend at a place in the service, if nobody speaks against it.
    pub(crate) fn pick_again(
        &self,
        place: u16,
        now: Time,
        observe: &dyn Observe,
    ) -> Option<Picked> {
        let lease = self.lease(usize::from(place - self.first), now, observe).ok()?;
        Some(Picked { lease, how: How::Same })
    }

    /// The same for a client that the backend knows.
    pub(crate) fn pick_known(
        &self,
        place: u16,
        now: Time,
        observe: &dyn Observe,
    ) -> Option<Picked> {
        let Member { id, backend, rules } = self.at(place);
        let lease = Lease::take_for_its_client(backend, id, rules, now, observe).ok()?;
        Some(Picked { lease, how: How::Session })
    }

    /// Many breakers declined in a row: asks them before it draws, so that those who would let the
    /// request through have their shares of it.
    #[cold]
    fn pick_asked(
        &self,
        tried: &Places,
        draw: &mut Draw<'_>,
        observe: &dyn Observe,
    ) -> Option<Picked> {
        let now = draw.now;
        let among = Asked { fit: Fit { pool: self, left_out: tried }, now };
        // Only another thread that takes the last place in between makes this go round.
        (0..DECLINES_MAX).map_while(|_| self.balancer.choose(&among, draw)).find_map(|drawn| {
            let lease = self.lease(drawn.place, now, observe).ok()?;
            Some(Picked { lease, how: self.in_service(drawn.how) })
        })
    }

    /// Chooses among all that are not in `tried`, fit or not, and asks no breaker.
    pub(crate) fn pick_in_panic(&self, tried: &Places, draw: &mut Draw<'_>) -> Option<Picked> {
        let Drawn { place, how } =
            self.balancer.choose(&All { pool: self, left_out: tried }, draw)?;
        let lease = Lease::take_in_panic(&self.backends[place], self.id(place), &self.rules);
        Some(Picked { lease, how: self.in_service(how) })
    }

    /// A draw speaks of places in the pool; everybody else of places in the service.
    const fn in_service(&self, how: How) -> How {
        match how {
            How::LessLoaded { in_flight, than, than_in_flight } => {
                How::LessLoaded { in_flight, than: self.first + than, than_in_flight }
            }
            How::Sooner { micros, than, than_micros } => {
                How::Sooner { micros, than: self.first + than, than_micros }
            }
            how => how,
        }
    }
}

/// The fit backends of a pool, but for some.
struct Fit<'p> {
    pool: &'p Pool,
    left_out: &'p Places,
}

impl Candidates for Fit<'_> {
    fn admits(&self, place: usize) -> bool {
        self.pool.fitness.is_fit(place) && !self.left_out.contains(self.pool.first + small(place))
    }

    fn first_from(&self, from: usize) -> Option<usize> {
        self.pool
            .fitness
            .first_from(from, |place| !self.left_out.contains(self.pool.first + small(place)))
    }

    fn backend(&self, place: usize) -> &Backend {
        &self.pool.backends[place]
    }

    fn in_flight_of_all(&self) -> u32 {
        self.pool.rules.in_flight_of_all()
    }
}

/// The fit backends whose breakers would let a request through now.
struct Asked<'p> {
    fit: Fit<'p>,
    now: Time,
}

impl Candidates for Asked<'_> {
    fn admits(&self, place: usize) -> bool {
        self.fit.admits(place)
            && self.fit.pool.backends[place].would_admit(self.now, &self.fit.pool.rules)
    }

    fn first_from(&self, from: usize) -> Option<usize> {
        self.fit.pool.fitness.first_from(from, |place| self.admits(place))
    }

    fn backend(&self, place: usize) -> &Backend {
        self.fit.backend(place)
    }

    fn in_flight_of_all(&self) -> u32 {
        self.fit.in_flight_of_all()
    }
}

/// All backends of a pool, but for some.
struct All<'p> {
    pool: &'p Pool,
    left_out: &'p Places,
}

impl Candidates for All<'_> {
    fn admits(&self, place: usize) -> bool {
        !self.left_out.contains(self.pool.first + small(place))
    }

    fn first_from(&self, from: usize) -> Option<usize> {
        (from..self.pool.backends.len()).find(|place| self.admits(*place))
    }

    fn backend(&self, place: usize) -> &Backend {
        &self.pool.backends[place]
    }

    fn in_flight_of_all(&self) -> u32 {
        self.pool.rules.in_flight_of_all()
    }
}

fn small(place: usize) -> u16 {
    u16::try_from(place).expect("BACKENDS_MAX fits in 16 bits")
}
