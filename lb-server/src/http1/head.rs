//! Heads of requests and answers, as they are read.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri, Version, request, response};
use httparse::{Header, ParserConfig, Status};
use hyper::ext::ReasonPhrase;

use super::answer::Told;
use super::body::{self, Body};
use super::{Limits, Malformed, spare};
use crate::headers::ADDED_TO_ANSWERS;

/// The head of an answer.
pub(super) struct Head {
    /// How long it is.
    pub(super) bytes: usize,
    /// In a box: it passes through many hands.
    pub(super) parts: Box<response::Parts>,
    /// What follows it. `None`: another head.
    pub(super) body: Option<Body>,
    /// Whether the connection may be used again behind the body.
    pub(super) keeps: bool,
}

/// What the head of a request says.
pub(super) struct Asking {
    pub(super) told: Told,
    /// What follows it.
    pub(super) body: Body,
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
    let status = StatusCode::from_u16(code).map_err(|_| Malformed)?;
    let mut parts = spare::head();
    parts.status = status;
    let is_current = read.version == Some(1);
    parts.version = if is_current { Version::HTTP_11 } else { Version::HTTP_10 };
    let reason = read.reason.unwrap_or_default();
    if Some(reason) != status.canonical_reason() {
        let reason = ReasonPhrase::try_from(reason.as_bytes()).map_err(|_| Malformed)?;
        parts.extensions.insert(reason);
    }
    let said = fill(&mut parts.headers, bytes, read.headers, ADDED_TO_ANSWERS)?;
    let body = body::follows(status, is_current, &said, method)?;
    let switches = is_switch(status, method);
    // Who speaks HTTP/1.0 gets a connection of its own for each request.
    let keeps = is_current && !said.closes && !switches && !matches!(body, Some(Body::ToEnd));
    Ok(Some(Head { bytes: length, parts, body, keeps }))
}

/// Puts the head of a request that `bytes` begin with into `head`, which is empty, if all of it is there;
/// and says how long it is.
pub(super) fn parse_request(
    bytes: &Bytes,
    limits: Limits,
    head: &mut request::Parts,
) -> Result<Option<(Asking, usize)>, Malformed> {
    if limits.fields_max <= FIELDS {
        let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
        parse_request_into(bytes, &mut fields[..limits.fields_max], head)
    } else {
        parse_request_into(bytes, &mut vec![MaybeUninit::uninit(); limits.fields_max], head)
    }
}

fn parse_request_into<'b>(
    bytes: &'b Bytes,
    fields: &mut [MaybeUninit<Header<'b>>],
    head: &mut request::Parts,
) -> Result<Option<(Asking, usize)>, Malformed> {
    let mut read = httparse::Request::new(&mut []);
    let parser = ParserConfig::default();
    let length = match parser.parse_request_with_uninit_headers(&mut read, bytes, fields) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(_) => return Err(Malformed),
    };
    let method = Method::from_bytes(read.method.ok_or(Malformed)?.as_bytes());
    let target = bytes.slice_ref(read.path.ok_or(Malformed)?.as_bytes());
    head.method = method.map_err(|_| Malformed)?;
    head.uri = Uri::from_maybe_shared(target).map_err(|_| Malformed)?;
    let is_current = read.version == Some(1);
    head.version = if is_current { Version::HTTP_11 } else { Version::HTTP_10 };
    let said = fill(&mut head.headers, bytes, read.headers, 0)?;
    let body = body::of_request(is_current, &said)?;
    let told = Told {
        is_head: head.method == Method::HEAD,
        connects: head.method == Method::CONNECT,
        is_current,
        keeps: (is_current || said.keeps) && !said.closes,
        expects: is_current && said.expects,
        trailers: said.trailers,
    };
    Ok(Some((Asking { told, body }, length)))
}

/// Empties a head for the next one, which finds the room that this one had for its fields. Nothing is left of
/// what was read.
pub(super) fn clear(head: &mut request::Parts) {
    head.method = Method::GET;
    head.uri = Uri::default();
    spare::clear(&mut head.headers);
    head.extensions.clear();
}

/// Whether HTTP ends with the head of this answer.
fn is_switch(status: StatusCode, method: &Method) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || (*method == Method::CONNECT && status.is_success())
}

/// What a head says of its message, noticed while its fields go by: to look each of them up takes as long
/// as all the rest.
#[derive(Default)]
pub(super) struct Said {
    /// `Connection` asks for its end, or that it goes on.
    pub(super) closes: bool,
    pub(super) keeps: bool,
    /// There are transfer codings; whether the last is `chunked`.
    pub(super) chunked: Option<bool>,
    /// The length of the body, once or several times the same (RFC 9110 §8.6).
    pub(super) length: Option<Result<u64, Malformed>>,
    /// A client waits for 100 (Continue), and takes trailers.
    pub(super) expects: bool,
    pub(super) trailers: bool,
    /// There are `TE` and `Upgrade`, whatever they say.
    pub(super) te: bool,
    pub(super) upgrade: bool,
}

impl Said {
    /// The length of the body, where one is said that can be read.
    pub(super) fn length(&self) -> Option<u64> {
        self.length?.ok()
    }

    pub(super) fn notice(&mut self, name: &HeaderName, value: &HeaderValue) {
        match *name {
            header::CONNECTION => {
                for option in options(value) {
                    self.closes |= option.eq_ignore_ascii_case(b"close");
                    self.keeps |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            header::CONTENT_LENGTH => self.length = Some(body::length(value, self.length)),
            header::TRANSFER_ENCODING => {
                self.chunked = Some(value.as_bytes().eq_ignore_ascii_case(b"chunked"));
            }
            header::EXPECT => {
                self.expects |= value.as_bytes().eq_ignore_ascii_case(b"100-continue");
            }
            header::TE => {
                self.te = true;
                let mut codings = options(value);
                self.trailers |= codings.any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
            }
            header::UPGRADE => self.upgrade = true,
            _ => {}
        }
    }
}

/// Puts `fields`, which lie in `bytes`, into a map with room for so many more. Their values stay where they
/// lie.
pub(super) fn fill(
    headers: &mut HeaderMap,
    bytes: &Bytes,
    fields: &[Header<'_>],
    more: usize,
) -> Result<Said, Malformed> {
    headers.reserve(fields.len() + more);
    let mut said = Said::default();
    for field in fields {
        let name = match usual(field.name.as_bytes()) {
            Some(name) => name,
            None => HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed)?,
        };
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value));
        let value = value.map_err(|_| Malformed)?;
        said.notice(&name, &value);
        headers.append(name, value);
    }
    Ok(said)
}

/// A name as it is mostly written, which need not be taken apart to be known.
fn usual(name: &[u8]) -> Option<HeaderName> {
    Some(match name {
        b"Host" | b"host" => header::HOST,
        b"Date" | b"date" => header::DATE,
        b"ETag" | b"etag" => header::ETAG,
        b"Accept" | b"accept" => header::ACCEPT,
        b"Cookie" | b"cookie" => header::COOKIE,
        b"Server" | b"server" => header::SERVER,
        b"Connection" | b"connection" => header::CONNECTION,
        b"User-Agent" | b"user-agent" => header::USER_AGENT,
        b"Content-Type" | b"content-type" => header::CONTENT_TYPE,
        b"Last-Modified" | b"last-modified" => header::LAST_MODIFIED,
        b"Authorization" | b"authorization" => header::AUTHORIZATION,
        b"Cache-Control" | b"cache-control" => header::CACHE_CONTROL,
        b"Content-Length" | b"content-length" => header::CONTENT_LENGTH,
        b"Accept-Encoding" | b"accept-encoding" => header::ACCEPT_ENCODING,
        b"Accept-Language" | b"accept-language" => header::ACCEPT_LANGUAGE,
        b"Transfer-Encoding" | b"transfer-encoding" => header::TRANSFER_ENCODING,
        _ => return None,
    })
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

/// What a list says.
fn options(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_name_is_what_it_is_to_whoever_takes_it_apart() {
        let usual_names = [
            "Host",
            "Date",
            "ETag",
            "Accept",
            "Cookie",
            "Server",
            "Connection",
            "User-Agent",
            "Content-Type",
            "Last-Modified",
            "Authorization",
            "Cache-Control",
            "Content-Length",
            "Accept-Encoding",
            "Accept-Language",
            "Transfer-Encoding",
        ];
        for name in usual_names {
            for name in [name.to_owned(), name.to_ascii_lowercase()] {
                let known = HeaderName::from_bytes(name.as_bytes()).unwrap();
                assert_eq!(usual(name.as_bytes()), Some(known), "{name}");
            }
            for name in [name.to_ascii_uppercase(), format!("{name}s"), format!("{name} ")] {
                assert_eq!(usual(name.as_bytes()), None, "{name}");
            }
        }
        assert_eq!(usual(b""), None);
    }
}
