//! A request on its way to a backend.

use core::time::Duration;

use crate::backend::Member;
use crate::breaker::Verdict;
use crate::event::Event;
use crate::exchange::{Exchange, Step};
use crate::lease::Lease;
use crate::outcome::Outcome;
use crate::retry::Body;
use crate::time::Time;

/// A backend to send the request to, and the lease on it.
#[must_use]
#[derive(Debug)]
pub struct Attempt<'c> {
    pub(super) exchange: Exchange<'c>,
    pub(super) lease: Lease,
    pub(super) started: Time,
    pub(super) deadline: Time,
    /// How long the backend asks to be left alone.
    pub(super) retry_after: Option<Duration>,
}

impl<'c> Attempt<'c> {
    /// Where to send the request.
    pub fn backend(&self) -> Member<'_> {
        Member {
            id: self.lease.id(),
            backend: self.lease.backend(),
            rules: &self.exchange.service.rules,
        }
    }

    /// Which attempt of the exchange this is, counted from 1.
    pub const fn number(&self) -> u8 {
        self.exchange.attempts
    }

    /// Until when a connection must have come about.
    pub fn connect_deadline(&self) -> Time {
        (self.started + self.exchange.service.timeouts().connect).min(self.deadline)
    }

    /// Until when the head of a response must have come, if the backend has had all it asked for
    /// since the attempt began.
    pub const fn deadline(&self) -> Time {
        self.deadline
    }

    /// Until when it must have come if the backend took a piece of the request's body at `moved`,
    /// or still waits for the client to send one: the time to answer begins with the last piece. It
    /// never goes beyond the exchange's own.
    pub fn deadline_after(&self, moved: Time) -> Time {
        let first_byte = self.exchange.service.timeouts().first_byte;
        (self.started.max(moved) + first_byte).min(self.exchange.deadline)
    }

    /// Tells that the answer asks to be left alone for `span` (`Retry-After`, RFC 9110 §10.2.3).
    pub const fn asked_to_wait(mut self, span: Duration) -> Self {
        self.retry_after = Some(span);
        self
    }

    /// Hands back what became of it, and whether the request's body could be sent again.
    pub fn finish(self, outcome: Outcome, body: Body, now: Time) -> Step<'c> {
        let Self { exchange, mut lease, started, retry_after, .. } = self;
        exchange.tell(
            now,
            Event::Concluded {
                exchange: exchange.id,
                attempt: exchange.attempts,
                backend: lease.id(),
                outcome,
                took: now - started,
            },
        );
        exchange.service.judge(&mut lease, |lease| {
            let took = now - started;
            lease.judge_head(outcome, took, &exchange.service.rules, now, exchange.observe);
        });
        match outcome.verdict(exchange.service.rules.failures) {
            Verdict::Success => exchange.service.limits.learn(Some(now - started)),
            Verdict::Failure => exchange.service.limits.learn(None),
            Verdict::Abandoned => {}
        }
        exchange.follow(lease, outcome, body, retry_after, now)
    }
}
