//! The simulated world, as the proxy sees it: turmoil's sockets, names and time.
//!
//! This is the only file of the simulator that opens a socket.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lb_server::Platform;
use lb_server::platform::{Accepted, Address, Io, Listen, Local, Place, Tcp};
use turmoil::net::{TcpListener, TcpStream};

use crate::scenario::Scenario;

/// When every world begins: 2026-01-01T00:00:00Z. A fixed day, so that `Date` repeats.
pub(crate) const EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// A turmoil host's view of its world.
#[derive(Clone, Debug)]
pub(crate) struct World {
    /// What all chance comes from.
    seed: u64,
    /// Origins whose host is an address, or shared with others.
    neighbours: Arc<[Neighbour]>,
}

/// An origin that is a machine of its own, of this name, whatever its host is: what happens to the way to
/// one would happen to all ports of it otherwise, and loopback is the proxy itself.
#[derive(Debug)]
struct Neighbour {
    host: String,
    port: u16,
    name: String,
}

impl World {
    /// The world of a scenario.
    pub(crate) fn of(scenario: &Scenario, seed: u64) -> Self {
        let named = scenario.origins.iter().enumerate().map(|(place, origin)| {
            let (host, port) = (origin.host.clone(), origin.port);
            Neighbour { host, port, name: scenario.name_of(place) }
        });
        Self { seed, neighbours: named.filter(|it| it.host != it.name).collect() }
    }

    /// The address of a host. Of several machines it is that of the first.
    fn address(&self, host: &str) -> IpAddr {
        let first = self.neighbours.iter().find(|it| it.host == host);
        turmoil::lookup(first.map_or(host, |it| it.name.as_str()))
    }

    /// Where whoever is asked for at an address really is.
    fn place(&self, addr: SocketAddr) -> SocketAddr {
        let is_meant = |it: &&Neighbour| {
            let said = it.host.parse().ok();
            it.port == addr.port() && addr.ip() == said.unwrap_or_else(|| self.address(&it.host))
        };
        let ip = self.neighbours.iter().find(is_meant).map(|it| turmoil::lookup(it.name.as_str()));
        SocketAddr::new(ip.unwrap_or(addr.ip()), addr.port())
    }
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
            let addr = self.place(on_the_network(&addr)?);
            Ok(Box::new(TcpStream::connect(addr).await?) as Box<dyn Io>)
        })
    }

    fn lookup<'p>(&'p self, host: &'p str, port: u16) -> Local<'p, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(vec![SocketAddr::new(self.address(host), port)]) })
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
