//! The HTTP log format of HAProxy (`option httplog`), with or without what syslog puts before it.
//!
//! `client:port [date] frontend backend/server TR/Tw/Tc/Tr/Ta status bytes cookie cookie state counts queues
//! {captured} "request"`. Times are milliseconds: until the request was there, in queues, to connect, to
//! the answer's head, and in all; -1 where it did not come to that. The state's first two letters say who
//! ended the session, and when.

use std::str;

use lb_core::{Failure, Outcome};

use super::access::{client, repeat};
use super::builder::{Builder, Seen};
use super::clock::log_date;
use super::cursor::{Cursor, Fault, micros};
use super::{Attempt, CLIENT_CLOSED_REQUEST, End};

/// Reads logs of HAProxy.
#[derive(Default)]
pub(super) struct Haproxy;

/// The five times, in microseconds; `None` where it did not come to that.
struct Times {
    request: Option<u64>,
    queue: Option<u64>,
    connect: Option<u64>,
    answer: Option<u64>,
    all: u64,
}

impl Haproxy {
    /// Reads a line.
    pub(super) fn line(line: &[u8], to: &mut Builder) -> Result<bool, Fault> {
        // Syslog's part ends where the client's address begins: just before the date.
        let open = line.windows(2).position(|two| two == b" [");
        let before = open.map(|at| &line[..at]);
        let address = before.and_then(|text| text.rsplit(|byte| *byte == b' ').next());
        let address = address.and_then(|text| str::from_utf8(text).ok());
        let address = address.filter(|text| text.contains(':') || text.contains('.'));
        let open = open.filter(|_| address.is_some()).map_or(0, |open| open + 2);
        let mut cursor = Cursor::at(line, open);
        let address =
            address.ok_or_else(|| cursor.fault("names no client before a date", FORMAT))?;
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let date = log_date(cursor.until(b']'));
        let at = date.ok_or_else(|| cursor.fault("has no possible date in brackets", FORMAT))?;
        cursor.skip_spaces();
        let _frontend = cursor.until(b' ');
        let mut names = cursor.until(b' ').split(|byte| *byte == b'/');
        let (Some(service), Some(server)) = (names.next(), names.next()) else {
            return Err(cursor.fault("has no backend/server behind the frontend", FORMAT));
        };
        let times = Times::read(cursor.until(b' '));
        let times = times.ok_or_else(|| cursor.fault("has no times TR/Tw/Tc/Tr/Ta", FORMAT))?;
        let status = cursor.until(b' ');
        let _bytes = cursor.until(b' ');
        let _cookies = (cursor.until(b' '), cursor.until(b' '));
        let state = cursor.until(b' ');
        let status = match status {
            b"-1" => None,
            digits => {
                let status = str::from_utf8(digits).ok().and_then(|text| text.parse::<u16>().ok());
                Some(status.ok_or_else(|| cursor.fault("has no status", FORMAT))?)
            }
        };
        let [who, when, ..] = state else {
            return Err(cursor.fault("has no termination state", FORMAT));
        };
        let quote = line.iter().position(|byte| *byte == b'"').map(|at| &line[at + 1..]);
        let request = quote.ok_or_else(|| cursor.fault("has no request in quotes", FORMAT))?;
        let method = request.split(|byte| matches!(byte, b' ' | b'"')).next().unwrap_or_default();

        let outcome = outcome(*who, *when, status, &times);
        let queued = times.request.unwrap_or(0) + times.queue.unwrap_or(0);
        // `<NOSRV>`, `<CACHE>` and the like are HAProxy itself; what was given up in its queue was sent nowhere.
        let is_waiting = matches!((who, when), (b'C' | b'c', b'R' | b'Q'));
        let is_sent = !server.starts_with(b"<") && !is_waiting;
        let backend = is_sent.then(|| to.backend(server)).transpose()?;
        let attempt = backend.map(|backend| Attempt {
            backend: Some(backend),
            outcome,
            at: micros(times.queue.unwrap_or(0)),
            took: Some(micros(match (times.connect, times.answer) {
                (Some(connect), Some(answer)) => connect + answer,
                _ => times.all.saturating_sub(queued),
            })),
        });
        let is_given_up = attempt.is_some_and(|it| it.outcome.is_none());
        let end = match (who, attempt) {
            (b'C' | b'c', _) => End::Left,
            (_, None) => End::Ours,
            (_, Some(it)) if !matches!(it.outcome, Some(Outcome::Answered(_))) => End::Ours,
            (b'-', _) => End::Complete,
            _ => End::Broken,
        };
        let seen = Seen {
            // The clock of a request starts when it is there: before that the connection is idle.
            at: at + times.request.unwrap_or(0),
            took: times.all.saturating_sub(times.request.unwrap_or(0)),
            key: client(host),
            bytes_in: 0,
            service: to.service(service)?,
            status: if is_given_up { CLIENT_CLOSED_REQUEST } else { status.unwrap_or(0) },
            repeat: repeat(str::from_utf8(method).unwrap_or_default()),
            end,
        };
        to.add(&seen, attempt.as_slice()).map(|()| true)
    }
}

/// What became of the one attempt that is told of. `None`: it was given up with its client.
fn outcome(who: u8, when: u8, status: Option<u16>, times: &Times) -> Option<Outcome> {
    let failed = match (who, when) {
        (b'C' | b'c', b'R' | b'Q' | b'C' | b'H') => return None,
        (b's', b'Q' | b'C') => Failure::ConnectTimeout,
        (_, b'C') => Failure::ConnectRefused,
        (b's', b'H') => Failure::FirstByteTimeout,
        (b'S' | b'P', b'H') if times.answer.is_none() => Failure::Reset,
        (b'P', b'H') => Failure::Malformed,
        _ => return status.map(Outcome::Answered),
    };
    Some(Outcome::Failed(failed))
}

impl Times {
    fn read(text: &[u8]) -> Option<Self> {
        let mut parts = text.split(|byte| *byte == b'/');
        let mut next = || {
            let part = str::from_utf8(parts.next()?).ok()?;
            // A plus before the total says that the log was written before the end (`logasap`).
            let ms = part.strip_prefix('+').unwrap_or(part).parse::<i64>().ok()?;
            let ms = u64::try_from(ms).ok().filter(|ms| *ms <= MS_MAX);
            Some(ms.map(|ms| ms * 1_000))
        };
        let (request, queue, connect, answer) = (next()?, next()?, next()?, next()?);
        Some(Self { request, queue, connect, answer, all: next()?? })
    }
}

/// Of anything that one request does: ten days.
const MS_MAX: u64 = 864_000_000;

const FORMAT: &str = "the format is that of HAProxy's option httplog";
