//! The clients of a scenario: when they come, what they ask, and how they are written.

use std::ops::RangeInclusive;
use std::time::Duration;

use lb_config::read::{Table, Value};

use super::latency::latency;
use super::read::{BODY_MAX, DURATION_MAX, PROTOCOLS, TICK};
use super::{Crowd, Latency, Protocol, Span};

/// Clients, and what they ask.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Requests per second, on average; 0 where clients wait for their answers.
    pub rate: f64,
    /// How they follow each other.
    pub arrivals: Arrivals,
    /// Clients that wait for their answers before they ask again, if it is those.
    pub closed: Option<Closed>,
    /// What clients speak.
    pub protocol: Protocol,
    /// Over HTTP/2: how many connections they share.
    pub connections: usize,
    /// The share of the requests whose client reads nothing of its answer's body for a while.
    pub slow_readers: f64,
    /// For how long.
    pub reads_after: Duration,
    /// The share of POST requests; the others are GET.
    pub post: f64,
    /// Bytes of a POST's body.
    pub body: usize,
    /// How long a POST's body takes to send.
    pub upload: Duration,
    /// How many users send them, each named by a header `x-user`; 0 names nobody.
    pub users: u32,
    /// How much more some users ask than others, if they do: the exponent of Zipf's law.
    pub zipf: Option<f64>,
    /// Whether users send back the cookie that they were told last.
    pub cookies: bool,
    /// The share of the requests that the first user sends, beyond its own.
    pub heavy: f64,
    /// The host they ask for.
    pub host: String,
    /// Who they are if they ask one service, which tells them apart in its own way; only in the model.
    pub crowd: Option<Crowd>,
    /// How long a client waits before it hangs up.
    pub timeout: Duration,
    /// When more requests arrive than otherwise.
    pub surges: Vec<Surge>,
    /// What clients do that got no good answer.
    pub again: Again,
}

/// A time in which requests arrive more often.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Surge {
    /// When it begins.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// How many times as often.
    pub times: f64,
}

/// What a client does that got no good answer: it asks again, as another request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Again {
    /// How often, at most.
    pub tries: u8,
    /// How long it waits before, each time.
    pub after: Duration,
}

/// How requests follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrivals {
    /// Each on its own: gaps are exponential.
    Poisson,
    /// All gaps are the same.
    Even,
    /// Each on its own, and from time to time many of them.
    Bursts(Bursts),
}

/// Times in which requests arrive more often, which come and go at random.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    /// How many times as often as between them.
    pub times: f64,
    /// How long a burst lasts, on average.
    pub last: Duration,
    /// How long it is from one to the next, on average.
    pub every: Duration,
}

impl Bursts {
    /// How many times as often as on average requests arrive in a burst, or between two.
    pub(crate) fn level(&self, is_on: bool) -> f64 {
        let share = self.last.as_secs_f64() / self.every.as_secs_f64();
        let quiet = 1.0 / (1.0 - share + share * self.times);
        if is_on { quiet * self.times } else { quiet }
    }
}

/// Clients that ask, wait for the answer, think, and ask again: a closed loop.
#[derive(Clone, Debug, PartialEq)]
pub struct Closed {
    /// How many.
    pub clients: u32,
    /// How long each thinks.
    pub think: Latency,
}

/// The most requests per second: what the model can do in real time.
const RATE_MAX: f64 = 1_000_000.0;
/// The most users of a workload.
const USERS_MAX: u32 = 1_000_000;
/// How long a slow reader reads nothing, if nothing else is said.
const READS_AFTER: Duration = Duration::from_secs(5);
/// Connections that clients of HTTP/2 share.
const CONNECTIONS_MAX: usize = 1_000;
/// How much more often requests may arrive.
const TIMES_MAX: f64 = 100.0;
/// How often a client asks again.
const TRIES_MAX: u8 = 10;
/// Clients that wait for their answers.
const CLIENTS_MAX: u32 = 100_000;
/// Exponents of Zipf's law: near 0 all ask the same, beyond 1 few ask nearly everything.
const ZIPF: RangeInclusive<f64> = 0.01..=5.0;

pub(super) fn workload(mut table: Table<'_>) -> Option<Workload> {
    let rate = rate(&mut table);
    let closed = closed(&mut table);
    let arrivals = table.field("arrivals", |value| arrivals(&value)).or(Arrivals::Poisson);
    let workload = Workload {
        rate: 0.0,
        arrivals,
        closed,
        protocol: table.choice("protocol", &PROTOCOLS).or(Protocol::Http1),
        connections: table.integer("connections", 1..=CONNECTIONS_MAX).or(4),
        slow_readers: table.number("slow_readers", 0.0..=1.0).or(0.0),
        reads_after: table.duration("reads_after", TICK..=DURATION_MAX).or(READS_AFTER),
        post: table.number("post", 0.0..=1.0).or(0.0),
        body: table.size("body", 0..=BODY_MAX).or(1024),
        upload: table.duration("upload", Duration::ZERO..=DURATION_MAX).or(Duration::ZERO),
        users: table.integer("users", 0..=USERS_MAX).or(0),
        zipf: table.number("zipf", ZIPF).given().map(|given| given.value),
        cookies: table.boolean("cookies").or(false),
        heavy: table.number("heavy", 0.0..=1.0).or(0.0),
        host: table.text("host").or("web".to_owned()),
        crowd: None,
        timeout: table.duration("timeout", TICK..=DURATION_MAX).or(Duration::from_secs(30)),
        surges: surges(&mut table),
        again: again(table.table("again")),
    };
    if workload.protocol == Protocol::Http1 {
        table.warn_without_effect(&["connections"], "without protocol = \"h2\"");
    }
    if workload.users == 0 {
        table.warn_without_effect(&["cookies", "heavy", "zipf"], "without users");
    }
    if workload.closed.is_some() {
        table.warn_without_effect(&["arrivals", "surge"], "on clients that wait for their answers");
    }
    if workload.slow_readers == 0.0 {
        table.warn_without_effect(&["reads_after"], "without slow_readers");
    }
    let rate = if workload.closed.is_some() { 0.0 } else { rate? };
    Some(Workload { rate, ..workload })
}

/// How many requests arrive in a second, unless their number follows from that of the clients.
fn rate(table: &mut Table<'_>) -> Option<f64> {
    let is_closed = table.has_any(&["clients"]);
    let field = table.number("rate", 0.1..=RATE_MAX);
    if !is_closed {
        return field.required("rate = 200, or clients = 50").map(|given| given.value);
    }
    let given = field.given()?;
    let what = "rate says how often requests arrive, and clients wait for their answers";
    table.report().error(given.at, what, "remove rate, or clients and think");
    None
}

fn closed(table: &mut Table<'_>) -> Option<Closed> {
    let clients = table.integer("clients", 1..=CLIENTS_MAX).given();
    let still = Span { min: Duration::from_secs(1), max: Duration::from_secs(1) };
    let think = table.field("think", |value| latency(&value)).or(Latency::Within(still));
    if clients.is_none() {
        table.warn_without_effect(&["think"], "without clients");
    }
    Some(Closed { clients: clients?.value, think })
}

/// `"poisson"`, `"even"`, or `{ bursts = 10, last = "1s", every = "20s" }`.
fn arrivals(value: &Value<'_>) -> Option<Arrivals> {
    if !value.is_table() {
        return value.choice(&[("poisson", Arrivals::Poisson), ("even", Arrivals::Even)]);
    }
    let mut table = value.table()?;
    let times = table.number("bursts", 1.0..=TIMES_MAX).required("bursts = 10");
    let last = table.duration("last", TICK..=DURATION_MAX).required("last = \"1s\"");
    let every = table.duration("every", TICK..=DURATION_MAX).required("every = \"20s\"");
    let (times, last, every) = (times?.value, last?.value, every?);
    if last >= every.value {
        let what = "a burst lasts no less than it is from one to the next";
        table.report().error(every.at, what, "let every be longer than last");
        return None;
    }
    Some(Arrivals::Bursts(Bursts { times, last, every: every.value }))
}

fn surges(workload: &mut Table<'_>) -> Vec<Surge> {
    let read = |mut table: Table<'_>| {
        let at = table.duration("at", Duration::ZERO..=DURATION_MAX).required("at = \"5s\"");
        let lasts = table.duration("for", TICK..=DURATION_MAX).required("for = \"10s\"");
        let times = table.number("times", 0.1..=TIMES_MAX).required("times = 10");
        Some(Surge { at: at?.value, lasts: lasts?.value, times: times?.value })
    };
    workload.tables("surge").or(Vec::new()).into_iter().filter_map(read).collect()
}

fn again(mut table: Table<'_>) -> Again {
    let tries = table.integer("tries", 0..=TRIES_MAX).or(0);
    let after = table.duration("after", Duration::ZERO..=DURATION_MAX).or(Duration::from_secs(1));
    Again { tries, after }
}
