//! A request on its way to a backend.

use core::time::Duration;

use crate::backend::Member;
use crate::breaker::Verdict;
use crate::config::Timeouts;
use crate::event::{BackendId, Choice, Event};
use crate::exchange::{Exchange, Step};
use crate::input::Input;
use crate::lease::Lease;
use crate::outcome::{Failure, Outcome};
use crate::retry::Body;
use crate::time::Time;

/// A backend to send the request to, and the lease on it.
#[must_use]
#[derive(Debug)]
pub struct Attempt<'c> {
    pub(super) exchange: Exchange<'c>,
    pub(super) lease: Lease,
    pub(super) started: Time,
    pub(super) number: u8,
    /// How long the backend asks to be left alone.
    pub(super) retry_after: Option<Duration>,
}

/// Where a request is sent, and how long each part of it may take.
#[derive(Clone, Copy, Debug)]
pub struct Errand {
    backend: BackendId,
    started: Time,
    connect: Duration,
    first_byte: Duration,
    /// How long an exchange may take that nobody hurries.
    whole: Duration,
    last: Time,
    /// Whether the request may be carried out twice.
    is_repeatable: bool,
}

impl Errand {
    /// Where to.
    pub const fn backend(&self) -> BackendId {
        self.backend
    }

    /// Until when a connection must have come about.
    pub fn connect_deadline(&self) -> Time {
        (self.started + self.connect).min(self.deadline())
    }

    /// Until when the head of a response must have come, if the backend has had all it asked for
    /// since the attempt began.
    pub fn deadline(&self) -> Time {
        self.deadline_after(self.started)
    }

    /// Until when the whole exchange must be over.
    pub const fn exchange_deadline(&self) -> Time {
        self.last
    }

    /// Until when it must have come if the backend took a piece of the request's body at `moved`,
    /// or still waits for the client to send one: the time to answer begins with the last piece. It
    /// never goes beyond the exchange's own.
    pub fn deadline_after(&self, moved: Time) -> Time {
        (self.started.max(moved) + self.first_byte).min(self.last)
    }

    /// What a wait that ended at `now` with this failure came to, if the backend took the last piece of the
    /// request's body at `moved`. One that ended because the exchange's time was up, and would have been
    /// longer otherwise, shows nothing.
    pub fn judged(&self, failure: Failure, moved: Time, now: Time) -> Failure {
        let (since, due) = match failure {
            Failure::ConnectTimeout => (self.started, self.connect),
            Failure::FirstByteTimeout => (self.started.max(moved), self.first_byte),
            failure => return failure,
        };
        let is_hurried = now >= self.last && now - since < due.min(self.whole);
        if is_hurried { Failure::OutOfTime } else { failure }
    }

    /// Whether an answer of this status, which closes a connection that was kept, may have been meant for
    /// nobody, and the request can go out on another. A backend that has waited for one for too long says
    /// 408 as it closes (RFC 9110 §15.5.9), and what crosses with that has not been looked at. It may say so
    /// of a request as well: one that may be carried out only once is not repeated.
    pub const fn is_goodbye(&self, status: u16) -> bool {
        status == 408 && self.is_repeatable
    }
}

impl Attempt<'_> {
    /// At which backend.
    pub fn backend(&self) -> Member<'_> {
        Member {
            id: self.lease.id(),
            backend: self.lease.backend(),
            rules: &self.exchange.service.rules,
        }
    }

    /// Where to send the request, for as long as it takes.
    pub fn errand(&self) -> Errand {
        self.exchange.errand(self.lease.id(), self.started)
    }

    /// Which attempt of the exchange this is, counted from 1.
    pub const fn number(&self) -> u8 {
        self.number
    }

    /// Tells that the answer asks to be left alone for `span` (`Retry-After`, RFC 9110 §10.2.3).
    pub const fn asked_to_wait(mut self, span: Duration) -> Self {
        self.retry_after = Some(span);
        self
    }
}

impl<'c> Attempt<'c> {
    /// Hands back what became of it, and whether the request's body could be sent again.
    pub fn finish(self, outcome: Outcome, body: Body, now: Time) -> Step<'c> {
        let Self { exchange, mut lease, started, number, retry_after, .. } = self;
        exchange.hear(now, Input::Finished { exchange: exchange.id, outcome, body, retry_after });
        exchange.conclude(&mut lease, number, outcome, now - started, now);
        match outcome {
            Outcome::Answered(status) if !exchange.service.retry.wants(outcome) => {
                exchange.deliver(lease, status, now)
            }
            _ => exchange.follow(lease, outcome, body, retry_after, now),
        }
    }
}

impl Exchange<'_> {
    pub(super) fn errand(&self, backend: BackendId, started: Time) -> Errand {
        let Timeouts { connect, first_byte, exchange: whole, .. } = *self.service.timeouts();
        let is_repeatable = self.service.retry.may_be_repeated(self.repeat);
        let last = self.deadline;
        Errand { backend, started, connect, first_byte, whole, last, is_repeatable }
    }

    /// Takes into account what an attempt came to.
    #[inline]
    pub(super) fn conclude(
        &self,
        lease: &mut Lease,
        attempt: u8,
        outcome: Outcome,
        took: Duration,
        now: Time,
    ) {
        let (exchange, backend) = (self.id, lease.id());
        self.tell(now, Event::Concluded { exchange, attempt, backend, outcome, took });
        let (service, observe) = (self.service, self.observe);
        let judge =
            |lease: &mut Lease| lease.judge_head(outcome, took, &service.rules, now, observe);
        service.judge(lease, judge);
        match outcome.verdict(service.rules.failures) {
            Verdict::Success => {
                service.limits.learn(Some(took));
                if attempt == 1 {
                    service.retry.learn(took);
                }
            }
            Verdict::Failure => service.limits.learn(None),
            Verdict::Abandoned => {}
        }
    }

    #[inline]
    pub(super) fn tell_attempt(&self, attempt: u8, backend: BackendId, choice: Choice, now: Time) {
        let (exchange, deadline) = (self.id, self.errand(backend, now).deadline());
        self.tell(now, Event::Attempted { exchange, attempt, backend, choice, deadline });
    }
}
