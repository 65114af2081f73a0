//! A client's stream of HTTP/2 that has become a tunnel, with ends that can be told apart.
//!
//! hyper reads a stream that was reset with CANCEL or NO_ERROR as one that has ended, and ends with
//! END_STREAM whatever it drops. Both are true of a message and wrong of a tunnel, where half of what was
//! said must not look like all of it (RFC 9113 §8.5).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::exec::Carrier;
use crate::platform::Io;

/// A client's stream of HTTP/2 that has become a tunnel.
pub(super) struct Stream {
    io: TokioIo<Upgraded>,
    /// What is sent goes through it.
    carrier: Carrier,
    /// Whether it has had its turn since nothing more came.
    has_looked: bool,
}

impl Stream {
    pub(super) fn new(upgraded: Upgraded, carrier: Carrier) -> Self {
        Self { io: TokioIo::new(upgraded), carrier, has_looked: false }
    }
}

impl Io for Stream {
    fn break_off(&mut self) {
        self.carrier.break_off();
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        if buf.filled().len() > before || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        // The carrier is told of a reset at the same time, and leaves word of it when it runs: after us, or
        // before.
        if !self.has_looked {
            self.has_looked = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match Pin::new(&mut self.io).poll_flush(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
