//! HTTP/1.1 with a client, driven by the task of its connection.
//!
//! Requests are answered one after the other. While one is, nothing is read but its own body and, behind
//! that, one piece of what comes next: so it is known when a client leaves, and nobody has us keep more.
//! What is read has passed the guard (`framing`): where a head ends and what follows it can be told in one
//! way only.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::answer::{self, Told};
use super::body::Body;
use super::outbox::{HEAD_BYTES, Outbox};
use super::{Limits, Malformed, head, piece};
use crate::arriving::Arriving;
use crate::download::Outgoing;
use crate::framing::Guard;
use crate::platform::Io;

/// A client's socket.
pub(crate) type Guarded = Guard<Box<dyn Io>>;

/// A client's connection while its requests are on their way.
pub(crate) struct Visit(Rc<Lane>);

/// What the task of a connection and the body of its request share.
struct Lane {
    /// `None`: somebody else has it.
    io: RefCell<Option<Guarded>>,
    limits: Limits,
    /// Whether nothing need be said before the socket is closed.
    is_plain: bool,
    /// What was read and not looked at.
    ahead: RefCell<Bytes>,
    /// What is still to come of the request that was read last, and its number.
    body: RefCell<Body>,
    turn: Cell<u64>,
    /// What is to be told to a client that waits for it before it sends a body.
    interim: Cell<&'static [u8]>,
}

/// The body of a request as its client sends it.
pub(crate) struct Inbound {
    lane: Rc<Lane>,
    turn: u64,
}

/// How a visit ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// The connection has ended.
    Over,
    /// HTTP has ended, with an answer that grants something else.
    Switched,
}

/// RFC 9110 §10.1.1.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// What is answered to a head that says nothing to us.
const REFUSAL: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
/// How long, and how much, a client may go on sending that has its last answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 1024 * 1024;

impl Visit {
    pub(crate) fn new(io: Guarded, limits: Limits, is_plain: bool) -> Self {
        Self(Rc::new(Lane {
            io: RefCell::new(Some(io)),
            limits,
            is_plain,
            ahead: RefCell::default(),
            body: RefCell::new(Body::Ended),
            turn: Cell::new(0),
            interim: Cell::new(b""),
        }))
    }

    /// Answers requests until HTTP ends on the connection.
    pub(crate) async fn talk<F>(&self, respond: impl Fn(Request<Arriving>) -> F) -> Farewell
    where
        F: Future<Output = Response<Outgoing>>,
    {
        loop {
            let Some(head) = self.0.next_head().await else { return Farewell::Over };
            let Ok(head::Asking { request, told, body }) = head else {
                self.0.close(Some(REFUSAL)).await;
                return Farewell::Over;
            };
            let request = self.begin(request, &told, body);
            let response = {
                let mut responding = std::pin::pin!(respond(request));
                poll_fn(|cx| match responding.as_mut().poll(cx) {
                    Poll::Ready(response) => Poll::Ready(Some(response)),
                    Poll::Pending => self.0.poll_gone(cx).map(|()| None),
                })
                .await
            };
            let Some(response) = response else { return Farewell::Over };
            match self.deliver(told, response).await {
                None => return Farewell::Over,
                Some(Next::Switch) => return Farewell::Switched,
                Some(Next::Ask) if self.0.is_read() => {}
                Some(Next::Ask | Next::Leave) => {
                    self.0.close(None).await;
                    return Farewell::Over;
                }
            }
        }
    }

    fn begin(&self, request: Request<()>, told: &Told, body: Body) -> Request<Arriving> {
        let lane = &self.0;
        lane.turn.set(lane.turn.get() + 1);
        if body.is_ended() {
            return request.map(|()| Arriving::Nothing);
        }
        // Who has begun to send does not wait.
        let waits = told.expects && lane.ahead.borrow().is_empty();
        lane.interim.set(if waits { CONTINUE } else { b"" });
        *lane.body.borrow_mut() = body;
        let inbound = Inbound { lane: Rc::clone(lane), turn: lane.turn.get() };
        request.map(|()| Arriving::Http1(inbound))
    }

    /// Sends an answer. `None`: its client has left, or its body did not come to its end.
    async fn deliver(&self, told: Told, response: Response<Outgoing>) -> Option<Next> {
        let lane = &self.0;
        let (parts, body) = response.into_parts();
        let mut flat = Vec::with_capacity(HEAD_BYTES);
        // Half of it has gone out: its other half comes first.
        let interim = lane.interim.replace(b"");
        if interim.len() < CONTINUE.len() {
            flat.extend_from_slice(interim);
        }
        let (framing, next) = answer::write(&told, &parts, &body, &mut flat);
        let mut outbox = Outbox::new(flat, framing, body);
        let sent = poll_fn(|cx| {
            let sent = lane.with_io(|io| outbox.poll(cx, io));
            match sent {
                Poll::Ready(sent) => Poll::Ready(sent.is_ok()),
                Poll::Pending => lane.poll_gone(cx).map(|()| false),
            }
        });
        sent.await.then_some(next)
    }

    /// The socket, where nothing is left to be read of it but what the guard has.
    pub(crate) fn into_io(self) -> Guarded {
        // Bodies that somebody still holds have ended.
        self.0.turn.set(0);
        self.0.io.take().expect("it is taken once, and by whoever ends the visit")
    }
}

/// What follows an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another request.
    Ask,
    /// The end of the connection.
    Leave,
    /// Another protocol.
    Switch,
}

impl Lane {
    fn with_io<T>(&self, with: impl FnOnce(&mut dyn Io) -> T) -> T {
        let mut io = self.io.borrow_mut();
        with(io.as_mut().expect("it is there for as long as the visit goes on"))
    }

    fn poll_read(&self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        self.with_io(|io| piece::poll_read(io, cx))
    }

    /// The next request's head. `None`: there is none.
    async fn next_head(&self) -> Option<Result<head::Asking, Malformed>> {
        let mut begun = BytesMut::new();
        poll_fn(|cx| {
            loop {
                let mut ahead = self.ahead.borrow_mut();
                if !ahead.is_empty() {
                    match head::parse_request(&ahead, self.limits) {
                        Ok(None) => begun.extend_from_slice(&std::mem::take(&mut *ahead)),
                        Ok(Some((asking, length))) => {
                            *ahead = ahead.slice(length..);
                            return Poll::Ready(Some(Ok(asking)));
                        }
                        Err(malformed) => return Poll::Ready(Some(Err(malformed))),
                    }
                }
                match ready!(self.poll_read(cx)) {
                    Ok(read) if read.is_empty() => return Poll::Ready(None),
                    Err(_broken) => return Poll::Ready(None),
                    Ok(read) if begun.is_empty() => *ahead = read,
                    Ok(read) => {
                        begun.extend_from_slice(&read);
                        *ahead = begun.split().freeze();
                    }
                }
            }
        })
        .await
    }

    /// Waits for the end of the connection, while nothing else is to be read.
    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.body.borrow().is_ended() || !self.ahead.borrow().is_empty() {
            return Poll::Pending;
        }
        match ready!(self.poll_read(cx)) {
            Ok(read) if !read.is_empty() => {
                *self.ahead.borrow_mut() = read;
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let (mut body, mut ahead) = (self.body.borrow_mut(), self.ahead.borrow_mut());
        loop {
            if body.is_ended() {
                return Poll::Ready(None);
            }
            match body.take(&mut ahead, self.limits.fields_max) {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if body.is_ended() => return Poll::Ready(None),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            ready!(self.poll_interim(cx))?;
            match ready!(self.poll_read(cx)) {
                Ok(read) if read.is_empty() => {
                    let cut = io::ErrorKind::UnexpectedEof.into();
                    return Poll::Ready(Some(Err(cut)));
                }
                Ok(read) => *ahead = read,
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// Asks the client for its body, if it waits to be asked.
    fn poll_interim(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let left @ [_, ..] = self.interim.get() {
            let wrote = self.with_io(|mut io| {
                let wrote = ready!(Pin::new(&mut io).poll_write(cx, left))?;
                Pin::new(&mut io).poll_flush(cx).map_ok(|()| wrote)
            });
            match ready!(wrote)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                wrote => self.interim.set(&left[wrote..]),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether all of the request was read, or what is left of it has come and is passed over.
    fn is_read(&self) -> bool {
        let (mut body, mut ahead) = (self.body.borrow_mut(), self.ahead.borrow_mut());
        while !body.is_ended() {
            if !matches!(body.take(&mut ahead, self.limits.fields_max), Ok(Some(_))) {
                return body.is_ended();
            }
        }
        true
    }

    /// Ends the connection, perhaps with `last` words. A client that still sends is listened to for a
    /// moment: a socket that is closed with something unread takes back what was said on it.
    async fn close(&self, last: Option<&[u8]>) {
        let Some(mut io) = self.io.take() else { return };
        let is_read = self.body.borrow().is_ended() && self.ahead.borrow().is_empty();
        let is_read = is_read && !io.is_refused();
        if self.is_plain && is_read && last.is_none() {
            return; // the kernel sees to what is on its way
        }
        let farewell = async {
            if let Some(last) = last {
                io.write_all(last).await?;
            }
            io.shutdown().await?;
            let mut thrown = 0;
            while thrown < LINGER_BYTES_MAX && !is_read {
                let read = poll_fn(|cx| piece::poll_read(&mut io, cx)).await?;
                if read.is_empty() {
                    break;
                }
                thrown += read.len();
            }
            Ok::<(), io::Error>(())
        };
        let _in_time_or_not = timeout(LINGER, farewell).await;
    }
}

impl Inbound {
    pub(crate) fn poll_frame(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.is_ended() { Poll::Ready(None) } else { self.lane.poll_body(cx) }
    }

    /// Whether all of it was read.
    pub(crate) fn is_ended(&self) -> bool {
        self.lane.turn.get() != self.turn || self.lane.body.borrow().is_ended()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.is_ended() {
            true => SizeHint::with_exact(0),
            false => self.lane.body.borrow().size_hint(),
        }
    }
}
