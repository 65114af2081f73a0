//! What holds for whatever a stranger sends first: said once, for fuzz targets and for tests.
//!
//! What is fuzzed is private, and stays so in what ships: this module is there with `--cfg fuzzing`,
//! which `cargo fuzz` sets, and in this crate's own tests. A cargo feature would do as well, but anybody
//! could turn that on, and `--all-features` would.
//!
//! Each function panics where something does not hold, and says what it found otherwise, so that a
//! test can see that it got anywhere.

mod answers;
mod requests;

use std::cell::RefCell;
use std::future::Future;
use std::io::Cursor;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use lb_config::config::ProxyProtocol;
use tokio::io::{AsyncRead, AsyncReadExt};

pub use self::answers::answer;
#[cfg(test)]
pub(crate) use self::answers::{Told, told, told_before_it_closed};
use crate::framing::head::{self, Framing};
use crate::framing::{Guard, Limits, Refusal};
use crate::proxy_protocol::{accept, header, parse};

/// A header of the PROXY protocol, or what was sent in its place, and what follows it. Says whether
/// it was believed.
///
/// - The answer to more bytes is never another one, so it does not matter how they are cut.
/// - A header that is believed is taken off the connection, and not one byte more or less.
/// - The ends that it names can be told to somebody else, in both versions.
pub fn proxy_header(bytes: &[u8]) -> bool {
    let answers = |length: usize| !matches!(parse(&bytes[..length]), Ok(None));
    let answer = parse(bytes);
    if let Some(first) = (0..=bytes.len()).find(|length| answers(*length)) {
        // From there on it is looked at here and there: a header may be 16 KiB long.
        for length in [first, first + 1, first + 7, (first + bytes.len()) / 2] {
            let length = length.min(bytes.len());
            assert_eq!(parse(&bytes[..length]), answer, "{length} bytes say something else");
        }
    }
    let io = tokio::io::join(Cursor::new(bytes.to_vec()), tokio::io::sink());
    let accepted = now(accept(Box::new(io)));
    let Ok(Some((ends, length))) = answer else {
        assert!(accepted.is_err(), "it was believed without an answer");
        return false;
    };
    let (found, mut rest) = accepted.expect("there was an answer");
    assert_eq!(found, ends, "the same header");
    let mut left = Vec::new();
    now(rest.read_to_end(&mut left)).expect("bytes in memory can be read");
    assert_eq!(left, bytes[length..], "what follows the header is untouched");
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        let told = header(version, ends);
        assert_eq!(parse(&told), Ok(Some((ends, told.len()))), "what is passed on says the same");
    }
    true
}

/// Limits in which there is something to be too long for.
const LIMITS: Limits =
    Limits { bytes_max: 4_096, lines_max: 32, http2: false, timeout: Duration::from_secs(10) };
/// Twice what a head may have, so that hyper never is the one to find it too long.
const HYPER_BYTES_MAX: usize = 8_192;

/// The head that a connection begins with. Says whether it passed.
///
/// - A head ends, or is refused, at the same byte however it is cut.
/// - One that passes is for hyper what it is for us: as long, as many lines, and followed by the same.
pub fn request_head(bytes: &[u8]) -> bool {
    let whole = head::end(bytes, &mut 0, &LIMITS);
    let mut line_at = 0;
    let piecewise = (0..=bytes.len())
        .map(|length| (length, head::end(&bytes[..length], &mut line_at, &LIMITS)))
        .find(|(_, end)| *end != Ok(None));
    assert_eq!(piecewise.map_or(Ok(None), |(_, end)| end), whole, "it matters how it is cut");
    let Ok(Some(end)) = whole else { return false };
    assert_eq!(piecewise.map(|(length, _)| length), Some(end), "it ends with its last byte");

    let head = &bytes[..end];
    let Ok(follows) = head::inspect(head, &LIMITS) else { return false };
    let lines = head.split(|byte| *byte == b'\n').count();
    let blank = usize::from(head.starts_with(b"\r\n"));
    let read = heads(head);
    let [read] = &read[..] else { panic!("hyper reads {} requests in one head", read.len()) };
    // The first line, the empty one and what is behind it are no fields.
    assert_eq!(read.fields, lines - 3 - blank, "hyper reads other fields");
    let length = match follows.body {
        Framing::None => Some(0),
        Framing::Length(length) => Some(length),
        Framing::Chunked => None,
    };
    assert_eq!(read.length, length, "hyper reads another body: {follows:?}");
    let said = if read.version == Version::HTTP_10 { " HTTP/1.0\r" } else { " HTTP/1.1\r" };
    let line = head[2 * blank..].split(|byte| *byte == b'\n').next().unwrap_or_default();
    assert!(line.starts_with(read.method.as_bytes()), "hyper reads another method");
    assert!(line.ends_with(said.as_bytes()), "hyper reads another version");
    true
}

/// What hyper reads of a head.
struct Read {
    method: String,
    version: Version,
    fields: usize,
    /// Of its body; `None` if that comes in chunks.
    length: Option<u64>,
}

/// The requests that hyper reads from `bytes`, which it gets as they are. Their bodies are missing.
fn heads(bytes: &[u8]) -> Vec<Read> {
    let heads = RefCell::new(Vec::new());
    let service = service_fn(async |request: Request<Incoming>| {
        heads.borrow_mut().push(Read {
            method: request.method().to_string(),
            version: request.version(),
            fields: request.headers().len(),
            length: request.body().size_hint().exact(),
        });
        Ok::<_, hyper::Error>(Response::new(Empty::<Bytes>::new()))
    });
    let _without_its_body = by_hyper(bytes, service);
    heads.take()
}

/// A whole connection: requests, their bodies, and what is neither. Says how many requests hyper saw,
/// and why the last of them is refused, if it is.
///
/// - hyper has nothing to complain about of what the guard lets through.
/// - It sees each head that passed, and a stand-in for the one that did not; nothing follows that.
/// - We read the requests that hyper reads, with the same bodies and trailers, however they are cut.
pub fn connection(bytes: &[u8]) -> (usize, Option<&'static str>) {
    let (verdicts, complained) = served(bytes, LIMITS);
    assert!(!complained, "hyper complains about what passed");
    let (last, before) = verdicts.split_last().unwrap_or((&None, &[]));
    assert!(before.iter().all(Option::is_none), "something follows a refused head");
    requests::requests(bytes);
    (verdicts.len(), last.map(Refusal::as_str))
}

/// Serves a connection by hyper through a guard. Returns for each request that hyper saw whether it
/// is to be refused, and whether hyper had a complaint of its own about a head.
pub(crate) fn served(bytes: &[u8], limits: Limits) -> (Vec<Option<Refusal>>, bool) {
    let (guard, watch) = Guard::new(bytes, limits);
    let verdicts = RefCell::new(Vec::new());
    let service = service_fn(async |request: Request<Incoming>| {
        let next = verdicts.borrow().len() as u64;
        verdicts.borrow_mut().push(watch.refusal(next));
        if watch.is_held(next) {
            watch.let_go();
        }
        let mut response = Response::new(Empty::<Bytes>::new());
        if request.method() == Method::CONNECT {
            *response.status_mut() = StatusCode::FORBIDDEN; // with a 2xx, HTTP would end here
        }
        // Nothing follows on a connection whose body was broken off.
        request.into_body().collect().await.map(|_| response)
    });
    let complained = by_hyper(guard, service).is_err_and(|error| error.is_parse());
    (verdicts.take(), complained)
}

/// Serves what `from` says by hyper, with answers that nobody reads.
fn by_hyper<S>(from: impl AsyncRead + Unpin, service: S) -> Result<(), hyper::Error>
where
    S: hyper::service::HttpService<Incoming, ResBody = Empty<Bytes>, Error = hyper::Error>,
{
    let mut builder = hyper::server::conn::http1::Builder::new();
    // Its bytes end at once, and it is answered nevertheless.
    builder.half_close(true).max_headers(LIMITS.lines_max).max_buf_size(HYPER_BYTES_MAX);
    let io = TokioIo::new(tokio::io::join(from, tokio::io::sink()));
    now(builder.serve_connection(io, service))
}

/// What a future gives that waits for nobody but itself: hyper lets others run now and then.
fn now<F: Future>(future: F) -> F::Output {
    struct Woken(AtomicBool);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        assert!(woken.0.swap(false, Ordering::Relaxed), "it waits for what never comes");
    }
}

#[cfg(test)]
mod tests;
