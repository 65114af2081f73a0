//! What few exchanges have.
//!
//! An exchange is moved from step to step, and every byte of it costs. So what only some services ask
//! for is kept apart, and a service that asks for none of it allocates nothing.

use alloc::boxed::Box;

use crate::area::Area;
use crate::limit::ClientPlace;

/// What was asked for of some exchange.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    /// Where the client is.
    pub(crate) area: Area,
    /// Who the client is, where the proxy remembers where it sticks.
    pub(crate) stick: Option<u64>,
    /// Its place among what its client has in flight.
    pub(crate) client: Option<ClientPlace>,
}

/// The extra of an exchange that has one.
#[derive(Debug, Default)]
pub(crate) struct Rare(Option<Box<Extra>>);

impl Rare {
    /// What there is, made if there was nothing.
    pub(crate) fn make(&mut self) -> &mut Extra {
        self.0.get_or_insert_default()
    }

    pub(crate) fn get(&self) -> Option<&Extra> {
        self.0.as_deref()
    }

    pub(crate) fn area(&self) -> Area {
        self.get().map_or_else(Area::default, |extra| extra.area)
    }
}
