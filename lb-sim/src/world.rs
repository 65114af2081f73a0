//! The simulated world, as the proxy sees it: turmoil's sockets, names and time.
//!
//! This is the only file of the simulator that opens a socket.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lb_server::Platform;
use lb_server::platform::{Io, Listen, Local};
use turmoil::net::{TcpListener, TcpStream};

/// When every world begins: 2026-01-01T00:00:00Z. A fixed day, so that `Date` repeats.
pub(crate) const EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// A turmoil host's view of its world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct World {
    /// What all chance comes from.
    pub(crate) seed: u64,
}

impl Platform for World {
    fn listen(&self, addr: SocketAddr) -> Local<'_, io::Result<Box<dyn Listen>>> {
        Box::pin(async move {
            let listener = TcpListener::bind(addr).await?;
            Ok(Box::new(Listener(listener)) as Box<dyn Listen>)
        })
    }

    fn dial(&self, addr: SocketAddr) -> Local<'_, io::Result<Box<dyn Io>>> {
        Box::pin(async move { Ok(Box::new(TcpStream::connect(addr).await?) as Box<dyn Io>) })
    }

    fn lookup<'p>(&'p self, host: &'p str, port: u16) -> Local<'p, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(vec![SocketAddr::new(turmoil::lookup(host), port)]) })
    }

    fn read(&self, _path: &Path) -> io::Result<Vec<u8>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "there are no files in a simulated world"))
    }

    fn unix_time(&self) -> SystemTime {
        UNIX_EPOCH + EPOCH + turmoil::sim_elapsed().unwrap_or_default()
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
            Ok((Box::new(stream) as Box<dyn Io>, peer))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
