//! A connection of HTTP/2, which exchanges share.
//!
//! One on which an answer is too late may lead nowhere: a peer that is stuck and a NAT that has forgotten
//! close nothing. It is doubted: it takes no new streams until something is heard on it, and those that
//! run on it go on. Nobody is asked by PING, because servers of gRPC cut off whoever asks more often than
//! every five minutes while they have nothing to say (gRPC A8).

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use lb_core::{Failure, Time};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use super::carried::{Carried, Carriers};
use super::inflow::Inflow;
use super::window::Window;
use crate::platform::Io;

/// Streams of one connection, where its backend allows more.
const STREAMS_MAX: usize = 256;

/// A connection of HTTP/2.
pub(super) struct Shared {
    pub(super) sender: http2::SendRequest<Carried>,
    /// Which a task of its own drives, and which knows how many streams its backend allows.
    pub(super) connection: Rc<RefCell<Option<Pin<Box<Http2>>>>>,
    pub(super) heard: Rc<Heard>,
    pub(super) carriers: Carriers,
    pub(super) trust: Cell<Trust>,
    pub(super) streams: Rc<Cell<usize>>,
    pub(super) born: Time,
    pub(super) since: Cell<Time>,
    /// Told of places that come free.
    pub(super) freed: Rc<Notify>,
    /// Whether its end has counted with one of its streams.
    pub(super) is_counted: Cell<bool>,
}

pub(super) type Http2 = http2::Connection<TokioIo<Ear>, Carried, Carriers>;

/// Whether a connection takes new streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    Whole,
    /// When more has been heard than so much.
    After(u64),
    /// Its backend says that it takes no more.
    Spent,
}

/// How often something came on a connection, and who waits for more.
pub(super) struct Heard {
    count: Cell<u64>,
    /// When something came last, or was asked for first after everybody had been answered.
    at: Cell<Instant>,
    came: Notify,
    pub(super) window: Window,
    /// What has come on its streams.
    pub(super) inflow: Inflow,
}

/// For how long nothing comes on a connection that is believed to lead somewhere, whoever is in a hurry.
const QUIET_MAX: Duration = Duration::from_secs(1);

/// A wire that notes what comes on it, and what may go.
pub(super) struct Ear {
    io: Box<dyn Io>,
    heard: Rc<Heard>,
}

/// A place on a connection of HTTP/2.
pub(super) struct Stream(pub(super) Rc<Shared>, Cell<Fate>);

/// What has become of a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Whatever does is its own affair.
    Own,
    /// It ended with its connection.
    Shared,
    /// It ended with its connection, and we ended that for what came on it: on whose stream nobody says.
    Suspect,
}

impl Shared {
    /// Whether it takes another stream, and sends what bodies there are.
    pub(super) fn has_room(&self) -> bool {
        self.has_place() && !self.heard.window.stays_spent()
    }

    /// Whether it takes another stream.
    pub(super) fn has_place(&self) -> bool {
        !self.is_doubted() && self.streams.get() < self.carries()
    }

    /// Streams that its backend allows.
    fn allowed(&self) -> usize {
        self.connection.borrow().as_ref().map_or(0, |it| it.current_max_send_streams())
    }

    /// How many it carries at a time.
    pub(super) fn carries(&self) -> usize {
        self.allowed().min(STREAMS_MAX)
    }

    /// Whether it has more streams than its backend allows by now.
    fn is_overfull(&self) -> bool {
        self.streams.get() > self.allowed()
    }

    /// Whether nobody knows that it leads anywhere.
    pub(super) fn is_doubted(&self) -> bool {
        match self.trust.get() {
            Trust::Whole => false,
            Trust::After(heard) => heard == self.heard.count.get(),
            Trust::Spent => true,
        }
    }

    /// Takes no new streams until something is heard on it.
    pub(super) fn doubt(&self) {
        if self.trust.get() != Trust::Spent {
            self.trust.set(Trust::After(self.heard.count.get()));
        }
    }

    /// Whether something came on it a short while ago, or was asked for only then.
    pub(super) fn is_alive(&self) -> bool {
        self.heard.at.get().elapsed() < QUIET_MAX
    }

    /// Takes no new streams any more.
    fn spend(&self) {
        self.trust.set(Trust::Spent);
    }

    /// Whether there is any use for it.
    pub(super) fn is_kept(&self) -> bool {
        let may_come_back = self.streams.get() > 0 && self.trust.get() != Trust::Spent;
        !self.sender.is_closed() && (may_come_back || !self.is_doubted())
    }
}

impl Heard {
    pub(super) fn new() -> Self {
        Self {
            count: Cell::default(),
            at: Cell::new(Instant::now()),
            came: Notify::new(),
            window: Window::new(),
            inflow: Inflow::default(),
        }
    }

    /// Until there is more, or the end of it.
    pub(super) fn more(&self) -> Notified<'_> {
        self.came.notified()
    }
}

impl Stream {
    pub(super) fn begin(shared: &Rc<Shared>) -> Self {
        if shared.streams.replace(shared.streams.get() + 1) == 0 {
            shared.heard.at.set(Instant::now());
        }
        Self(Rc::clone(shared), Cell::new(Fate::Own))
    }

    /// What a failure on it comes to, and what its connection does from now on.
    pub(super) fn judged(&self, failure: Failure) -> Failure {
        match failure {
            // It was sent before the backend said that it takes fewer.
            Failure::RefusedStream if self.0.is_overfull() => Failure::Unsent,
            Failure::Unsent => {
                self.0.spend();
                Failure::Unsent
            }
            failure => failure,
        }
    }

    /// Something went wrong on it.
    pub(super) fn fails(&self, error: &hyper::Error) {
        self.1.set(fate(error));
    }

    /// What it comes to that it has failed: to `alone`, or to `shared` where all of its connection has, and
    /// that came to what counts for another stream before.
    pub(super) fn counted_once<T: PartialEq>(&self, alone: T, shared: T) -> T {
        // What is the same in either case does not count anyway.
        let is_first = || alone == shared || !self.0.is_counted.replace(true);
        if self.1.get() == Fate::Own || is_first() { alone } else { shared }
    }

    /// Whether it may be this one that its connection was ended for.
    pub(super) fn is_suspect(&self) -> bool {
        self.1.get() == Fate::Suspect
    }
}

/// What becomes of a stream with this error.
fn fate(error: &hyper::Error) -> Fate {
    let Some(source) = error.source() else { return Fate::Own };
    match source.downcast_ref::<h2::Error>() {
        Some(error) if error.is_go_away() && error.is_library() => Fate::Suspect,
        Some(error) if error.is_go_away() || error.is_io() => Fate::Shared,
        None if source.is::<io::Error>() => Fate::Shared,
        _ => Fate::Own,
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        self.0.freed.notify_one();
    }
}

impl Ear {
    pub(super) const fn new(io: Box<dyn Io>, heard: Rc<Heard>) -> Self {
        Self { io, heard }
    }
}

impl AsyncRead for Ear {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if read.is_ready() {
            let Heard { count, at, came, window, inflow } = &*self.heard;
            if buf.filled().len() > before {
                count.set(count.get() + 1);
                at.set(Instant::now());
                window.heard(&buf.filled()[before..], inflow);
            }
            came.notify_waiters();
        }
        read
    }
}

impl AsyncWrite for Ear {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.io).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = &wrote {
            self.heard.window.said(&bytes[..*count]);
        }
        wrote
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.io).poll_write_vectored(cx, pieces);
        if let Poll::Ready(Ok(count)) = &wrote {
            self.heard.window.said_of(pieces, *count);
        }
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
