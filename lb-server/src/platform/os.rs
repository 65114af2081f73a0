//! The real world: the kernel's sockets, the system's resolver and clock.

use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::SystemTime;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::{Io, Listen, Local, Platform};

/// The operating system.
#[derive(Debug)]
pub struct Os {
    seed: u64,
}

/// Connections that may wait to be accepted. The kernel lowers it to its own bound.
const BACKLOG: i32 = 4_096;

impl Os {
    /// The world with chance from the operating system.
    #[expect(
        clippy::disallowed_types,
        reason = "the standard library's keys are its only way to the system's entropy"
    )]
    pub fn new() -> Self {
        Self { seed: std::collections::hash_map::RandomState::new().build_hasher().finish() }
    }

    /// The world with chance from `seed`, for tests that must repeat.
    pub const fn with_seed(seed: u64) -> Self {
        Self { seed }
    }

    /// Whether `addr` is free. Sockets that share an address do not mind each other, and two
    /// processes would each get half of the connections without a word; so before the first of its
    /// workers shares it, a process asks for the address alone.
    ///
    /// # Errors
    /// When somebody else listens there, or nobody may.
    pub fn probe(addr: SocketAddr) -> io::Result<()> {
        open(addr, false)?.listen(1)
    }
}

impl Default for Os {
    fn default() -> Self {
        Self::new()
    }
}

fn open(addr: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

impl Platform for Os {
    fn listen(&self, addr: SocketAddr) -> Local<'_, io::Result<Box<dyn Listen>>> {
        Box::pin(async move {
            let socket = open(addr, true)?;
            socket.listen(BACKLOG)?;
            let listener = TcpListener::from_std(socket.into())?;
            Ok(Box::new(Listener(listener)) as Box<dyn Listen>)
        })
    }

    fn dial(&self, addr: SocketAddr) -> Local<'_, io::Result<Box<dyn Io>>> {
        Box::pin(async move {
            #[expect(clippy::disallowed_methods, reason = "this is the platform")]
            let stream = TcpStream::connect(addr).await?;
            stream.set_nodelay(true)?;
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

struct Listener(TcpListener);

impl Listen for Listener {
    fn accept(&mut self) -> Local<'_, io::Result<(Box<dyn Io>, SocketAddr)>> {
        Box::pin(async move {
            let (stream, peer) = self.0.accept().await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream) as Box<dyn Io>, peer))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
