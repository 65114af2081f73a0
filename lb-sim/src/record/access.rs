//! The access log of `lb-server`: a line of JSON for each exchange.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::UNIX_EPOCH;

use lb_core::{Outcome, Repeat, stable_hash};
use serde::Deserialize;

use super::builder::{Builder, Seen};
use super::cursor::{Fault, micros};
use super::{Attempt, CLIENT_CLOSED_REQUEST, End, native};

/// Reads access logs.
#[derive(Default)]
pub(super) struct Access {
    attempts: Vec<Attempt>,
}

#[derive(Deserialize)]
struct Line<'l> {
    #[serde(borrow)]
    time: Cow<'l, str>,
    #[serde(borrow)]
    client: Option<Cow<'l, str>>,
    #[serde(borrow)]
    method: Option<Cow<'l, str>>,
    #[serde(borrow)]
    service: Option<Cow<'l, str>>,
    status: u16,
    #[serde(borrow)]
    reason: Option<Cow<'l, str>>,
    #[serde(borrow)]
    end: Option<Cow<'l, str>>,
    duration_ms: f64,
    #[serde(default)]
    bytes_in: u64,
    #[serde(borrow)]
    attempts: Vec<Try<'l>>,
}

#[derive(Deserialize)]
struct Try<'l> {
    #[serde(borrow)]
    backend: Cow<'l, str>,
    #[serde(borrow)]
    outcome: Cow<'l, str>,
    status: Option<u16>,
    ms: Option<f64>,
}

impl Access {
    /// Reads a line; whether it was an exchange of a service.
    pub(super) fn line(&mut self, line: &[u8], to: &mut Builder) -> Result<bool, Fault> {
        let fault = |column, what, remedy| Fault { column, what, remedy, is_fatal: false };
        let said: Line<'_> = serde_json::from_slice(line).map_err(|error| {
            let (what, remedy) = match error.is_data() {
                true => ("lacks a field of the access log, or has another value in it", FIELDS),
                false => ("is no JSON", "it was cut short or is another program's"),
            };
            fault(error.column().max(1), what, remedy)
        })?;
        // What we answered before any service was asked asks nothing of a backend.
        let Some(service) = &said.service else { return Ok(false) };
        let service = to.service(service.as_bytes())?;
        let time = humantime::parse_rfc3339(&said.time).ok();
        let time = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let time = time.ok_or_else(|| fault(1, "has no time that is one", FIELDS))?;
        self.attempts.clear();
        let mut next = 0;
        let took = us(said.duration_ms);
        for it in &said.attempts {
            let outcome = match it.status {
                Some(status) => Some(Outcome::Answered(status)),
                None => native::outcome(it.outcome.as_bytes())
                    .ok_or_else(|| fault(1, "has an attempt with an unknown outcome", FIELDS))?,
            };
            let backend = Some(to.backend(it.backend.as_bytes())?);
            // When an attempt begins is not in the log: it follows the one before.
            let lasts = it.ms.map_or_else(|| took.saturating_sub(next), us);
            let (at, took) = (micros(next), Some(micros(lasts)));
            self.attempts.push(Attempt { backend, outcome, at, took });
            next = next.saturating_add(lasts);
        }
        let end = match said.end.as_deref() {
            Some("complete") => End::Complete,
            Some("client_left") => End::Left,
            Some(_) => End::Broken,
            None if said.status == CLIENT_CLOSED_REQUEST => End::Left,
            None if said.reason.as_deref() == Some(DRAINED) => End::Broken,
            None => End::Ours,
        };
        let seen = Seen {
            at: u64::try_from(time.as_micros()).unwrap_or(u64::MAX),
            took,
            key: said.client.as_deref().map_or(0, client),
            bytes_in: said.bytes_in,
            service,
            status: said.status,
            repeat: repeat(said.method.as_deref().unwrap_or_default()),
            end,
        };
        to.add(&seen, &self.attempts).map(|()| true)
    }
}

/// The reason of what the end of the process cut.
const DRAINED: &str = "drained";

const FIELDS: &str = "docs/record.md lists the fields that are needed";

/// Microseconds of milliseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float saturates, and times are not below 0"
)]
fn us(ms: f64) -> u64 {
    (ms * 1_000.0).round() as u64
}

/// The hash of a client's address, whatever its port.
pub(super) fn client(said: &str) -> u64 {
    let ip = said.parse::<SocketAddr>().map(|addr| addr.ip()).or_else(|_| said.parse::<IpAddr>());
    match ip {
        Ok(IpAddr::V4(ip)) => stable_hash(&ip.octets()),
        Ok(IpAddr::V6(ip)) => stable_hash(&ip.octets()),
        Err(_) => stable_hash(said.as_bytes()),
    }
}

/// RFC 9110 §9.2, as `lb-server` has it.
pub(super) fn repeat(method: &str) -> Repeat {
    match method {
        "GET" | "HEAD" | "OPTIONS" | "TRACE" => Repeat::Safe,
        "PUT" | "DELETE" => Repeat::Idempotent,
        _ => Repeat::Once,
    }
}
