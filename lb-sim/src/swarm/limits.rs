//! Drawn bounds: how long things may take, and how much there may be at once. None of them is felt in calm
//! times, or nothing would recover.

use toml::{Table, Value};

use super::draw::{Draw, texts};
use super::world::Frame;

pub(super) fn timeouts(draw: &mut Draw) -> Table {
    let mut table = Table::new();
    table.insert("connect".into(), draw.one_of(&["500ms", "1s"]).into());
    table.insert("first_byte".into(), draw.one_of(&["1s", "1500ms", "2500ms"]).into());
    table.insert("body_idle".into(), draw.one_of(&["300ms", "1s", "3s"]).into());
    table.insert("exchange".into(), draw.one_of(&["3s", "6s", "20s"]).into());
    table
}

/// Several times what is in flight in calm times.
pub(super) fn limits(draw: &mut Draw, frame: &Frame) -> Option<Table> {
    let ample = i64::from(frame.rate / 2 + 50);
    let mut table = Table::new();
    draw.maybe(&mut table, 0.5, "per_backend", &[ample, ample * 2]);
    match draw.count(0..=2) {
        0 => draw.maybe(&mut table, 1.0, "per_service", &[ample, ample * 3]),
        1 => {
            let mut adaptive = Table::new();
            adaptive.insert("enabled".into(), true.into());
            adaptive.insert("min".into(), ample.into());
            draw.maybe(&mut adaptive, 0.5, "tolerance_percent", &[120, 300]);
            table.insert("adaptive".into(), Value::Table(adaptive));
        }
        _ => {}
    }
    if !table.is_empty() && draw.happens(0.6) {
        table.insert("queue_max".into(), draw.one_of(&[1, 10, 200]).into());
        draw.maybe(&mut table, 0.7, "queue_timeout", &["100ms", "500ms", "2s"]);
    }
    if frame.has_users && draw.happens(0.3) {
        table.insert("client".into(), texts(&["header:x-user"]));
        table.insert("per_client".into(), draw.one_of(&[1, 5, 50]).into());
    }
    (draw.happens(0.35) && !table.is_empty()).then_some(table)
}

pub(super) fn rate_limit(draw: &mut Draw, frame: &Frame) -> Option<Table> {
    let mut table = Table::new();
    table.insert("enabled".into(), true.into());
    table.insert("requests".into(), draw.one_of(&[5, 20, 100]).into());
    table.insert("burst".into(), draw.one_of(&[1, 10, 100]).into());
    table.insert("key".into(), texts(&["header:x-user"]));
    (draw.happens(0.15) && frame.has_users).then_some(table)
}
