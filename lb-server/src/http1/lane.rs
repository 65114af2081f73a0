//! What the task of a client's connection and the body of its request share: the socket, what was read of it
//! and how far the body has come.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::request;
use hyper::body::{Frame, SizeHint};

use super::body::Body;
use super::herald::Herald;
use super::piece::{self, Reader};
use super::visit::Guarded;
use super::{Limits, Malformed, head};
use crate::layers::Layers;
use crate::platform::Io;
use crate::turn;

/// What the task of a connection and the body of its request share. The body may be read in another task,
/// which sends it on.
pub(super) struct Lane {
    /// Until the visit is over.
    pub(super) io: RefCell<Option<Guarded>>,
    pub(super) is_over: Cell<bool>,
    pub(super) limits: Limits,
    reader: Reader,
    /// What was read and not looked at.
    pub(super) ahead: RefCell<Bytes>,
    /// What is still to come of the request that was read last, and its number.
    pub(super) body: RefCell<Body>,
    pub(super) turn: Cell<u64>,
    /// Whether somebody wants the rest of it, and has begun to read.
    pub(super) is_wanted: Cell<bool>,
    pub(super) is_begun: Cell<bool>,
    /// The task of the connection, where it waits for whoever reads the body.
    visitor: Cell<Option<Waker>>,
    /// Whether the client understands what it is told before its answer: one of HTTP/1.0 does not.
    pub(super) hears: Cell<bool>,
    /// Whether it waits to be asked for the body.
    pub(super) waits: Cell<bool>,
    /// What it is to be told before its answer, and whether some of that may not have left.
    pub(super) untold: RefCell<Vec<u8>>,
    is_unflushed: Cell<bool>,
}

/// The body of a request as its client sends it.
pub(crate) struct Inbound {
    pub(super) lane: Rc<Lane>,
    pub(super) turn: u64,
    /// Whether all of it was read here: nobody else can say that it is whole.
    pub(super) is_ended: bool,
}

/// RFC 9110 §10.1.1.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// Bytes of a body that nobody wants and that are waited for, so that the connection can go on.
const PASSED_MAX: u64 = 64 * 1024;
/// Bytes that are read behind a request while it is answered: the rest waits in the socket.
const AHEAD_BYTES: usize = 4 * 1024;
/// Bytes that are read of a body before anybody asks for it: behind them may stand that its client has left.
const EARLY_BYTES: usize = 64 * 1024;

impl Lane {
    pub(super) fn new(io: Guarded, begun: Bytes, limits: Limits) -> Self {
        Self {
            io: RefCell::new(Some(io)),
            is_over: Cell::new(false),
            limits,
            reader: Reader::default(),
            ahead: RefCell::new(begun),
            body: RefCell::new(Body::Ended),
            turn: Cell::new(0),
            is_wanted: Cell::new(false),
            is_begun: Cell::new(false),
            visitor: Cell::new(None),
            hears: Cell::new(false),
            waits: Cell::new(false),
            untold: RefCell::default(),
            is_unflushed: Cell::new(false),
        }
    }

    pub(super) fn with_io<T>(&self, with: impl FnOnce(&mut dyn Io) -> T) -> T {
        let mut io = self.io.borrow_mut();
        with(io.as_mut().expect("it is there for as long as the visit goes on"))
    }

    fn poll_read(&self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        self.with_io(|io| self.reader.poll_read(io, cx))
    }

    /// The next request's head, which is put where there is an empty one. `None`: there is none.
    pub(super) async fn next_head(
        &self,
        head: &mut request::Parts,
    ) -> Option<Result<head::Asking, Malformed>> {
        let mut begun = BytesMut::new();
        poll_fn(|cx| {
            loop {
                let mut ahead = self.ahead.borrow_mut();
                if !ahead.is_empty() {
                    match head::parse_request(&ahead, self.limits, head) {
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
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.body.borrow().is_ended() {
            if !self.is_begun.get() && !self.waits.get() {
                return self.poll_early(cx);
            }
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

    /// Reads of a body that nobody has asked for yet, to hear whether its client is still there.
    fn poll_early(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut ahead = self.ahead.borrow_mut();
        while ahead.len() < EARLY_BYTES {
            let most = EARLY_BYTES - ahead.len();
            match ready!(self.with_io(|io| piece::poll_read(io, cx, most))) {
                Ok(read) if !read.is_empty() => {
                    let begun = std::mem::take(&mut *ahead).try_into_mut();
                    let mut begun = begun.unwrap_or_else(|shared| BytesMut::from(&shared[..]));
                    begun.extend_from_slice(&read);
                    *ahead = begun.freeze();
                }
                // Whoever reads it will say so.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => break,
                Ok(_) | Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
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
            if self.waits.take() {
                self.untold.borrow_mut().extend_from_slice(CONTINUE);
            }
            ready!(self.poll_told(cx))?;
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

    /// Tells the client what it is to be told before its answer, where nobody reads the body and would be
    /// in the way: whoever does tells it as well.
    pub(super) fn poll_told_beside(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.body.borrow().is_ended() {
            true => self.poll_told(cx),
            false => Poll::Ready(Ok(())),
        }
    }

    /// Tells the client all that it is to be told before its answer.
    fn poll_told(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut untold = self.untold.borrow_mut();
        while !untold.is_empty() {
            match ready!(self.with_io(|io| Pin::new(io).poll_write(cx, &untold)))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                wrote => drop(untold.drain(..wrote)),
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
    pub(super) async fn is_read(&self, goes_on: bool) -> bool {
        let goes_on_behind = self.is_wanted.get();
        let note = |still| self.io.borrow().iter().for_each(|io| io.goes_on_behind(still));
        if goes_on_behind {
            note(true);
        }
        let is_read = poll_fn(|cx| self.poll_rest(cx, goes_on)).await;
        if goes_on_behind {
            note(false);
        }
        is_read
    }

    /// Whether another request can follow this one, as far as is known now.
    pub(super) async fn can_go_on(&self) -> bool {
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
                Ok(Some(_)) => {
                    // Nothing more is read when the turn is over.
                    let _over_or_not = turn::poll_spend(cx);
                    continue;
                }
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
    pub(super) async fn has_nothing_unread(&self) -> bool {
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
        self.lane.is_begun.set(true);
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

    /// Whoever tells its client what comes before the answer, in which these change something.
    pub(crate) fn herald(&self, layers: Option<&Layers>) -> Option<Herald> {
        let hears = self.lane.hears.get() && self.is_current();
        let (lane, turn) = (&self.lane, self.turn);
        hears.then(|| Herald { lane: Rc::clone(lane), turn, layers: layers.cloned() })
    }

    /// Whether its client can be sent what lies in a pipe.
    pub(crate) fn splices_out(&self) -> bool {
        self.is_current() && self.lane.with_io(|io| io.splices_out())
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
