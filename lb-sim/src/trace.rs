//! The trace: everything that happened, a line each, the same text for the same run.

use std::fmt::Write;

use lb_core::Event;
use xxhash_rust::xxh3::Xxh3;

use crate::log::{Entry, What};

/// The trace of a log. Each line begins with the microsecond.
pub fn text(log: &[Entry]) -> String {
    let mut text = String::new();
    for entry in log {
        push(&mut text, entry);
    }
    text
}

/// Adds the line of an entry.
fn push(text: &mut String, Entry { at, what }: &Entry) {
    write!(text, "{} ", at.as_micros()).expect("writing to a string cannot fail");
    line(text, what).expect("writing to a string cannot fail");
    text.push('\n');
}

/// The hash of a trace that nobody keeps: that of [`text`], as `lb_core::stable_hash` has it.
#[derive(Default)]
pub struct Fingerprint {
    hash: Box<Xxh3>,
    line: String,
}

impl Fingerprint {
    /// Another entry.
    pub fn add(&mut self, entry: &Entry) {
        self.line.clear();
        push(&mut self.line, entry);
        self.hash.update(self.line.as_bytes());
    }

    /// Of all of them.
    pub fn finish(&self) -> u64 {
        self.hash.digest()
    }
}

/// Where two traces differ first: the line's number, counted from 1, and both lines.
pub fn first_difference(left: &str, right: &str) -> Option<(usize, String, String)> {
    let (mut lines, mut others) = (left.lines(), right.lines());
    (1..).find_map(|number| match (lines.next(), others.next()) {
        (None, None) => Some(None),
        (line, other) if line == other => None,
        (line, other) => {
            let shown = |line: Option<&str>| line.unwrap_or("(the trace ends)").to_owned();
            Some(Some((number, shown(line), shown(other))))
        }
    })?
}

fn line(out: &mut String, what: &What) -> std::fmt::Result {
    match what {
        What::Core(event) => core_line(out, event),
        What::Explained { exchange, text } => write!(out, "choice exchange={} {text}", exchange.0),
        What::Sent { request, post } => {
            write!(out, "sent request={request} method={}", if *post { "POST" } else { "GET" })
        }
        What::Ended { request, end, exchange, sent: _, took } => {
            let exchange = exchange.map_or(0, |exchange| exchange.0);
            let took = took.as_micros();
            write!(out, "ended request={request} exchange={exchange} end={end:?} took={took}")
        }
        What::Reached { origin, exchange, post, status, user } => {
            let method = if *post { "POST" } else { "GET" };
            let exchange = exchange.0;
            write!(out, "reached exchange={exchange} origin={origin} method={method}")?;
            user.map_or(Ok(()), |user| write!(out, " user={user}"))?;
            write!(out, " says={status}")
        }
        What::HungUp { origin } => write!(out, "hung-up origin={origin}"),
        What::SaidGoodbye { origin } => write!(out, "said-goodbye origin={origin}"),
        What::CutOff { attack } => write!(out, "cut-off attack={attack}"),
        What::Connected { origin } => write!(out, "connected origin={origin}"),
        What::FaultBegan(place) => write!(out, "fault-began {place}"),
        What::FaultEnded(place) => write!(out, "fault-ended {place}"),
        What::TunnelOpened { tunnel, exchange } => {
            let exchange = exchange.map_or(0, |exchange| exchange.0);
            write!(out, "tunnel-opened tunnel={tunnel} exchange={exchange}")
        }
        What::TunnelEnded { tunnel, end, words } => {
            write!(out, "tunnel-ended tunnel={tunnel} end={end:?} words={words}")
        }
        What::Reloaded(reload) => write!(out, "reloaded {reload}"),
        What::Serves(reload) => write!(out, "serves {reload}"),
        What::DrainBegan => write!(out, "drain-began"),
        What::Quiet(held) => write!(out, "quiet held={held:?}"),
        What::Drained => write!(out, "drained"),
    }
}

fn core_line(out: &mut String, event: &Event) -> std::fmt::Result {
    match event {
        Event::Started { exchange, service, deadline } => {
            let (exchange, deadline) = (exchange.0, deadline.as_micros());
            write!(out, "started exchange={exchange} service={service} deadline={deadline}")
        }
        Event::Attempted { exchange, attempt, backend, choice, deadline } => write!(
            out,
            "attempted exchange={} attempt={attempt} backend={}.{} role={} pool={} steered={} \
             how={:?} again={} hedge={} deadline={}",
            exchange.0,
            backend.service,
            backend.backend,
            choice.role.as_str(),
            choice.pool,
            choice.steered.as_str(),
            choice.how,
            choice.again,
            choice.hedge,
            deadline.as_micros(),
        ),
        Event::Concluded { exchange, attempt, backend, outcome, took } => write!(
            out,
            "concluded exchange={} attempt={attempt} backend={}.{} outcome={outcome:?} took={}",
            exchange.0,
            backend.service,
            backend.backend,
            took.as_micros(),
        ),
        Event::Overtaken { exchange, attempt, backend } => write!(
            out,
            "overtaken exchange={} attempt={attempt} backend={}.{}",
            exchange.0, backend.service, backend.backend,
        ),
        Event::Queued { exchange, until } => {
            write!(out, "queued exchange={} until={}", exchange.0, until.as_micros())
        }
        Event::Delayed { exchange, until } => {
            write!(out, "delayed exchange={} until={}", exchange.0, until.as_micros())
        }
        Event::Withheld { exchange, why } => {
            write!(out, "withheld exchange={} why={}", exchange.0, why.as_str())
        }
        Event::Delivered { exchange, backend, status } => write!(
            out,
            "delivered exchange={} backend={}.{} status={status}",
            exchange.0, backend.service, backend.backend,
        ),
        Event::Rejected { exchange, rejection } => {
            write!(out, "rejected exchange={} why={}", exchange.0, rejection.as_str())
        }
        Event::Ended { exchange, backend, end } => write!(
            out,
            "body-ended exchange={} backend={}.{} end={}",
            exchange.0,
            backend.service,
            backend.backend,
            end.as_str(),
        ),
        Event::Left { exchange } => write!(out, "left exchange={}", exchange.0),
        Event::HealthMoved { .. }
        | Event::Ejected { .. }
        | Event::Pardoned { .. }
        | Event::Hastened { .. }
        | Event::BreakerMoved { .. } => backend_line(out, event),
    }
}

/// What happens to a backend, whoever's request it was that showed it.
fn backend_line(out: &mut String, event: &Event) -> std::fmt::Result {
    match event {
        Event::HealthMoved { backend, healthy } => {
            write!(out, "health backend={}.{} healthy={healthy}", backend.service, backend.backend)
        }
        Event::Ejected { backend, until, why } => write!(
            out,
            "ejected backend={}.{} until={} why={why:?}",
            backend.service,
            backend.backend,
            until.as_micros(),
        ),
        Event::Hastened { backend } => {
            write!(out, "hastened backend={}.{}", backend.service, backend.backend)
        }
        Event::Pardoned { backend } => {
            write!(out, "pardoned backend={}.{}", backend.service, backend.backend)
        }
        Event::BreakerMoved { backend, from, to } => write!(
            out,
            "breaker backend={}.{} from={} to={}",
            backend.service,
            backend.backend,
            from.as_str(),
            to.as_str(),
        ),
        _ => Ok(()),
    }
}
