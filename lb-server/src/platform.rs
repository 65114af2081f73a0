//! Everything the proxy may ask of the world, as one object-safe trait.
//!
//! `platform::os` is the real world; the simulator brings its own. The proxy holds an
//! `Arc<dyn Platform>` and cannot tell which. Monotonic time is not here: it is tokio's, which a
//! simulator pauses ([`Clock`]).

pub mod os;
pub mod resolve;
mod dns;
mod pipe;

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

use lb_config::config::Dns;
pub use lb_config::config::{Address, Socket, Tcp};
use lb_core::Time;
pub use pipe::{PIPES_MAX, Pipe, SPARE_PIPES_MAX};
use resolve::Resolve;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, Join, ReadBuf};
use tokio::time::Instant;

/// A connection, whatever carries it.
pub trait Io: AsyncRead + AsyncWrite + Unpin {
    /// Has the other side learn, when this is dropped, that it broke off and did not come to an end. Where
    /// that cannot be said, it looks like an end.
    fn break_off(&mut self) {}

    /// Whether the kernel can move what comes here into a [`Pipe`], as it came.
    fn splices_in(&self) -> bool {
        false
    }

    /// And send what is in one, as it is.
    fn splices_out(&self) -> bool {
        false
    }

    /// Moves what has come into the pipe, and so much at most. Nothing, if nothing will ever come.
    fn poll_splice_in(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let _ = (cx, pipe, most);
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    /// Sends what is in the pipe, or some of it.
    fn poll_splice_out(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<io::Result<usize>> {
        let _ = (cx, pipe);
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

impl<T: Io + ?Sized> Io for Box<T> {
    fn break_off(&mut self) {
        (**self).break_off();
    }

    fn splices_in(&self) -> bool {
        (**self).splices_in()
    }

    fn splices_out(&self) -> bool {
        (**self).splices_out()
    }

    fn poll_splice_in(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        (**self).poll_splice_in(cx, pipe, most)
    }

    fn poll_splice_out(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<io::Result<usize>> {
        (**self).poll_splice_out(cx, pipe)
    }
}

/// In memory, for tests.
impl Io for DuplexStream {}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Io for Join<R, W> {}

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

impl Io for Prefixed {
    fn break_off(&mut self) {
        self.io.break_off();
    }

    fn splices_out(&self) -> bool {
        self.io.splices_out()
    }

    fn poll_splice_out(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<io::Result<usize>> {
        self.io.poll_splice_out(cx, pipe)
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

/// A connection that came in.
pub struct Accepted {
    /// What is said on it.
    pub io: Box<dyn Io>,
    /// Who connected. Whoever comes by a Unix socket has no address.
    pub peer: Option<SocketAddr>,
    /// What it connected to.
    pub local: Option<SocketAddr>,
}

/// A listening socket.
pub trait Listen {
    /// The next connection.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>>;
    /// Waits for it.
    fn accept(&mut self) -> Local<'_, io::Result<Accepted>> {
        Box::pin(poll_fn(move |cx| self.poll_accept(cx)))
    }
    /// Where it listens; the port that was given if 0 was asked for.
    fn local_addr(&self) -> io::Result<Address>;
}

/// Where to listen, and how.
#[derive(Clone, Debug)]
pub struct Place {
    /// The address; with port 0 the system chooses one.
    pub addr: Address,
    /// What a successor of this process would find the socket by, if its address does not say it:
    /// where the port is the system's choice.
    pub name: Option<String>,
    /// Which worker listens.
    pub worker: u16,
    /// How the socket behaves.
    pub socket: Socket,
}

impl Place {
    /// A socket of which nothing is said but its address.
    pub const fn new(addr: Address) -> Self {
        Self { addr, name: None, worker: 0, socket: Socket::DEFAULT }
    }
}

/// The world, as far as the proxy may touch it.
pub trait Platform: Send + Sync {
    /// Listens at `place`. Several workers may listen at the same address.
    fn listen(&self, place: Place) -> Local<'_, io::Result<Box<dyn Listen>>>;
    /// Opens a connection to `addr`. Waits for ever if nobody answers: the caller has a deadline.
    fn dial(&self, addr: Address, tcp: Tcp) -> Local<'_, io::Result<Box<dyn Io>>>;
    /// The addresses of `host`, in the order in which they should be tried.
    fn lookup<'p>(&'p self, host: &'p str, port: u16) -> Local<'p, io::Result<Vec<SocketAddr>>>;
    /// Whoever knows records and how long they hold, if anybody does. Without, [`Platform::lookup`] has
    /// to do for addresses.
    ///
    /// # Errors
    /// When the system's configuration cannot be read.
    fn resolver(&self, dns: &Dns) -> io::Result<Option<Box<dyn Resolve>>> {
        let _ = dns;
        Ok(None)
    }
    /// The bytes of a file, and one more than `most` where there are more. Nobody waits for the disk
    /// meanwhile.
    fn read_aside<'p>(&'p self, file: &'p Path, most: usize) -> Local<'p, io::Result<Vec<u8>>> {
        let _ = (file, most);
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
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
