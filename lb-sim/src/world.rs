//! The simulated world, as the proxy sees it: turmoil's sockets, names and time.
//!
//! This is the only file of the simulator that opens a socket.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
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
    /// All origins, where the host of one is an address, or shared with others. Else turmoil knows who is who.
    machines: Box<[Machine]>,
}

/// An origin. Each is a machine of its own, of this name, whatever its host is: what happens to the way to one
/// would happen to all ports of it otherwise.
#[derive(Clone, Debug)]
struct Machine {
    host: String,
    /// What its host is looked up as, or is.
    ip: IpAddr,
    port: u16,
    name: String,
}

impl World {
    /// The world of somebody who asks no origin.
    pub(crate) fn bare(seed: u64) -> Self {
        Self { seed, machines: Box::default() }
    }

    /// The world of the proxy in a scenario.
    pub(crate) fn of(scenario: &Scenario, seed: u64) -> Self {
        let mut reserved = BTreeMap::new();
        let machines = scenario.origins.iter().zip(scenario.names()).map(|(origin, name)| {
            let (host, port) = (origin.host.clone(), origin.port);
            let next = reserved.len();
            let ip = *reserved.entry(host.clone()).or_insert_with(|| address(&host, next));
            Machine { host, ip, port, name }
        });
        let machines: Box<[Machine]> = machines.collect();
        let is_plain = machines.iter().all(|machine| machine.name == machine.host);
        if is_plain { Self::bare(seed) } else { Self { seed, machines } }
    }

    /// Where whoever is at an address really is.
    fn find(&self, addr: SocketAddr) -> io::Result<SocketAddr> {
        if self.machines.is_empty() {
            return Ok(addr);
        }
        let is_meant = |it: &&Machine| (it.ip, it.port) == (addr.ip(), addr.port());
        let machine = self.machines.iter().find(is_meant);
        let machine = machine.ok_or_else(|| {
            io::Error::new(io::ErrorKind::ConnectionRefused, "nobody of the scenario is there")
        })?;
        Ok(SocketAddr::new(turmoil::lookup(machine.name.as_str()), addr.port()))
    }
}

/// The address of the `nth` host: itself, or one that is for documentation alone (RFC 3849).
fn address(host: &str, nth: usize) -> IpAddr {
    let nth = u16::try_from(nth).expect("origins have 16 bits");
    host.parse().unwrap_or(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, nth)))
}

impl Platform for World {
    fn listen(&self, place: Place) -> Local<'_, io::Result<Box<dyn Listen>>> {
        Box::pin(async move {
            // Whoever asks comes from another machine, also where everybody is on loopback.
            let port = on_the_network(&place.addr)?.port();
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
            Ok(Box::new(Listener(listener)) as Box<dyn Listen>)
        })
    }

    fn dial(&self, addr: Address, _: Tcp) -> Local<'_, io::Result<Box<dyn Io>>> {
        Box::pin(async move {
            let addr = self.find(on_the_network(&addr)?)?;
            Ok(Box::new(TcpStream::connect(addr).await?) as Box<dyn Io>)
        })
    }

    fn lookup<'p>(&'p self, host: &'p str, port: u16) -> Local<'p, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            let known = self.machines.iter().find(|it| it.host == host).map(|it| it.ip);
            let ip = known.unwrap_or_else(|| turmoil::lookup(host));
            Ok(vec![SocketAddr::new(ip, port)])
        })
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
