//! The one that answers checks soonest, until another one is clearly sooner.
//!
//! Who is soonest is worked out when a check has ended, never while a request waits: there is one
//! driver of checks, so nothing stampedes, and a choice never expires but is made again with every
//! check. A backend has to be better by a margin to take over, so that two alike do not take turns.
//! When the soonest may not be chosen the next in time is, and not the next in the file.

use super::{Candidates, Drawn, How};
use crate::word::atomic::{AtomicU16, Ordering};

/// The present choice.
#[derive(Debug)]
pub(crate) struct Fastest {
    soonest: AtomicU16,
    margin_percent: u8,
}

impl Fastest {
    pub(crate) fn new(margin_percent: u8) -> Self {
        Self { soonest: AtomicU16::new(0), margin_percent }
    }

    /// Keeps to the choice of a group before, which has `moved`, or is gone.
    pub(crate) fn go_on(&self, from: &Self, moved: impl Fn(usize) -> Option<usize>) {
        let place = moved(usize::from(from.soonest.load(Ordering::Relaxed)));
        let place = place.and_then(|place| u16::try_from(place).ok());
        self.soonest.store(place.unwrap_or(0), Ordering::Relaxed);
    }

    pub(crate) fn choose(&self, among: &impl Candidates) -> Option<Drawn> {
        let soonest = usize::from(self.soonest.load(Ordering::Relaxed));
        let place = match among.admits(soonest) {
            true => soonest,
            false => sooner(among)?,
        };
        Some(Drawn { place, how: How::Soonest { micros: small(rtt(among, place)) } })
    }

    /// A check has ended: whether another one is sooner by the margin now.
    pub(crate) fn rank(&self, among: &impl Candidates) {
        let Some(best) = sooner(among) else { return };
        let present = usize::from(self.soonest.load(Ordering::Relaxed));
        if !among.admits(present)
            || is_sooner(rtt(among, best), rtt(among, present), self.margin_percent)
        {
            self.soonest.store(u16::try_from(best).unwrap_or(0), Ordering::Relaxed);
        }
    }
}

/// Whether `a` microseconds are less than `b` by so many percent. What was never measured is last.
pub(crate) fn is_sooner(a: Option<u64>, b: Option<u64>, margin_percent: u8) -> bool {
    let rest = u64::from(100 - margin_percent.min(100));
    match (a, b) {
        (Some(a), Some(b)) => a * 100 < b * rest,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

/// The candidate that answers checks soonest; of equals and of those unknown the first.
fn sooner(among: &impl Candidates) -> Option<usize> {
    let places = core::iter::successors(among.first_from(0), |place| among.first_from(place + 1));
    places.min_by_key(|place| rtt(among, *place).unwrap_or(u64::MAX))
}

fn rtt(among: &impl Candidates, place: usize) -> Option<u64> {
    among.backend(place).rtt.get().last()
}

fn small(micros: Option<u64>) -> Option<u32> {
    micros.map(|micros| u32::try_from(micros).unwrap_or(u32::MAX))
}
