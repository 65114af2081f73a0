//! One request after it has begun: what the core says is done, until it is over.

use std::time::Duration;

use lb_core::edit::has_body;
use lb_core::{
    Attempt, BackendId, BodyEnd, Delivery, Errand, Event, ExchangeId, Hedge, Observe, Outcome,
    Queue, Rejection, Rng, Service, Step, Time, Wait,
};

use crate::arrivals::{Arrival, Turn};
use crate::filling::PIECES;
use crate::log::{End, Sink, What};
use crate::weather::since_start;

use super::Engine;
use super::agenda::Due;
use super::fate::{Deadlines, Fate};

/// Tells the dice of attempts from those of the core.
const ATTEMPTS: u64 = 0x6174_7465_6d70;

/// A place for a request. Each of its turns has a number of its own, so that nobody takes one for another's.
#[derive(Default)]
pub(super) struct Slot<'c> {
    turn: u64,
    open: Option<Open<'c>>,
    state: State<'c>,
}

/// A request on its way.
pub(super) struct Open<'c> {
    pub(super) request: u32,
    pub(super) exchange: ExchangeId,
    pub(super) post: bool,
    pub(super) user: Option<u32>,
    pub(super) tries: u8,
    pub(super) client: Option<Turn>,
    /// When the proxy got it, and when its client hangs up.
    pub(super) sent: Time,
    pub(super) gives_up: Time,
    /// How long it and its answer are on their way between client and proxy.
    pub(super) trip: Duration,
    pub(super) era: usize,
    pub(super) service: &'c Service,
    /// What its client is told in place of an answer's status, if anything.
    pub(super) status: Option<u16>,
    pub(super) line: usize,
}

/// What a request waits for.
#[derive(Default)]
pub(super) enum State<'c> {
    #[default]
    Starts,
    Trying(Attempt<'c>, Fate, Beside),
    Waiting(Wait<'c>, Option<Fate>),
    InLine(Queue<'c>),
    Delivering(Delivery, Fate, Body),
}

/// The body of an answer: its status, and when it ends how.
#[derive(Clone, Copy)]
pub(super) struct Body {
    status: u16,
    until: Time,
    end: BodyEnd,
}

/// A second attempt beside the first.
pub(super) enum Beside {
    None,
    From(Time),
    /// Rare, and as long as all the rest: it has a place of its own, or every request would pay for it.
    Runs(Box<(Hedge, Fate)>),
}

impl State<'_> {
    /// When it goes on, if the client does not hang up before.
    fn until(&self) -> Time {
        match self {
            Self::Starts => Time::ZERO,
            Self::Trying(_, fate, Beside::None) => fate.at,
            Self::Trying(_, fate, Beside::From(at)) => fate.at.min(*at),
            Self::Trying(_, fate, Beside::Runs(second)) => fate.at.min(second.1.at),
            Self::Waiting(wait, _) => wait.until(),
            Self::InLine(queue) => queue.until(),
            Self::Delivering(.., body) => body.until,
        }
    }
}

impl<'c, S: Sink> Engine<'c, S> {
    /// Gives a request a slot.
    pub(super) fn seat(&mut self, open: Open<'c>) -> u32 {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).expect("fewer than 2³² requests at a time")
        });
        self.slots[slot as usize].open = Some(open);
        slot
    }

    fn open(&mut self, slot: u32) -> &mut Open<'c> {
        self.slots[slot as usize].open.as_mut().expect("whoever asks knows that it is open")
    }

    /// A request waits from now on.
    fn wait(&mut self, slot: u32, state: State<'c>) {
        let place = &mut self.slots[slot as usize];
        let open = place.open.as_ref().expect("whoever waits is open");
        let until = state.until().min(open.gives_up);
        place.state = state;
        place.turn = self.agenda.put_turn(until.max(self.now), slot);
    }

    /// A request goes on, if it still waits for this turn.
    pub(super) fn turn(&mut self, slot: u32, turn: u64) {
        let place = &mut self.slots[slot as usize];
        if place.turn != turn || place.open.is_none() {
            return;
        }
        let state = std::mem::take(&mut place.state);
        if self.now < state.until() {
            return self.hang_up(slot, state);
        }
        match state {
            State::Starts => unreachable!("a request that has begun waits for something"),
            State::Trying(attempt, fate, beside) => self.try_on(slot, attempt, fate, beside),
            State::Waiting(wait, kept) => {
                let step = wait.wake(self.now);
                self.go_on(slot, step, kept);
            }
            State::InLine(queue) => {
                let line = self.open(slot).line;
                self.lines[line].remove(&queue.rank());
                let step = queue.wake(self.now);
                self.go_on(slot, step, None);
                self.call(line);
            }
            State::Delivering(delivery, fate, body) => self.delivered(slot, delivery, fate, body),
        }
    }

    /// Does what the core says. `last` is what the last attempt came to.
    pub(super) fn go_on(&mut self, slot: u32, step: Step<'c>, last: Option<Fate>) {
        match step {
            Step::Attempt(attempt) => {
                let fate = self.send(slot, attempt.errand(), attempt.number());
                let beside = attempt.hedge_at().map_or(Beside::None, Beside::From);
                self.wait(slot, State::Trying(attempt, fate, beside));
            }
            Step::Wait(wait) => self.wait(slot, State::Waiting(wait, last)),
            Step::Queue(queue) => {
                let line = self.open(slot).line;
                let rank = queue.rank();
                let is_first =
                    self.lines[line].first_key_value().is_none_or(|(first, _)| rank < *first);
                self.lines[line].insert(rank, slot);
                self.wait(slot, State::InLine(queue));
                if is_first {
                    self.call(line);
                }
            }
            Step::Deliver(delivery) => {
                let fate = last.expect("what is delivered was answered");
                self.deliver(slot, delivery, fate);
            }
            Step::Reject(rejection, _) => self.reject(slot, rejection),
        }
    }

    /// Sends a request to a backend.
    fn send(&mut self, slot: u32, errand: Errand, number: u8) -> Fate {
        let open = self.open(slot);
        let (exchange, post, user, era) = (open.exchange, open.post, open.user, open.era);
        let origin = self.origin(era, errand.backend());
        // Whoever is asked: so two configurations are compared by the same luck.
        let dice = Rng::stream(self.seed ^ ATTEMPTS, (exchange.0 << 8) | u64::from(number));
        let fate = self.places[origin].send(self.now, Deadlines::from(errand), dice);
        if let Some(status) = fate.reached {
            self.say(What::Reached { origin, exchange, post, status, user });
        }
        fate
    }

    /// Which origin an attempt goes to.
    fn origin(&self, era: usize, backend: BackendId) -> usize {
        let made = self.stage.eras[era].made();
        made.origins[usize::from(backend.service)][usize::from(backend.backend)]
    }

    /// An attempt has come to something, or another one beside it is due, or has come to something.
    fn try_on(&mut self, slot: u32, mut attempt: Attempt<'c>, fate: Fate, beside: Beside) {
        let now = self.now;
        match beside {
            Beside::None => self.conclude(slot, attempt, fate),
            Beside::From(_) if fate.at <= now => self.conclude(slot, attempt, fate),
            Beside::From(_) => {
                let beside = match attempt.hedge(now) {
                    None => Beside::None,
                    Some(hedge) => {
                        let number = attempt.number() + 1;
                        let fate = self.send(slot, hedge.errand(), number);
                        Beside::Runs(Box::new((hedge, fate)))
                    }
                };
                self.wait(slot, State::Trying(attempt, fate, beside));
            }
            Beside::Runs(second) => self.settle(slot, attempt, fate, *second),
        }
    }

    /// One of two attempts side by side has come to something.
    fn settle(&mut self, slot: u32, attempt: Attempt<'c>, fate: Fate, second: (Hedge, Fate)) {
        let now = self.now;
        let (hedge, second) = second;
        let is_first = fate.at <= now;
        if is_first && attempt.settles(fate.outcome) {
            attempt.outrun(hedge, now);
            self.conclude(slot, attempt, fate);
        } else if is_first {
            let attempt = attempt.give_way(hedge, Some(fate.outcome), now);
            self.wait(slot, State::Trying(attempt, second, Beside::None));
        } else if attempt.settles(second.outcome) {
            let attempt = attempt.give_way(hedge, None, now);
            self.conclude(slot, attempt, second);
        } else {
            attempt.hedge_failed(hedge, second.outcome, now);
            self.wait(slot, State::Trying(attempt, fate, Beside::None));
        }
    }

    fn conclude(&mut self, slot: u32, attempt: Attempt<'c>, fate: Fate) {
        let Open { line, post, era, .. } = *self.open(slot);
        let keeps_all = !post || self.scenario.workload.body <= self.replay_buffer(slot);
        let body = if keeps_all { lb_core::Body::Intact } else { lb_core::Body::Spent };
        let origin = self.origin(era, attempt.backend().id());
        let attempt = match (fate.outcome, self.places[origin].retry_after) {
            (Outcome::Answered(500..), Some(span)) => attempt.asked_to_wait(span),
            _ => attempt,
        };
        let step = attempt.finish(fate.outcome, body, self.now);
        self.go_on(slot, step, Some(fate));
        self.call(line);
    }

    fn replay_buffer(&mut self, slot: u32) -> usize {
        let open = self.open(slot);
        let (era, service) = (open.era, open.service.index());
        self.stage.eras[era].told.config.services[usize::from(service)].replay_buffer
    }

    fn deliver(&mut self, slot: u32, delivery: Delivery, fate: Fate) {
        let Outcome::Answered(status) = fate.outcome else {
            unreachable!("what is delivered was answered")
        };
        let Open { user, era, service, status: edited, .. } = *self.open(slot);
        let status = edited.filter(|_| has_body(status)).unwrap_or(status);
        if let Some(user) = user
            && let Some(cookie) = delivery.set_cookie(service)
            && self.scenario.workload.cookies
        {
            let pair = cookie.split(';').next().unwrap_or_default().as_bytes().into();
            self.jars.insert(user, pair);
        }
        let idle = service.timeouts().body_idle;
        let (mut takes, mut end) = match fate.is_whole {
            true => (fate.body, BodyEnd::Complete),
            false => (fate.body / 2, BodyEnd::BackendBroke),
        };
        if fate.body / PIECES > idle {
            let origin = self.origin(era, delivery.backend());
            let missing = self.scenario.origins[origin].announces();
            (takes, end) = (idle, BodyEnd::of_silence(missing));
        }
        let mut until = self.now + takes;
        if until > delivery.deadline() {
            (until, end) = (delivery.deadline(), BodyEnd::Deadline);
        }
        let body = Body { status, until, end };
        match until <= self.now {
            true => self.delivered(slot, delivery, fate, body),
            false => self.wait(slot, State::Delivering(delivery, fate, body)),
        }
    }

    /// The last byte of an answer has gone out, or does not come.
    fn delivered(&mut self, slot: u32, delivery: Delivery, fate: Fate, body: Body) {
        let now = self.now;
        let Body { status, end, .. } = body;
        let Open { era, service, line, .. } = *self.open(slot);
        if end == BodyEnd::Complete {
            let origin = self.origin(era, delivery.backend());
            self.places[origin].keep(&fate, now);
        }
        delivery.end(end, service, now, &self.stage.eras[era].told);
        let seen = match end {
            BodyEnd::Complete => End::Answered(status),
            _ => End::Broken(status),
        };
        self.end(slot, seen, true);
        self.call(line);
    }

    fn reject(&mut self, slot: u32, rejection: Rejection) {
        self.end(slot, End::Answered(rejection.status()), true);
    }

    /// Its client has waited for too long.
    fn hang_up(&mut self, slot: u32, state: State<'c>) {
        let now = self.now;
        let Open { era, service, line, exchange, .. } = *self.open(slot);
        let told = &self.stage.eras[era].told;
        match state {
            State::Delivering(delivery, ..) => {
                delivery.end(BodyEnd::ClientLeft, service, now, told);
            }
            State::InLine(queue) => {
                self.lines[line].remove(&queue.rank());
                drop(queue);
                told.on(now, &Event::Left { exchange });
            }
            state => {
                drop(state);
                told.on(now, &Event::Left { exchange });
            }
        }
        self.end(slot, End::TimedOut, false);
        self.call(line);
    }

    /// It is over.
    fn end(&mut self, slot: u32, end: End, is_told: bool) {
        let place = &mut self.slots[slot as usize];
        let open = place.open.as_ref().expect("it ends once");
        let Open { request, exchange, sent, trip, post, user, tries, client, .. } = *open;
        place.open = None;
        self.vacant.push(slot);
        let took = (self.now - sent) + trip;
        let exchange = is_told.then_some(exchange);
        let at = since_start(sent);
        self.say(What::Ended { request, end, exchange, sent: at, took });
        let asked = Arrival { at, post, user, reads_late: false, tries, client };
        self.ask_again(asked, end, trip);
    }

    /// What a client does whose request came to this `end`, so long ago or ahead as its way home is long.
    pub(super) fn ask_again(&mut self, asked: Arrival, end: End, trip: Duration) {
        let again = self.scenario.workload.again;
        let at = since_start(self.now) + again.after;
        if !end.is_good() && asked.tries < again.tries && at < self.scenario.duration {
            self.put_again(Arrival { at, tries: asked.tries + 1, ..asked });
        } else if let Some(turn) = asked.client
            && let Some(next) = self.asking.next(turn, since_start(self.now) + trip)
        {
            self.put_again(next);
        }
    }

    /// Somebody will ask.
    pub(super) fn put_again(&mut self, arrival: Arrival) {
        let number = self.rested.pop().unwrap_or_else(|| {
            self.again.push(arrival);
            u32::try_from(self.again.len() - 1).expect("fewer than 2³² clients")
        });
        self.again[number as usize] = arrival;
        self.agenda.put(Time::ZERO + arrival.at, Due::Again(number));
    }

    /// Something of a service has ended: whoever is first in line looks for a place, and so on as long as
    /// there are places.
    pub(super) fn call(&mut self, line: usize) {
        while let Some((rank, slot)) = self.lines[line].pop_first() {
            let state = std::mem::take(&mut self.slots[slot as usize].state);
            let State::InLine(queue) = state else { unreachable!("whoever is in line waits") };
            match queue.wake(self.now) {
                Step::Queue(queue) => {
                    self.lines[line].insert(rank, slot);
                    self.slots[slot as usize].state = State::InLine(queue);
                    return;
                }
                step => self.go_on(slot, step, None),
            }
        }
    }
}
