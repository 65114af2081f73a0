//! The last step of an exchange: an answer on its way, and the lease that it holds on to.

use alloc::string::String;

use crate::event::{BackendId, Event, ExchangeId, Observe};
use crate::exchange::extra::Rare;
use crate::input::Input;
use crate::lease::Lease;
use crate::limit::Place;
use crate::outcome::BodyEnd;
use crate::rate::Allowance;
use crate::service::Service;
use crate::time::Time;

/// An answer on its way to the client. Keep it until the body's last byte, then end it.
#[must_use]
#[derive(Debug)]
pub struct Delivery {
    pub(super) exchange: ExchangeId,
    pub(super) lease: Lease,
    pub(super) deadline: Time,
    /// The backend that the client sticks to.
    pub(super) wish: Option<u16>,
    /// Given back after the lease, with the last byte.
    pub(super) running: Option<Place>,
    pub(super) allowance: Option<Allowance>,
    pub(super) rare: Rare,
}

impl Delivery {
    /// Whose answer it is.
    pub const fn backend(&self) -> BackendId {
        self.lease.id()
    }

    /// Until when its last byte must have gone out.
    pub const fn deadline(&self) -> Time {
        self.deadline
    }

    /// The `Set-Cookie` that makes the client stick to this backend of `service`, if it is to and
    /// does not yet. It is added to those of the backend and replaces none.
    pub fn set_cookie(&self, service: &Service) -> Option<String> {
        let place = self.lease.id().backend;
        service.affinity.as_ref().filter(|_| service.binds(place))?.set_cookie(place, self.wish)
    }

    /// What is left to the client, where requests are rationed.
    pub const fn allowance(&self) -> Option<Allowance> {
        self.allowance
    }

    /// Hands back how the body ended, to the `service` that it comes from. Gives the lease back.
    pub fn end(mut self, end: BodyEnd, service: &Service, now: Time, observe: &dyn Observe) {
        observe.hears(now, Input::Ended { exchange: self.exchange, end });
        let judge = |lease: &mut Lease| lease.judge_body(end, &service.rules, now, observe);
        service.judge(&mut self.lease, judge);
        let (exchange, backend) = (self.exchange, self.lease.id());
        observe.on(now, &Event::Ended { exchange, backend, end });
        let Self { lease, running, rare, .. } = self;
        // What the service counts is given back last: whoever waits for it finds a free backend.
        drop(lease);
        drop((running, rare));
    }
}
