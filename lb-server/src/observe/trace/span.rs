//! Spans: what is said of a request and of an attempt, in the words of OpenTelemetry's semantic
//! conventions for HTTP (version 1.23 and later).
//!
//! A query, which may hold a secret, is not among them, nor is any header field but `User-Agent`.

use std::net::IpAddr;
use std::path::Path;
use std::time::SystemTime;

use http::{Method, StatusCode, Version};

use super::{SpanId, Trace, TraceId};

/// Bytes of a text in a span; the rest of a longer one is cut.
const TEXT_BYTES_MAX: usize = 1_024;

/// Something that took time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(super) trace: TraceId,
    pub(super) id: SpanId,
    pub(super) parent: Option<SpanId>,
    pub(super) kind: Kind,
    pub(super) name: &'static str,
    pub(super) took: Took,
    pub(super) attributes: Vec<(&'static str, Value)>,
    pub(super) failed: bool,
}

/// On which side of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of who answers.
    Server,
    /// Of who asks.
    Client,
}

/// What an attribute says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(i64),
}

/// When it was, by the time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Took {
    pub(crate) start: SystemTime,
    pub(crate) end: SystemTime,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended<'r> {
    /// What was answered, if anything.
    pub(crate) status: Option<StatusCode>,
    /// What went wrong if it was not the status: one of few words, as in the access log.
    pub(crate) error: Option<&'r str>,
    pub(crate) took: Took,
}

/// What a client asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'r> {
    pub(crate) method: &'r Method,
    pub(crate) version: Version,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    /// Without the query.
    pub(crate) path: &'r str,
    /// With the port, if there was one; empty if nothing was said.
    pub(crate) host: &'r str,
    /// Its address, unless it came by a Unix socket.
    pub(crate) client: Option<IpAddr>,
    pub(crate) user_agent: Option<&'r str>,
    pub(crate) service: Option<&'r str>,
}

/// What was asked of a backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tried<'r> {
    pub(crate) method: &'r Method,
    /// Without the query.
    pub(crate) path: &'r str,
    /// Counted from 0, over hedges too.
    pub(crate) number: u32,
    /// How often the request had been sent before, but beside it.
    pub(crate) resent: u32,
    /// Another attempt was quicker, and this one is given up for that: nothing went wrong.
    pub(crate) is_overtaken: bool,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    pub(crate) at: At<'r>,
}

/// Where a backend is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum At<'r> {
    /// IPv6 without brackets.
    Host(&'r str, u16),
    /// A Unix socket.
    Socket(&'r Path),
}

/// The span of an exchange. Ask [`Trace::is_sampled`] first.
pub(crate) fn of_exchange(trace: &Trace, asked: &Asked<'_>, ended: &Ended<'_>) -> Span {
    let mut attributes = Vec::with_capacity(12);
    let name = method(asked.method, &mut attributes);
    text(&mut attributes, "url.scheme", asked.scheme);
    text(&mut attributes, "url.path", asked.path);
    if !asked.host.is_empty() {
        let (host, port) = split_port(asked.host);
        text(&mut attributes, "server.address", host);
        if let Some(port) = port {
            attributes.push(("server.port", Value::Number(port.into())));
        }
    }
    if let Some(client) = asked.client {
        text(&mut attributes, "client.address", &client.to_canonical().to_string());
    }
    text(&mut attributes, "network.protocol.version", version(asked.version));
    if let Some(agent) = asked.user_agent {
        text(&mut attributes, "user_agent.original", agent);
    }
    if let Some(service) = asked.service {
        text(&mut attributes, "lb.service", service);
    }
    // A server that says 404 has done its work.
    let is_wrong = ended.status.as_ref().is_none_or(StatusCode::is_server_error);
    let failed = finish(&mut attributes, ended, is_wrong);
    Span {
        trace: trace.id,
        id: trace.span,
        parent: trace.parent,
        kind: Kind::Server,
        name,
        took: ended.took,
        attributes,
        failed,
    }
}

/// The span of an attempt. Ask [`Trace::is_sampled`] first.
pub(crate) fn of_attempt(trace: &Trace, tried: &Tried<'_>, ended: &Ended<'_>) -> Span {
    let mut attributes = Vec::with_capacity(7);
    let name = method(tried.method, &mut attributes);
    let Tried { scheme, at, path, .. } = tried;
    match at {
        At::Host(host, port) => {
            let url = match host.contains(':') {
                true => format!("{scheme}://[{host}]:{port}{path}"),
                false => format!("{scheme}://{host}:{port}{path}"),
            };
            text(&mut attributes, "url.full", &url);
            text(&mut attributes, "server.address", host);
            attributes.push(("server.port", Value::Number((*port).into())));
        }
        At::Socket(socket) => {
            // There is no url of it; this is how others write one.
            let socket = socket.to_string_lossy();
            text(&mut attributes, "url.full", &format!("{scheme}://unix:{socket}:{path}"));
            text(&mut attributes, "server.address", &socket);
            text(&mut attributes, "network.transport", "unix");
        }
    }
    if tried.resent > 0 {
        attributes.push(("http.request.resend_count", Value::Number(tried.resent.into())));
    }
    let is_error = |status: &StatusCode| status.is_client_error() || status.is_server_error();
    let is_wrong = !tried.is_overtaken && ended.status.as_ref().is_none_or(is_error);
    let failed = finish(&mut attributes, ended, is_wrong);
    Span {
        trace: trace.id,
        id: trace.attempt(tried.number),
        parent: Some(trace.span),
        kind: Kind::Client,
        name,
        took: ended.took,
        attributes,
        failed,
    }
}

/// The method, which is the span's name too: a name stands for many requests, and so it is one of few.
fn method(method: &Method, attributes: &mut Vec<(&'static str, Value)>) -> &'static str {
    const KNOWN: [&str; 9] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    let known = KNOWN.into_iter().find(|known| *known == method.as_str());
    text(attributes, "http.request.method", known.unwrap_or("_OTHER"));
    if known.is_none() {
        text(attributes, "http.request.method_original", method.as_str());
    }
    known.unwrap_or("HTTP")
}

/// How it ended, and whether that is a failure.
fn finish(attributes: &mut Vec<(&'static str, Value)>, ended: &Ended<'_>, is_wrong: bool) -> bool {
    let code = ended.status.map(|status| status.as_u16());
    if let Some(code) = code {
        attributes.push(("http.response.status_code", Value::Number(code.into())));
    }
    let failed = ended.error.is_some() || is_wrong;
    if failed {
        let status = code.map(|code| code.to_string());
        let error = ended.error.or(status.as_deref()).unwrap_or("_OTHER");
        text(attributes, "error.type", error);
    }
    failed
}

fn text(attributes: &mut Vec<(&'static str, Value)>, name: &'static str, text: &str) {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    attributes.push((name, Value::Text(text[..end].to_owned())));
}

/// A host as attributes want it: IPv6 without brackets, and the port by itself.
fn split_port(host: &str) -> (&str, Option<u16>) {
    let digits = |port: &str| port.parse().ok();
    if let Some((inner, port)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (inner, port.strip_prefix(':').and_then(digits));
    }
    match host.split_once(':') {
        Some((name, port)) => (name, digits(port)),
        None => (host, None),
    }
}

const fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}
