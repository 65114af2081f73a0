//! Who serves where, read anew from the configurations of a run: what invariants go by that ask more
//! of a backend than its number.
//!
//! It is worked out once. An invariant that looked through the configuration at every attempt would
//! cost more than what it watches.

use std::collections::BTreeMap;
use std::rc::Rc;

use lb_core::BackendId;
use lb_core::config::ServiceConfig;

use crate::ledger::Ledger;
use crate::scenario::Scenario;

/// All services under all configurations of a run. Cheap to clone.
#[derive(Clone)]
pub(super) struct Lineups(Rc<[Vec<Option<Lineup>>]>);

/// A service under one configuration.
pub(super) struct Lineup {
    /// What was asked for.
    pub(super) core: ServiceConfig,
    /// Its pools in order.
    pub(super) pools: Vec<Vec<Seat>>,
    /// By the number of a backend: its pool, and its place there.
    places: BTreeMap<u16, (usize, usize)>,
}

/// A backend in its pool.
#[derive(Clone, Copy)]
pub(super) struct Seat {
    /// Who it is, whatever the configuration.
    pub(super) backend: BackendId,
    /// Its weight.
    pub(super) weight: u32,
    /// Whether it takes nothing new.
    pub(super) draining: bool,
}

impl Lineups {
    pub(super) fn of(scenario: &Scenario) -> Self {
        let lineup = |(reloads, config), service| {
            let core = scenario.roster.service(config, service)?.core.clone();
            let mut backends = scenario.roster.backends(reloads, service).into_iter();
            let pools =
                core.pools.iter().map(|pool| {
                    let seats = pool.backends.iter().zip(backends.by_ref());
                    let seat = |(said, backend): (&lb_core::config::BackendConfig, BackendId)| {
                        Seat { backend, weight: said.weight, draining: said.draining }
                    };
                    seats.map(seat).collect()
                });
            let pools: Vec<Vec<Seat>> = pools.collect();
            let at = |(nth, pool): (usize, &Vec<Seat>)| -> Vec<_> {
                let seats = pool.iter().enumerate();
                seats.map(|(place, seat)| (seat.backend.backend, (nth, place))).collect()
            };
            let places = pools.iter().enumerate().flat_map(at).collect();
            Some(Lineup { places, pools, core })
        };
        let all = scenario.configs().enumerate().map(|era| {
            let numbers = scenario.roster.numbers();
            numbers.map(|service| lineup(era, service)).collect::<Vec<_>>()
        });
        Self(all.collect())
    }

    /// A service after so many reloads, if it is there.
    pub(super) fn at(&self, reloads: usize, service: u16) -> Option<&Lineup> {
        self.0.get(reloads)?.get(usize::from(service))?.as_ref()
    }

    /// Whether any service asks for this, under any configuration.
    pub(super) fn any(&self, asks: impl Fn(&ServiceConfig) -> bool) -> bool {
        self.0.iter().flatten().flatten().any(|lineup| asks(&lineup.core))
    }

    /// A service under each configuration that has it.
    pub(super) fn all(&self, service: u16) -> impl Iterator<Item = &Lineup> {
        self.0.iter().filter_map(move |era| era.get(usize::from(service))?.as_ref())
    }
}

impl Lineup {
    /// The place of a backend's pool.
    pub(super) fn pool_of(&self, backend: BackendId) -> Option<usize> {
        self.places.get(&backend.backend).map(|(pool, _)| *pool)
    }

    /// Where a backend sits.
    pub(super) fn seat(&self, backend: BackendId) -> Option<&Seat> {
        let (pool, place) = *self.places.get(&backend.backend)?;
        self.pools[pool].get(place)
    }

    /// Who sits at a place of the service's own list, which is in the order of its pools.
    pub(super) fn at_place(&self, place: u16) -> Option<&Seat> {
        let mut place = usize::from(place);
        self.pools.iter().find_map(|pool| {
            let seat = pool.get(place);
            place = place.saturating_sub(pool.len());
            seat
        })
    }
}

impl Seat {
    /// Whether it may be chosen as a matter of course.
    pub(super) fn is_fit(&self, ledger: &Ledger<'_>) -> bool {
        !self.draining && ledger.is_fit(self.backend)
    }
}
