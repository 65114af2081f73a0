//! The servers of a scenario: how they are written, and how one entry stands for many.
//!
//! A pool of five hundred equal servers is one entry with `count = 500`, and one backend in the
//! configuration: the backend that names the first of them stands for all, wherever it is said.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lb_config::Config;
use lb_config::config::Origin as Target;
use lb_config::read::{Mistake, Table};
use lb_core::config::BACKENDS_MAX;

use super::latency::latency;
use super::read::{BODY_MAX, PROTOCOLS, QUEUE_MAX, TICK};
use super::{Latency, Span};

/// A scripted server.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// The host name by which the configuration's urls know it.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How long it works on an answer.
    pub latency: Latency,
    /// What it did when it was recorded, which it does again; only in the model.
    pub past: Option<Arc<crate::record::Past>>,
    /// How many answers it works on at a time, if that is bounded.
    pub concurrency: Option<usize>,
    /// How many requests wait there for their turn; more are answered 503.
    pub queue: usize,
    /// For how long answers from 500 on ask that it be left alone, in whole seconds.
    pub retry_after: Option<Duration>,
    /// Bytes of its answers.
    pub body: usize,
    /// How it tells where they end.
    pub framing: Framing,
    /// What it speaks.
    pub protocol: Protocol,
    /// Over HTTP/2, how many requests of a connection it takes at a time.
    pub streams: u32,
}

impl Origin {
    /// Where it is, as scenarios and reports write it.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Bytes that its answers say they have.
    pub(crate) fn announces(&self) -> Option<u64> {
        match self.framing {
            Framing::Length => Some(self.body as u64),
            Framing::Chunked => None,
        }
    }
}

/// Requests on a connection at a time, unless the scenario says otherwise, and the most that it may say.
pub(crate) const STREAMS: u32 = 200;
const STREAMS_MAX: u32 = 10_000;

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, from the first byte on: streams share connections.
    Http2,
}

/// How an answer tells where its body ends (RFC 9112 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By a Content-Length.
    Length,
    /// In chunks, of which the last is empty.
    Chunked,
}

/// An entry that stands for several servers: the first of them, and the hosts of the others.
#[derive(Debug)]
pub(super) struct Lineup {
    first: (String, u16),
    others: Vec<String>,
}

/// All servers, and which of them stand for others in the configuration.
pub(super) fn origins(root: &mut Table<'_>) -> (Vec<Origin>, Vec<Lineup>) {
    let (mut all, mut lineups) = (Vec::<Origin>::new(), Vec::new());
    let mut known = BTreeSet::new();
    for table in root.tables("origin").or(Vec::new()) {
        let at = table.at();
        let Some((origin, lineup)) = origin(table) else { continue };
        let others = lineup.iter().flat_map(|lineup| &lineup.others);
        let others: Vec<Origin> =
            others.map(|host| Origin { host: host.clone(), ..origin.clone() }).collect();
        for Origin { host, port, .. } in std::iter::once(&origin).chain(&others) {
            if !known.insert((host.clone(), *port)) {
                let what = format!("{host}:{port} is there already");
                root.report().error(at, what, "remove one, or give it another host or port");
            }
        }
        all.push(origin);
        all.extend(others);
        lineups.extend(lineup);
    }
    (all, lineups)
}

fn origin(mut table: Table<'_>) -> Option<(Origin, Option<Lineup>)> {
    let at = table.parsed("at", host_and_port).required("at = \"b1:80\"");
    let count = table.integer("count", 1..=BACKENDS_MAX).given();
    let fast = Span { min: 5 * TICK, max: 5 * TICK };
    let latency = table.field("latency", |value| latency(&value)).or(Latency::Within(fast));
    let concurrency = table.integer("concurrency", 1..=QUEUE_MAX).given().map(|it| it.value);
    let queue = table.integer("queue", 0..=QUEUE_MAX).or(QUEUE_MAX);
    if concurrency.is_none() {
        table.warn_without_effect(&["queue"], "without concurrency");
    }
    let span = Duration::from_secs(1)..=Duration::from_secs(3_600);
    let retry_after = table.duration("retry_after", span).given().map(|it| it.value);
    let body = table.size("body", 0..=BODY_MAX).or(1024);
    let framings = [("length", Framing::Length), ("chunked", Framing::Chunked)];
    let framing = table.choice("framing", &framings).or(Framing::Length);
    let protocol = table.choice("protocol", &PROTOCOLS).or(Protocol::Http1);
    let streams = table.integer("streams", 1..=STREAMS_MAX).or(STREAMS);
    if protocol == Protocol::Http1 {
        table.warn_without_effect(&["streams"], "without protocol = \"h2\"");
    }
    let (host, port) = at?.value;
    let lineup = match count {
        None => None,
        Some(count) => match numbered(&host, count.value) {
            Some(others) => Some(Lineup { first: (host.clone(), port), others }),
            None => {
                let what = format!("count needs a host that ends in a number, and {host} does not");
                table.report().error(count.at, what, "write at = \"b1:80\" for b1, b2 and so on");
                return None;
            }
        },
    };
    let origin = Origin {
        host,
        port,
        latency,
        past: None,
        concurrency,
        queue,
        retry_after,
        body,
        framing,
        protocol,
        streams,
    };
    Some((origin, lineup))
}

/// The hosts after the first of `count`: of `b1` they are `b2`, `b3` and so on.
fn numbered(first: &str, count: usize) -> Option<Vec<String>> {
    let name = first.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let number: usize = first[name.len()..].parse().ok()?;
    Some((number + 1..number.checked_add(count)?).map(|number| format!("{name}{number}")).collect())
}

/// A host and its port. Names in parentheses are those of the simulated network's own hosts.
pub(super) fn host_and_port(text: &str) -> Result<(String, u16), Mistake> {
    let split = text.split_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    match split {
        Some((host, port)) if !host.is_empty() && !host.starts_with('(') && port > 0 => {
            Ok((host.to_owned(), port))
        }
        _ => Err(Mistake::new("is no host and port", "write \"b1:80\"")),
    }
}

impl Lineup {
    /// Lets each backend of `config` that names the first one stand for all. Returns those that it names
    /// beside it: they would be there twice.
    pub(super) fn join(&self, config: &mut Config) -> Vec<String> {
        let origins = config.services.iter().flat_map(|service| &service.origins);
        let is_other = |it: &&Target| it.port == self.first.1 && self.others.contains(&it.host);
        let twice = origins.filter(is_other).map(|it| format!("{}:{}", it.host, it.port)).collect();
        for service in config.services.iter_mut().map(Arc::make_mut) {
            let mut at = 0;
            for pool in &mut service.core.pools {
                let mut place = 0;
                while place < pool.backends.len() {
                    let target = &service.origins[at + place];
                    if target.socket.is_some() || (&target.host, target.port) != self.first() {
                        place += 1;
                        continue;
                    }
                    let (target, backend) = (target.clone(), pool.backends[place].clone());
                    let name = |host: &str| backend.name.replacen(&target.host, host, 1);
                    let others = self.others.iter();
                    let backends = others.clone().map(|host| {
                        let mut backend = backend.clone();
                        backend.name = name(host);
                        backend
                    });
                    let next = place + 1;
                    pool.backends.splice(next..next, backends);
                    let targets =
                        others.map(|host| Target { host: host.clone(), ..target.clone() });
                    service.origins.splice(at + next..at + next, targets);
                    place += 1 + self.others.len();
                }
                at += pool.backends.len();
            }
        }
        twice
    }

    fn first(&self) -> (&String, u16) {
        (&self.first.0, self.first.1)
    }
}
