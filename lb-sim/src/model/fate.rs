//! What becomes of a request that is sent to an origin: when, and with what.

use std::time::Duration;

use lb_core::{Errand, Failure, Outcome, Rng, Time};

use crate::dice::Chance;
use crate::record::Past;
use crate::scenario::{Latency, Span};
use crate::way::Way;
use crate::weather::{Weather, answer};

use super::relive::relive;
use super::server::Server;

/// What an attempt will come to, unless it is given up before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fate {
    /// When the head of an answer comes, or is known not to.
    pub(super) at: Time,
    pub(super) outcome: Outcome,
    /// How long the body takes after the head, and whether all of it comes.
    pub(super) body: Duration,
    pub(super) is_whole: bool,
    /// What the origin meant to answer, if the request reached it.
    pub(super) reached: Option<u16>,
}

impl Fate {
    fn fails(at: Time, failure: Failure, reached: Option<u16>) -> Self {
        let outcome = Outcome::Failed(failure);
        Self { at, outcome, body: Duration::ZERO, is_whole: true, reached }
    }

    /// Nothing is heard of it ever again.
    fn silent(reached: Option<u16>) -> Self {
        Self::fails(Time::MAX, Failure::FirstByteTimeout, reached)
    }
}

/// An origin and everything around it.
#[derive(Debug)]
pub(super) struct Place<'s> {
    pub(super) latency: &'s Latency,
    /// What it did when it was recorded, which it does again.
    pub(super) past: Option<&'s Past>,
    /// For how long its bad answers ask that it be left alone.
    pub(super) retry_after: Option<Duration>,
    pub(super) weather: Weather<'s>,
    pub(super) server: Server,
    pub(super) network: Span,
}

/// Until when a connection must have come about, and until when an answer.
#[derive(Clone, Copy)]
pub(super) struct Deadlines {
    pub(super) connect: Time,
    pub(super) head: Time,
    /// What it comes to when they are over.
    pub(super) no_connection: Failure,
    pub(super) no_head: Failure,
    /// Whether it is a health check that has to be in time.
    pub(super) is_check: bool,
}

impl Deadlines {
    /// Of a health check, which has all of its time.
    pub(super) const fn of_check(by: Time) -> Self {
        let (no_connection, no_head) = (Failure::ConnectTimeout, Failure::FirstByteTimeout);
        Self { connect: by, head: by, no_connection, no_head, is_check: true }
    }
}

impl From<Errand> for Deadlines {
    fn from(errand: Errand) -> Self {
        let (connect, head) = (errand.connect_deadline(), errand.deadline());
        Self {
            connect,
            head,
            no_connection: errand.judged(Failure::ConnectTimeout, Time::ZERO, connect),
            no_head: errand.judged(Failure::FirstByteTimeout, Time::ZERO, head),
            is_check: false,
        }
    }
}

/// What chance has in store for a request that arrives.
struct Luck {
    back: Duration,
    takes: Duration,
    /// Numbers in `0.0..1.0` by which a share of the requests meets a fault.
    status: f64,
    resets: f64,
}

impl Place<'_> {
    /// Sends a request at `now`. All chance of it comes from `dice`.
    pub(super) fn send(&mut self, now: Time, deadlines: Deadlines, mut dice: Rng) -> Fate {
        if let Some(past) = self.past {
            return relive(past, self.latency, now, deadlines, dice);
        }
        let there = dice.within(self.network);
        let back = dice.within(self.network);
        let luck = Luck {
            back,
            takes: self.latency.draw(&mut dice),
            status: dice.unit(),
            resets: dice.unit(),
        };
        let kept = self.kept(now);
        match self.connects(now, there + back, &deadlines, kept) {
            Err(fate) => fate,
            Ok(set_out) => {
                let fate = self.serve(set_out + there, &luck, deadlines.is_check);
                if fate.at <= deadlines.head {
                    return fate;
                }
                let by = deadlines.head.max(now);
                Fate::fails(by, deadlines.no_head, fate.reached)
            }
        }
    }

    /// Whether there is a kept connection, which is taken.
    fn kept(&mut self, now: Time) -> bool {
        let server = &mut self.server;
        // Those that broke meanwhile are gone.
        if !self.weather.is_fair() && self.weather.breaks(server.used, now).is_some() {
            server.idle = 0;
        }
        server.used = now;
        let kept = server.idle > 0;
        server.idle -= u32::from(kept);
        kept
    }

    /// When a request sets out that has a connection, kept or new.
    fn connects(
        &self,
        now: Time,
        trip: Duration,
        deadlines: &Deadlines,
        kept: bool,
    ) -> Result<Time, Fate> {
        let (weather, by) = (&self.weather, deadlines.connect);
        if weather.is_fair() {
            return Ok(if kept { now } else { now + trip / 2 });
        }
        let late = || Fate::fails(by, deadlines.no_connection, None);
        if weather.way(now) == Way::Off {
            return Err(late());
        }
        if weather.way(now) == Way::Cut && !kept {
            return Err(Fate::fails(now.min(by), Failure::ConnectRefused, None));
        }
        let Some(set_out) = weather.sets_out(now) else {
            let silent = || Fate::fails(deadlines.head.max(now), deadlines.no_head, None);
            return Err(if kept { silent() } else { late() });
        };
        if weather.refuses(set_out) && set_out <= by {
            return Err(Fate::fails((set_out + trip).min(by), Failure::ConnectRefused, None));
        }
        let set_out = if kept { set_out } else { set_out + trip / 2 };
        if kept || set_out <= by { Ok(set_out) } else { Err(late()) }
    }

    /// What a request comes to that arrives at `at`, whatever the proxy's patience.
    fn serve(&mut self, at: Time, luck: &Luck, is_check: bool) -> Fate {
        if self.weather.is_fair() {
            return self.serve_well(at, luck);
        }
        let status = answer(self.weather.statuses(at), luck.status, is_check);
        let resets = luck.resets < self.weather.resets(at);
        let back = luck.back;
        let begins = match self.weather.shrinks() {
            false => self.server.begins(at),
            true => self.server.begins_among(at, |place, at| self.weather.opens(place, at)),
        };
        let Some(begins) = begins else {
            let reached = Some(FULL);
            let Some(at) = self.weather.sets_out(at) else { return Fate::silent(reached) };
            let (at, outcome) = (at + back, Outcome::Answered(FULL));
            return Fate { at, outcome, body: Duration::ZERO, is_whole: true, reached };
        };
        let speed = self.weather.speed(begins);
        let takes = luck.takes.div_f64(speed) + self.weather.delay(begins);
        self.server.works(begins, takes);
        let done = begins + takes;
        let reached = Some(status);
        if let Some(broke) = self.weather.breaks(at, done) {
            return Fate::fails(broke + back, Failure::Reset, reached);
        }
        if resets {
            return Fate::fails(done + back, Failure::Reset, reached);
        }
        let says = self.weather.sets_out(done).filter(|_| !self.weather.swallows(done));
        let Some(says) = says else { return Fate::silent(reached) };
        let body = self.weather.body(done);
        let is_whole = !self.weather.truncates(done);
        Fate { at: says + back, outcome: Outcome::Answered(status), body, is_whole, reached }
    }

    /// The same where nothing is ever wrong.
    fn serve_well(&mut self, at: Time, luck: &Luck) -> Fate {
        let (at, status) = match self.server.begins(at) {
            Some(begins) => {
                self.server.works(begins, luck.takes);
                (begins + luck.takes, 200)
            }
            None => (at, FULL),
        };
        let (at, outcome, reached) = (at + luck.back, Outcome::Answered(status), Some(status));
        Fate { at, outcome, body: Duration::ZERO, is_whole: true, reached }
    }

    /// A connection is idle again.
    pub(super) fn keep(&mut self, fate: &Fate, now: Time) {
        if matches!(fate.outcome, Outcome::Answered(_)) && fate.is_whole {
            self.server.idle += 1;
            self.server.used = now;
        }
    }
}

/// What an origin says whose queue is full.
const FULL: u16 = 503;
