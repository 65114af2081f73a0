//! `[service.health]`: how backends are asked how they are.

use std::time::Duration;

use lb_core::config::{ProbeConfig, ProbeKind, STREAK_MAX, StatusSet};

use crate::native::DURATIONS;
use crate::native::statuses::good_statuses;
use crate::read::{Mistake, Table};

/// More often would be an attack.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// What a body is searched for.
const TEXT_MAX: usize = 1_024;

pub(super) fn health(mut table: Table<'_>) -> Option<ProbeConfig> {
    let default = ProbeConfig::default();
    let enabled = table.boolean("enabled").or(false);
    let is_tcp = table.choice("type", &[("http", false), ("tcp", true)]).or(false);
    let path = table.parsed("path", path).or(None);
    let head = table.choice("method", &[("GET", false), ("HEAD", true)]).or(false);
    let expect = good_statuses(&mut table, "expect", StatusSet::GOOD);
    let expect_body = table.parsed("expect_body", text).given().map(|text| text.value);
    let interval = INTERVAL_MIN..=*DURATIONS.end();
    let interval = table.duration("interval", interval).or(default.interval);
    let timeout = table.duration("timeout", DURATIONS).or_given(default.timeout);
    let rise = table.integer("rise", 1..=STREAK_MAX).or(default.rise);
    let fall = table.integer("fall", 1..=STREAK_MAX).or(default.fall);

    let of_http = ["path", "method", "expect", "expect_body"];
    if !enabled {
        let others = ["type", "interval", "timeout", "rise", "fall"];
        table.warn_without_effect(&[&others[..], &of_http].concat(), "without enabled = true");
    } else if is_tcp {
        table.warn_without_effect(&of_http, "with type = \"tcp\": only a connection is made");
    } else if head && expect_body.is_some() {
        table.warn_without_effect(&["expect_body"], "with method = \"HEAD\": there is no body");
    }
    if timeout.said && timeout.value > interval {
        let what = "timeout is longer than interval: a check may be late for the next";
        table.report().warn(timeout.at, what, "lower timeout or raise interval");
    }
    let http = ProbeKind::Http { path, head, expect, expect_body };
    let kind = if is_tcp { ProbeKind::Tcp } else { http };
    enabled.then_some(ProbeConfig { kind, interval, timeout: timeout.value, rise, fall })
}

/// `"auto"`, or a path.
fn path(text: &str) -> Result<Option<String>, Mistake> {
    let good = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    match text {
        "auto" => Ok(None),
        _ if text.starts_with('/') && text.len() <= 1_024 && text.bytes().all(good) => {
            Ok(Some(text.to_owned()))
        }
        _ => Err(Mistake::new("is no path", "write \"auto\", or a path as in \"/health\"")),
    }
}

fn text(text: &str) -> Result<String, Mistake> {
    match (1..=TEXT_MAX).contains(&text.len()) {
        true => Ok(text.to_owned()),
        false => Err(Mistake::new("cannot be searched for", format!("use 1..={TEXT_MAX} bytes"))),
    }
}
