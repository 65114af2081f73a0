//! The backends that an exchange has tried, or that a pick was declined by: a few places, no heap.

use crate::config::ATTEMPTS_MAX;

/// Places in a service. Room for every attempt of an exchange, or for as many that declined one pick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    places: [u16; PLACES_MAX],
    count: u8,
}

const PLACES_MAX: usize = ATTEMPTS_MAX as usize;

impl Places {
    pub(crate) const NONE: Self = Self { places: [0; PLACES_MAX], count: 0 };

    pub(crate) fn contains(&self, place: u16) -> bool {
        self.places[..usize::from(self.count)].contains(&place)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a place. `false`: there is no room for it.
    pub(crate) fn add(&mut self, place: u16) -> bool {
        let count = usize::from(self.count);
        let room = count < PLACES_MAX;
        if room {
            self.places[count] = place;
            self.count += 1;
        }
        room
    }
}
