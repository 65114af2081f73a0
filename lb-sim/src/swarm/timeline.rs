//! What goes wrong in a drawn world, when, and for whom.

use std::time::Duration;

use toml::{Table, Value};

use crate::document::{tables, tables_mut};

use super::draw::Draw;

/// How long a run goes on after it has recovered, in milliseconds: enough to count requests.
pub(super) const AFTER_MS: u128 = 4_000;
/// Nothing goes wrong before: what is usual has to be known.
const CALM_MS: u32 = 3_000;
/// Trouble begins within so long after that, in milliseconds.
const TROUBLE_MS: u32 = 8_000;

/// Draws faults, surges and reloads. Returns when the last of them is over.
pub(super) fn draw(root: &mut Table, draw: &impl Fn(&str) -> Draw) -> Duration {
    let origins: Vec<String> =
        tables(root, "origin").filter_map(|it| Some(it.get("at")?.as_str()?.to_owned())).collect();
    let mut ends = CALM_MS;
    let faults = faults(&origins, &mut draw("faults"), &mut ends);
    root.remove("fault");
    if !faults.is_empty() {
        root.insert("fault".into(), Value::Array(faults));
    }
    let surges = surges(&mut draw("surges"), &mut ends);
    if let Some(workload) = root.get_mut("workload").and_then(Value::as_table_mut)
        && !surges.is_empty()
    {
        workload.insert("surge".into(), Value::Array(surges));
    }
    root.remove("action");
    let reloads = reloads(root, &mut draw("reloads"), &mut ends);
    if !reloads.is_empty() {
        root.insert("action".into(), Value::Array(reloads));
    }
    Duration::from_millis(ends.into())
}

fn ms(ms: u32) -> Value {
    Value::String(format!("{ms}ms"))
}

/// How long something lasts, in milliseconds.
const LASTS: [u32; 6] = [50, 200, 500, 1_000, 2_000, 5_000];

fn faults(origins: &[String], draw: &mut Draw, ends: &mut u32) -> Vec<Value> {
    let mut all = Vec::new();
    if origins.is_empty() {
        return all;
    }
    for _ in 0..draw.one_of(&[0, 1, 1, 2, 3, 4]) {
        let kind = kind(draw);
        let at = CALM_MS + draw.count(0..=TROUBLE_MS / 50) * 50;
        let lasts = draw.one_of(&LASTS);
        // One backend; some, one after the other and back in another order (as FoundationDB's
        // swizzled clogs); or all of them at once.
        let many = draw.one_of(&[1, 1, 1, 2, 3, origins.len()]).min(origins.len());
        let whom: Vec<&String> =
            draw.shuffled(origins.iter().collect()).into_iter().take(many).collect();
        let is_swizzled = draw.happens(0.4);
        for origin in whom {
            let (mut at, mut lasts) = (at, lasts);
            if is_swizzled {
                at += draw.count(0..=20) * 50;
                lasts = draw.one_of(&LASTS);
            }
            let mut fault = kind.clone();
            fault.insert("at".into(), ms(at));
            fault.insert("for".into(), ms(lasts));
            fault.insert("origin".into(), origin.as_str().into());
            *ends = (*ends).max(at + lasts);
            all.push(Value::Table(fault));
        }
    }
    all
}

/// What goes wrong. Only what both engines know, and what cannot outlast its end.
fn kind(draw: &mut Draw) -> Table {
    let kinds = [
        "blackhole",
        "partition",
        "half_open",
        "refuse",
        "crash",
        "status",
        "status",
        "slow",
        "brownout",
        "truncate",
        "trickle",
        "reset",
        "flap",
    ];
    let kind = draw.one_of(&kinds);
    let mut table = Table::new();
    table.insert("kind".into(), kind.into());
    let rates = [0.05, 0.3, 0.7];
    match kind {
        "status" => {
            table.insert("code".into(), draw.one_of(&[500, 502, 503, 504, 523, 429, 404]).into());
            draw.maybe(&mut table, 0.5, "rate", &rates);
            draw.maybe(&mut table, 0.3, "whom", &["requests", "checks"]);
        }
        "slow" => drop(table.insert("by".into(), draw.one_of(&["50ms", "300ms", "2s"]).into())),
        "brownout" => drop(table.insert("speed".into(), draw.one_of(&[0.02, 0.1, 0.5]).into())),
        "trickle" => drop(table.insert("over".into(), draw.one_of(&["200ms", "1s", "4s"]).into())),
        "reset" => draw.maybe(&mut table, 0.5, "rate", &rates),
        "flap" => drop(table.insert("period".into(), draw.one_of(&["200ms", "1s"]).into())),
        _ => {}
    }
    table
}

fn surges(draw: &mut Draw, ends: &mut u32) -> Vec<Value> {
    let count = draw.one_of(&[0, 0, 0, 1, 2]);
    let surge = |_| {
        let at = CALM_MS + draw.count(0..=TROUBLE_MS / 100) * 100;
        let lasts = draw.one_of(&[200, 1_000, 3_000]);
        *ends = (*ends).max(at + lasts);
        let mut surge = Table::new();
        surge.insert("at".into(), ms(at));
        surge.insert("for".into(), ms(lasts));
        surge.insert("times".into(), draw.one_of(&[0.2, 2.0, 5.0, 10.0]).into());
        Value::Table(surge)
    };
    (0..count).map(surge).collect()
}

/// Reloads: of the same, with another policy, or without one of the backends. Each goes on from the one before:
/// nobody comes back, since who does is somebody else by the same name, and what is left of the one that went
/// could not be told from him.
fn reloads(root: &Table, draw: &mut Draw, ends: &mut u32) -> Vec<Value> {
    let Some(config) = root.get("config").and_then(Value::as_table) else { return Vec::new() };
    let count = draw.one_of(&[0, 0, 0, 1, 2]);
    let mut times: Vec<u32> =
        (0..count).map(|_| CALM_MS + draw.count(0..=TROUBLE_MS / 100) * 100).collect();
    times.sort_unstable();
    let mut latest = config.clone();
    let reload = |at| {
        for service in tables_mut(&mut latest, "service") {
            change(service, draw);
        }
        *ends = (*ends).max(at);
        let mut action = Table::new();
        action.insert("at".into(), ms(at));
        action.insert("kind".into(), "reload".into());
        action.insert("config".into(), Value::Table(latest.clone()));
        Value::Table(action)
    };
    times.into_iter().map(reload).collect()
}

fn change(service: &mut Table, draw: &mut Draw) {
    match draw.count(0..=3) {
        0 => {}
        1 => {
            let section =
                draw.one_of(&["outliers", "slow_start", "limits", "affinity", "rate_limit"]);
            service.remove(section);
        }
        2 => {
            let mut balance = Table::new();
            let policy = draw.one_of(&["round-robin", "least-request", "least-request-exact"]);
            balance.insert("policy".into(), policy.into());
            service.insert("balance".into(), Value::Table(balance));
        }
        _ => {
            for pool in tables_mut(service, "pool") {
                let Some(list) = pool.get_mut("backends").and_then(Value::as_array_mut) else {
                    continue;
                };
                if list.len() > 1 {
                    let count = u32::try_from(list.len()).unwrap_or(u32::MAX);
                    list.remove(draw.count(0..=count - 1) as usize);
                }
            }
        }
    }
}
