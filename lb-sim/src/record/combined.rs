//! The combined log format of nginx and Apache, and what operators add to it.
//!
//! `client - user [date] "request" status bytes "referer" "agent"`, and then perhaps what nginx knows of
//! its upstreams: `$request_time $upstream_response_time $upstream_addr`, in this order without names or in
//! any order with names (`rt=0.012 urt="0.010" ua="10.0.0.1:80" us=200`). Where several upstreams were
//! asked, nginx lists them, separated by commas, or by colons after an internal redirect. What stands in
//! quotes without a name is never an upstream: it may be anybody's header, as `$http_x_forwarded_for` is.
//! Before the client there may be the host that was asked (`vhost_combined`).

use std::net::IpAddr;
use std::str;

use lb_core::{Failure, Outcome};

use super::access::{client, repeat};
use super::builder::{Builder, Seen};
use super::clock::log_date;
use super::cursor::{Cursor, Fault, micros};
use super::{Attempt, CLIENT_CLOSED_REQUEST, End};

/// Reads combined logs.
#[derive(Default)]
pub(super) struct Combined {
    attempts: Vec<Attempt>,
    /// Whether any line said how long it took.
    pub(super) is_timed: bool,
}

/// What stands behind the user agent.
#[derive(Default)]
struct Upstreams {
    /// Microseconds.
    request: Option<u64>,
    /// Of each upstream, in order.
    times: Vec<Option<u64>>,
    addresses: Vec<String>,
    statuses: Vec<Option<u16>>,
}

impl Combined {
    /// Reads a line.
    pub(super) fn line(&mut self, line: &[u8], to: &mut Builder) -> Result<bool, Fault> {
        let mut cursor = Cursor::new(line);
        let first = str::from_utf8(cursor.until(b' ')).ok().filter(|it| !it.is_empty());
        let first = first.ok_or_else(|| cursor.fault("names no client", FORMAT))?;
        // Identity and user: whoever they are, the address is the key.
        let names = cursor.until(b'[').split(|byte| *byte == b' ').next();
        let second = names.and_then(|name| str::from_utf8(name).ok());
        let is_ip = |name: &&str| name.parse::<IpAddr>().is_ok();
        let address = second.filter(|it| is_ip(it) && !is_ip(&first)).unwrap_or(first);
        let date = log_date(cursor.until(b']'));
        let at = date.ok_or_else(|| cursor.fault("has no possible date in brackets", FORMAT))?;
        cursor.skip_spaces();
        let request = cursor.quoted();
        let request = request.ok_or_else(|| cursor.fault("has no request in quotes", FORMAT))?;
        let method = request.split(|byte| *byte == b' ').next().unwrap_or_default();
        cursor.skip_spaces();
        let status = cursor.number().and_then(|status| u16::try_from(status).ok());
        let status = status.filter(|status| (100..=999).contains(status));
        let status = status.ok_or_else(|| cursor.fault("has no status of three digits", FORMAT))?;
        cursor.skip_spaces();
        if cursor.number().is_none() && !cursor.eats(b'-') {
            return Err(cursor.fault("does not say how many bytes were sent", FORMAT));
        }
        cursor.skip_spaces();
        // Referer and user agent, which the common format does not have.
        for _ in 0..2 {
            if cursor.peek() == Some(b'"') && !begins_list(cursor.rest()) {
                let text = cursor.quoted();
                text.ok_or_else(|| cursor.fault("has a quote that is not closed", FORMAT))?;
                cursor.skip_spaces();
            }
        }
        let said = Upstreams::read(&mut cursor);
        // The sum of no times is none, not 0.
        let sum = || said.times.iter().copied().sum::<Option<u64>>();
        let took = said.request.or_else(|| sum().filter(|_| !said.times.is_empty()));
        self.is_timed |= took.is_some();
        self.attempt(&said, status, took, to)?;
        let took = took.unwrap_or(0);
        let end = match status {
            CLIENT_CLOSED_REQUEST => End::Left,
            _ if self.attempts.is_empty() => End::Ours,
            _ => End::Complete,
        };
        let service = to.service(b"")?;
        let key = client(address);
        let repeat = repeat(str::from_utf8(method).unwrap_or_default());
        let seen = Seen { at, took, key, bytes_in: 0, service, status, repeat, end };
        to.add(&seen, &self.attempts).map(|()| true)
    }

    fn attempt(
        &mut self,
        said: &Upstreams,
        status: u16,
        took: Option<u64>,
        to: &mut Builder,
    ) -> Result<(), Fault> {
        self.attempts.clear();
        let count = said.addresses.len().max(said.times.len());
        let time = |at: usize| said.times.get(at).copied().flatten();
        let timed: Vec<u64> = (0..count).filter_map(time).collect();
        // What is left of the whole is that of the one attempt that has no time, if it is one.
        let rest = took.filter(|_| timed.len() + 1 == count);
        let rest = rest.map(|took| took.saturating_sub(timed.into_iter().sum()));
        let mut next = 0_u64;
        for at in 0..count {
            let name = said.addresses.get(at);
            let backend = name.map(|name| to.backend(name.as_bytes())).transpose()?;
            let is_last = at + 1 == count;
            let known = said.statuses.get(at).copied().flatten();
            let outcome = match known {
                // nginx's words for an upstream that gave no answer (or a bad one) are its own answers.
                Some(504) => Outcome::Failed(Failure::FirstByteTimeout),
                Some(502) => Outcome::Failed(Failure::Reset),
                Some(status) => Outcome::Answered(status),
                None if is_last && status != CLIENT_CLOSED_REQUEST => Outcome::Answered(status),
                // It went on to the next: what this one said was not good enough.
                None => Outcome::Failed(Failure::Reset),
            };
            let left = is_last && status == CLIENT_CLOSED_REQUEST;
            let lasts = time(at).or(rest);
            self.attempts.push(Attempt {
                backend,
                outcome: (!left).then_some(outcome),
                at: micros(next),
                took: lasts.map(micros),
            });
            next = next.saturating_add(lasts.unwrap_or(0));
        }
        Ok(())
    }
}

/// Whether what stands in quotes is a list of upstreams rather than a referer.
fn begins_list(rest: &[u8]) -> bool {
    let inner = rest.get(1..).unwrap_or_default();
    let end = inner.iter().position(|byte| *byte == b'"').unwrap_or(inner.len());
    let inner = &inner[..end];
    !inner.is_empty() && inner.iter().all(|byte| b"0123456789., :".contains(byte))
}

/// Names that operators give to what nginx knows, without the `$`.
const REQUEST: [&str; 3] = ["rt", "request_time", "reqtime"];
const RESPONSE: [&str; 3] = ["urt", "upstream_response_time", "upstime"];
const ADDRESS: [&str; 4] = ["ua", "uaddr", "upstream", "upstream_addr"];
const STATUS: [&str; 3] = ["us", "ustatus", "upstream_status"];

impl Upstreams {
    fn read(cursor: &mut Cursor<'_>) -> Self {
        let mut said = Self::default();
        let mut place = 0;
        while !cursor.is_over() {
            let is_quoted = cursor.peek() == Some(b'"');
            let (name, value) = field(cursor);
            let is = |names: &[&str]| name.as_deref().is_some_and(|name| names.contains(&name));
            match &name {
                Some(_) if is(&REQUEST) => said.request = seconds(&value),
                Some(_) if is(&RESPONSE) => said.times = list(&value, seconds),
                Some(_) if is(&ADDRESS) => said.addresses = addresses(&value),
                Some(_) if is(&STATUS) => said.statuses = list(&value, |it| it.parse().ok()),
                // An added header, say.
                Some(_) => {}
                None if is_times(&value) => {
                    place += 1;
                    match place {
                        1 => said.request = list(&value, seconds).into_iter().sum(),
                        2 => said.times = list(&value, seconds),
                        _ => {}
                    }
                }
                None if !is_quoted && is_address(&value) => said.addresses = addresses(&value),
                None => {}
            }
            cursor.skip_spaces();
        }
        said
    }
}

/// The next field: its name, if it has one, and its value without quotes; lists go on behind a comma.
fn field(cursor: &mut Cursor<'_>) -> (Option<String>, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if cursor.peek() == Some(b'"') {
        let value = cursor.quoted().map(text);
        return (None, value.unwrap_or_else(|| text(cursor.until(b'\n'))));
    }
    let rest = cursor.rest();
    let equals = rest.iter().position(|byte| matches!(byte, b'=' | b' ' | b'"'));
    let name = equals.filter(|at| rest[*at] == b'=').map(|_| text(cursor.until(b'=')));
    if cursor.peek() == Some(b'"') {
        let value = cursor.quoted().map(text);
        return (name, value.unwrap_or_else(|| text(cursor.until(b'\n'))));
    }
    let mut value = text(cursor.until(b' '));
    while (value.ends_with(',') || cursor.rest().starts_with(b": ")) && !cursor.is_over() {
        value.push(' ');
        value.push_str(&text(cursor.until(b' ')));
        if value.ends_with(" :") {
            value.push(' ');
            value.push_str(&text(cursor.until(b' ')));
        }
    }
    (name, value)
}

/// The parts of a list, each as `of` understands it.
fn list<T>(value: &str, of: impl Fn(&str) -> Option<T>) -> Vec<Option<T>> {
    if value == "-" || value.is_empty() {
        return Vec::new();
    }
    value.replace(" : ", ", ").split(',').map(|part| of(part.trim())).collect()
}

fn addresses(value: &str) -> Vec<String> {
    list(value, |part| Some(part.to_owned())).into_iter().flatten().collect()
}

/// Whether it is seconds with decimals, or several, some of which may be unknown.
fn is_times(value: &str) -> bool {
    let is = |part: &str| Some(part == "-" || seconds(part).is_some());
    value.contains('.') && list(value, is).into_iter().all(|is| is == Some(true))
}

/// Whether it is an address and a port, or several. One of IPv6 is in brackets: others are clients.
fn is_address(value: &str) -> bool {
    let is_host = |host: &str| !host.is_empty() && (!host.contains(':') || host.ends_with(']'));
    let is = |part: String| {
        let is_one = |(host, port): (&str, &str)| is_host(host) && port.parse::<u16>().is_ok();
        part.starts_with("unix:") || part.rsplit_once(':').is_some_and(is_one)
    };
    let all = addresses(value);
    !all.is_empty() && all.into_iter().all(is)
}

/// Microseconds of seconds with decimals.
fn seconds(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 6 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = format!("{part:0<6}").parse::<u64>().ok()?;
    let whole = whole.parse::<u64>().ok().filter(|whole| *whole <= SECONDS_MAX)?;
    Some(whole * 1_000_000 + part)
}

/// Of anything that one request does: ten days.
const SECONDS_MAX: u64 = 864_000;

const FORMAT: &str = "the combined format is client - user [date] \"request\" status bytes";

#[cfg(test)]
mod tests {
    use super::*;

    fn upstreams(text: &str) -> (Option<u64>, Vec<Option<u64>>, Vec<String>) {
        let Upstreams { request, times, addresses, .. } =
            Upstreams::read(&mut Cursor::new(text.as_bytes()));
        (request, times, addresses)
    }

    #[test]
    fn what_nginx_adds_is_read_with_and_without_names() {
        let one = (Some(12_000), vec![Some(10_000)], vec!["10.0.0.1:80".to_owned()]);
        assert_eq!(upstreams("0.012 0.010 10.0.0.1:80"), one);
        assert_eq!(upstreams("rt=0.012 uct=\"0.001\" urt=\"0.010\" ua=\"10.0.0.1:80\""), one);
        assert_eq!(upstreams("upstream_addr=10.0.0.1:80 request_time=0.012 urt=0.010"), one);
    }

    #[test]
    fn several_upstreams_are_several_attempts() {
        let two = ["10.0.0.1:80", "10.0.0.2:80"].map(str::to_owned).to_vec();
        let times = vec![Some(1_000), Some(11_000)];
        let said = (Some(12_000), times, two);
        assert_eq!(upstreams("0.012 0.001, 0.011 10.0.0.1:80, 10.0.0.2:80"), said);
        assert_eq!(upstreams("0.012 0.001 : 0.011 10.0.0.1:80 : 10.0.0.2:80"), said);
        let named = "rt=0.012 urt=\"0.001, 0.011\" ua=\"10.0.0.1:80, 10.0.0.2:80\"";
        assert_eq!(upstreams(named), said);
    }

    #[test]
    fn what_is_no_time_and_no_address_is_let_be() {
        assert_eq!(upstreams(""), (None, vec![], vec![]));
        assert_eq!(upstreams("\"-\" TLSv1.3 gzip=2.5 -"), (None, vec![], vec![]));
        assert_eq!(upstreams("0.000 - -"), (Some(0), vec![], vec![]));
        for client in ["\"2001:db8::1\"", "2001:db8::1", "\"10.0.0.1:80\"", "\"::1, 2001:db8::2\""]
        {
            assert_eq!(upstreams(client), (None, vec![], vec![]), "{client}");
        }
        let one = vec!["[2001:db8::1]:80".to_owned()];
        assert_eq!(
            upstreams("0.010 0.009 [2001:db8::1]:80"),
            (Some(10_000), vec![Some(9_000)], one)
        );
    }

    #[test]
    fn a_time_that_nobody_knows_is_none_in_a_list() {
        let two = ["10.0.0.2:80", "10.0.0.1:80"].map(str::to_owned).to_vec();
        let said = (Some(105_000), vec![None, Some(100_000)], two);
        assert_eq!(upstreams("0.105 -, 0.100 10.0.0.2:80, 10.0.0.1:80"), said);
    }
}
