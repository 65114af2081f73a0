//! What goes out to the client: it is not looked at, but for whether the client takes it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::Guard;
use crate::platform::{Io, Pipe};

impl<I> Guard<I> {
    /// Notes whether the client takes what is written.
    fn wrote<T>(&self, written: Poll<T>) -> Poll<T> {
        match (&written, self.shared.stuck_since.get()) {
            (Poll::Pending, None) => {
                self.shared.stuck_since.set(Some(Instant::now()));
            }
            (Poll::Ready(_), Some(_)) => self.shared.stuck_since.set(None),
            _ => {}
        }
        written
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Guard<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, pieces);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.wrote(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.dry.set(false);
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<I: Io> Io for Guard<I> {
    fn splices_out(&self) -> bool {
        self.io.splices_out()
    }

    fn poll_splice_out(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<io::Result<usize>> {
        let written = self.io.poll_splice_out(cx, pipe);
        self.wrote(written)
    }
}
