//! The real world: the kernel's sockets, the system's resolver and clock.
//!
//! A listening socket may outlive its process. It is inherited from whoever started this one
//! (systemd, or a process of the same kind that gives way to it), and handed on to a successor; who
//! waits in it to be accepted notices nothing. `sockets` keeps track of them for that.

mod sockets;
pub mod inheritance;
pub mod succession;

use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use lb_config::config::Dns;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::sleep;

use self::inheritance::Inheritance;
use self::sockets::{Held, Sockets};
use super::dns::Stub;
use super::resolve::Resolve;
use super::{Accepted, Address, Io, Listen, Local, PIPES_MAX, Pipe, Place, Platform, Tcp};

/// The operating system.
#[derive(Debug)]
pub struct Os {
    seed: u64,
    sockets: Sockets,
}

impl Os {
    /// The world with chance from the operating system.
    pub fn new() -> Self {
        Self::with_seed(entropy())
    }

    /// The world with chance from `seed`, for tests that must repeat.
    pub fn with_seed(seed: u64) -> Self {
        Self { seed, sockets: Sockets::default() }
    }

    /// The world in which some sockets are open already, for a process of so many `workers`.
    pub fn heir(inheritance: Inheritance, workers: u16) -> Self {
        Self { seed: entropy(), sockets: Sockets::inherited(inheritance, workers) }
    }

    /// Whether one can listen at `place`. Sockets that share an address do not mind each other, and two
    /// processes would each get half of the connections without a word; so before the first of its
    /// workers shares it, a process asks for the address alone, or beside what it has in the same port.
    ///
    /// # Errors
    /// When somebody else listens there, or nobody may.
    pub fn probe(&self, place: &Place) -> io::Result<()> {
        self.sockets.probe(place)
    }

    /// Every worker listens: what was inherited and nobody asked for is closed. Returns where that
    /// was.
    pub fn settle(&self) -> Vec<Address> {
        self.sockets.settle()
    }

    /// All listening sockets and what a successor finds them by, in the order in which they were
    /// opened.
    ///
    /// # Errors
    /// When there are no descriptors left to hand on.
    pub fn legacy(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        self.sockets.legacy()
    }

    /// A successor has the sockets: the files of Unix sockets are its from now on.
    pub fn hand_over(&self) {
        self.sockets.hand_over();
    }
}

impl Default for Os {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(
    clippy::disallowed_types,
    reason = "the standard library's keys are its only way to the system's entropy"
)]
fn entropy() -> u64 {
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

impl Platform for Os {
    fn listen(&self, place: Place) -> Local<'_, io::Result<Box<dyn Listen>>> {
        Box::pin(async move {
            let held = self.sockets.open(&place)?;
            let listeners = held.into_iter().map(Entry::new).collect::<io::Result<Vec<_>>>()?;
            Ok(Box::new(Listener { listeners, turn: 0 }) as Box<dyn Listen>)
        })
    }

    fn dial(&self, addr: Address, tcp: Tcp) -> Local<'_, io::Result<Box<dyn Io>>> {
        Box::pin(async move {
            let addr = match addr {
                Address::Ip(addr) => addr,
                Address::Unix(path) => {
                    return Ok(Box::new(connect_when_there_is_room(&path).await?) as Box<dyn Io>);
                }
            };
            #[expect(clippy::disallowed_methods, reason = "this is the platform")]
            let stream = TcpStream::connect(addr).await?;
            sockets::configure(&SockRef::from(&stream), tcp)?;
            Ok(Box::new(stream) as Box<dyn Io>)
        })
    }

    fn lookup<'p>(&'p self, host: &'p str, port: u16) -> Local<'p, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            #[expect(clippy::disallowed_methods, reason = "this is the platform")]
            let found = tokio::net::lookup_host((host, port)).await?;
            Ok(found.collect())
        })
    }

    fn resolver(&self, dns: &Dns) -> io::Result<Option<Box<dyn Resolve>>> {
        Ok(Some(Box::new(Stub::new(dns)?)))
    }

    fn read_aside<'p>(&'p self, file: &'p Path, most: usize) -> Local<'p, io::Result<Vec<u8>>> {
        Box::pin(async move {
            let file = file.to_owned();
            let reading = move || {
                let mut bytes = Vec::new();
                File::open(file)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
                Ok(bytes)
            };
            // A disk, or a network that looks like one, may take its time, and requests must not wait.
            #[expect(clippy::disallowed_methods, reason = "this is the platform")]
            let read = tokio::task::spawn_blocking(reading).await;
            read.map_err(io::Error::other)?
        })
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        crate::tls::read(path)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the platform")]
    fn unix_time(&self) -> SystemTime {
        SystemTime::now()
    }

    fn seed(&self) -> u64 {
        self.seed
    }
}

/// From a full queue to the next try, doubled up to the longest: a queue is full for moments, or nobody
/// accepts at all.
const ROOM_PAUSE_MIN: Duration = Duration::from_millis(1);
const ROOM_PAUSE_MAX: Duration = Duration::from_millis(50);

/// Where the queue of those who wait to be accepted is full, TCP says it again and again (RFC 9293 §3.8.1), and
/// nobody notices. At a Unix socket connect(2) fails at once, with EAGAIN, and it is we who try again.
async fn connect_when_there_is_room(path: &Path) -> io::Result<UnixStream> {
    let mut pause = ROOM_PAUSE_MIN;
    loop {
        #[expect(clippy::disallowed_methods, reason = "this is the platform")]
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                sleep(pause).await;
                pause = (pause * 2).min(ROOM_PAUSE_MAX);
            }
            connected => return connected,
        }
    }
}

/// How a socket moves bytes to and from a pipe. tokio has no name for what both kinds are.
macro_rules! spliced {
    () => {
        fn splices_in(&self) -> bool {
            PIPES_MAX > 0
        }

        fn splices_out(&self) -> bool {
            self.splices_in()
        }

        fn poll_splice_in(
            &mut self,
            cx: &mut Context<'_>,
            pipe: &mut Pipe,
            most: usize,
        ) -> Poll<io::Result<usize>> {
            loop {
                ready!(self.poll_read_ready(cx))?;
                match self.try_io(Interest::READABLE, || pipe.fill(&*self, most)) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    moved => return Poll::Ready(moved),
                }
            }
        }

        fn poll_splice_out(
            &mut self,
            cx: &mut Context<'_>,
            pipe: &mut Pipe,
        ) -> Poll<io::Result<usize>> {
            loop {
                ready!(self.poll_write_ready(cx))?;
                match self.try_io(Interest::WRITABLE, || pipe.drain(&*self)) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    moved => return Poll::Ready(moved),
                }
            }
        }
    };
}

impl Io for TcpStream {
    /// With a reset (RFC 9293 §3.10.5), and without what has not been sent.
    fn break_off(&mut self) {
        // One that is not connected any more has nobody to tell.
        let _told = self.set_zero_linger();
    }

    spliced!();
}

impl Io for UnixStream {
    spliced!();
}

/// One address, at which usually one socket listens. There are more where a predecessor had more
/// workers than this process has: each of them has a queue of its own.
struct Listener {
    listeners: Vec<Entry>,
    /// Which of them is asked first.
    turn: usize,
}

/// A socket, as the runtime polls it, and the hold on it.
struct Entry {
    polled: Polled,
    held: Arc<Held>,
}

enum Polled {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Entry {
    fn new(held: Arc<Held>) -> io::Result<Self> {
        let socket = held.socket.try_clone()?;
        let polled = match held.addr {
            Address::Ip(_) => Polled::Tcp(TcpListener::from_std(socket.into())?),
            Address::Unix(_) => Polled::Unix(UnixListener::from_std(socket.into())?),
        };
        Ok(Self { polled, held })
    }
}

impl Listen for Listener {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        let count = self.listeners.len();
        for at in (self.turn..self.turn + count).map(|at| at % count) {
            let Entry { polled, held } = &self.listeners[at];
            let said = held.addr.ip().filter(|addr| !addr.ip().is_unspecified());
            let accepted =
                match polled {
                    // Its options are its socket's.
                    Polled::Tcp(listener) => listener.poll_accept(cx).map_ok(|(stream, peer)| {
                        // Who listens at one address is asked at that one.
                        let local = said.or_else(|| stream.local_addr().ok());
                        Accepted { io: Box::new(stream), peer: Some(peer), local }
                    }),
                    Polled::Unix(listener) => listener.poll_accept(cx).map_ok(|(stream, _)| {
                        Accepted { io: Box::new(stream), peer: None, local: None }
                    }),
                };
            if accepted.is_ready() {
                self.turn = (at + 1) % count;
                return accepted;
            }
        }
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<Address> {
        Ok(self.listeners[0].held.addr.clone())
    }
}
