//! What surrounds a drawn configuration: servers, network and clients.

use toml::{Table, Value};

use crate::document::{tables, tables_mut};

use super::draw::Draw;

/// What the rest of a world goes by.
pub(super) struct Frame {
    /// Requests per second.
    pub(super) rate: u32,
    /// Whether requests say whose they are.
    pub(super) has_users: bool,
    /// Whether backends have hardly more places than are needed, so that each must get its share.
    pub(super) is_tight: bool,
}

/// Requests per second.
const RATES: [u32; 5] = [20, 50, 100, 150, 200];
/// What most answers take, in milliseconds.
const LATENCIES: [u32; 5] = [1, 2, 5, 10, 20];

/// Three to twelve backends in one pool or two, and a listener.
pub(super) fn base(draw: &mut Draw) -> Table {
    let count = draw.count(3..=12);
    let first = if draw.happens(0.4) { draw.count(1..=count - 1) } else { count };
    let backend = |nth: u32, weight: i64| {
        let mut table = Table::new();
        table.insert("url".into(), format!("http://b{nth}").into());
        if weight > 1 {
            table.insert("weight".into(), weight.into());
        }
        Value::Table(table)
    };
    let has_weights = draw.happens(0.3);
    let weights: Vec<i64> =
        (0..count).map(|_| if has_weights { draw.one_of(&[1, 1, 2, 5]) } else { 1 }).collect();
    let all: Vec<Value> = (1..).zip(&weights).map(|(nth, weight)| backend(nth, *weight)).collect();
    let (near, far) = all.split_at(first as usize);
    let pools = [("near", near), ("far", far)].into_iter().filter(|(_, all)| !all.is_empty());
    let pools = pools.map(|(name, backends)| {
        let mut pool = Table::new();
        pool.insert("name".into(), name.into());
        pool.insert("backends".into(), Value::Array(backends.to_vec()));
        Value::Table(pool)
    });
    let mut service = Table::new();
    service.insert("name".into(), "web".into());
    service.insert("hosts".into(), Value::Array(vec!["*".into()]));
    service.insert("pool".into(), Value::Array(pools.collect()));
    let mut listener = Table::new();
    listener.insert("bind".into(), "0.0.0.0:8080".into());
    let mut config = Table::new();
    config.insert("listener".into(), Value::Array(vec![Value::Table(listener)]));
    config.insert("service".into(), Value::Array(vec![Value::Table(service)]));
    let origin = |nth: u32| {
        let mut origin = Table::new();
        origin.insert("at".into(), format!("b{nth}:80").into());
        Value::Table(origin)
    };
    let mut root = Table::new();
    root.insert("schema".into(), 1.into());
    root.insert("config".into(), Value::Table(config));
    root.insert("origin".into(), Value::Array((1..=count).map(origin).collect()));
    root
}

/// Draws servers, network and clients.
pub(super) fn frame(root: &mut Table, draw: &mut Draw) -> Frame {
    let networks = [("1ms", "1ms"), ("1ms", "2ms"), ("1ms", "10ms"), ("5ms", "20ms")];
    let (min, max) = draw.one_of(&networks);
    let mut network = Table::new();
    network.insert("min".into(), min.into());
    network.insert("max".into(), max.into());
    root.insert("network".into(), Value::Table(network));

    let host = root.get("workload").and_then(|it| it.get("host")).cloned();
    let (workload, frame) = workload(draw);
    let mut workload = workload;
    if let Some(host) = host {
        workload.insert("host".into(), host);
    }
    root.insert("workload".into(), Value::Table(workload));

    let count = u32::try_from(tables(root, "origin").count()).unwrap_or(u32::MAX).max(1);
    let median = draw.one_of(&LATENCIES);
    let (kind, bounded) = (draw.count(0..=4), draw.happens(0.5));
    let framing = draw.happens(0.2);
    for origin in tables_mut(root, "origin") {
        for key in ["latency", "concurrency", "queue", "body", "framing"] {
            origin.remove(key);
        }
        origin.insert("latency".into(), latency(kind, median));
        if bounded || frame.is_tight {
            // Answers that are worked on at a time on average, and twice as many.
            let need = (frame.rate * median * 2).div_ceil(1_000) + 2;
            let need =
                if frame.is_tight { (need * 3 / 2).div_ceil(count).max(2) } else { need * 2 };
            let places = draw.count(need..=need * 2);
            origin.insert("concurrency".into(), i64::from(places).into());
            origin.insert("queue".into(), i64::from(draw.one_of(&[20_u32, 100, 500])).into());
        }
        draw.maybe(origin, 0.3, "body", &["0B", "16KiB", "64KiB"]);
        if framing {
            draw.maybe(origin, 0.5, "framing", &["chunked"]);
        }
    }
    frame
}

/// One of the ways in which servers take their time.
fn latency(kind: u32, median: u32) -> Value {
    let ms = |ms: u32| Value::String(format!("{ms}ms"));
    let mut table = Table::new();
    match kind {
        0 => return ms(median),
        1 => {
            table.insert("min".into(), ms(median / 2));
            table.insert("max".into(), ms(median * 2));
        }
        2 => {
            table.insert("exponential".into(), ms(median));
        }
        3 => {
            table.insert("lognormal".into(), ms(median));
            table.insert("sigma".into(), 0.5.into());
        }
        _ => {
            table.insert("often".into(), ms(median));
            table.insert("rarely".into(), ms(median * 8));
            table.insert("share".into(), 0.05.into());
        }
    }
    Value::Table(table)
}

fn workload(draw: &mut Draw) -> (Table, Frame) {
    let rate = draw.one_of(&RATES);
    let mut table = Table::new();
    table.insert("rate".into(), i64::from(rate).into());
    draw.maybe(&mut table, 0.3, "arrivals", &["even"]);
    draw.maybe(&mut table, 0.6, "post", &[0.05, 0.2, 0.5]);
    draw.maybe(&mut table, 0.2, "body", &["0B", "64KiB", "128KiB"]);
    let has_users = draw.happens(0.5);
    if has_users {
        table.insert("users".into(), i64::from(draw.one_of(&[5_u32, 50, 1_000])).into());
        draw.maybe(&mut table, 0.5, "cookies", &[true]);
        draw.maybe(&mut table, 0.2, "heavy", &[0.1, 0.3]);
    }
    draw.maybe(&mut table, 0.5, "timeout", &["3s", "5s", "10s"]);
    if draw.happens(0.3) {
        let mut again = Table::new();
        again.insert("tries".into(), i64::from(draw.count(1..=3)).into());
        again.insert("after".into(), draw.one_of(&["100ms", "500ms", "1s"]).into());
        table.insert("again".into(), Value::Table(again));
    }
    let is_tight = draw.happens(0.2);
    (table, Frame { rate, has_users, is_tight })
}
