//! Scenario files: read like configurations, with all mistakes at once.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use lb_config::config::Address;
use lb_config::read::{Document, Mistake, Shape, Table, Value};
use lb_config::{Config, Diagnostic, Source, load_table};

use crate::roster::Roster;

use super::action::{Attack, action, attack, tunnels};
use super::latency::latency;
use super::{
    Action, ActionKind, Again, Arrivals, Expect, Expectation, Fault, FaultKind, Framing, Latency,
    Mark, Metric, Origin, Protocol, Scenario, Span, Surge, Whom, Workload,
};

/// The longest run.
pub(super) const DURATION_MAX: Duration = Duration::from_secs(3_600);
/// The most requests per second.
const RATE_MAX: f64 = 10_000.0;
/// The most users of a workload.
const USERS_MAX: u32 = 1_000_000;
/// The largest body on either side.
const BODY_MAX: usize = 16 * 1024 * 1024;
/// Segments that wait at a socket. Fewer than the least stall a handshake and an answer; the most
/// are more than anybody leaves unread who reads at all.
const SOCKET: RangeInclusive<usize> = 4..=4_096;
/// The shortest time that the network tells apart.
pub(super) const TICK: Duration = Duration::from_millis(1);
/// A body that takes less has pieces that arrive together.
const TRICKLE_MIN: Duration = Duration::from_millis(100);
/// How long a slow reader reads nothing, if nothing else is said.
const READS_AFTER: Duration = Duration::from_secs(5);
/// Connections that clients of HTTP/2 share.
const CONNECTIONS_MAX: usize = 1_000;
/// Requests after which a connection says GOAWAY.
const REQUESTS_MAX: u32 = 1_000_000;
/// Answers that an origin works on, or that wait there.
const QUEUE_MAX: usize = 1_000_000;
/// The share of its speed that is left to an origin: a thousandth is as good as nothing.
const SPEED: RangeInclusive<f64> = 0.001..=1.0;
/// How much more often requests may arrive.
const TIMES_MAX: f64 = 100.0;
/// How often a client asks again.
const TRIES_MAX: u8 = 10;
/// The shortest period in whose halves a connection can come about.
const FLAP_MIN: Duration = Duration::from_millis(100);

/// Reads a scenario. There is one exactly if no diagnostic is an error.
pub fn load(source: &Source<'_>) -> (Option<Scenario>, Vec<Diagnostic>) {
    let document = Document::parse(source);
    let scenario = read_whole(&document, source);
    document.finish(scenario)
}

/// What [`load`] asks of a document like this one, as [`lb_config::shape`].
pub fn shape(source: &Source<'_>) -> Shape {
    let document = Document::parse(source).noting();
    let _scenario = read_whole(&document, source);
    document.into_shape()
}

fn read_whole(document: &Document<'_>, source: &Source<'_>) -> Option<Scenario> {
    let claim = source.text.lines().next().and_then(|line| line.strip_prefix("# "));
    let mut root = document.root();
    if claim.is_none() {
        let remedy = "begin with a comment, as in \"# A backend that vanishes costs no answer.\"";
        root.report().error(root.at(), "the first line says nothing", remedy);
    }
    read(&mut root, claim.unwrap_or_default(), source.name)
}

fn read(root: &mut Table<'_>, claim: &str, file: &str) -> Option<Scenario> {
    let _version = root.integer("schema", 1..=1_u32).required("schema = 1");
    let seed = root.integer("seed", 0..=u64::MAX).or(1);
    let duration = root.duration("duration", TICK..=DURATION_MAX).required("duration = \"30s\"");
    let recover_within = root.duration("recover_within", TICK..=DURATION_MAX);
    let recover_within = recover_within.or(Duration::from_secs(10));
    let network = root.field("network", |value| span(&value)).or(Span { min: TICK, max: 2 * TICK });
    let socket = root.integer("socket", SOCKET).or(*SOCKET.end());
    let origins = root.tables("origin").or(Vec::new());
    let origins: Vec<Origin> = origins.into_iter().filter_map(origin).collect();
    let workload = workload(root.table("workload"));
    let faults = root.tables("fault").or(Vec::new());
    let faults: Vec<Fault> = faults.into_iter().filter_map(|it| fault(it, &origins)).collect();
    let expect = expect(root.table("expect"), &origins);
    let tunnels = tunnels(root.table("tunnels"));
    let attacks = root.tables("attack").or(Vec::new());
    let attacks: Vec<Attack> = attacks.into_iter().filter_map(attack).collect();
    let config = load_table(root.table("config"));
    let actions = root.tables("action").or(Vec::new());
    let mut actions: Vec<Action> = actions.into_iter().filter_map(action).collect();
    actions.sort_by_key(|action| action.at);

    let mut scenario = Scenario {
        claim: claim.to_owned(),
        file: file.to_owned(),
        seed,
        duration: duration?.value,
        recover_within,
        config: config?,
        roster: Roster::default(),
        actions,
        origins,
        workload: workload?,
        tunnels,
        attacks,
        network,
        socket,
        faults,
        expect,
    };
    scenario.roster = Roster::of(scenario.configs());
    check(root, &scenario);
    Some(scenario)
}

/// What concerns more than one table.
fn check(root: &Table<'_>, scenario: &Scenario) {
    let report = root.report();
    for addr in scenario.configs().flat_map(unix_sockets) {
        let what = format!("{addr} is a Unix socket, which the simulated world does not have");
        report.error(root.at(), what, "use an IP address or a host name");
    }
    let missing = scenario.configs().flat_map(|it| missing_origins(it, &scenario.origins));
    for Missing(host) in missing.collect::<BTreeSet<_>>() {
        let remedy = format!("add [[origin]] with at = {host:?}");
        report.error(root.at(), format!("backend {host} has no origin"), remedy);
    }
    check_actions(root, scenario);
    if scenario.configs().any(|config| config.server.workers.is_some()) {
        let what = "[config.server] workers has no effect: the simulator runs one worker";
        report.warn(root.at(), what, "remove it");
    }
    if !scenario.faults.is_empty() && scenario.recovered() >= scenario.duration {
        let remedy = "let duration be longer, or the faults end earlier";
        report.error(root.at(), "the run ends before the world has recovered", remedy);
    }
}

/// Every Unix socket that is listened at or connected to.
fn unix_sockets(config: &Config) -> impl Iterator<Item = Address> {
    let listeners = config.listeners.iter().map(|listener| &listener.bind);
    let bound = listeners.chain(config.admin.iter().map(|admin| &admin.bind)).cloned();
    let backends = config.services.iter().flat_map(|service| &service.origins);
    let dialed = backends.filter_map(|origin| origin.socket.clone()).map(Address::Unix);
    bound.filter(|addr| addr.ip().is_none()).chain(dialed)
}

fn check_actions(root: &Table<'_>, scenario: &Scenario) {
    let (report, actions) = (root.report(), &scenario.actions);
    let drain = actions.iter().position(|action| action.kind == ActionKind::Drain);
    if drain.is_some_and(|drain| drain + 1 < actions.len()) {
        let remedy = "let the drain be the last action";
        report.error(root.at(), "an action comes after the proxy was told to drain", remedy);
    }
    if actions.last().is_some_and(|action| action.at >= scenario.duration) {
        let remedy = "let duration be longer, or the action earlier";
        report.error(root.at(), "the run ends before its last action", remedy);
    }
    let door = &scenario.config.listeners[0].bind;
    if !scenario.configs().all(|config| config.listeners.iter().any(|it| it.bind == *door)) {
        let remedy = "let every reload have the first listener of [config]";
        report.error(root.at(), "a reload closes the listener that clients ask", remedy);
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Missing(String);

fn missing_origins(config: &Config, origins: &[Origin]) -> Vec<Missing> {
    let backends = config.services.iter().flat_map(|service| &service.origins);
    let has_origin = |host: &str, port: u16| {
        origins.iter().any(|origin| origin.host == host && origin.port == port)
    };
    backends
        .filter(|backend| backend.socket.is_none())
        .filter(|backend| !has_origin(&backend.host, backend.port))
        .map(|backend| Missing(format!("{}:{}", backend.host, backend.port)))
        .collect()
}

/// `"5ms"`, or `{ min = "4ms", max = "8ms" }`.
pub(super) fn span(value: &Value<'_>) -> Option<Span> {
    if value.is_text() {
        let fixed = value.duration(Duration::ZERO..=DURATION_MAX)?;
        return Some(Span { min: fixed, max: fixed });
    }
    between(value.table()?)
}

pub(super) fn between(mut table: Table<'_>) -> Option<Span> {
    let range = Duration::ZERO..=DURATION_MAX;
    let min = table.duration("min", range.clone()).required("min = \"4ms\"")?;
    let max = table.duration("max", range).required("max = \"8ms\"")?;
    if max.value < min.value {
        table.report().error(max.at, "max is below min", "swap the two");
        return None;
    }
    Some(Span { min: min.value, max: max.value })
}

const PROTOCOLS: [(&str, Protocol); 2] = [("http1", Protocol::Http1), ("h2", Protocol::Http2)];

fn origin(mut table: Table<'_>) -> Option<Origin> {
    let at = table.parsed("at", host_and_port).required("at = \"b1:80\"");
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
    let (host, port) = at?.value;
    Some(Origin { host, port, latency, concurrency, queue, retry_after, body, framing, protocol })
}

fn host_and_port(text: &str) -> Result<(String, u16), Mistake> {
    let split = text.split_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    match split {
        Some((host, port)) if !host.is_empty() && port > 0 => Ok((host.to_owned(), port)),
        _ => Err(Mistake::new("is no host and port", "write \"b1:80\"")),
    }
}

fn workload(mut table: Table<'_>) -> Option<Workload> {
    let rate = table.number("rate", 0.1..=RATE_MAX).required("rate = 200");
    let arrivals = [("poisson", Arrivals::Poisson), ("even", Arrivals::Even)];
    let workload = Workload {
        rate: 0.0,
        arrivals: table.choice("arrivals", &arrivals).or(Arrivals::Poisson),
        protocol: table.choice("protocol", &PROTOCOLS).or(Protocol::Http1),
        connections: table.integer("connections", 1..=CONNECTIONS_MAX).or(4),
        slow_readers: table.number("slow_readers", 0.0..=1.0).or(0.0),
        reads_after: table.duration("reads_after", TICK..=DURATION_MAX).or(READS_AFTER),
        post: table.number("post", 0.0..=1.0).or(0.0),
        body: table.size("body", 0..=BODY_MAX).or(1024),
        upload: table.duration("upload", Duration::ZERO..=DURATION_MAX).or(Duration::ZERO),
        users: table.integer("users", 0..=USERS_MAX).or(0),
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
        table.warn_without_effect(&["cookies", "heavy"], "without users");
    }
    if workload.slow_readers == 0.0 {
        table.warn_without_effect(&["reads_after"], "without slow_readers");
    }
    Some(Workload { rate: rate?.value, ..workload })
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

const KINDS: [(&str, FaultKind); 15] = [
    ("blackhole", FaultKind::Blackhole),
    ("partition", FaultKind::Partition),
    ("half_open", FaultKind::HalfOpen),
    ("refuse", FaultKind::Refuse),
    ("crash", FaultKind::Crash),
    ("status", FaultKind::Status { code: 0, rate: 1.0, whom: Whom::All }),
    ("slow", FaultKind::Slow { by: Duration::ZERO }),
    ("brownout", FaultKind::Brownout { speed: 1.0 }),
    ("truncate", FaultKind::Truncate),
    ("trickle", FaultKind::Trickle { over: Duration::ZERO }),
    ("reset", FaultKind::Reset { rate: 1.0 }),
    ("flap", FaultKind::Flap { period: Duration::ZERO }),
    ("close_idle", FaultKind::CloseIdle { after: Duration::ZERO }),
    ("goaway", FaultKind::Goaway { requests: 1 }),
    ("refused_stream", FaultKind::RefusedStream { rate: 1.0 }),
];

fn fault(mut table: Table<'_>, origins: &[Origin]) -> Option<Fault> {
    let at = table.duration("at", Duration::ZERO..=DURATION_MAX).required("at = \"5s\"");
    let lasts = table.duration("for", TICK..=DURATION_MAX).required("for = \"10s\"");
    let kind = table.choice("kind", &KINDS).required("kind = \"blackhole\"");
    let origin = table.parsed("origin", |text| place(text, origins)).required("origin = \"b1:80\"");
    let Some(kind) = kind else {
        // Which keys belong to it is anybody's guess: complaints about them would only distract.
        let _unused =
            ["code", "rate", "whom", "by", "speed", "over", "period", "after", "requests"]
                .map(|key| table.field(key, |_| Some(())));
        return None;
    };
    let kind = match kind.value {
        FaultKind::Status { .. } => {
            let code = table.integer("code", 400..=599_u16).required("code = 523");
            let rate = table.number("rate", 0.0..=1.0).or(1.0);
            let all = [("all", Whom::All), ("requests", Whom::Requests), ("checks", Whom::Checks)];
            let whom = table.choice("whom", &all).or(Whom::All);
            FaultKind::Status { code: code?.value, rate, whom }
        }
        FaultKind::Slow { .. } => {
            let by = table.duration("by", TICK..=DURATION_MAX).required("by = \"500ms\"");
            FaultKind::Slow { by: by?.value }
        }
        FaultKind::Brownout { .. } => {
            let speed = table.number("speed", SPEED).required("speed = 0.2");
            FaultKind::Brownout { speed: speed?.value }
        }
        FaultKind::Trickle { .. } => {
            let over = table.duration("over", TRICKLE_MIN..=DURATION_MAX);
            FaultKind::Trickle { over: over.required("over = \"2s\"")?.value }
        }
        FaultKind::Reset { .. } => {
            FaultKind::Reset { rate: table.number("rate", 0.0..=1.0).or(1.0) }
        }
        FaultKind::Flap { .. } => {
            let period = table.duration("period", FLAP_MIN..=DURATION_MAX);
            FaultKind::Flap { period: period.required("period = \"2s\"")?.value }
        }
        FaultKind::CloseIdle { .. } => {
            let after = table.duration("after", Duration::ZERO..=DURATION_MAX).or(Duration::ZERO);
            FaultKind::CloseIdle { after }
        }
        FaultKind::Goaway { .. } => {
            let requests = table.integer("requests", 1..=REQUESTS_MAX);
            FaultKind::Goaway { requests: requests.required("requests = 20")?.value }
        }
        FaultKind::RefusedStream { .. } => {
            FaultKind::RefusedStream { rate: table.number("rate", 0.0..=1.0).or(1.0) }
        }
        kind => kind,
    };
    if let (Some(needs), Some(origin)) = (kind.protocol(), &origin)
        && origins[origin.value].protocol != needs
    {
        let (what, word) = (kind.as_str(), if needs == Protocol::Http2 { "h2" } else { "http1" });
        let what = format!("{what} cannot happen to this origin");
        let remedy = format!("let the origin have protocol = {word:?}");
        table.report().error(origin.at, what, remedy);
    }
    Some(Fault { at: at?.value, lasts: lasts?.value, origin: origin?.value, kind })
}

fn place(text: &str, origins: &[Origin]) -> Result<usize, Mistake> {
    let (host, port) = host_and_port(text)?;
    origins.iter().position(|origin| origin.host == host && origin.port == port).ok_or_else(|| {
        let all: Vec<_> = origins.iter().map(|it| format!("{}:{}", it.host, it.port)).collect();
        Mistake::new("is no origin", format!("the origins are {}", all.join(", ")))
    })
}

fn expect(mut table: Table<'_>, origins: &[Origin]) -> Expect {
    let one = |value: &Value<'_>| {
        value.parsed(|text| {
            let expectation = Expectation::parse(text)?;
            if let Metric::Share(origin) = &expectation.metric {
                place(origin, origins)?;
            }
            Ok(expectation)
        })
    };
    let unphased = |value: Value<'_>| {
        let expectation = one(&value)?;
        match expectation.phase {
            None => Some(expectation),
            Some(_) => {
                value.wrong(&Mistake::new("names a phase", "only at_end looks at one phase"));
                None
            }
        }
    };
    let latency = latencies(table.table("latency"));
    Expect {
        always: table.list("always", unphased).or(Vec::new()),
        sometimes: table.list("sometimes", |value| value.parsed(Mark::parse)).or(Vec::new()),
        eventually: table.list("eventually", unphased).or(Vec::new()),
        at_end: [table.list("at_end", |value| one(&value)).or(Vec::new()), latency].concat(),
    }
}

/// `p99 = "120ms"` is short for `at_end = ["p99 <= 120ms"]`.
fn latencies(mut table: Table<'_>) -> Vec<Expectation> {
    let mut at_most = |key: &'static str| {
        let read = |text: &str| Expectation::parse(&format!("{key} <= {text}"));
        table.parsed(key, read).given().map(|given| given.value)
    };
    ["p50", "p90", "p99", "max"].into_iter().filter_map(&mut at_most).collect()
}
