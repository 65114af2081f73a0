//! A second attempt beside one that takes long: whichever answers first is the answer.
//!
//! Dean and Barroso, "The tail at scale", 2013. A hedge is paid for from the retry budget, goes where
//! nobody was asked yet, and is made once in an exchange, for requests that carry nothing out and have
//! no body.

use core::time::Duration;

use crate::balance::Draw;
use crate::event::{Choice, Event};
use crate::exchange::attempt::Errand;
use crate::exchange::{Attempt, Exchange};
use crate::input::Input;
use crate::lease::Lease;
use crate::outcome::{Failure, Outcome};
use crate::retry::Repeat;
use crate::service::Service;
use crate::time::Time;

/// The second attempt, and the lease on its backend. Dropping it gives up on it.
#[must_use]
#[derive(Debug)]
pub struct Hedge {
    lease: Lease,
    number: u8,
    started: Time,
    errand: Errand,
}

impl Hedge {
    /// Where to send the request.
    pub const fn errand(&self) -> Errand {
        self.errand
    }
}

impl Exchange<'_> {
    fn may_hedge(&self) -> bool {
        let retry = &self.service.retry;
        self.attempts == 1
            && self.bodiless
            && self.repeat == Repeat::Safe
            && self.wish.is_none()
            && retry.leaves_room(self.attempts)
    }
}

impl Attempt<'_> {
    /// When to ask another backend beside this one, should it not have answered.
    pub fn hedge_at(&self) -> Option<Time> {
        let after = self.exchange.service.retry.hedge_after()?;
        self.exchange.may_hedge().then(|| self.started + after)
    }

    /// Asks another backend beside this one: `None` where there is no other, or no budget left.
    pub fn hedge(&mut self, now: Time) -> Option<Hedge> {
        let exchange = &mut self.exchange;
        exchange.hear(now, Input::Hedges { exchange: exchange.id });
        if !exchange.may_hedge() {
            return None;
        }
        exchange.explain(now);
        let service: &Service = exchange.service;
        let (key, area) = (exchange.key(), exchange.rare.area());
        let mut draw = Draw { rng: &mut exchange.rng, first: false, now, key, area };
        let (lease, choice) = service.pick_fresh(&exchange.tried, &mut draw, exchange.observe)?;
        if !service.retry.withdraw(now) {
            return None;
        }
        exchange.attempts += 1;
        exchange.tried.add(lease.id().backend);
        let number = exchange.attempts;
        let choice = Choice { hedge: true, ..choice };
        exchange.tell_attempt(number, lease.id(), choice, now);
        let errand = exchange.errand(lease.id(), now);
        Some(Hedge { lease, number, started: now, errand })
    }

    /// Whether an outcome is worth handing on, rather than waiting for the other of the two.
    pub fn settles(&self, outcome: Outcome) -> bool {
        !self.exchange.service.retry.wants(outcome)
    }

    /// The hedge came to an outcome that is not worth handing on: this attempt goes on alone.
    pub fn hedge_failed(&self, hedge: Hedge, outcome: Outcome, now: Time) {
        let Hedge { mut lease, number, started, .. } = hedge;
        self.exchange.hear(now, Input::HedgeFailed { exchange: self.exchange.id, outcome });
        self.exchange.conclude(&mut lease, number, outcome, now - started, now);
    }

    /// The hedge takes the place of this attempt, which came to an outcome that is not worth handing
    /// on, or is given up because the hedge was sooner.
    pub fn give_way(self, hedge: Hedge, outcome: Option<Outcome>, now: Time) -> Self {
        let Self { exchange, mut lease, started, number, .. } = self;
        exchange.hear(now, Input::GaveWay { exchange: exchange.id, outcome });
        match outcome {
            Some(outcome) => exchange.conclude(&mut lease, number, outcome, now - started, now),
            None => {
                // It would have taken longer than this, and that counts: who leaves the slow ones out
                // takes everything for quick.
                exchange.service.retry.learn(now - started);
                exchange.overtaken(&mut lease, number, now - started, now);
            }
        }
        let Hedge { lease, number, started, .. } = hedge;
        Self { exchange, lease, started, number, retry_after: None }
    }

    /// The hedge was not needed: this attempt was sooner.
    pub fn outrun(&self, hedge: Hedge, now: Time) {
        self.exchange.hear(now, Input::Outran { exchange: self.exchange.id });
        let Hedge { mut lease, number, started, .. } = hedge;
        self.exchange.overtaken(&mut lease, number, now - started, now);
        drop(lease);
    }
}

impl Exchange<'_> {
    /// An attempt is given up, since another one was quicker: that says nothing about its backend, unless
    /// nobody is answered there any more.
    fn overtaken(&self, lease: &mut Lease, attempt: u8, waited: Duration, now: Time) {
        if lease.waits_in_vain(waited, &self.service.rules) {
            let outcome = Outcome::Failed(Failure::FirstByteTimeout);
            return self.conclude(lease, attempt, outcome, waited, now);
        }
        let (exchange, backend) = (self.id, lease.id());
        self.tell(now, Event::Overtaken { exchange, attempt, backend });
    }
}
