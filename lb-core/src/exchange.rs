//! The life of one request, as values that are consumed: there is no call at the wrong time.
//!
//! ```text
//! Exchange::start ─► Step::Attempt ──finish(outcome)──► Step::Deliver   the answer goes out
//!                        ▲     │                        Step::Reject    we answer ourselves
//!                        │     └──────► Step::Wait ──wake──┐
//!                        └─────────────────────────────────┘
//! ```
//!
//! Whoever drives it (a hyper server, a simulator, a fuzzer) does what the step says and hands back
//! what became of it. Dropping any step is legal at any time: it is what happens when a client
//! hangs up, and the lease gives everything back.

use crate::backend::{Backend, Lease};
use crate::event::{Choice, Event, ExchangeId, Observe, Rejection};
use crate::outcome::{BodyEnd, Outcome, Reach};
use crate::retry::{Body, Repeat, Withheld};
use crate::rng::Rng;
use crate::service::Service;
use crate::time::Time;
use crate::tried::Places;

/// What is known of a request before it is sent anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Its name, and the name of its dice.
    pub id: ExchangeId,
    /// Whether it may be carried out twice.
    pub repeat: Repeat,
}

/// What to do next.
#[must_use]
#[derive(Debug)]
pub enum Step<'c> {
    /// Send the request to this backend.
    Attempt(Attempt<'c>),
    /// Wait, then wake it.
    Wait(Wait<'c>),
    /// Hand on the answer that came.
    Deliver(Delivery),
    /// Answer yourself, for this reason.
    Reject(Rejection),
}

/// One request on its way. Not held by anybody: it lives inside the steps.
#[derive(Clone)]
pub struct Exchange<'c> {
    service: &'c Service,
    observe: &'c dyn Observe,
    ask: Ask,
    rng: Rng,
    deadline: Time,
    tried: Places,
    attempts: u8,
    /// What the last attempt came to.
    last: Option<Outcome>,
}

/// A backend to send the request to, and the lease on it.
#[must_use]
#[derive(Debug)]
pub struct Attempt<'c> {
    exchange: Exchange<'c>,
    lease: Lease,
    started: Time,
    deadline: Time,
}

/// A wait before another attempt.
#[must_use]
#[derive(Debug)]
pub struct Wait<'c> {
    exchange: Exchange<'c>,
    until: Time,
}

/// An answer on its way to the client. Keep it until the body's last byte, then end it.
#[must_use]
#[derive(Debug)]
pub struct Delivery {
    exchange: ExchangeId,
    lease: Lease,
    deadline: Time,
}

impl<'c> Exchange<'c> {
    /// Begins the exchange and makes its first choice.
    pub fn start(service: &'c Service, observe: &'c dyn Observe, ask: Ask, now: Time) -> Step<'c> {
        service.retry.deposit(now);
        let exchange = Self {
            service,
            observe,
            ask,
            rng: service.dice(ask.id.0),
            deadline: now + service.timeouts().exchange,
            tried: Places::NONE,
            attempts: 0,
            last: None,
        };
        exchange.tell(
            now,
            Event::Started {
                exchange: ask.id,
                service: service.index(),
                deadline: exchange.deadline,
            },
        );
        exchange.attempt(now)
    }

    /// Tries a backend, whichever is best.
    fn attempt(mut self, now: Time) -> Step<'c> {
        match self.service.pick(&self.tried, &mut self.rng, now, self.observe) {
            Some((lease, choice)) => self.attempt_at(lease, choice, now),
            None => self.without_backend(now),
        }
    }

    fn attempt_at(mut self, lease: Lease, choice: Choice, now: Time) -> Step<'c> {
        let backend = lease.backend().id();
        self.attempts += 1;
        if !choice.again {
            // Attempts are at most ATTEMPTS_MAX, and there is room for each.
            self.tried.add(backend.backend);
        }
        let deadline = (now + self.service.timeouts().first_byte).min(self.deadline);
        self.tell(
            now,
            Event::Attempted {
                exchange: self.ask.id,
                attempt: self.attempts,
                backend,
                choice,
                deadline,
            },
        );
        Step::Attempt(Attempt { exchange: self, lease, started: now, deadline })
    }

    /// What follows an attempt that came to `outcome`.
    fn follow(mut self, lease: Lease, outcome: Outcome, body: Body, now: Time) -> Step<'c> {
        self.last = Some(outcome);
        let retry = &self.service.retry;
        if !retry.wants(outcome) {
            return self.settle(lease, outcome, now);
        }
        if let Err(why) = retry.allows(outcome, self.ask.repeat, body, self.attempts) {
            return self.withhold(why, lease, outcome, now);
        }
        let until = now + retry.backoff(self.attempts, &mut self.rng);
        if until >= self.deadline {
            return self.withhold(Withheld::DeadlineNear, lease, outcome, now);
        }
        if !retry.withdraw(now) {
            return self.withhold(Withheld::BudgetSpent, lease, outcome, now);
        }
        drop(lease);
        // Nothing was overloaded by a request that never arrived: another backend can have it now.
        if outcome.reach() == Reach::Never
            && let Some((lease, choice)) =
                self.service.pick_fresh(&self.tried, &mut self.rng, now, self.observe)
        {
            return self.attempt_at(lease, choice, now);
        }
        self.tell(now, Event::Delayed { exchange: self.ask.id, until });
        Step::Wait(Wait { exchange: self, until })
    }

    /// A retry was worth making and is not made.
    fn withhold(self, why: Withheld, lease: Lease, outcome: Outcome, now: Time) -> Step<'c> {
        self.tell(now, Event::Withheld { exchange: self.ask.id, why });
        self.settle(lease, outcome, now)
    }

    /// The last attempt decides: its answer goes out, or its failure is told.
    fn settle(self, lease: Lease, outcome: Outcome, now: Time) -> Step<'c> {
        match outcome {
            Outcome::Answered(status) => {
                let (exchange, backend) = (self.ask.id, lease.backend().id());
                self.tell(now, Event::Delivered { exchange, backend, status });
                Step::Deliver(Delivery { exchange, lease, deadline: self.deadline })
            }
            Outcome::Failed(_) if now >= self.deadline => {
                self.reject(Rejection::DeadlinePassed, now)
            }
            Outcome::Failed(failure) => self.reject(Rejection::AttemptFailed(failure), now),
        }
    }

    /// Nobody can take the request: what went wrong before is the better reason.
    fn without_backend(self, now: Time) -> Step<'c> {
        match self.last {
            None => self.reject(Rejection::NoFitBackend, now),
            Some(last) => {
                let why = Withheld::NoFitBackend;
                self.tell(now, Event::Withheld { exchange: self.ask.id, why });
                self.reject(
                    match last {
                        Outcome::Failed(failure) => Rejection::AttemptFailed(failure),
                        Outcome::Answered(_) => Rejection::NoFitBackend,
                    },
                    now,
                )
            }
        }
    }

    fn reject(self, rejection: Rejection, now: Time) -> Step<'c> {
        self.tell(now, Event::Rejected { exchange: self.ask.id, rejection });
        Step::Reject(rejection)
    }

    fn tell(&self, now: Time, event: Event) {
        self.observe.on(now, &event);
    }
}

impl<'c> Attempt<'c> {
    /// Where to send the request.
    pub fn backend(&self) -> &Backend {
        self.lease.backend()
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

    /// Hands back what became of it, and whether the request's body could be sent again.
    pub fn finish(self, outcome: Outcome, body: Body, now: Time) -> Step<'c> {
        let Self { exchange, mut lease, started, .. } = self;
        exchange.tell(
            now,
            Event::Concluded {
                exchange: exchange.ask.id,
                attempt: exchange.attempts,
                backend: lease.backend().id(),
                outcome,
                took: now - started,
            },
        );
        lease.judge_head(outcome, now, exchange.observe);
        exchange.follow(lease, outcome, body, now)
    }
}

impl<'c> Wait<'c> {
    /// When to wake it.
    pub const fn until(&self) -> Time {
        self.until
    }

    /// Makes the next attempt.
    pub fn wake(self, now: Time) -> Step<'c> {
        let Self { exchange, .. } = self;
        if now >= exchange.deadline {
            return exchange.reject(Rejection::DeadlinePassed, now);
        }
        exchange.attempt(now)
    }
}

impl Delivery {
    /// Whose answer it is.
    pub fn backend(&self) -> &Backend {
        self.lease.backend()
    }

    /// Until when its last byte must have gone out.
    pub const fn deadline(&self) -> Time {
        self.deadline
    }

    /// Hands back how the body ended. Gives the lease back.
    pub fn end(mut self, end: BodyEnd, now: Time, observe: &dyn Observe) {
        self.lease.judge_body(end, now, observe);
        let (exchange, backend) = (self.exchange, self.lease.backend().id());
        observe.on(now, &Event::Ended { exchange, backend, end });
    }
}

impl core::fmt::Debug for Exchange<'_> {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.debug_struct("Exchange")
            .field("ask", &self.ask)
            .field("attempts", &self.attempts)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}
