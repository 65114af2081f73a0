//! The backends that an exchange has tried, or that a pick was declined by: a few places, no heap.

use crate::config::ATTEMPTS_MAX;

/// Places in a service. Room for every attempt, and for as many declined trials within one pick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    places: [u16; PLACES_MAX],
    count: usize,
}

const PLACES_MAX: usize = 2 * ATTEMPTS_MAX as usize;

impl Places {
    pub(crate) const NONE: Self = Self { places: [0; PLACES_MAX], count: 0 };

    pub(crate) fn contains(&self, place: u16) -> bool {
        self.places[..self.count].contains(&place)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a place. `false`: there is no room for it.
    pub(crate) fn add(&mut self, place: u16) -> bool {
        let room = self.count < PLACES_MAX;
        if room {
            self.places[self.count] = place;
            self.count += 1;
        }
        room
    }
}
