//! When something was last said for or against a backend.

use std::collections::BTreeMap;
use std::time::Duration;

use lb_core::{BackendId, Event};

use super::lineup::Seat;
use crate::log::{Entry, What};

/// How long the core may go by what it knew. Its bitmap is a hint that is looked at once a second.
pub(super) const SETTLES: Duration = Duration::from_millis(1_100);

/// The last word on each backend: its breaker or its health moved, or it was ejected or pardoned.
#[derive(Default)]
pub(super) struct Moves(BTreeMap<BackendId, Duration>);

impl Moves {
    /// Takes note of an entry that says something of a backend.
    pub(super) fn enter(&mut self, entry: &Entry) {
        if let What::Core(
            Event::BreakerMoved { backend, .. }
            | Event::HealthMoved { backend, .. }
            | Event::Ejected { backend, .. }
            | Event::Pardoned { backend },
        ) = entry.what
        {
            self.0.insert(backend, entry.at);
        }
    }

    /// Whether all was said before `at`.
    pub(super) fn none_since(&self, backend: BackendId, at: Duration) -> bool {
        self.0.get(&backend).is_none_or(|moved| *moved < at)
    }

    /// Whether the core knows by now whatever was said of a backend.
    pub(super) fn is_settled(&self, backend: BackendId, now: Duration) -> bool {
        self.0.get(&backend).is_none_or(|moved| *moved + SETTLES < now)
    }

    /// Whether it does of all of them.
    pub(super) fn all_settled(&self, seats: &[Seat], now: Duration) -> bool {
        seats.iter().all(|seat| self.is_settled(seat.backend, now))
    }
}
