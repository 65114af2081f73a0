//! A drawn service: which features it has, and what is asked of each.
//!
//! Times are shorter than anybody would choose, since a run is: what takes minutes in production (a breaker
//! that doubles its wait, an ejection) takes seconds here, and nothing else is different about it.

use toml::{Table, Value};

use crate::document::{tables, tables_mut};

use super::draw::{Draw, texts};
use super::limits;
use super::world::Frame;

/// Policies that ask for nothing else.
const POLICIES: [&str; 13] = [
    "round-robin",
    "weighted-random",
    "least-request",
    "least-request-exact",
    "peak-ewma",
    "prequal",
    "performance",
    "health-score",
    "first",
    "ring",
    "maglev",
    "rendezvous",
    "sha256-modulo",
];
/// Those that give each backend its share, whoever asks.
const EVEN: [&str; 4] = ["round-robin", "weighted-random", "least-request", "least-request-exact"];
/// Those that may pass over whoever has much to do.
const BOUNDED: [&str; 3] = ["ring", "maglev", "rendezvous"];
/// Those that go by a key.
const KEYED: [&str; 4] = ["ring", "maglev", "rendezvous", "sha256-modulo"];

/// Draws all sections of a service; its name, hosts, pools and protocol stay as they are.
pub(super) fn draw(service: &mut Table, frame: &Frame, draw: &dyn Fn(&str) -> Draw) {
    for key in ["when_all_unfit", "panic_below", "fallback_pool", "failure_statuses"] {
        service.remove(key);
    }
    let has_checks = draw("has checks").happens(0.6);
    let pools: Vec<String> = tables(service, "pool")
        .map(|it| it.get("name").and_then(Value::as_str).unwrap_or("default").to_owned())
        .collect();
    unfit(service, &pools, &mut draw("unfit"));
    if frame.is_tight {
        level(service);
    }
    let mut section = |key: &str, table: Option<Table>| match table {
        Some(table) => {
            service.insert(key.to_owned(), Value::Table(table));
        }
        None => {
            service.remove(key);
        }
    };
    section("balance", Some(balance(&mut draw("balance"), frame, has_checks)));
    section("steering", steering(&mut draw("steering"), frame, has_checks && pools.len() > 1));
    section("breaker", Some(breaker(&mut draw("breaker"))));
    section("outliers", outliers(&mut draw("outliers")));
    section("slow_start", slow_start(&mut draw("slow start")));
    section("retry", Some(retry(&mut draw("retry"))));
    section("health", has_checks.then(|| health(&mut draw("health"))));
    section("affinity", affinity(&mut draw("affinity"), frame));
    section("timeouts", Some(limits::timeouts(&mut draw("timeouts"))));
    section("limits", limits::limits(&mut draw("limits"), frame));
    section("rate_limit", limits::rate_limit(&mut draw("rate limit"), frame));
}

/// What becomes of requests when nobody is fit.
fn unfit(service: &mut Table, pools: &[String], draw: &mut Draw) {
    let ways = ["fail-fast", "fail-open", "fallback-pool", "reset"];
    let way = draw.one_of(&ways);
    match (way, pools) {
        ("fallback-pool", [_, .., last]) => {
            service.insert("when_all_unfit".into(), way.into());
            service.insert("fallback_pool".into(), last.as_str().into());
        }
        ("fallback-pool", _) => {}
        ("fail-open", _) => {
            service.insert("when_all_unfit".into(), way.into());
            draw.maybe(service, 0.5, "panic_below", &[20, 50, 80]);
        }
        _ => {
            service.insert("when_all_unfit".into(), way.into());
        }
    }
    if draw.happens(0.15) {
        service.insert("failure_statuses".into(), texts(&["503", "52x"]));
    }
}

/// Every backend gets as much as any other.
fn level(service: &mut Table) {
    for pool in tables_mut(service, "pool") {
        tables_mut(pool, "backends").for_each(|it| drop(it.remove("weight")));
    }
}

fn balance(draw: &mut Draw, frame: &Frame, has_checks: bool) -> Table {
    let mut table = Table::new();
    let policy = match (frame.is_tight, has_checks && draw.happens(0.1)) {
        (true, _) => draw.one_of(&EVEN),
        (false, true) => "fastest",
        (false, false) => draw.one_of(&POLICIES),
    };
    table.insert("policy".into(), policy.into());
    if policy == "least-request" {
        draw.maybe(&mut table, 0.3, "choices", &[3, 5]);
    }
    if KEYED.contains(&policy) && frame.has_users {
        table.insert("hash".into(), texts(&["header:x-user", "client-ip"]));
    }
    if BOUNDED.contains(&policy) {
        draw.maybe(&mut table, 0.4, "load_percent", &[101, 125, 200]);
    }
    if ["peak-ewma", "prequal"].contains(&policy) {
        draw.maybe(&mut table, 0.4, "half_life", &["500ms", "2s"]);
        draw.maybe(&mut table, 0.4, "failure_penalty", &["100ms", "5s"]);
    }
    table
}

fn steering(draw: &mut Draw, frame: &Frame, has_checks: bool) -> Option<Table> {
    let mut table = Table::new();
    let policies = ["priority", "weighted", "random", "least-outstanding"];
    let policy = match draw.one_of(&policies) {
        _ if frame.is_tight => "priority",
        _ if has_checks && draw.happens(0.1) => "fastest",
        policy => policy,
    };
    table.insert("policy".into(), policy.into());
    if policy == "priority" {
        draw.maybe(&mut table, 0.5, "overprovision_percent", &[100, 140, 200]);
    }
    draw.happens(0.5).then_some(table)
}

fn breaker(draw: &mut Draw) -> Table {
    let mut table = Table::new();
    if draw.happens(0.15) {
        table.insert("enabled".into(), false.into());
        return table;
    }
    let (open_for, open_for_max) = draw.one_of(&[
        ("100ms", "100ms"),
        ("200ms", "800ms"),
        ("500ms", "500ms"),
        ("500ms", "2s"),
        ("1s", "3s"),
        ("2s", "2s"),
    ]);
    table.insert("open_for".into(), open_for.into());
    table.insert("open_for_max".into(), open_for_max.into());
    draw.maybe(&mut table, 0.6, "consecutive_failures", &[1, 2, 3, 10, 1_000]);
    draw.maybe(&mut table, 0.5, "half_open_trials", &[1, 2, 5]);
    draw.maybe(&mut table, 0.5, "half_open_successes", &[1, 3, 5]);
    if draw.happens(0.4) {
        table.insert("error_percent".into(), draw.one_of(&[10, 50, 90]).into());
        table.insert("window".into(), draw.one_of(&["1s", "5s"]).into());
        table.insert("min_requests".into(), draw.one_of(&[2, 10, 20]).into());
    }
    table
}

fn outliers(draw: &mut Draw) -> Option<Table> {
    let mut table = Table::new();
    table.insert("enabled".into(), true.into());
    table.insert("interval".into(), draw.one_of(&["500ms", "1s", "3s"]).into());
    table.insert("eject_for".into(), draw.one_of(&["300ms", "1s"]).into());
    table.insert("eject_for_max".into(), draw.one_of(&["1s", "3s"]).into());
    table.insert("min_requests".into(), draw.one_of(&[2, 10, 50]).into());
    table.insert("min_backends".into(), draw.one_of(&[2, 3, 5]).into());
    draw.maybe(&mut table, 0.5, "failure_percent", &[10, 30, 60]);
    draw.maybe(&mut table, 0.6, "eject_percent_max", &[30, 50, 100]);
    draw.happens(0.3).then_some(table)
}

fn slow_start(draw: &mut Draw) -> Option<Table> {
    let mut table = Table::new();
    table.insert("enabled".into(), true.into());
    table.insert("window".into(), draw.one_of(&["500ms", "2s", "5s"]).into());
    draw.maybe(&mut table, 0.5, "floor_percent", &[1, 30, 100]);
    draw.happens(0.3).then_some(table)
}

fn retry(draw: &mut Draw) -> Table {
    let mut table = Table::new();
    draw.maybe(&mut table, 0.7, "attempts_max", &[1, 2, 4, 5, 8]);
    draw.maybe(&mut table, 0.3, "attempts_per_backend", &[2, 3]);
    if draw.happens(0.3) {
        let all = ["connect", "refused-stream", "reset", "timeout", "malformed"];
        table.insert("on".into(), texts(&draw.some_of(&all)));
    }
    if draw.happens(0.3) {
        table.insert("statuses".into(), texts(&draw.some_of(&["500", "502", "503", "504", "52x"])));
    }
    draw.maybe(&mut table, 0.3, "methods", &["safe", "idempotent", "any"]);
    draw.maybe(&mut table, 0.3, "when_spent", &["replace"]);
    draw.maybe(&mut table, 0.2, "replay_buffer", &["0B", "1KiB"]);
    if draw.happens(0.7) {
        let mut budget = Table::new();
        budget.insert("percent".into(), draw.one_of(&[0, 5, 20, 50]).into());
        budget.insert("min_per_second".into(), draw.one_of(&[0, 1, 10]).into());
        budget.insert("burst".into(), draw.one_of(&[0, 1, 20, 100]).into());
        table.insert("budget".into(), Value::Table(budget));
    }
    if draw.happens(0.5) {
        let mut backoff = Table::new();
        let (base, max) = draw.one_of(&[("1ms", "10ms"), ("10ms", "100ms"), ("100ms", "500ms")]);
        backoff.insert("base".into(), base.into());
        backoff.insert("max".into(), max.into());
        draw.maybe(&mut backoff, 0.6, "jitter", &["equal", "decorrelated", "none"]);
        table.insert("backoff".into(), Value::Table(backoff));
    }
    if draw.happens(0.3) {
        let mut hedge = Table::new();
        match draw.happens(0.5) {
            true => hedge.insert("after".into(), draw.one_of(&["10ms", "50ms", "200ms"]).into()),
            false => hedge.insert("percentile".into(), draw.one_of(&[80, 95]).into()),
        };
        table.insert("hedge".into(), Value::Table(hedge));
    }
    table
}

fn health(draw: &mut Draw) -> Table {
    let mut table = Table::new();
    table.insert("enabled".into(), true.into());
    table.insert("interval".into(), draw.one_of(&["100ms", "500ms", "1s"]).into());
    table.insert("timeout".into(), draw.one_of(&["300ms", "500ms", "1s"]).into());
    draw.maybe(&mut table, 0.3, "type", &["tcp"]);
    draw.maybe(&mut table, 0.5, "rise", &[1, 3]);
    draw.maybe(&mut table, 0.5, "fall", &[1, 2]);
    draw.maybe(&mut table, 0.2, "initial", &["unhealthy"]);
    table
}

fn affinity(draw: &mut Draw, frame: &Frame) -> Option<Table> {
    let mut table = Table::new();
    let by = draw.one_of(&["cookie", "key"]);
    table.insert("by".into(), by.into());
    match by {
        "key" => {
            table.insert("key".into(), texts(&["header:x-user", "client-ip"]));
            draw.maybe(&mut table, 0.5, "ttl", &["500ms", "5s"]);
        }
        _ => {
            draw.maybe(&mut table, 0.5, "value", &["backend", "hostname"]);
            draw.maybe(&mut table, 0.3, "always", &[true]);
        }
    }
    draw.maybe(&mut table, 0.2, "strict", &[true]);
    (draw.happens(0.3) && frame.has_users && !frame.is_tight).then_some(table)
}
