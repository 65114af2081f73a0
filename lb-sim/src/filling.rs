//! Bodies: so many bytes that all look alike, at once or by and by, and whole or not.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::origin::Answering;
use crate::scenario::Framing;

/// What every body consists of.
const FILLING: u8 = b'.';

/// A body of so many bytes, which may break off.
pub(crate) struct Filling {
    size: usize,
    left: usize,
    /// Where it breaks off.
    pub(crate) breaks_at: Option<usize>,
    /// Between two pieces.
    pause: Duration,
    /// The end of a pause, or of the time that a body stands still before it breaks off.
    wait: Option<Pin<Box<Sleep>>>,
    pub(crate) framing: Framing,
    /// If it answers a request: it tells of its end.
    pub(crate) answering: Option<Answering>,
}

/// Pieces of a body that takes its time.
pub(crate) const PIECES: u32 = 8;

/// How long a body that breaks off stands still before.
const BREAKS_AFTER: Duration = Duration::from_millis(5);

/// Bytes of a body that go out at once.
const PIECE: usize = 8 * 1024;

/// A body, a stream or a connection broke off, because the scenario says so, and what HTTP/2 says of it.
#[derive(Debug)]
pub(crate) struct BrokeOff(pub(crate) h2::Reason);

impl BrokeOff {
    /// In whatever way it does.
    pub(crate) const SOMEHOW: Self = Self(h2::Reason::INTERNAL_ERROR);

    /// Nobody looked at it (RFC 9113 §8.7).
    pub(crate) const REFUSED: Self = Self(h2::Reason::REFUSED_STREAM);
}

impl std::fmt::Display for BrokeOff {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("it broke off")
    }
}

impl std::error::Error for BrokeOff {}

impl Filling {
    /// A whole body of this many bytes.
    const fn whole(size: usize) -> Self {
        Self {
            size,
            left: size,
            breaks_at: None,
            pause: Duration::ZERO,
            wait: None,
            framing: Framing::Length,
            answering: None,
        }
    }

    /// A whole body of this many bytes, which takes this long to send.
    pub(crate) fn over(size: usize, span: Duration) -> Self {
        Self { pause: span / PIECES, ..Self::whole(size) }
    }

    /// Whether these bytes are a part of such a body.
    pub(crate) fn is_filling(bytes: &[u8]) -> bool {
        bytes.iter().all(|byte| *byte == FILLING)
    }
}

impl Body for Filling {
    type Data = Bytes;
    type Error = BrokeOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        if self.breaks_at.is_some_and(|at| self.size - self.left >= at) {
            let standing = || Box::pin(sleep(BREAKS_AFTER));
            ready!(self.wait.get_or_insert_with(standing).as_mut().poll(cx));
            return Poll::Ready(Some(Err(BrokeOff::SOMEHOW)));
        }
        let mut piece = self.left.min(PIECE).min(self.breaks_at.unwrap_or(PIECE).max(1));
        if piece == 0 {
            return Poll::Ready(None);
        }
        if !self.pause.is_zero() {
            let pause = self.pause;
            ready!(self.wait.get_or_insert_with(|| Box::pin(sleep(pause))).as_mut().poll(cx));
            self.wait = None;
            piece = piece.min(self.size.div_ceil(PIECES as usize));
        }
        self.left -= piece;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![FILLING; piece])))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && self.breaks_at.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Length => SizeHint::with_exact(self.left as u64),
            Framing::Chunked => SizeHint::default(),
        }
    }
}
