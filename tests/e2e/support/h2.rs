//! Clients and backends that speak HTTP/2.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::Backend;

/// Runs tasks on this thread.
#[derive(Clone)]
pub(crate) struct Here;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Here {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

/// What is sent as a body.
pub(crate) type Sent = BoxBody<Bytes, Infallible>;

/// A whole body.
pub(crate) fn whole(text: &str) -> Sent {
    Full::new(Bytes::from(text.to_owned())).boxed()
}

/// A body in pieces, and what comes behind it.
pub(crate) fn pieces(pieces: &[&str], trailers: Option<(&'static str, &'static str)>) -> Sent {
    let mut frames: Vec<_> =
        pieces.iter().map(|it| Frame::data(Bytes::from((*it).to_owned()))).collect();
    frames.extend(trailers.map(|(name, value)| {
        let mut trailers = HeaderMap::new();
        trailers.insert(name, value.parse().unwrap());
        Frame::trailers(trailers)
    }));
    Pieces(frames.into()).boxed()
}

struct Pieces(std::collections::VecDeque<Frame<Bytes>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(self.0.pop_front().map(Ok))
    }
}

/// A connection on which HTTP/2 is spoken from the first byte.
pub(crate) async fn connect(addr: SocketAddr) -> SendRequest<Sent> {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::task::spawn_local(async move {
        let _ended = connection.await;
    });
    sender
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) head: http::response::Parts,
    pub(crate) body: String,
    pub(crate) trailers: Option<HeaderMap>,
}

/// Asks, and reads the answer to its end.
pub(crate) async fn ask(
    sender: &mut SendRequest<Sent>,
    request: Request<Sent>,
) -> Result<Answered, hyper::Error> {
    read(sender.send_request(request).await?).await
}

/// Reads an answer to its end.
pub(crate) async fn read(response: Response<Incoming>) -> Result<Answered, hyper::Error> {
    let (head, body) = response.into_parts();
    let collected = body.collect().await?;
    let trailers = collected.trailers().cloned();
    let body = String::from_utf8(collected.to_bytes().to_vec()).unwrap();
    Ok(Answered { head, body, trailers })
}

/// A request as a backend got it.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) head: String,
    pub(crate) body: String,
    pub(crate) trailers: Option<HeaderMap>,
}

/// A backend that speaks HTTP/2 from the first byte.
#[derive(Clone, Default)]
pub(crate) struct Backend2 {
    addr: Option<SocketAddr>,
    pub(crate) got: Rc<RefCell<Vec<Got>>>,
    connections: Rc<Cell<usize>>,
    /// Requests that are being answered, and the most of them at once on one connection.
    most: Rc<Cell<usize>>,
}

impl Backend2 {
    /// Answers every request, read to its end, with what `answer` makes of it. `streams_max` is what
    /// a client may do at once on a connection.
    pub(crate) async fn start<F>(
        streams_max: u32,
        answer: impl Fn(usize, Got) -> F + 'static,
    ) -> Self
    where
        F: Future<Output = Response<Sent>> + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self { addr: Some(listener.local_addr().unwrap()), ..Self::default() };
        let (backend, answer) = (this.clone(), Rc::new(answer));
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                backend.connections.set(backend.connections.get() + 1);
                tokio::task::spawn_local(backend.clone().serve(
                    stream,
                    streams_max,
                    Rc::clone(&answer),
                ));
            }
        });
        this
    }

    /// Answers every request that waits with `body` whenever it is told to.
    pub(crate) async fn held(streams_max: u32, body: &'static str) -> (Self, Rc<Notify>) {
        let go = Rc::new(Notify::new());
        let held = Rc::clone(&go);
        let this = Self::start(streams_max, move |_, _| {
            let held = Rc::clone(&held);
            async move {
                held.notified().await;
                Response::new(whole(body))
            }
        });
        (this.await, go)
    }

    async fn serve<F>(
        self,
        stream: TcpStream,
        streams_max: u32,
        answer: Rc<impl Fn(usize, Got) -> F + 'static>,
    ) where
        F: Future<Output = Response<Sent>> + 'static,
    {
        let at_once = Rc::new(Cell::new(0_usize));
        let service = service_fn(move |request: Request<Incoming>| {
            let (this, answer, at_once) = (self.clone(), Rc::clone(&answer), Rc::clone(&at_once));
            async move {
                at_once.set(at_once.get() + 1);
                this.most.set(this.most.get().max(at_once.get()));
                let _leaves = Leaves(at_once);
                let (parts, body) = request.into_parts();
                let mut head = format!("{} {}\n", parts.method, parts.uri);
                for (name, value) in &parts.headers {
                    head += &format!("{name}: {}\n", value.to_str().unwrap());
                }
                let collected = body.collect().await?;
                let trailers = collected.trailers().cloned();
                let body = String::from_utf8(collected.to_bytes().to_vec()).unwrap();
                let got = Got { head, body, trailers };
                let count = this.got.borrow().len();
                this.got.borrow_mut().push(got.clone());
                Ok::<_, hyper::Error>(answer(count, got).await)
            }
        });
        let _ended = hyper::server::conn::http2::Builder::new(Here)
            .max_concurrent_streams(streams_max)
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr.expect("it listens"))
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.get()
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.most.get()
    }
}

struct Leaves(Rc<Cell<usize>>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A frame (RFC 9113 §4.1).
pub(crate) fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &id.to_be_bytes(), payload].concat()
}

/// A connection on which the test says what is said of HTTP/2, after the preface and a frame of SETTINGS.
pub(crate) async fn raw(addr: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    stream
}

/// A frame as it came.
pub(crate) struct Framed {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) id: u32,
    pub(crate) payload: Vec<u8>,
}

/// The next frame of one of these kinds, passing by others. `None` if the connection ends first.
pub(crate) async fn next(stream: &mut (impl AsyncRead + Unpin), kinds: &[u8]) -> Option<Framed> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.ok()?;
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        if kinds.contains(&head[3]) {
            return Some(Framed { kind: head[3], flags: head[4], id, payload });
        }
    }
}

/// A backend that says nothing of its own, byte by byte, but these frames to the head of each stream.
pub(crate) async fn answers_heads(answer: impl Fn(u32) -> Vec<u8> + 'static) -> Backend {
    let answer = Rc::new(answer);
    Backend::raw(move |mut stream| {
        let answer = Rc::clone(&answer);
        Box::pin(async move {
            let mut seen = vec![0; 24];
            stream.read_exact(&mut seen).await.unwrap();
            stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
            loop {
                let mut head = [0; 9];
                if stream.read_exact(&mut head).await.is_err() {
                    return;
                }
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                let mut payload = vec![0; length as usize];
                stream.read_exact(&mut payload).await.unwrap();
                let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                if head[3] == 1 {
                    stream.write_all(&answer(id)).await.unwrap();
                }
            }
        })
    })
    .await
}
