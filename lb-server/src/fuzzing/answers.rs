//! What holds for whatever a backend answers.

use std::borrow::Cow;
use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Frame;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use lb_core::Failure;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::now;
use crate::body::Upload;
use crate::http1::{Asked, Http1, Limits};
use crate::platform::Io;
use crate::pulse::Patience;
use crate::slots::Slots;

/// What a backend told whoever asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) fields: Vec<String>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<String>,
    /// Whether all of the body came.
    pub(crate) whole: bool,
    /// Whether another request may follow.
    pub(crate) free: bool,
}

/// An answer, as a backend sends it that has nothing more to say. Says whether it was taken for one.
///
/// - It matters not how it is cut.
/// - What we take for an answer is one for hyper too, with the same fields. Where we take all of its
///   body, so does hyper, with the same trailers; where we break off, we are the stricter one.
pub fn answer(bytes: &[u8]) -> bool {
    // A head that breaks off may be seen to be none before it does: why it fails is not the same then.
    let told = |cut| told(bytes, cut).ok();
    let ours = told(bytes.len().max(1));
    for cut in [1, 2, 7, bytes.len() / 2 + 1] {
        assert_eq!(told(cut), ours, "it matters how it is cut: {cut}");
    }
    let Some(ours) = ours else { return false };
    let theirs = now(by_hyper(bytes)).expect("hyper takes it for an answer too");
    assert_eq!((ours.status, &ours.fields), (theirs.status, &theirs.fields), "another head");
    assert!(theirs.body.starts_with(&ours.body), "hyper reads another body");
    if ours.whole {
        assert!(theirs.whole && theirs.body == ours.body, "hyper reads another end");
        assert_eq!(ours.trailers, theirs.trailers, "hyper reads other trailers");
    }
    true
}

const FIELDS_MAX: usize = 32;

/// What we are told in answer to a GET by a backend that sends `bytes`, so many at a time.
pub(crate) fn told(bytes: &[u8], cut: usize) -> Result<Told, Failure> {
    told_by(Backend::new(bytes, cut))
}

/// The same by one that closes before it has taken all of the request.
#[cfg(test)]
pub(crate) fn told_before_it_closed(bytes: &[u8]) -> Result<Told, Failure> {
    told_by(Backend { takes: 10, ..Backend::new(bytes, bytes.len()) })
}

fn told_by(backend: Backend) -> Result<Told, Failure> {
    now(async {
        let slot = Slots::new(1).take().expect("nobody has taken it");
        let limits = Limits { fields_max: FIELDS_MAX, head_bytes_max: 8_192 };
        let unread = Rc::clone(&backend.unread);
        let mut line = Http1::new(Box::new(backend), slot, limits);
        let (method, uri) = (Method::GET, Uri::from_static("/"));
        let none = Cow::Owned(HeaderMap::new());
        let patience = Patience { idle: Duration::ZERO, until: Instant::now() };
        let (uri, added, herald, may_splice) = (&uri, None, None, false);
        let asked =
            Asked { method: &method, uri, fields: none, added, herald, patience, may_splice };
        let head = line.ask(&asked, Upload::EMPTY).await?;
        let (body, trailers, whole) =
            collect(async || std::future::poll_fn(|cx| line.poll_frame(cx)).await).await;
        let status = head.status.as_u16();
        let (fields, free) = (fields(&head.headers), line.is_free() && unread.get() == 0);
        Ok(Told { status, fields, body, trailers, whole, free })
    })
}

/// What hyper is told.
async fn by_hyper(bytes: &[u8]) -> Option<Told> {
    let mut builder = http1::Builder::new();
    builder.max_headers(FIELDS_MAX).max_buf_size(64 * 1024);
    let io = TokioIo::new(Backend::new(bytes, bytes.len().max(1)));
    let (mut sender, connection) = builder.handshake(io).await.ok()?;
    let asked = async {
        let request = Request::new(Empty::<Bytes>::new());
        let (head, mut incoming) = sender.send_request(request).await.ok()?.into_parts();
        let (body, trailers, whole) = collect(async || incoming.frame().await).await;
        let (status, fields) = (head.status.as_u16(), fields(&head.headers));
        Some(Told { status, fields, body, trailers, whole, free: false })
    };
    let (_ended, told) = tokio::join!(connection, asked);
    told
}

/// Reads a body, and says whether it came to its end.
async fn collect<E>(
    mut next: impl AsyncFnMut() -> Option<Result<Frame<Bytes>, E>>,
) -> (Vec<u8>, Vec<String>, bool) {
    let (mut body, mut trailers) = (Vec::new(), Vec::new());
    loop {
        match next().await {
            None => return (body, trailers, true),
            Some(Err(_)) => return (body, trailers, false),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => body.extend_from_slice(&data),
                Err(frame) => trailers = frame.trailers_ref().map(fields).unwrap_or_default(),
            },
        }
    }
}

fn fields(headers: &HeaderMap) -> Vec<String> {
    let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
    };
    headers.iter().map(field).collect()
}

/// A backend that waits for a request, and answers whatever it is.
struct Backend {
    left: Bytes,
    unread: Rc<Cell<usize>>,
    cut: usize,
    /// Bytes of a request that it takes before it closes.
    takes: usize,
    asked: bool,
    waits: Option<Waker>,
}

impl Backend {
    fn new(bytes: &[u8], cut: usize) -> Self {
        let unread = Rc::new(Cell::new(bytes.len()));
        let (left, takes) = (Bytes::copy_from_slice(bytes), usize::MAX);
        Self { left, unread, cut, takes, asked: false, waits: None }
    }
}

impl Io for Backend {}

impl AsyncRead for Backend {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.asked {
            self.waits = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let here = self.cut.min(self.left.len()).min(buf.remaining());
        buf.put_slice(&self.left.split_to(here));
        self.unread.set(self.left.len());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Backend {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let here = bytes.len().min(self.takes);
        if here == 0 {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.takes -= here;
        self.asked = true;
        self.waits.take().iter().for_each(Waker::wake_by_ref);
        Poll::Ready(Ok(here))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
