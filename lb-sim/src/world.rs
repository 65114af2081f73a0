//! The simulated world, as the proxy sees it: turmoil's sockets, names and time.
//!
//! This is the only file of the simulator that opens a socket.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lb_server::Platform;
use lb_server::platform::{Accepted, Address, Io, Listen, Local, Place, Tcp};
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
    fn listen(&self, place: Place) -> Local<'_, io::Result<Box<dyn Listen>>> {
        Box::pin(async move {
            let addr = on_the_network(&place.addr)?;
            let listener = TcpListener::bind(addr).await?;
            Ok(Box::new(Listener(listener)) as Box<dyn Listen>)
        })
    }

    fn dial(&self, addr: Address, _: Tcp) -> Local<'_, io::Result<Box<dyn Io>>> {
        Box::pin(async move {
            let addr = on_the_network(&addr)?;
            Ok(Box::new(TcpStream::connect(addr).await?) as Box<dyn Io>)
        })
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

/// The world has a network and no file system.
fn on_the_network(addr: &Address) -> io::Result<SocketAddr> {
    addr.ip().ok_or_else(|| {
        let said = format!("{addr}: the simulated world has no Unix sockets; use an IP address");
        io::Error::new(io::ErrorKind::Unsupported, said)
    })
}

struct Listener(TcpListener);

impl Listen for Listener {
    fn accept(&mut self) -> Local<'_, io::Result<Accepted>> {
        Box::pin(async move {
            let (stream, peer) = self.0.accept().await?;
            let local = stream.local_addr().ok();
            Ok(Accepted { io: Box::new(stream), peer: Some(peer), local })
        })
    }

    fn local_addr(&self) -> io::Result<Address> {
        self.0.local_addr().map(Address::Ip)
    }
}
