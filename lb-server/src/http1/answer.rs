//! The head of an answer as a client gets it, and how the body behind it is framed (RFC 9112 §6).

use http::{StatusCode, response};
use hyper::body::Body;

use super::outbox::Framing;
use super::visit::Next;
use super::write;

/// What the head of a request says of its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    /// It is HEAD: there is a head and nothing else.
    pub(super) is_head: bool,
    /// It is CONNECT: a good answer ends HTTP.
    pub(super) connects: bool,
    /// It speaks HTTP/1.1.
    pub(super) is_current: bool,
    /// It may be followed by another.
    pub(super) keeps: bool,
    /// Its client waits to be asked for the body.
    pub(super) expects: bool,
    /// Its client takes fields behind a body.
    pub(super) trailers: bool,
}

/// Writes the head of an answer with `body`. Says how that is framed, and what follows it.
pub(super) fn write<B: Body>(
    told: &Told,
    parts: &response::Parts,
    body: &B,
    out: &mut Vec<u8>,
) -> (Framing, Next) {
    let (status, fields) = (parts.status, &parts.headers);
    let is_switch = status == StatusCode::SWITCHING_PROTOCOLS;
    let grants = is_switch || (told.connects && status.is_success());
    let version = if told.is_current { b"HTTP/1.1 " } else { b"HTTP/1.0 " };
    write::status_line(version, status, &parts.extensions, out);
    let said = write::unframed(fields, out);
    let size = body.size_hint().exact();
    // RFC 9110 §8.6: these have no length.
    let is_void = status.is_informational() || status == StatusCode::NO_CONTENT || grants;
    let is_bare = is_void || told.is_head || status == StatusCode::NOT_MODIFIED;
    let framing = match size.or(said.length()) {
        _ if is_bare => Framing::Done,
        Some(length) => Framing::of(length),
        None if !told.is_current => Framing::ToEnd,
        None => Framing::Chunked { trailers: told.trailers },
    };
    let closes = said.closes || !told.keeps || matches!(framing, Framing::ToEnd);
    if closes && !said.closes && !grants {
        out.extend_from_slice(b"connection: close\r\n");
    } else if !closes && !told.is_current {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    // What a GET would have been told, if that is known.
    let of_get = said.length().or(size.filter(|size| told.is_head && *size > 0));
    let length = if is_bare { of_get.filter(|_| !is_void) } else { Some(0) };
    write::framing_and_end(&framing, length, out);
    let next = match (grants, closes) {
        (true, _) => Next::Switch,
        (false, true) => Next::Leave,
        (false, false) => Next::Ask,
    };
    (framing, next)
}
