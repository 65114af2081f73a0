//! Heads of requests and answers, as they are written.

use std::io::Write;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Extensions, StatusCode, Uri};
use hyper::ext::ReasonPhrase;

use super::Asked;
use super::head::Said;
use super::outbox::Framing;

/// Writes the first line of a request.
pub(super) fn line(asked: &Asked<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(asked.method.as_str().as_bytes());
    out.push(b' ');
    target_of(asked.uri, out);
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

fn target_of(uri: &Uri, out: &mut Vec<u8>) {
    match (uri.authority(), uri.path_and_query()) {
        (None, Some(target)) => {
            // Behind a host there may be a query and no path (RFC 9112 §3.2.1).
            if target.as_str().starts_with('?') {
                out.push(b'/');
            }
            out.extend_from_slice(target.as_str().as_bytes());
        }
        _ => write!(out, "{uri}").expect("there is room in memory"),
    }
}

/// Writes the first line of an answer behind its version.
pub(super) fn status_line(
    version: &[u8],
    status: StatusCode,
    extensions: &Extensions,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(version);
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    match extensions.get::<ReasonPhrase>() {
        Some(reason) => out.extend_from_slice(reason.as_bytes()),
        None => out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes()),
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes fields.
pub(super) fn fields(headers: &HeaderMap, out: &mut Vec<u8>) {
    headers.iter().for_each(|(name, value)| field(name, value, out));
}

/// Writes the fields of a message but for those that say how it is framed: whoever edits heads does not
/// frame them. Returns what they say.
pub(super) fn unframed(headers: &HeaderMap, out: &mut Vec<u8>) -> Said {
    let mut said = Said::default();
    for (name, value) in headers {
        said.notice(name, value);
        if *name != header::CONTENT_LENGTH && *name != header::TRANSFER_ENCODING {
            field(name, value, out);
        }
    }
    said
}

pub(super) fn field(name: &HeaderName, value: &HeaderValue, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Says which fields of a request are for its connection only (RFC 9110 §7.8 and §10.1.4).
pub(super) fn options(said: &Said, out: &mut Vec<u8>) {
    match (said.upgrade, said.te) {
        (true, _) => out.extend_from_slice(b"connection: upgrade\r\n"),
        (false, true) => out.extend_from_slice(b"connection: te\r\n"),
        (false, false) => {}
    }
}

/// Says how a body is framed, and that the head ends.
pub(super) fn framing_and_end(framing: &Framing, said: Option<u64>, out: &mut Vec<u8>) {
    let length = match framing {
        Framing::Length(length) => Some(*length),
        Framing::Done => said,
        Framing::Chunked { .. } | Framing::ToEnd => None,
    };
    if let Some(length) = length {
        out.extend_from_slice(b"content-length: ");
        out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    if matches!(framing, Framing::Chunked { .. }) {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_what_is_for_its_connection() {
        let said = |fields: &[(&'static str, &'static str)]| {
            let fields = fields.iter().map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            });
            let mut out = Vec::new();
            let said = unframed(&fields.collect(), &mut Vec::new());
            options(&said, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(said(&[("te", "trailers")]), "connection: te\r\n");
        assert_eq!(said(&[("upgrade", "x")]), "connection: upgrade\r\n");
        assert_eq!(said(&[("te", ""), ("upgrade", "")]), "connection: upgrade\r\n");
        assert_eq!(said(&[("host", "te")]), "");
    }
}
