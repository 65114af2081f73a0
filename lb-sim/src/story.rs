//! One request of a run, in words: where each of its attempts went and why, what became of it, and what the
//! world was like just then.
//!
//! Everything is read off the log of a run that explains its choices. What a choice was made from is told
//! by the core itself ([`What::Explained`]); this file only says it in the order in which it happened.

use std::fmt::Write;
use std::time::Duration;

use lb_config::quantity::show_duration;
use lb_core::{
    BackendId, BodyEnd, Choice, Event, ExchangeId, How, Outcome, Reach, Rejection, Role, Steered,
    Time, Withheld,
};

use crate::log::{End, Entry, What};
use crate::scenario::Scenario;

/// Which request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// By its number in the workload.
    Request(u32),
    /// By the number that the proxy gave its exchange.
    Exchange(u64),
}

impl Which {
    /// Reads `1475`, `request=1475` or `exchange=1476`, as traces have them.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('=') {
            None => text.parse().ok().map(Self::Request),
            Some(("request", number)) => number.parse().ok().map(Self::Request),
            Some(("exchange", number)) => number.parse().ok().map(Self::Exchange),
            Some(_) => None,
        }
    }
}

/// The story of a request; `None` if the run has no such request.
pub fn told(scenario: &Scenario, log: &[Entry], which: Which) -> Option<String> {
    let (request, exchange) = both(log, which)?;
    let began = log.iter().find(|entry| match entry.what {
        What::Sent { request: sent, .. } => Some(sent) == request,
        What::Core(Event::Started { exchange: started, .. }) => Some(started) == exchange,
        _ => false,
    })?;
    let mut story = Story { scenario, began: began.at, reloads: 0, out: String::new() };
    story.head(request, exchange, began);
    story.weather(log);
    let mut reloads = 0;
    for Entry { at, what } in log {
        match what {
            What::Serves(now) => reloads = *now,
            What::Core(Event::Started { exchange: started, .. }) if Some(*started) == exchange => {
                story.reloads = reloads;
            }
            _ => {}
        }
        let is_mine = match what {
            What::Explained { exchange: of, .. } | What::Reached { exchange: of, .. } => {
                Some(*of) == exchange
            }
            What::Core(event) => event.exchange().is_some_and(|of| Some(of) == exchange),
            What::Ended { request: ended, .. } => Some(*ended) == request,
            _ => false,
        };
        if is_mine && let Some(words) = story.words(what) {
            story.line(*at, &words);
        }
    }
    Some(story.out)
}

/// The request and its exchange, as far as the log knows of each.
fn both(log: &[Entry], which: Which) -> Option<(Option<u32>, Option<ExchangeId>)> {
    let ended = log.iter().find_map(|entry| match (&entry.what, which) {
        (What::Ended { request, exchange, .. }, Which::Request(wanted)) => {
            (*request == wanted).then_some((Some(*request), *exchange))
        }
        (What::Ended { request, exchange: Some(exchange), .. }, Which::Exchange(wanted)) => {
            (exchange.0 == wanted).then_some((Some(*request), Some(*exchange)))
        }
        _ => None,
    });
    ended.or_else(|| {
        log.iter().find_map(|entry| match (&entry.what, which) {
            (What::Sent { request, .. }, Which::Request(wanted)) if *request == wanted => {
                Some((Some(*request), None))
            }
            (What::Core(Event::Started { exchange, .. }), Which::Exchange(wanted)) => {
                (exchange.0 == wanted).then_some((None, Some(*exchange)))
            }
            _ => None,
        })
    })
}

/// A story while it is being told.
struct Story<'s> {
    scenario: &'s Scenario,
    began: Duration,
    /// How many reloads there were when its exchange began: what the core says of places is meant so.
    reloads: usize,
    out: String,
}

impl Story<'_> {
    fn head(&mut self, request: Option<u32>, exchange: Option<ExchangeId>, began: &Entry) {
        let method = match began.what {
            What::Sent { post: true, .. } => "a POST, which must not be carried out twice",
            What::Sent { post: false, .. } => "a GET, which may be repeated",
            _ => "of a client that nobody follows",
        };
        let request = request.map_or(String::new(), |number| format!("request={number} "));
        let exchange = exchange.map_or(String::new(), |it| format!("exchange={} ", it.0));
        let at = began.at.as_secs_f64();
        self.put(format_args!("{request}{exchange}at {at:.6} s: {method}\n"));
    }

    /// What was wrong when it was sent.
    fn weather(&mut self, log: &[Entry]) {
        let (scenario, began) = (self.scenario, self.began);
        for fault in scenario.faults.iter().filter(|fault| fault.is_on(began)) {
            let name = scenario.name_of(fault.origin);
            let since = show_duration(began - fault.at);
            self.put(format_args!("  {} at {name} has lasted {since}\n", fault.kind.as_str()));
        }
        let mut open = std::collections::BTreeMap::new();
        for Entry { at, what } in log.iter().take_while(|entry| entry.at <= self.began) {
            if let What::Core(Event::BreakerMoved { backend, to, .. }) = what {
                open.insert(*backend, (*to, *at));
            }
        }
        for (backend, (state, since)) in open {
            if state != lb_core::BreakerState::Closed {
                let (name, since) = (self.name(backend), show_duration(self.began - since));
                let state = state.as_str();
                self.put(format_args!("  the breaker of {name} has been {state} for {since}\n"));
            }
        }
    }

    fn words(&self, what: &What) -> Option<String> {
        match what {
            What::Explained { text, .. } => {
                Some(format!("looks for a backend: {}", text.replace("\n  ", "\n              ")))
            }
            What::Reached { origin, status, .. } => {
                let name = self.scenario.name_of(*origin);
                Some(format!("{name} has the request, and means to answer {status}"))
            }
            What::Core(event) => self.event(event),
            What::Ended { end, took, .. } => {
                let how = match end {
                    End::Answered(status) => format!("has its whole answer, {status}"),
                    End::Broken(status) => format!("sees its answer, {status}, break off"),
                    End::PassedOff(status) => {
                        format!("has an answer, {status}, that is not what the origin sent")
                    }
                    End::Failed => "could not connect, or its connection broke".to_owned(),
                    End::TimedOut => "has waited for too long, and hangs up".to_owned(),
                };
                Some(format!("the client {how}, after {}", show_duration(*took)))
            }
            _ => None,
        }
    }

    fn event(&self, event: &Event) -> Option<String> {
        Some(match event {
            Event::Started { deadline, .. } => {
                format!("the proxy takes it on, until {} s", seconds(*deadline))
            }
            Event::Attempted { attempt, backend, choice, deadline, .. } => {
                let (name, why) =
                    (self.name(*backend), why(choice, |place| self.peer(*backend, place)));
                let until = seconds(*deadline);
                format!(
                    "attempt {attempt} goes to {name}: {why}; an answer must begin by {until} s"
                )
            }
            Event::Concluded { attempt, outcome, took, .. } => {
                let took = show_duration(*took);
                format!("attempt {attempt}: {} after {took}{}", said(*outcome), reach(*outcome))
            }
            Event::Overtaken { attempt, .. } => {
                format!("attempt {attempt} is given up: the other one was sooner")
            }
            Event::Queued { until, .. } => {
                format!("it waits in line for a place, until {} s at most", seconds(*until))
            }
            Event::Delayed { until, .. } => {
                format!("it backs off until {} s before it tries again", seconds(*until))
            }
            Event::Withheld { why, .. } => format!("it is not tried again: {}", withheld(*why)),
            Event::Delivered { backend, status, .. } => {
                format!("the answer of {}, {status}, is handed on", self.name(*backend))
            }
            Event::Rejected { rejection, .. } => {
                format!("the proxy itself answers {}: {}", rejection.status(), rejected(*rejection))
            }
            Event::Ended { end, .. } => match end {
                BodyEnd::Complete => "the body's last byte is handed on".to_owned(),
                end => format!("the body ends early: {}", end.as_str().replace('_', " ")),
            },
            Event::Left { .. } => "the client is gone, and all is given back".to_owned(),
            _ => return None,
        })
    }

    fn name(&self, backend: BackendId) -> String {
        let (host, port) = self.scenario.roster.address(backend);
        format!("{host}:{port}")
    }

    /// Another backend of the same service, by its place in the configuration that serves the exchange.
    fn peer(&self, backend: BackendId, place: u16) -> String {
        let all = self.scenario.roster.backends(self.reloads, backend.service);
        self.name(all[usize::from(place)])
    }

    fn line(&mut self, at: Duration, words: &str) {
        let since = at.saturating_sub(self.began).as_secs_f64();
        self.put(format_args!("  +{since:.6} s  {words}\n"));
    }

    fn put(&mut self, what: std::fmt::Arguments<'_>) {
        self.out.write_fmt(what).expect("writing to a string cannot fail");
    }
}

fn seconds(time: Time) -> String {
    format!("{:.6}", (time - Time::ZERO).as_secs_f64())
}

/// Why an attempt went where it went.
fn why(choice: &Choice, peer: impl Fn(u16) -> String) -> String {
    let role = match choice.role {
        Role::Normal => "",
        Role::Trial => ", as a trial of a breaker that is half-open",
        Role::Panic => ", though nothing there is fit",
    };
    let pool = match choice.steered {
        Steered::Order | Steered::Backend => "",
        Steered::Spilled => ", in a pool that takes over a share of what others cannot carry",
        Steered::Weight => ", in a pool drawn by chance and weight",
        Steered::Area => ", in a pool meant for where the client is",
        Steered::Nearest => ", in the pool that is nearest to the client",
        Steered::Fastest => ", in the pool that answers checks soonest",
        Steered::Next => ", in a pool that suits next best since a better one cannot serve",
        Steered::Fallback => ", in the fallback since no other pool can serve",
    };
    let again = if choice.again { ", once more, since every other was tried" } else { "" };
    let hedge = if choice.hedge { ", beside one that takes long" } else { "" };
    format!("{}{pool}{role}{again}{hedge}", how(choice.how, peer))
}

fn how(how: How, peer: impl Fn(u16) -> String) -> String {
    let spans = |micros: u32| show_duration(Duration::from_micros(micros.into()));
    match how {
        How::Turn => "its turn in the round".to_owned(),
        How::Weight => "a weighted die".to_owned(),
        How::First => "the first that is fit".to_owned(),
        How::Key => "the request's key belongs to it".to_owned(),
        How::KeyNext => {
            "the key belongs to another, which may not be chosen, then to it".to_owned()
        }
        How::LessLoaded { in_flight, than, than_in_flight } => {
            let than = peer(than);
            format!("of two drawn it has {in_flight} in flight, {than} has {than_in_flight}")
        }
        How::Sooner { micros, than, than_micros } => {
            let (it, than, other) = (spans(micros), peer(than), spans(than_micros));
            format!("of two drawn it would answer in {it}, {than} in {other}")
        }
        How::Least { in_flight } => format!("the least in flight of all, {in_flight}"),
        How::Cold { in_flight, hot_above, micros } => {
            let takes = micros.map_or("an unknown time".to_owned(), spans);
            format!(
                "the quickest sample that is not hot: {in_flight} in flight (hot above {hot_above}), {takes}"
            )
        }
        How::Soonest { micros } => {
            let takes = micros.map_or("an unknown time".to_owned(), spans);
            format!("it answers checks soonest, in {takes}")
        }
        How::Scored { share } => {
            format!("a die by weight and score, of which it has {}.{} %", share / 10, share % 10)
        }
        How::Only => "there is no other".to_owned(),
        How::Same => "the last one asked".to_owned(),
        How::Session => "its client sticks to it".to_owned(),
    }
}

fn said(outcome: Outcome) -> String {
    match outcome {
        Outcome::Answered(status) => format!("the head of an answer, {status}"),
        Outcome::Failed(failure) => failure.as_str().replace('_', " "),
    }
}

/// What follows for a request from a failure.
fn reach(outcome: Outcome) -> &'static str {
    match (outcome, outcome.reach()) {
        (Outcome::Answered(..500), _) => "",
        (_, Reach::Never) => "; the backend has not acted on it, so any method may go elsewhere",
        (_, Reach::Maybe) => "; the backend may have acted on it",
    }
}

const fn withheld(why: Withheld) -> &'static str {
    match why {
        Withheld::AttemptsSpent => "all its attempts are spent",
        Withheld::NotIdempotent => "a backend may have acted on it, and it must not be done twice",
        Withheld::RetryAfterFar => "the backend asks to be left alone for longer than it can wait",
        Withheld::BodySpent => "its body cannot be sent again",
        Withheld::BudgetSpent => "the service has made too many retries lately",
        Withheld::DeadlineNear => "its time would be up first",
        Withheld::NoFitBackend => "no other backend is fit",
    }
}

fn rejected(rejection: Rejection) -> String {
    match rejection {
        Rejection::NoFitBackend => "no backend is fit".to_owned(),
        Rejection::AttemptFailed(failure) => {
            format!("the last attempt failed, {}", failure.as_str().replace('_', " "))
        }
        Rejection::Replaced(status) => format!("the last answer was {status}, which it replaces"),
        Rejection::RateLimited(wait) => {
            format!("its client has asked too often, and may again in {}", show_duration(wait))
        }
        Rejection::ClientBusy => "its client has as much in flight as it may".to_owned(),
        Rejection::Overloaded => "as much is in flight as may be, and the line is full".to_owned(),
        Rejection::QueueTimeout => "it has stood in line for as long as it may".to_owned(),
        Rejection::DeadlinePassed => "its time is up".to_owned(),
    }
}
