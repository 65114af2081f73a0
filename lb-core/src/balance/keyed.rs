//! By key: the same request finds the same backend, as long as it may be chosen.
//!
//! Three tables say whom a key belongs to ([`Ring`], [`Maglev`], [`Rendezvous`]), and who follows
//! where that one may not be chosen: unfit, tried before, or with more in flight than its bound.
//! The bound (Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded loads", 2018)
//! passes over a backend that has more than a share of the average, so that one popular key does
//! not drown it; somebody is always below the average, so that it never rules out all.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::alias::Alias;
use super::maglev::Maglev;
use super::rank::Rank;
use super::rendezvous::Rendezvous;
use super::ring::Ring;
use super::{Candidates, Draw, Drawn, How};
use crate::config::Policy;
use crate::hash::stable_hash;

/// A table of keys, and what helps where it does not.
#[derive(Debug)]
pub(crate) struct Keyed {
    table: Table,
    rank: Rank,
    /// For requests without a key.
    die: Alias,
    bound: Option<Bound>,
}

#[derive(Debug)]
enum Table {
    Ring(Ring),
    Maglev(Maglev),
    Rendezvous(Rendezvous),
}

/// How much more than the average a backend may have in flight.
#[derive(Debug)]
struct Bound {
    percent: u64,
    weights: Box<[u32]>,
    total_weight: u64,
}

impl Keyed {
    pub(crate) fn new<'n>(
        policy: Policy,
        names: impl Iterator<Item = &'n str>,
        weights: &[u32],
        load_percent: Option<u32>,
    ) -> Self {
        let ids: Vec<u64> = names.map(|name| stable_hash(name.as_bytes())).collect();
        let table = match policy {
            Policy::Ring => Table::Ring(Ring::new(&ids, weights)),
            Policy::Maglev => Table::Maglev(Maglev::new(&ids, weights)),
            _ => Table::Rendezvous(Rendezvous::new(ids.len())),
        };
        let bound = load_percent.map(|percent| Bound {
            percent: percent.into(),
            weights: weights.into(),
            total_weight: weights.iter().copied().map(u64::from).sum(),
        });
        Self { table, rank: Rank::new(&ids, weights), die: Alias::new(weights), bound }
    }

    pub(crate) fn choose(&self, among: &impl Candidates, draw: &mut Draw<'_>) -> Option<Drawn> {
        let Some(key) = draw.key else {
            let place = self.die.draw_among(among, draw.rng)?;
            return Some(Drawn { place, how: How::Weight });
        };
        let home = self.home(key);
        let below = |place: usize| {
            among.admits(place)
                && self.bound.as_ref().is_none_or(|bound| bound.allows(place, among))
        };
        let place = self
            .find(key, below)
            .or_else(|| self.bound.as_ref().and_then(|_| self.find(key, |at| among.admits(at))))?;
        let how = if place == home { How::Key } else { How::KeyNext };
        Some(Drawn { place, how })
    }

    /// Whom a key belongs to.
    fn home(&self, key: u64) -> usize {
        match &self.table {
            Table::Ring(ring) => ring.walk(key).next(),
            Table::Maglev(maglev) => maglev.walk(key).next(),
            Table::Rendezvous(slots) => Some(slots.winner(slots.slot(key), &self.rank)),
        }
        .expect("there is at least one backend")
    }

    fn find(&self, key: u64, admits: impl Fn(usize) -> bool) -> Option<usize> {
        let found = match &self.table {
            Table::Ring(ring) => ring.walk(key).find(|place| admits(*place)),
            Table::Maglev(maglev) => maglev.walk(key).find(|place| admits(*place)),
            Table::Rendezvous(slots) => {
                let slot = slots.slot(key);
                let winner = slots.winner(slot, &self.rank);
                return if admits(winner) { Some(winner) } else { self.rank.best(slot, admits) };
            }
        };
        // Nearly all of them may not be chosen: then the key ranks those that may.
        found.or_else(|| self.rank.best(key, admits))
    }
}

impl Bound {
    /// Whether one more leaves the backend at most at ⌈c · (all + 1) · its share⌉.
    fn allows(&self, place: usize, among: &impl Candidates) -> bool {
        let all = u64::from(among.in_flight_of_all()) + 1;
        let share = u64::from(self.weights[place]);
        let most = (all * share * self.percent).div_ceil(self.total_weight * 100);
        u64::from(among.backend(place).in_flight()) < most
    }
}

/// By key modulo the number of those that may be chosen, in order: simple, and when one goes nearly
/// all keys move. For those who come from systems that do it so.
#[derive(Debug)]
pub(crate) struct Modulo;

impl Modulo {
    pub(crate) fn choose(among: &impl Candidates, draw: &mut Draw<'_>) -> Option<Drawn> {
        let count = among.count() as u64;
        let key = draw.key.unwrap_or_else(|| draw.rng.next_u64());
        let nth = usize::try_from(key.checked_rem(count)?).expect("below a count of places");
        let how = if draw.key.is_some() { How::Key } else { How::Weight };
        // Another thread may change who is admitted between the two looks: then the first will do.
        let place = among.nth(nth).or_else(|| among.first_from(0))?;
        Some(Drawn { place, how })
    }
}

/// The first that may be chosen.
#[derive(Debug)]
pub(crate) struct First;

impl First {
    pub(crate) fn choose(among: &impl Candidates) -> Option<Drawn> {
        among.first_from(0).map(|place| Drawn { place, how: How::First })
    }
}
