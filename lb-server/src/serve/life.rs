//! Whether the other end of a connection is still there.
//!
//! hyper asks for that with a PING, and takes nothing but the answer for one. On a slow way the question
//! stands behind all that was written before it, and whoever takes that byte by byte is cut off for an answer
//! that cannot have come. So hyper asks, and has all the time in the world; what is looked at is the
//! connection itself: bytes that come, and room in a socket that was full, which there is only when the other
//! end has taken something. What goes into a socket with room proves nothing: nobody may be there to take it.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

use crate::platform::Io;

/// A connection that is looked at.
pub(super) struct Watched<I> {
    io: I,
    life: Rc<Life>,
    /// Whether there was no room for what was written.
    is_full: bool,
    /// Whether what was written had to wait to be sent, beneath TLS.
    is_unflushed: bool,
}

/// When the other end last gave a sign of life.
pub(super) struct Life {
    last: Cell<Instant>,
}

impl Life {
    /// Waits until there was no sign of life for as long as `patience`.
    pub(super) async fn ends(&self, patience: Duration) {
        loop {
            let until = self.last.get() + patience;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

impl<I: Io> Watched<I> {
    pub(super) fn new(io: I) -> (Self, Rc<Life>) {
        let life = Rc::new(Life { last: Cell::new(Instant::now()) });
        (Self { io, life: Rc::clone(&life), is_full: false, is_unflushed: false }, life)
    }

    fn lives(&self) {
        self.life.last.set(Instant::now());
    }

    fn wrote<T>(&mut self, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let was_full = std::mem::replace(&mut self.is_full, wrote.is_pending());
        if was_full && matches!(wrote, Poll::Ready(Ok(_))) {
            self.lives();
        }
        wrote
    }
}

impl<I: Io> AsyncRead for Watched<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.lives();
        }
        read
    }
}

impl<I: Io> AsyncWrite for Watched<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.wrote(wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.io).poll_write_vectored(cx, pieces);
        self.wrote(wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        let was_unflushed = std::mem::replace(&mut self.is_unflushed, flushed.is_pending());
        if was_unflushed && matches!(flushed, Poll::Ready(Ok(()))) {
            self.lives();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
