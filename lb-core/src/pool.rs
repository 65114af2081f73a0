//! A pool: backends that are alike, all of them and those of each region.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::area::{RegionSet, Regions};
use crate::backend::{Backend, Member, Rules};
use crate::balance::{Balancer, Draw};
use crate::config::{PoolConfig, ServiceConfig};
use crate::event::{BackendId, Event, Observe};
use crate::group::{Group, Picked};
use crate::outlier::{Outliers, Tally};
use crate::standing::Standing;
use crate::steer::capacity;
use crate::time::Time;
use crate::tried::Places;

/// A group of a service's backends.
#[derive(Debug)]
pub struct Pool {
    name: Box<str>,
    /// The place of the first one in the service.
    first: u16,
    all: Group,
    /// Those of one region each, where some say which they are in.
    near: Box<[Near]>,
    min_fit: usize,
    weights: Box<[u32]>,
}

/// What backends of a region can carry when fewer of them are fit, in percent: with 71 of 100 still
/// everything.
const OVERPROVISION_PERCENT: u32 = 140;

/// The backends of one region.
#[derive(Debug)]
struct Near {
    region: u8,
    name: Box<str>,
    group: Group,
}

impl Pool {
    /// The pool that `said` describes, in place of the one `before`, if there was one; `backends` are its
    /// own in the same order.
    pub(crate) fn new(
        config: &ServiceConfig,
        said: &PoolConfig,
        first: BackendId,
        rules: &Rules,
        regions: &Regions,
        backends: &[Arc<Backend>],
        before: Option<&Self>,
    ) -> Self {
        let BackendId { service, backend: first } = first;
        let group = |members: &[usize], before: Option<&Group>| {
            let places = members.iter().map(|nth| first + small(*nth)).collect();
            let of_it = members.iter().map(|nth| Arc::clone(&backends[*nth])).collect();
            let balancer = Balancer::new(config, members.iter().map(|nth| &said.backends[*nth]));
            let group = Group::new(service, places, rules.clone(), of_it, balancer);
            before.iter().for_each(|before| group.go_on(before));
            group
        };
        let everybody: Vec<usize> = (0..backends.len()).collect();
        let in_region = |region: u8| {
            let is_in = |nth: &usize| {
                let name = said.backends[*nth].region.as_deref();
                name.and_then(|name| regions.of(name)) == Some(region)
            };
            let members: Vec<usize> = everybody.iter().copied().filter(is_in).collect();
            (!members.is_empty()).then(|| {
                let name: Box<str> = regions.name(region).into();
                let same = |near: &&Near| near.name == name;
                let known = before.and_then(|pool| pool.near.iter().find(same));
                Near { region, group: group(&members, known.map(|near| &near.group)), name }
            })
        };
        Self {
            name: said.name.as_str().into(),
            first,
            all: group(&everybody, before.map(|pool| &pool.all)),
            near: (0..regions.count()).filter_map(in_region).collect(),
            min_fit: said.min_fit.into(),
            weights: said.backends.iter().map(|backend| backend.weight).collect(),
        }
    }

    /// Its name, unique in its service.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its backends in order.
    pub fn backends(&self) -> impl Iterator<Item = Member<'_>> {
        (0..self.all.count()).map(|nth| self.all.member(nth))
    }

    /// The place in the service behind its last backend.
    pub(crate) fn end(&self) -> u16 {
        self.first + small(self.all.count())
    }

    /// The backend at a place in the service that lies within this pool.
    pub(crate) fn at(&self, place: u16) -> Member<'_> {
        self.all.member(self.nth(place))
    }

    fn nth(&self, place: u16) -> usize {
        usize::from(place - self.first)
    }

    /// How many backends may be chosen as a matter of course, as far as is known.
    pub fn fit_count(&self) -> usize {
        self.all.fit_count()
    }

    /// Their weights in the same order.
    pub(crate) const fn weights(&self) -> &[u32] {
        &self.weights
    }

    /// How many backends it has.
    pub(crate) const fn count(&self) -> usize {
        self.all.count()
    }

    /// Whether so many are fit that it serves at all.
    pub(crate) fn has_enough(&self) -> bool {
        self.min_fit <= 1 || self.fit_count() >= self.min_fit
    }

    /// Has the next pick look at every backend: somebody spoke for one, or against one.
    pub(crate) fn look_again(&self) {
        self.all.look_again();
        self.near.iter().for_each(|near| near.group.look_again());
    }

    /// Whether a pick at `at` may find somebody outside of `tried`, as far as is known.
    pub(crate) fn may_serve(&self, tried: &Places, at: Time) -> bool {
        self.all.may_serve(tried, at)
    }

    /// Whether somebody would be asked at `now` if there were not so much in flight there.
    pub(crate) fn is_full(&self, now: Time) -> bool {
        self.all.is_full(now)
    }

    /// Brings up to date who is fit.
    pub(crate) fn refresh(&self, now: Time) {
        self.all.refresh(now);
    }

    /// Chooses among the fit that are not in `tried`, those of the client's region first, and takes
    /// the lease.
    pub(crate) fn pick(
        &self,
        tried: &Places,
        draw: &mut Draw<'_>,
        observe: &dyn Observe,
    ) -> Option<Picked> {
        if let Some(near) = self.near_to(draw)
            && let Some(picked) = near.pick(tried, draw, observe)
        {
            return Some(picked);
        }
        self.all.pick(tried, draw, observe)
    }

    /// The backends of a region that suits the client; of several, one by chance and size. As many of
    /// its requests as those that are fit can carry go to them.
    fn near_to(&self, draw: &mut Draw<'_>) -> Option<&Group> {
        let regions: RegionSet = draw.area.regions;
        if regions.is_empty() {
            return None;
        }
        let near = || self.near.iter().filter(|near| regions.contains(near.region));
        let size = |near: &Near| u32::from(small(near.group.count()));
        let total = near().map(size).sum();
        let mut mark = (total > 0).then(|| draw.rng.below(total))?;
        let found = near().find(|near| {
            let found = mark < size(near);
            mark = mark.saturating_sub(size(near));
            found
        });
        let group = &found?.group;
        group.refresh(draw.now);
        let carried = capacity(group.fit_count(), group.count(), OVERPROVISION_PERCENT);
        (carried >= 100 || draw.rng.below(100) < carried).then_some(group)
    }

    /// Attempts in flight, where they are counted.
    pub(crate) fn in_flight(&self) -> u32 {
        self.all.in_flight()
    }

    /// Takes out those that do much worse than the others, as many as may be out at once.
    #[cold]
    pub(crate) fn compare(&self, outliers: &Outliers, now: Time, observe: &dyn Observe) {
        let take = |backend: &Backend| backend.tally.step(|_| Some(Tally::default()));
        let taken =
            self.backends().map(|member| take(member.backend).map_or(Tally::default(), |it| it.0));
        let tallies: Vec<Tally> = taken.collect();
        let is_out = |member: &Member<'_>| member.standing().is_ejected(now);
        let out = self.backends().filter(is_out).count();
        let room = outliers.most_of(self.count()).saturating_sub(out);
        let found = outliers.among(&tallies);
        // Whoever did well for an interval is forgiven one ejection.
        let calm =
            |nth: usize| tallies[nth].requests > 0 && !found.iter().any(|(it, _)| *it == nth);
        let all = self.backends().enumerate();
        for (_, member) in all.filter(|(nth, member)| calm(*nth) && !is_out(member)) {
            let forgiven = |standing: Standing| {
                let ejections = standing.ejections.checked_sub(1)?;
                Some(Standing { ejections, ..standing })
            };
            member.backend.standing.step(forgiven);
        }
        for (nth, why) in
            found.into_iter().filter(|(nth, _)| !is_out(&self.all.member(*nth))).take(room)
        {
            let member = self.all.member(nth);
            let eject = |standing: Standing| {
                let until = now + outliers.span(standing.ejections);
                let ejections = standing.ejections.saturating_add(1);
                Some(Standing { ejections, ..standing }.ejected(until))
            };
            if let Some((_, entered)) = member.backend.standing.step(eject) {
                let (backend, until) = (member.id(), entered.ejected_until());
                observe.on(now, &Event::Ejected { backend, until, why });
            }
        }
        self.look_again();
    }

    /// A check has ended: works out anew who answers soonest.
    pub(crate) fn rank(&self, now: Time) {
        self.all.rank(now);
        self.near.iter().for_each(|near| near.group.rank(now));
    }

    /// How long its backends take to answer checks in the mean, in microseconds, as far as is known.
    pub(crate) fn mean_rtt(&self) -> Option<u64> {
        let known = || self.backends().filter_map(|member| member.backend.rtt.get().last());
        known().sum::<u64>().checked_div(known().count() as u64)
    }

    pub(crate) const fn rules(&self) -> &Rules {
        self.all.rules()
    }

    /// Takes a lease on the backend at a place in the service, if nobody speaks against it.
    pub(crate) fn pick_again(
        &self,
        place: u16,
        now: Time,
        observe: &dyn Observe,
    ) -> Option<Picked> {
        self.all.pick_again(self.nth(place), now, observe)
    }

    /// The same for a client that the backend knows.
    pub(crate) fn pick_known(
        &self,
        place: u16,
        now: Time,
        observe: &dyn Observe,
    ) -> Option<Picked> {
        self.all.pick_known(self.nth(place), now, observe)
    }

    /// Chooses among those that are not in `tried` and still answer, and asks no breaker.
    pub(crate) fn pick_answering(&self, tried: &Places, draw: &mut Draw<'_>) -> Option<Picked> {
        self.all.pick_answering(tried, draw)
    }

    /// Chooses among all that are not in `tried`, fit or not, and asks no breaker.
    pub(crate) fn pick_in_panic(&self, tried: &Places, draw: &mut Draw<'_>) -> Option<Picked> {
        self.all.pick_in_panic(tried, draw)
    }
}

fn small(place: usize) -> u16 {
    u16::try_from(place).expect("BACKENDS_MAX fits in 16 bits")
}
