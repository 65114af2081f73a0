//! `[service.health]`: how backends are asked how they are.

use std::time::Duration;

use lb_core::config::{PROBE_HEADERS_MAX, ProbeConfig, ProbeKind, STREAK_MAX, StatusSet};

use crate::native::DURATIONS;
use crate::native::balance::is_token;
use crate::native::statuses::good_statuses;
use crate::read::{Given, Mistake, Table, Value};

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
    let interval_max = table.duration("interval_max", DURATIONS).given();
    if let Some(longest) = interval_max.filter(|longest| longest.value < interval) {
        let what = "interval_max is below interval";
        table.report().error(longest.at, what, "raise interval_max or lower interval");
    }
    let initial = [("healthy", false), ("unhealthy", true)];
    let distrusts = table.choice("initial", &initial).or(false);
    let headers = headers(table.table("headers"));
    let timeout = table.duration("timeout", DURATIONS).or_given(default.timeout);
    let rise = table.integer("rise", 1..=STREAK_MAX).or(default.rise);
    let fall = table.integer("fall", 1..=STREAK_MAX).or(default.fall);

    let of_http = ["path", "method", "expect", "expect_body", "headers"];
    if !enabled {
        let others = ["type", "interval", "interval_max", "timeout", "rise", "fall", "initial"];
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
    let http = ProbeKind::Http { path, head, expect, expect_body, headers };
    let kind = if is_tcp { ProbeKind::Tcp } else { http };
    let interval_max = interval_max.map(|longest| longest.value);
    let timeout = timeout.value;
    enabled.then_some(ProbeConfig { kind, interval, interval_max, timeout, rise, fall, distrusts })
}

/// Header lines by name.
fn headers(table: Table<'_>) -> Vec<(String, String)> {
    let (at, report) = (table.at(), table.report());
    let line = |(name, value): (Given<&str>, Value<'_>)| {
        let text = value.text()?;
        let good = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        if !is_token(name.value) || RESERVED.contains(&&*name.value.to_ascii_lowercase()) {
            let what = format!("{} cannot be a header of a check", name.value);
            report.error(
                name.at,
                what,
                "use a name of letters, digits and -, not host or connection",
            );
            None
        } else if text.bytes().all(good) {
            Some((name.value.to_ascii_lowercase(), text.to_owned()))
        } else {
            report.error(
                value.at(),
                "the value of a header has other than visible ASCII",
                "change it",
            );
            None
        }
    };
    let lines: Vec<_> = table.entries().into_iter().filter_map(line).collect();
    if lines.len() > PROBE_HEADERS_MAX {
        let what = format!("there are {} headers", lines.len());
        report.error(at, what, format!("use at most {PROBE_HEADERS_MAX}"));
    }
    lines
}

/// What a check says itself.
const RESERVED: [&str; 5] =
    ["host", "connection", "content-length", "transfer-encoding", "upgrade"];

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
