//! Heads: a request's as it is written, an answer's as it is read.

use std::io::Write;
use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode, Uri, Version};
use httparse::{Header, ParserConfig, Status};
use hyper::ext::ReasonPhrase;

use super::body::{self, Body};
use super::{Asked, Limits, Malformed};

/// The head of an answer.
pub(super) struct Head {
    /// How long it is.
    pub(super) bytes: usize,
    pub(super) response: Response<()>,
    /// What follows it. `None`: another head.
    pub(super) body: Option<Body>,
    /// Whether the connection may be used again behind the body.
    pub(super) keeps: bool,
}

/// Fields of a head for which there is room without asking for any.
const FIELDS: usize = 100;

/// The head that `bytes` begin with, if all of it is there.
pub(super) fn parse(
    bytes: &Bytes,
    method: &Method,
    limits: Limits,
) -> Result<Option<Head>, Malformed> {
    if limits.fields_max <= FIELDS {
        let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
        parse_into(bytes, method, &mut fields[..limits.fields_max])
    } else {
        parse_into(bytes, method, &mut vec![MaybeUninit::uninit(); limits.fields_max])
    }
}

fn parse_into<'b>(
    bytes: &'b Bytes,
    method: &Method,
    fields: &mut [MaybeUninit<Header<'b>>],
) -> Result<Option<Head>, Malformed> {
    let mut read = httparse::Response::new(&mut []);
    let parser = ParserConfig::default();
    let length = match parser.parse_response_with_uninit_headers(&mut read, bytes, fields) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(_) => return Err(Malformed),
    };
    let code = read.code.ok_or(Malformed)?;
    let mut response = Response::new(());
    let status = StatusCode::from_u16(code).map_err(|_| Malformed)?;
    *response.status_mut() = status;
    let is_current = read.version == Some(1);
    *response.version_mut() = if is_current { Version::HTTP_11 } else { Version::HTTP_10 };
    let reason = read.reason.unwrap_or_default();
    if Some(reason) != status.canonical_reason() {
        let reason = ReasonPhrase::try_from(reason.as_bytes()).map_err(|_| Malformed)?;
        response.extensions_mut().insert(reason);
    }
    let headers = response.headers_mut();
    fill(headers, bytes, read.headers)?;
    let closes = headers.get_all(header::CONNECTION).iter().any(says_close);
    let body = body::follows(status, is_current, headers, method)?;
    let switches = is_switch(status, method);
    // Who speaks HTTP/1.0 gets a connection of its own for each request.
    let keeps = is_current && !closes && !switches && !matches!(body, Some(Body::ToEnd));
    Ok(Some(Head { bytes: length, response, body, keeps }))
}

/// Whether HTTP ends with the head of this answer.
fn is_switch(status: StatusCode, method: &Method) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || (*method == Method::CONNECT && status.is_success())
}

/// Puts `fields`, which lie in `bytes`, into a map. Their values stay where they lie.
pub(super) fn fill(
    headers: &mut HeaderMap,
    bytes: &Bytes,
    fields: &[Header<'_>],
) -> Result<(), Malformed> {
    headers.reserve(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed)?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value));
        headers.append(name, value.map_err(|_| Malformed)?);
    }
    Ok(())
}

/// Whether a head of which `looked_at` bytes have no end may have one now.
pub(super) fn may_end(bytes: &[u8], looked_at: usize) -> bool {
    let mut at = looked_at.saturating_sub(3);
    while let Some(found) = memchr::memchr(b'\n', &bytes[at..]) {
        at += found + 1;
        if matches!(bytes[at..], [b'\n', ..] | [b'\r', b'\n', ..]) {
            return true;
        }
    }
    false
}

/// Whether one field of `Connection` asks for the connection's end (RFC 9112 §9.6).
fn says_close(value: &HeaderValue) -> bool {
    let mut options = value.as_bytes().split(|byte| *byte == b',');
    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// Writes the head of a request.
pub(super) fn write(asked: &Asked<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(asked.method.as_str().as_bytes());
    out.push(b' ');
    write_target(asked.uri, out);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_fields(&asked.fields, out);
    out.extend_from_slice(b"\r\n");
}

fn write_target(uri: &Uri, out: &mut Vec<u8>) {
    match (uri.authority(), uri.path_and_query()) {
        (None, Some(target)) => out.extend_from_slice(target.as_str().as_bytes()),
        _ => write!(out, "{uri}").expect("there is room in memory"),
    }
}

pub(super) fn write_fields(headers: &HeaderMap, out: &mut Vec<u8>) {
    for (name, value) in headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}
