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

mod attempt;
mod delivery;
mod extra;
mod hedge;
mod queue;
mod wait;

use core::time::Duration;

use crate::affinity::Affinity;
use crate::balance::{Draw, How};
use crate::config::WhenSpent;
use crate::event::{Choice, Event, ExchangeId, Observe, Rejection};
use crate::explain::Explanation;
use crate::facts::{Facts, Unknown};
use crate::input::Input;
use crate::lease::Lease;
use crate::limit::Place;
use crate::outcome::{Failure, Outcome, Reach};
use crate::rate::Allowance;
use crate::retry::{Body, Repeat, Withheld};
use crate::rng::Rng;
use crate::service::Service;
use crate::time::{Time, micros};
use crate::tried::Places;

pub use attempt::{Attempt, Errand};
pub use delivery::Delivery;
pub use hedge::Hedge;
pub use queue::Queue;
pub use wait::Wait;

use extra::Rare;

/// What is known of a request before it is sent anywhere.
#[derive(Clone, Copy)]
pub struct Ask<'r> {
    /// Its name, and the name of its dice.
    pub id: ExchangeId,
    /// Whether it may be carried out twice.
    pub repeat: Repeat,
    /// What it says of itself and of its client.
    pub facts: &'r dyn Facts,
    /// Whether it has no body.
    pub bodiless: bool,
}

impl Ask<'static> {
    /// A request of which nothing else is known.
    pub const fn bare(id: ExchangeId, repeat: Repeat) -> Self {
        Self { id, repeat, facts: &Unknown, bodiless: true }
    }
}

/// What to do next.
#[must_use]
#[derive(Debug)]
pub enum Step<'c> {
    /// Send the request to this backend.
    Attempt(Attempt<'c>),
    /// Wait, then wake it.
    Wait(Wait<'c>),
    /// Wait in line for a place, then wake it.
    Queue(Queue<'c>),
    /// Hand on the answer that came.
    Deliver(Delivery),
    /// Answer yourself, for this reason; and say what is left to the client, where requests are rationed.
    Reject(Rejection, Option<Allowance>),
}

/// One request on its way. Not held by anybody: it lives inside the steps.
pub struct Exchange<'c> {
    service: &'c Service,
    observe: &'c dyn Observe,
    id: ExchangeId,
    repeat: Repeat,
    bodiless: bool,
    rng: Rng,
    deadline: Time,
    tried: Places,
    /// The backend that the client sticks to.
    wish: Option<u16>,
    /// What the request is hashed by.
    key: u64,
    has_key: bool,
    attempts: u8,
    /// Attempts at the same backend in a row.
    at_same: u8,
    /// How long the last wait was, in microseconds.
    waited: u32,
    /// Its place among what is in flight at the service, where that is counted.
    running: Option<Place>,
    /// What is left to its client, where requests are rationed.
    allowance: Option<Allowance>,
    rare: Rare,
}

/// What the last attempt came to. An answer holds on to its lease: its body is still to come.
#[derive(Debug)]
enum Last {
    Answered(Lease, u16),
    Failed(Failure),
}

impl<'c> Exchange<'c> {
    /// Begins the exchange and makes its first choice.
    pub fn start(
        service: &'c Service,
        observe: &'c dyn Observe,
        ask: Ask<'_>,
        now: Time,
    ) -> Step<'c> {
        observe.begins(now, service.index(), &ask);
        service.compare(now, observe);
        let key = service.keys.as_ref().and_then(|keys| keys.of(ask.facts));
        let bond = service.affinity.as_ref().map(|it| it.bond(ask.facts, now)).unwrap_or_default();
        let admitted = service.admit(ask.facts, now);
        let longest = service.timeouts().exchange;
        let allowed = ask.facts.patience().map_or(longest, |patience| patience.min(longest));
        let mut exchange = Self {
            service,
            observe,
            id: ask.id,
            repeat: ask.repeat,
            bodiless: ask.bodiless,
            rng: service.dice(ask.id.0),
            deadline: now + allowed,
            tried: Places::NONE,
            wish: bond.wish.filter(|place| service.binds(*place)),
            key: key.unwrap_or_default(),
            has_key: key.is_some(),
            attempts: 0,
            at_same: 0,
            waited: 0,
            running: None,
            allowance: None,
            rare: Rare::default(),
        };
        exchange.tell(
            now,
            Event::Started {
                exchange: ask.id,
                service: service.index(),
                deadline: exchange.deadline,
            },
        );
        if let Some(locator) = &service.locator {
            exchange.rare.make().area = locator.locate(ask.facts);
        }
        if bond.key.is_some() {
            exchange.rare.make().stick = bond.key;
        }
        match admitted {
            Ok(allowance) => exchange.allowance = allowance,
            Err(wait) => return exchange.reject(Rejection::RateLimited(wait), now),
        }
        service.retry.deposit(now);
        exchange.admit(ask.facts, now)
    }

    /// Finds a place among what is in flight, and a backend; without either it waits in line.
    #[inline]
    fn admit(mut self, facts: &dyn Facts, now: Time) -> Step<'c> {
        let limits = &self.service.limits;
        match limits.admit(facts) {
            Some(None) => {}
            Some(client) => self.rare.make().client = client,
            None => return self.reject(Rejection::ClientBusy, now),
        }
        if limits.has_line() || !self.enter() {
            return self.line_up(limits.queue(facts), now);
        }
        match self.pick(now) {
            Some((lease, choice)) => self.attempt_at(lease, choice, now),
            None if self.service.is_full(now) => {
                self.running = None;
                self.line_up(limits.queue(facts), now)
            }
            None => self.reject(Rejection::NoFitBackend, now),
        }
    }

    /// Tries a backend, whichever is best. Without any, what came of the `last` attempt decides.
    fn attempt(mut self, same: Option<u16>, last: Last, now: Time) -> Step<'c> {
        let again = same.and_then(|place| self.service.pick_again(place, now, self.observe));
        match again.or_else(|| self.pick(now)) {
            Some((lease, choice)) => self.attempt_at(lease, choice, now),
            None => self.withhold(Withheld::NoFitBackend, last, now),
        }
    }

    /// Tells what the choice is made from that follows, to whoever wants to know.
    fn explain(&self, now: Time) {
        if !self.observe.explains() {
            return;
        }
        let limits = &self.service.limits;
        let candidates = self.service.candidates(&self.tried, now);
        self.observe.explained(&Explanation {
            exchange: self.id,
            attempt: self.attempts + 1,
            at: now,
            pools: self.service.pools_seen(self.rare.area().pools),
            more: self.service.backends().count() - candidates.len(),
            candidates,
            wish: self.wish,
            key: self.key(),
            retries_left: self.service.retries_left(now),
            running: limits.most().map(|most| (limits.running(), most)),
            waiting: limits.waiting(),
        });
    }

    /// The backend that the client sticks to, else whichever is best.
    fn pick(&mut self, now: Time) -> Option<(Lease, Choice)> {
        self.explain(now);
        let wish = self.wish.filter(|place| !self.tried.contains(*place));
        let known = wish.and_then(|place| self.service.pick_known(place, now, self.observe));
        if known.is_some() || self.is_bound() {
            return known;
        }
        let first = self.attempts == 0;
        let (key, area) = (self.key(), self.rare.area());
        let mut draw = Draw { rng: &mut self.rng, first, now, key, area };
        self.service.pick(&self.tried, &mut draw, self.observe)
    }

    fn key(&self) -> Option<u64> {
        self.has_key.then_some(self.key)
    }

    /// Whether the client may go to no other backend than its own.
    fn is_bound(&self) -> bool {
        self.wish.is_some() && self.service.affinity.as_ref().is_some_and(Affinity::is_strict)
    }

    #[inline]
    fn attempt_at(mut self, lease: Lease, choice: Choice, now: Time) -> Step<'c> {
        let backend = lease.id();
        self.attempts += 1;
        self.at_same = if choice.how == How::Same { self.at_same + 1 } else { 1 };
        if !choice.again {
            // Attempts are at most ATTEMPTS_MAX, and there is room for each.
            self.tried.add(backend.backend);
        }
        let number = self.attempts;
        self.tell_attempt(number, backend, choice, now);
        let retry_after = None;
        Step::Attempt(Attempt { exchange: self, lease, started: now, number, retry_after })
    }

    /// What follows an attempt that came to `outcome`.
    fn follow(
        mut self,
        lease: Lease,
        outcome: Outcome,
        body: Body,
        asked: Option<Duration>,
        now: Time,
    ) -> Step<'c> {
        let place = lease.id().backend;
        let last = match outcome {
            Outcome::Answered(status) => Last::Answered(lease, status),
            Outcome::Failed(failure) => {
                drop(lease);
                Last::Failed(failure)
            }
        };
        let retry = &self.service.retry;
        if !retry.wants(outcome) {
            return self.settle(last, now);
        }
        if let Err(why) = retry.allows(outcome, self.repeat, body, self.attempts) {
            return self.withhold(why, last, now);
        }
        let waited = Duration::from_micros(self.waited.into());
        let wait = match retry.wait(self.attempts, waited, asked, &mut self.rng) {
            Ok(wait) => wait,
            Err(why) => return self.withhold(why, last, now),
        };
        let same = retry.stays(self.at_same).then_some(place);
        // Nothing was overloaded by a request that never arrived: another backend can have it now.
        let at_once = outcome.reach() == Reach::Never
            && same.is_none()
            && self.service.may_serve(&self.tried, now);
        let deadline = self.deadline;
        let is_late = |until: Time| until >= deadline;
        let until = if at_once { now } else { now + wait };
        if is_late(until) {
            return self.withhold(Withheld::DeadlineNear, last, now);
        }
        if (self.is_bound() && same.is_none()) || !self.service.may_serve_at_all(until) {
            return self.withhold(Withheld::NoFitBackend, last, now);
        }
        if !retry.withdraw(now) {
            return self.withhold(Withheld::BudgetSpent, last, now);
        }
        if at_once {
            self.explain(now);
            let (key, area) = (self.key(), self.rare.area());
            let mut draw = Draw { rng: &mut self.rng, first: false, now, key, area };
            let picked = self.service.pick_fresh(&self.tried, &mut draw, self.observe);
            if let Some((lease, choice)) = picked {
                return self.attempt_at(lease, choice, now);
            }
        }
        // Who may serve as far as is known may yet be unhealthy still, or in a pool that has too few:
        // whoever finds nobody to go to at once backs off as any other does.
        // The budget has paid for it, and has no way to be paid back: it errs towards fewer retries.
        let until = now + wait;
        if is_late(until) {
            return self.withhold(Withheld::DeadlineNear, last, now);
        }
        self.waited = u32::try_from(micros(wait)).unwrap_or(u32::MAX);
        self.tell(now, Event::Delayed { exchange: self.id, until });
        Step::Wait(Wait { exchange: self, until, last, same })
    }

    /// A retry was worth making and is not made.
    fn withhold(self, why: Withheld, last: Last, now: Time) -> Step<'c> {
        self.tell(now, Event::Withheld { exchange: self.id, why });
        match (last, self.service.retry.when_spent()) {
            (Last::Answered(_, status), WhenSpent::Replace) => {
                self.reject(Rejection::Replaced(status), now)
            }
            (last, _) => self.settle(last, now),
        }
    }

    /// An answer goes out.
    #[inline]
    fn deliver(self, lease: Lease, status: u16, now: Time) -> Step<'c> {
        let (exchange, backend) = (self.id, lease.id());
        self.tell(now, Event::Delivered { exchange, backend, status });
        let stick = self.rare.get().and_then(|extra| extra.stick);
        let stick = stick.filter(|_| self.service.binds(backend.backend));
        if let (Some(affinity), Some(key)) = (&self.service.affinity, stick) {
            affinity.remember(key, backend.backend, now);
        }
        let Self { deadline, wish, running, allowance, rare, .. } = self;
        Step::Deliver(Delivery { exchange, lease, deadline, wish, running, allowance, rare })
    }

    /// The last attempt decides: its answer goes out, or its failure is told.
    fn settle(self, last: Last, now: Time) -> Step<'c> {
        match last {
            Last::Answered(lease, status) => self.deliver(lease, status, now),
            Last::Failed(_) if now >= self.deadline => self.reject(Rejection::DeadlinePassed, now),
            Last::Failed(failure) => self.reject(Rejection::AttemptFailed(failure), now),
        }
    }

    fn reject(self, rejection: Rejection, now: Time) -> Step<'c> {
        self.tell(now, Event::Rejected { exchange: self.id, rejection });
        Step::Reject(rejection, self.allowance)
    }

    fn hear(&self, now: Time, input: Input) {
        self.observe.hears(now, input);
    }

    fn tell(&self, now: Time, event: Event) {
        self.observe.on(now, &event);
    }
}

impl core::fmt::Debug for Exchange<'_> {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.debug_struct("Exchange")
            .field("id", &self.id)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}
