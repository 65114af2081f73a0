//! Scenario files: read like configurations, with all mistakes at once.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::ops::RangeInclusive;
use std::time::Duration;

use lb_config::config::Address;
use lb_config::read::{Document, Mistake, Shape, Table, Value};
use lb_config::{Config, Diagnostic, Source, load_table};

use crate::roster::Roster;

use super::action::{Attack, action, attack, tunnels};
use super::fault::{fault, place};
use super::origin::origins;
use super::workload::workload;
use super::{
    Action, ActionKind, Expect, Expectation, Fault, Mark, Metric, Origin, Protocol, Scenario, Span,
};

/// The longest run.
pub(super) const DURATION_MAX: Duration = Duration::from_secs(3_600);
/// The largest body on either side.
pub(super) const BODY_MAX: usize = 16 * 1024 * 1024;
/// Segments that wait at a socket. Fewer than the least stall a handshake and an answer; the most
/// are more than anybody leaves unread who reads at all.
const SOCKET: RangeInclusive<usize> = 4..=4_096;
/// The shortest time that the network tells apart.
pub(super) const TICK: Duration = Duration::from_millis(1);
/// Answers that an origin works on, or that wait there.
pub(super) const QUEUE_MAX: usize = 1_000_000;

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
    let engines = [("net", false), ("model", true)];
    let model_only = root.choice("engine", &engines).or(false);
    let (origins, lineups) = origins(root);
    let workload = workload(root.table("workload"));
    let faults = root.tables("fault").or(Vec::new());
    let faults: Vec<Fault> = faults.into_iter().flat_map(|it| fault(it, &origins)).collect();
    let expect = expect(root.table("expect"), &origins, duration.as_ref().map(|it| it.value));
    let tunnels = tunnels(root.table("tunnels"));
    let attacks = root.tables("attack").or(Vec::new());
    let attacks: Vec<Attack> = attacks.into_iter().filter_map(attack).collect();
    let mut config = load_table(root.table("config"));
    let actions = root.tables("action").or(Vec::new());
    let mut actions: Vec<Action> = actions.into_iter().filter_map(action).collect();
    actions.sort_by_key(|action| action.at);
    let reloads = actions.iter_mut().filter_map(|action| match &mut action.kind {
        ActionKind::Reload(config) => Some(&mut **config),
        ActionKind::Drain => None,
    });
    for config in config.iter_mut().chain(reloads) {
        for twice in lineups.iter().flat_map(|lineup| lineup.join(config)) {
            let what = format!("backend {twice} is named, and count has another stand for it");
            root.report().error(root.at(), what, "name the first alone, or write no count");
        }
    }

    let duration = duration?;
    let duration_at = duration.at;
    let mut scenario = Scenario {
        claim: claim.to_owned(),
        file: file.to_owned(),
        seed,
        model_only,
        duration: duration.value,
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
    scenario.roster = Roster::of(scenario.eras());
    if !scenario.faults.is_empty() && scenario.recovered() >= scenario.duration {
        let remedy = "let duration be longer, or the faults end earlier";
        root.report().error(duration_at, "the run ends before the world has recovered", remedy);
    }
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
    for (host, port) in missing_origins(scenario) {
        let at = report.url_of(host).unwrap_or(root.at());
        if host.parse::<Ipv6Addr>().is_ok() {
            let what = format!("backend [{host}]:{port} is at an address of IPv6");
            report.error(at, what, "origins have none: use a name, or an address of IPv4");
            continue;
        }
        let remedy = format!("add [[origin]] with at = \"{host}:{port}\"");
        report.error(at, format!("backend {host}:{port} has no origin"), remedy);
    }
    check_actions(root, scenario);
    if scenario.configs().any(|config| config.server.workers.is_some()) {
        let what = "[config.server] workers has no effect: the simulator runs one worker";
        report.warn(root.at(), what, "remove it");
    }
    // Invariants look up who is who, and somebody may be missing.
    if report.errors() > 0 {
        return;
    }
    let known = crate::invariant::names(scenario);
    for name in scenario.expect.breaks.iter().filter(|name| !known.contains(&name.as_str())) {
        let remedy = format!("the invariants are: {}", known.join(", "));
        report.error(root.at(), format!("[expect] breaks {name:?}, which is unknown"), remedy);
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

/// Where backends are that no origin stands for.
fn missing_origins(scenario: &Scenario) -> BTreeSet<(&str, u16)> {
    let origins: BTreeSet<_> = scenario.origins.iter().map(|it| (&*it.host, it.port)).collect();
    let services = scenario.configs().flat_map(|config| &config.services);
    let backends = services.flat_map(|it| &it.origins).filter(|it| it.socket.is_none());
    let all = backends.map(|backend| (&*backend.host, backend.port));
    all.filter(|it| !origins.contains(it)).collect()
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

pub(super) const PROTOCOLS: [(&str, Protocol); 2] =
    [("http1", Protocol::Http1), ("h2", Protocol::Http2)];

fn expect(mut table: Table<'_>, origins: &[Origin], duration: Option<Duration>) -> Expect {
    let one = |value: &Value<'_>| {
        value.parsed(|text| {
            let expectation = Expectation::parse(text)?;
            if let Metric::Share(origin) = &expectation.metric {
                place(origin, origins)?;
            }
            if let (Some(phase), Some(duration)) = (expectation.phase, duration)
                && phase.is_beyond(duration)
            {
                let remedy = "let duration be longer, or the times earlier";
                return Err(Mistake::new("looks at nothing: the run is over by then", remedy));
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
        breaks: table.list("breaks", |value| value.text().map(str::to_owned)).or(Vec::new()),
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
