//! What decisions are made from: every call that a driver makes, as a value.
//!
//! [`Event`](crate::Event)s say what was decided. Whoever writes down inputs and events in the order in
//! which they happen can feed the inputs to services made of the same configuration with the same seed,
//! and must get the same events: chance comes from streams with names, and time is an argument.
//!
//! How an exchange begins is told by itself, with all that is asked of the request
//! ([`Observe::begins`](crate::Observe::begins)). And one input is an event already: a step that is dropped because its client left is told as
//! [`Event::Left`](crate::Event::Left) by the driver, at that moment.

use core::time::Duration;

use crate::event::{BackendId, ExchangeId};
use crate::outcome::{BodyEnd, Outcome};
use crate::probe::Checked;
use crate::retry::Body;

/// Something that a driver hands to the core.
#[derive(Clone, Copy, Debug)]
pub enum Input {
    /// An attempt came to an outcome (`Attempt::finish`).
    Finished {
        /// Of which exchange.
        exchange: ExchangeId,
        /// What came of it.
        outcome: Outcome,
        /// What is left of the request's body.
        body: Body,
        /// How long the backend asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// Another backend may be asked beside the first (`Attempt::hedge`).
    Hedges {
        /// In which exchange.
        exchange: ExchangeId,
    },
    /// The second attempt came to nothing good (`Attempt::hedge_failed`).
    HedgeFailed {
        /// Of which exchange.
        exchange: ExchangeId,
        /// What came of it.
        outcome: Outcome,
    },
    /// The first attempt gives way to the second (`Attempt::give_way`).
    GaveWay {
        /// In which exchange.
        exchange: ExchangeId,
        /// What came of the first, unless it was given up.
        outcome: Option<Outcome>,
    },
    /// The first attempt was sooner than the second (`Attempt::outrun`).
    Outran {
        /// In which exchange.
        exchange: ExchangeId,
    },
    /// A wait between attempts, or in line, was looked after (`Wait::wake`, `Queue::wake`).
    Woken {
        /// Of which exchange.
        exchange: ExchangeId,
    },
    /// The body of a delivered answer ended (`Delivery::end`).
    Ended {
        /// Of which exchange.
        exchange: ExchangeId,
        /// How.
        end: BodyEnd,
    },
    /// A check of a backend came to something (`Service::checked`).
    Checked {
        /// Of which backend.
        backend: BackendId,
        /// To what.
        checked: Checked,
    },
}
