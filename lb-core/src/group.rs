//! Backends among which one policy chooses: who is fit, who may be chosen now, and the lease of the
//! one chosen.
//!
//! A pool is one group of all its backends, and one more for each region that some of them are in.
//! So a backend sits in several groups, and none of them owns what is known of it.

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::backend::{Backend, Member, Rules};
use crate::balance::{Balancer, Candidates, Draw, Drawn, How, walk};
use crate::breaker::Declined;
use crate::event::{BackendId, Observe};
use crate::fitness::{Fitness, REST_MAX};
use crate::lease::Lease;
use crate::time::Time;
use crate::tried::Places;
use crate::warmth::CERTAIN;
use crate::word::atomic::Ordering;

/// Some of a service's backends, balanced by one policy.
#[derive(Debug)]
pub(crate) struct Group {
    service: u16,
    /// Where in the service each of them is.
    places: Box<[u16]>,
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

/// Draws that breakers may decline before the group asks them first.
const DECLINES_MAX: usize = 8;

impl Group {
    /// Backends and their places.
    pub(crate) fn new(
        service: u16,
        places: Box<[u16]>,
        rules: Rules,
        backends: Box<[Arc<Backend>]>,
        balancer: Balancer,
    ) -> Self {
        let fitness = Fitness::all(backends.len());
        Self { service, places, rules, backends, fitness, balancer }
    }

    /// Goes on where the group `before` it stands.
    pub(crate) fn go_on(&self, before: &Self) {
        let moved = |nth: usize| {
            let known = &before.backends[nth];
            self.backends.iter().position(|backend| Arc::ptr_eq(backend, known))
        };
        self.balancer.go_on(&before.balancer, moved);
    }

    pub(crate) const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// How many there are.
    pub(crate) const fn count(&self) -> usize {
        self.backends.len()
    }

    /// The `nth` of them.
    pub(crate) fn member(&self, nth: usize) -> Member<'_> {
        Member { id: self.id(nth), backend: &self.backends[nth], rules: &self.rules }
    }

    /// How many backends may be chosen as a matter of course, as far as is known.
    pub(crate) fn fit_count(&self) -> usize {
        self.fitness.fit_count()
    }

    /// Has the next pick look at every backend that rests: somebody spoke for one.
    pub(crate) fn look_again(&self) {
        self.fitness.look_again();
    }

    /// Whether a pick at `at` may find somebody outside of `tried`, as far as is known.
    pub(crate) fn may_serve(&self, tried: &Places, at: Time) -> bool {
        let among = Asked { fit: Fit { group: self, tried, declined: &Places::NONE }, now: at };
        among.first_from(0).is_some() || self.fitness.due() <= at
    }

    /// Whether somebody would be asked at `now` if there were not so much in flight there.
    pub(crate) fn is_full(&self, now: Time) -> bool {
        let would = |backend: &Arc<Backend>| {
            backend.is_full(&self.rules) && backend.would_admit_one_less(now, &self.rules)
        };
        self.backends.iter().any(would)
    }

    /// Brings up to date who is fit, if somebody may have become so or no longer is.
    pub(crate) fn refresh(&self, now: Time) {
        self.fitness.refresh(now, |nth| self.backends[nth].rests_until(now, &self.rules));
    }

    /// Attempts in flight, where they are counted.
    pub(crate) fn in_flight(&self) -> u32 {
        self.rules.pool.as_ref().map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// A check has ended: for policies that go by what checks find.
    pub(crate) fn rank(&self, now: Time) {
        self.refresh(now);
        self.balancer.rank(&Fit { group: self, tried: &Places::NONE, declined: &Places::NONE });
    }

    /// Chooses among the fit that are not in `tried`, and takes the lease.
    pub(crate) fn pick(
        &self,
        tried: &Places,
        draw: &mut Draw<'_>,
        observe: &dyn Observe,
    ) -> Option<Picked> {
        let now = draw.now;
        self.refresh(now);
        let mut declined = Places::NONE;
        // The first that was spared for being cold: alone, it gets everything.
        let mut spared = None;
        for _ in 0..DECLINES_MAX {
            let among = Fit { group: self, tried, declined: &declined };
            let drawn = self.balancer.choose(&among, draw).or(spared)?;
            let Drawn { place, how } = drawn;
            if spared != Some(drawn) && self.spares(place, draw) {
                spared = spared.or(Some(drawn));
                if declined.add(self.places[place]) {
                    continue;
                }
            }
            match self.lease(place, now, observe) {
                Ok(lease) => return Some(Picked { lease, how: self.in_service(how) }),
                // Somebody may speak for it while its bit is being cleared, and nobody would hear.
                Err(Declined::Until(due)) => self.fitness.rest(place, due.min(now + REST_MAX)),
                Err(Declined::TrialsTaken | Declined::Full) => {
                    if !declined.add(self.places[place]) {
                        break;
                    }
                }
            }
        }
        self.pick_asked(tried, draw, observe)
    }

    /// Whether a choice does not hold, since the backend came up a short while ago.
    fn spares(&self, place: usize, draw: &mut Draw<'_>) -> bool {
        let chance = self.backends[place].chance(draw.now, &self.rules);
        chance < CERTAIN && draw.rng.below(CERTAIN) >= chance
    }

    fn lease(&self, place: usize, now: Time, observe: &dyn Observe) -> Result<Lease, Declined> {
        Lease::take(&self.backends[place], self.id(place), &self.rules, now, observe)
    }

    fn id(&self, nth: usize) -> BackendId {
        BackendId { service: self.service, backend: self.places[nth] }
    }

    /// Takes a lease on the `nth` once more, if nobody speaks against it.
    pub(crate) fn pick_again(
        &self,
        nth: usize,
        now: Time,
        observe: &dyn Observe,
    ) -> Option<Picked> {
        let lease = self.lease(nth, now, observe).ok()?;
        Some(Picked { lease, how: How::Same })
    }

    /// Takes a lease on the `nth` for a client that it knows, if nobody speaks against it.
    pub(crate) fn pick_known(
        &self,
        nth: usize,
        now: Time,
        observe: &dyn Observe,
    ) -> Option<Picked> {
        let Member { id, backend, rules } = self.member(nth);
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
        let among = Asked { fit: Fit { group: self, tried, declined: &Places::NONE }, now };
        // Only another thread that takes the last place in between makes this go round.
        (0..DECLINES_MAX).map_while(|_| self.balancer.choose(&among, draw)).find_map(|drawn| {
            let lease = self.lease(drawn.place, now, observe).ok()?;
            Some(Picked { lease, how: self.in_service(drawn.how) })
        })
    }

    /// Chooses among all that are not in `tried`, fit or not, and asks no breaker.
    pub(crate) fn pick_in_panic(&self, tried: &Places, draw: &mut Draw<'_>) -> Option<Picked> {
        self.pick_unasked(&All { group: self, left_out: tried, answering: None }, draw)
    }

    /// The same among those that still answer.
    pub(crate) fn pick_answering(&self, tried: &Places, draw: &mut Draw<'_>) -> Option<Picked> {
        let answering = Some(draw.now);
        self.pick_unasked(&All { group: self, left_out: tried, answering }, draw)
    }

    fn pick_unasked(&self, all: &All<'_>, draw: &mut Draw<'_>) -> Option<Picked> {
        let Drawn { place, how } = self.balancer.choose(all, draw)?;
        let lease = Lease::take_in_panic(&self.backends[place], self.id(place), &self.rules)?;
        Some(Picked { lease, how: self.in_service(how) })
    }

    /// A draw speaks of places in the group; everybody else of places in the service.
    fn in_service(&self, how: How) -> How {
        match how {
            How::LessLoaded { in_flight, than, than_in_flight } => {
                let than = self.places[usize::from(than)];
                How::LessLoaded { in_flight, than, than_in_flight }
            }
            How::Sooner { micros, than, than_micros } => {
                How::Sooner { micros, than: self.places[usize::from(than)], than_micros }
            }
            how => how,
        }
    }
}

/// The fit backends of a group, but for those that were tried and those that declined.
struct Fit<'p> {
    group: &'p Group,
    tried: &'p Places,
    declined: &'p Places,
}

impl Fit<'_> {
    fn leaves_out(&self, nth: usize) -> bool {
        let place = self.group.places[nth];
        self.tried.contains(place) || self.declined.contains(place)
    }

    /// Whether all that are fit may be chosen, as is so for nearly every first attempt.
    const fn leaves_out_none(&self) -> bool {
        self.tried.is_empty() && self.declined.is_empty()
    }
}

impl Candidates for Fit<'_> {
    fn admits(&self, place: usize) -> bool {
        self.group.fitness.is_fit(place) && !self.leaves_out(place)
    }

    fn is_fit(&self, place: usize) -> bool {
        self.group.fitness.is_fit(place)
    }

    fn first_from(&self, from: usize) -> Option<usize> {
        self.group.fitness.first_from(from, |place| !self.leaves_out(place))
    }

    fn count(&self) -> usize {
        if self.leaves_out_none() { self.group.fitness.fit_count() } else { walk(self).count() }
    }

    fn nth(&self, nth: usize) -> Option<usize> {
        if self.leaves_out_none() { self.group.fitness.nth(nth) } else { walk(self).nth(nth) }
    }

    fn backend(&self, place: usize) -> &Backend {
        &self.group.backends[place]
    }

    fn in_flight_of_all(&self) -> u32 {
        self.group.rules.in_flight_of_all()
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
            && self.fit.group.backends[place].would_admit(self.now, &self.fit.group.rules)
    }

    fn is_fit(&self, place: usize) -> bool {
        self.fit.is_fit(place)
    }

    fn first_from(&self, from: usize) -> Option<usize> {
        self.fit.group.fitness.first_from(from, |place| self.admits(place))
    }

    fn backend(&self, place: usize) -> &Backend {
        self.fit.backend(place)
    }

    fn in_flight_of_all(&self) -> u32 {
        self.fit.in_flight_of_all()
    }
}

/// All backends of a group, but for some.
struct All<'p> {
    group: &'p Group,
    left_out: &'p Places,
    /// Whether they have to answer, as far as is known at that time.
    answering: Option<Time>,
}

impl Candidates for All<'_> {
    fn admits(&self, place: usize) -> bool {
        let backend = &self.group.backends[place];
        !self.left_out.contains(self.group.places[place])
            && !backend.is_full(&self.group.rules)
            && self.answering.is_none_or(|now| backend.answers(now))
    }

    fn is_fit(&self, _place: usize) -> bool {
        true
    }

    fn first_from(&self, from: usize) -> Option<usize> {
        (from..self.group.backends.len()).find(|place| self.admits(*place))
    }

    fn backend(&self, place: usize) -> &Backend {
        &self.group.backends[place]
    }

    fn in_flight_of_all(&self) -> u32 {
        self.group.rules.in_flight_of_all()
    }
}
