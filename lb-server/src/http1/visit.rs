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
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use hyper::body::{Frame, SizeHint};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::answer::{self, Told};
use super::body::Body;
use super::outbox::{HEAD_BYTES, Outbox};
use super::piece::{self, PIECE_BYTES_MAX};
use super::{Limits, Malformed, head};
use crate::arriving::Arriving;
use crate::download::Outgoing;
use crate::framing::Guard;
use crate::platform::Io;

/// A client's socket.
pub(crate) type Guarded = Guard<Box<dyn Io>>;

/// A client's connection while its requests are on their way.
pub(crate) struct Visit(Rc<Lane>);

/// What the task of a connection and the body of its request share. The body may be read in another task,
/// which sends it on.
struct Lane {
    /// Until the visit is over.
    io: RefCell<Option<Guarded>>,
    is_over: Cell<bool>,
    limits: Limits,
    /// What was read and not looked at.
    ahead: RefCell<Bytes>,
    /// What is still to come of the request that was read last, and its number.
    body: RefCell<Body>,
    turn: Cell<u64>,
    /// Whether somebody wants the rest of it.
    is_wanted: Cell<bool>,
    /// The task of the connection, where it waits for whoever reads the body.
    visitor: Cell<Option<Waker>>,
    /// What is to be told to a client that waits for it before it sends a body, and whether some of that may
    /// not have left.
    interim: Cell<&'static [u8]>,
    is_unflushed: Cell<bool>,
}

/// The body of a request as its client sends it.
pub(crate) struct Inbound {
    lane: Rc<Lane>,
    turn: u64,
    /// Whether all of it was read here: nobody else can say that it is whole.
    is_ended: bool,
}

/// How a visit ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// The client has left.
    Gone,
    /// The connection is to be closed, perhaps with last words.
    Leave(Option<&'static [u8]>),
    /// HTTP has ended, with an answer that grants something else.
    Switched,
}

/// RFC 9110 §10.1.1.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// What is answered to a head that says nothing to us. The guard should let none through.
const REFUSAL: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
/// Bytes of a body that nobody wants and that are waited for, so that the connection can go on.
const PASSED_MAX: u64 = 64 * 1024;
/// Bytes that are read behind a request while it is answered: the rest waits in the socket.
const AHEAD_BYTES: usize = 4 * 1024;
/// How long, and how much, a client may go on sending that has its last answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 1024 * 1024;

impl Visit {
    pub(crate) fn new(io: Guarded, limits: Limits) -> Self {
        Self(Rc::new(Lane {
            io: RefCell::new(Some(io)),
            is_over: Cell::new(false),
            limits,
            ahead: RefCell::default(),
            body: RefCell::new(Body::Ended),
            turn: Cell::new(0),
            is_wanted: Cell::new(false),
            visitor: Cell::new(None),
            interim: Cell::new(b""),
            is_unflushed: Cell::new(false),
        }))
    }

    /// Answers requests until HTTP ends on the connection.
    pub(crate) async fn talk<F>(&self, respond: impl Fn(Request<Arriving>) -> F) -> Farewell
    where
        F: Future<Output = Response<Outgoing>>,
    {
        loop {
            let Some(head) = self.0.next_head().await else { return Farewell::Leave(None) };
            let Ok(head::Asking { request, told, body }) = head else {
                return Farewell::Leave(Some(REFUSAL));
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
            let Some(response) = response else { return Farewell::Gone };
            // A client that was not asked for its body may send it or not: nobody can tell what comes next.
            let is_unasked = self.0.interim.get().len() == CONTINUE.len();
            let can_go_on = !is_unasked && self.0.can_go_on().await;
            let told = Told { keeps: told.keeps && can_go_on, ..told };
            match self.deliver(told, response).await {
                None => return Farewell::Gone,
                Some(Next::Switch) => return Farewell::Switched,
                Some(next) => {
                    let is_read = can_go_on && self.0.is_read(next == Next::Ask).await;
                    if next == Next::Leave || !is_read {
                        return Farewell::Leave(None);
                    }
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
        lane.is_wanted.set(true);
        let inbound = Inbound { lane: Rc::clone(lane), turn: lane.turn.get(), is_ended: false };
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
        self.0.is_over.set(true);
        self.0.io.take().expect("it is taken by whoever ends the visit, which this does")
    }

    /// Ends the connection, perhaps with `last` words. A client that still sends is listened to for a
    /// moment: a socket that is closed with something unread takes back what was said on it.
    pub(crate) async fn close(self, last: Option<&[u8]>, is_plain: bool) {
        let is_read = self.0.has_nothing_unread().await;
        let io = self.into_io();
        let is_read = is_read && !io.is_refused();
        if is_plain && is_read && last.is_none() {
            return; // the kernel sees to what is on its way
        }
        // Nobody asks the guard about what is thrown away.
        let (mut io, _begun) = io.into_parts();
        let farewell = async {
            if let Some(last) = last {
                io.write_all(last).await?;
            }
            io.shutdown().await?;
            let mut thrown = 0;
            while thrown < LINGER_BYTES_MAX && !is_read {
                let read = poll_fn(|cx| piece::poll_read(&mut io, cx, PIECE_BYTES_MAX)).await?;
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

/// Whoever still reads a body has lost its client, and the socket is nobody's.
impl Drop for Visit {
    fn drop(&mut self) {
        self.0.is_over.set(true);
        drop(self.0.io.take());
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
        self.with_io(|io| piece::poll_read(io, cx, PIECE_BYTES_MAX))
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
        if !self.body.borrow().is_ended() {
            // Whoever reads the body says when that has ended.
            self.visitor.set(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        if !self.ahead.borrow().is_empty() {
            return Poll::Pending;
        }
        match ready!(self.with_io(|io| piece::poll_read(io, cx, AHEAD_BYTES))) {
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
            match ready!(self.with_io(|io| Pin::new(io).poll_write(cx, left)))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                wrote => self.interim.set(&left[wrote..]),
            }
            self.is_unflushed.set(true);
        }
        if self.is_unflushed.get() {
            ready!(self.with_io(|io| Pin::new(io).poll_flush(cx)))?;
            self.is_unflushed.set(false);
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for whoever wants the rest of the request. Then: whether all of it was read, or what is left
    /// is passed over, since it has come, or is little and the connection goes on.
    async fn is_read(&self, goes_on: bool) -> bool {
        poll_fn(|cx| self.poll_rest(cx, goes_on)).await
    }

    /// Whether another request can follow this one, as far as is known now.
    async fn can_go_on(&self) -> bool {
        poll_fn(|cx| match self.poll_rest(cx, true) {
            Poll::Ready(is_read) => Poll::Ready(is_read),
            Poll::Pending => Poll::Ready(true),
        })
        .await
    }

    fn poll_rest(&self, cx: &mut Context<'_>, goes_on: bool) -> Poll<bool> {
        loop {
            let (mut body, mut ahead) = (self.body.borrow_mut(), self.ahead.borrow_mut());
            if body.is_ended() {
                return Poll::Ready(true);
            }
            if self.is_wanted.get() {
                self.visitor.set(Some(cx.waker().clone()));
                return Poll::Pending;
            }
            match body.take(&mut ahead, self.limits.fields_max) {
                Ok(Some(_)) => continue,
                Ok(None) if body.is_ended() => return Poll::Ready(true),
                Ok(None) => {}
                Err(_malformed) => return Poll::Ready(false),
            }
            let is_little = body.size_hint().exact().is_some_and(|left| left <= PASSED_MAX);
            match self.poll_read(cx) {
                Poll::Ready(Ok(read)) if !read.is_empty() => *ahead = read,
                Poll::Pending if goes_on && is_little => return Poll::Pending,
                _ => return Poll::Ready(false),
            }
        }
    }

    /// Whether all that has come was read, as far as can be told.
    async fn has_nothing_unread(&self) -> bool {
        let is_read = self.body.borrow().is_ended() && self.ahead.borrow().is_empty();
        let more = poll_fn(|cx| Poll::Ready(self.poll_read(cx)));
        is_read && !matches!(more.await, Poll::Ready(Ok(read)) if !read.is_empty())
    }

    /// The body has come as far as it ever will.
    fn tell_visitor(&self) {
        self.is_wanted.set(false);
        self.visitor.take().iter().for_each(Waker::wake_by_ref);
    }
}

impl Inbound {
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.is_ended {
            return Poll::Ready(None);
        }
        if !self.is_current() {
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
        }
        let frame = ready!(self.lane.poll_body(cx));
        let is_broken = matches!(frame, Some(Err(_)));
        self.is_ended = !is_broken && self.lane.body.borrow().is_ended();
        if self.is_ended || is_broken {
            self.lane.tell_visitor();
        }
        Poll::Ready(frame)
    }

    /// Whether the visit goes on, and with this request.
    fn is_current(&self) -> bool {
        self.lane.turn.get() == self.turn && !self.lane.is_over.get()
    }

    /// Whether all of it was read.
    pub(crate) const fn is_ended(&self) -> bool {
        self.is_ended
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match (self.is_ended, self.is_current()) {
            (true, _) => SizeHint::with_exact(0),
            (false, true) => self.lane.body.borrow().size_hint(),
            (false, false) => SizeHint::default(),
        }
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        if self.is_current() {
            self.lane.tell_visitor();
        }
    }
}
