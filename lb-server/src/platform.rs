//! Everything the proxy may ask of the world, as one object-safe trait.
//!
//! `platform::os` is the real world; the simulator brings its own. The proxy holds an
//! `Arc<dyn Platform>` and cannot tell which. Monotonic time is not here: it is tokio's, which a
//! simulator pauses ([`Clock`]).

pub mod os;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

use lb_core::Time;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// A connection, whatever carries it.
pub trait Io: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

/// A connection of which something was read already, and is read once more.
pub(crate) struct Prefixed {
    begun: Vec<u8>,
    at: usize,
    io: Box<dyn Io>,
}

impl Prefixed {
    pub(crate) const fn new(begun: Vec<u8>, io: Box<dyn Io>) -> Self {
        Self { begun, at: 0, io }
    }
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let left = &this.begun[this.at..];
        if left.is_empty() {
            return Pin::new(&mut this.io).poll_read(cx, buf);
        }
        let here = left.len().min(buf.remaining());
        buf.put_slice(&left[..here]);
        this.at += here;
        if this.at == this.begun.len() {
            (this.begun, this.at) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, pieces)
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

/// What a platform's asynchronous calls return. Workers are single-threaded: nothing is `Send`.
pub type Local<'p, T> = Pin<Box<dyn Future<Output = T> + 'p>>;

/// A listening socket.
pub trait Listen {
    /// The next connection and its peer.
    fn accept(&mut self) -> Local<'_, io::Result<(Box<dyn Io>, SocketAddr)>>;
    /// Where it listens; the port that was given if 0 was asked for.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// The world, as far as the proxy may touch it.
pub trait Platform: Send + Sync {
    /// Listens at `addr`. Several workers may listen at the same address.
    fn listen(&self, addr: SocketAddr) -> Local<'_, io::Result<Box<dyn Listen>>>;
    /// Opens a connection to `addr`. Waits for ever if nobody answers: the caller has a deadline.
    fn dial(&self, addr: SocketAddr) -> Local<'_, io::Result<Box<dyn Io>>>;
    /// The addresses of `host`, in the order in which they should be tried.
    fn lookup<'p>(&'p self, host: &'p str, port: u16) -> Local<'p, io::Result<Vec<SocketAddr>>>;
    /// The bytes of a file: certificates, and whoever may vouch for them.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The time of day.
    fn unix_time(&self) -> SystemTime;
    /// What all chance comes from.
    fn seed(&self) -> u64;
}

/// Core time read off tokio's clock: microseconds since the clock was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Core time now.
    pub fn now(&self) -> Time {
        Time::ZERO + self.start.elapsed()
    }

    /// Core time at `instant`.
    pub fn time(&self, instant: Instant) -> Time {
        Time::ZERO + instant.saturating_duration_since(self.start)
    }

    /// When `time` is, for tokio's timers.
    pub fn instant(&self, time: Time) -> Instant {
        self.start + (time - Time::ZERO)
    }
}
