//! The way between the proxy and an origin, and what faults make of it.

use crate::scenario::FaultKind;

/// What is wrong with a way. Of several the last of these counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// Nothing.
    Sound,
    /// What the origin sends is lost.
    Mute,
    /// Nothing arrives in either direction, and all of it does when that ends.
    Held,
    /// What is sent is lost, and connecting is refused.
    Cut,
    /// The origin's machine has lost its power, and all that it knew of connections.
    Off,
}

impl Way {
    /// What a fault makes of it, if that is its business.
    pub(crate) fn of(kind: FaultKind) -> Option<Self> {
        match kind {
            FaultKind::HalfOpen => Some(Self::Mute),
            FaultKind::Blackhole => Some(Self::Held),
            FaultKind::Partition => Some(Self::Cut),
            FaultKind::Crash => Some(Self::Off),
            _ => None,
        }
    }
}
