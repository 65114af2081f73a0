//! What holds for whatever a client sends, however it is cut.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use tokio::io::{AsyncRead, ReadBuf};

use super::{LIMITS, by_hyper};
use crate::arriving::Arriving;
use crate::client::Client;
use crate::framing::{Guard, Watch};
use crate::http1::{Limits, Visit};
use crate::platform::Io;
use crate::reply::{Outgoing, Whose};
use crate::whence::Whence;

/// What a client asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    method: Method,
    target: String,
    version: Version,
    fields: HeaderMap,
    /// `None`: it did not come to its end.
    body: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Seen {
    async fn of<B: Body<Data = Bytes>>(request: Request<B>) -> Self {
        let (head, body) = request.into_parts();
        let read = body.collect().await.ok();
        Self {
            method: head.method,
            target: head.uri.to_string(),
            version: head.version,
            fields: head.headers,
            trailers: read.as_ref().and_then(|read| read.trailers().cloned()),
            body: read.map(http_body_util::Collected::to_bytes),
        }
    }

    /// With a 2xx to a CONNECT, HTTP would end.
    fn status(&self) -> StatusCode {
        if self.method == Method::CONNECT { StatusCode::FORBIDDEN } else { StatusCode::OK }
    }
}

/// The requests that we read from `bytes`.
///
/// # Panics
/// Where hyper reads others, or it matters how they are cut.
pub(super) fn requests(bytes: &[u8]) -> Vec<Seen> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("there is room for a runtime");
    let ours = |cut| runtime.block_on(by_us(bytes, cut));
    let whole = ours(bytes.len().max(1));
    for cut in [1, 2, 7, bytes.len() / 2 + 1] {
        assert_eq!(ours(cut), whole, "it matters how it is cut: {cut}");
    }
    assert_eq!(whole, read_by_hyper(bytes), "hyper reads other requests");
    whole
}

/// Those of which so many bytes come at a time.
async fn by_us(bytes: &[u8], cut: usize) -> Vec<Seen> {
    let pieces = Pieces { bytes: bytes.to_vec(), at: 0, cut };
    let io: Box<dyn Io> = Box::new(tokio::io::join(pieces, tokio::io::sink()));
    let (guard, watch) = Guard::new(io, LIMITS);
    let limits = Limits { fields_max: LIMITS.lines_max, head_bytes_max: LIMITS.bytes_max };
    let visit = Visit::new(guard, Bytes::new(), limits);
    let client = Client::of_http1(Whence { peer: None, local: None, secure: None }, watch);
    let seen = RefCell::new(Vec::new());
    let respond = async |head: &mut Parts, incoming: Arriving| {
        let busy = client.begin();
        client.let_go();
        let asked = Seen::of(Request::from_parts(head.clone(), incoming)).await;
        let mut response = Response::new(Outgoing::new(Whose::nobodys(), busy));
        *response.status_mut() = asked.status();
        seen.borrow_mut().push(asked);
        response.into()
    };
    visit.talk(respond).await;
    seen.take()
}

fn read_by_hyper(bytes: &[u8]) -> Vec<Seen> {
    let (guard, watch): (_, Watch) = Guard::new(bytes, LIMITS);
    let (seen, count) = (RefCell::new(Vec::new()), Cell::new(0));
    let service = service_fn(async |request: Request<Incoming>| {
        if watch.is_held(count.replace(count.get() + 1)) {
            watch.let_go();
        }
        let asked = Seen::of(request).await;
        let mut response = Response::new(Empty::<Bytes>::new());
        *response.status_mut() = asked.status();
        seen.borrow_mut().push(asked);
        Ok::<_, hyper::Error>(response)
    });
    let _ended = by_hyper(guard, service);
    seen.take()
}

/// Says its bytes, so many at a time.
struct Pieces {
    bytes: Vec<u8>,
    at: usize,
    cut: usize,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let here = self.cut.min(self.bytes.len() - self.at).min(buf.remaining());
        buf.put_slice(&self.bytes[self.at..self.at + here]);
        self.at += here;
        Poll::Ready(Ok(()))
    }
}
