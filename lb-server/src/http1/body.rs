//! The body of a message: where it ends, and what of it is data (RFC 9112 §6 and §7).

use std::io;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use hyper::body::{Frame, SizeHint};

use super::Malformed;
use super::head::{self, Said};
use crate::framing::chunks::{Chunks, State};

/// What is still to come of a message.
pub(super) enum Body {
    /// Nothing.
    Ended,
    /// So many bytes.
    Length(u64),
    /// Chunks, and what stood behind the last of them so far.
    Chunked { chunks: Chunks, trailers: Vec<u8> },
    /// Whatever comes until the connection ends.
    ToEnd,
}

/// The body that follows a head. `None`: another head does.
pub(super) fn follows(
    status: StatusCode,
    is_current: bool,
    said: &Said,
    method: &Method,
) -> Result<Option<Body>, Malformed> {
    // RFC 9112 §6.3, in its order.
    let is_bare = match status.as_u16() {
        100 | 102..=199 => return Ok(None),
        101 | 204 | 304 => true,
        200..=299 => *method == Method::HEAD || *method == Method::CONNECT,
        _ => *method == Method::HEAD,
    };
    if is_bare {
        return Ok(Some(Body::Ended));
    }
    if let Some(is_chunked) = said.chunked {
        // What is coded otherwise is refused as a whole by `headers::is_answer`.
        let chunked = || Body::Chunked { chunks: Chunks::new(), trailers: Vec::new() };
        return (is_current && is_chunked).then(chunked).map(Some).ok_or(Malformed);
    }
    Ok(Some(match said.length.transpose()? {
        Some(0) => Body::Ended,
        Some(length) => Body::Length(length),
        None => Body::ToEnd,
    }))
}

/// The body that follows a request's head (RFC 9112 §6.3): nothing, where nothing is said.
pub(super) fn of_request(is_current: bool, said: &Said) -> Result<Body, Malformed> {
    match (said.chunked, said.length.transpose()?) {
        (Some(is_chunked), _) if is_current && is_chunked => {
            Ok(Body::Chunked { chunks: Chunks::new(), trailers: Vec::new() })
        }
        (Some(_), _) => Err(Malformed),
        (None, None | Some(0)) => Ok(Body::Ended),
        (None, Some(length)) => Ok(Body::Length(length)),
    }
}

/// The length that a field says, which is the same as `before`, if that was said.
pub(super) fn length(
    value: &HeaderValue,
    before: Option<Result<u64, Malformed>>,
) -> Result<u64, Malformed> {
    let mut length = before.transpose()?;
    for said in value.as_bytes().split(|byte| *byte == b',') {
        let said = number(said.trim_ascii())?;
        if length.replace(said).is_some_and(|before| before != said) {
            return Err(Malformed);
        }
    }
    length.ok_or(Malformed)
}

/// Digits, and no sign.
fn number(digits: &[u8]) -> Result<u64, Malformed> {
    if digits.is_empty() {
        return Err(Malformed);
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0')).ok_or(Malformed)?;
        number.checked_mul(10).and_then(|number| number.checked_add(digit)).ok_or(Malformed)
    })
}

impl Body {
    pub(super) const fn is_ended(&self) -> bool {
        matches!(self, Self::Ended)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Ended => SizeHint::with_exact(0),
            Self::Length(left) => SizeHint::with_exact(*left),
            Self::Chunked { .. } | Self::ToEnd => SizeHint::default(),
        }
    }

    /// The next of it in what was read, if there is enough, of which it takes what it looked at.
    pub(super) fn take(
        &mut self,
        ahead: &mut Bytes,
        fields_max: usize,
    ) -> io::Result<Option<Frame<Bytes>>> {
        if ahead.is_empty() {
            return Ok(None);
        }
        match self {
            Self::Ended => Ok(None),
            Self::ToEnd => Ok(Some(Frame::data(std::mem::take(ahead)))),
            Self::Length(left) => {
                let data = first(ahead, *left);
                *left -= data.len() as u64;
                if *left == 0 {
                    *self = Self::Ended;
                }
                Ok(Some(Frame::data(data)))
            }
            Self::Chunked { chunks, trailers } => {
                let taken = take_chunk(chunks, trailers, ahead)?;
                if taken.is_none() && matches!(chunks, Chunks::Done) {
                    let trailers = parse_trailers(std::mem::take(trailers), fields_max)?;
                    *self = Self::Ended;
                    return Ok(trailers.map(Frame::trailers));
                }
                Ok(taken.map(Frame::data))
            }
        }
    }

    /// Nothing more comes on the connection.
    pub(super) fn end(&mut self) -> io::Result<()> {
        match self {
            Self::Ended => Ok(()),
            Self::ToEnd => {
                *self = Self::Ended;
                Ok(())
            }
            Self::Length(_) | Self::Chunked { .. } => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// At most `most` of what was read.
fn first(ahead: &mut Bytes, most: u64) -> Bytes {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    if ahead.len() <= most { std::mem::take(ahead) } else { ahead.split_to(most) }
}

/// Bytes of a chunk that are put together with those of its neighbours.
const LITTLE_BYTES: usize = 1024;
/// Bytes of chunks and what frames them that make one piece.
const JOINED_BYTES: usize = 4 * 1024;

/// The next data in what was read, behind whatever frames it. Little chunks that lie side by side are one:
/// what a piece costs on its way is the same for one byte.
fn take_chunk(
    chunks: &mut Chunks,
    trailers: &mut Vec<u8>,
    ahead: &mut Bytes,
) -> Result<Option<Bytes>, Malformed> {
    let (whole, mut joined, mut at) = (ahead.len(), Vec::new(), 0);
    while at < ahead.len() {
        match chunks {
            Chunks::Data { left } => {
                let _framing = ahead.split_to(std::mem::take(&mut at));
                let is_little = (*left).min(ahead.len() as u64) <= LITTLE_BYTES as u64;
                if !is_little && !joined.is_empty() {
                    break;
                }
                let data = first(ahead, *left);
                chunks.follow(&data);
                if joined.is_empty() && (!is_little || ahead.is_empty()) {
                    return Ok(Some(data));
                }
                joined.extend_from_slice(&data);
                if whole - ahead.len() >= JOINED_BYTES {
                    break;
                }
                continue;
            }
            Chunks::Done => break,
            Chunks::Trailer { .. } if !joined.is_empty() => break,
            Chunks::Trailer { .. } => trailers.push(ahead[at]),
            _ => {}
        }
        let (_one, state) = chunks.follow(&ahead[at..=at]);
        if state == State::Malformed {
            // What came before has its turn first.
            if joined.is_empty() {
                return Err(Malformed);
            }
            break;
        }
        at += 1;
    }
    let _framing = ahead.split_to(at);
    Ok((!joined.is_empty()).then(|| Bytes::from(joined)))
}

/// The fields behind a body, up to the empty line that ends them.
fn parse_trailers(lines: Vec<u8>, fields_max: usize) -> Result<Option<HeaderMap>, Malformed> {
    if lines == b"\r\n" {
        return Ok(None);
    }
    let lines = Bytes::from(lines);
    let mut fields = vec![httparse::EMPTY_HEADER; fields_max];
    let read = httparse::parse_headers(&lines, &mut fields);
    let Ok(httparse::Status::Complete((_, fields))) = read else { return Err(Malformed) };
    let mut trailers = HeaderMap::new();
    head::fill(&mut trailers, &lines, fields, 0)?;
    Ok(Some(trailers))
}
