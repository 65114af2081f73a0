//! The simulated world, as the proxy sees it: turmoil's sockets, names and time.
//!
//! This is the only file of the simulator that opens a socket.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lb_server::Platform;
use lb_server::platform::{Accepted, Address, Io, Listen, Local, Place, Tcp};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use crate::scenario::{Origin, Scenario};
use crate::way::Way;

/// When every world begins: 2026-01-01T00:00:00Z. A fixed day, so that `Date` repeats.
pub(crate) const EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// Machines that origins have of their own before they share one. What a step of turmoil costs grows with hosts
/// times links: with 3 origins it takes a hundredth of what it takes with 50.
const MACHINES_MAX: usize = 12;
/// The machine of origins that share one, and its first port for them.
const SHARED: &str = "(origins)";
const SHARED_FROM: u16 = 1_024;

/// Where an origin is in the simulated network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Which host of turmoil's it is on.
    pub(crate) name: String,
    /// Where it listens there.
    pub(crate) port: u16,
}

/// Where all origins of a scenario are. To whom something happens on the way has a machine of his own, or it
/// would happen to others; and so has everybody where they are few, each with a name of his own.
pub(crate) fn machines(scenario: &Scenario) -> Vec<Machine> {
    let names = scenario.names();
    let are_named = names.iter().zip(&scenario.origins).all(|(name, origin)| *name == origin.host);
    let is_small = are_named && names.len() <= MACHINES_MAX;
    let on_the_way = scenario.faults.iter().filter(|fault| Way::of(fault.kind).is_some());
    let alone: BTreeSet<usize> = on_the_way.map(|fault| fault.origin).collect();
    let machine = |(place, name): (usize, String)| match is_small || alone.contains(&place) {
        true => Machine { name, port: scenario.origins[place].port },
        false => {
            let place = u16::try_from(place).expect("origins have 15 bits");
            Machine { name: SHARED.to_owned(), port: SHARED_FROM + place }
        }
    };
    names.into_iter().enumerate().map(machine).collect()
}

/// A turmoil host's view of its world.
#[derive(Clone, Debug)]
pub(crate) struct World {
    /// What all chance comes from.
    seed: u64,
    /// What hosts are looked up as, and who is there at which port, where turmoil does not know them.
    hosts: BTreeMap<String, IpAddr>,
    doors: BTreeMap<SocketAddr, Machine>,
}

impl World {
    /// The world of somebody who asks no origin.
    pub(crate) const fn bare(seed: u64) -> Self {
        Self { seed, hosts: BTreeMap::new(), doors: BTreeMap::new() }
    }

    /// The world of the proxy in a scenario.
    pub(crate) fn of(scenario: &Scenario, seed: u64) -> Self {
        let mut world = Self::bare(seed);
        let machines = machines(scenario);
        let is_known = |(machine, origin): (&Machine, &Origin)| machine.name == origin.host;
        if machines.iter().zip(&scenario.origins).all(is_known) {
            return world;
        }
        for (Origin { host, port, .. }, machine) in scenario.origins.iter().zip(machines) {
            let next = world.hosts.len();
            let ip = *world.hosts.entry(host.clone()).or_insert_with(|| address(host, next));
            world.doors.insert(SocketAddr::new(ip, *port), machine);
        }
        world
    }

    /// Where whoever is at an address really is.
    fn find(&self, addr: SocketAddr) -> io::Result<SocketAddr> {
        if self.doors.is_empty() {
            return Ok(addr);
        }
        let Machine { name, port } = self.doors.get(&addr).ok_or_else(|| {
            io::Error::new(io::ErrorKind::ConnectionRefused, "nobody of the scenario is there")
        })?;
        Ok(SocketAddr::new(turmoil::lookup(name.as_str()), *port))
    }
}

/// The address of the `nth` host: itself, or one that is for documentation alone (RFC 3849).
fn address(host: &str, nth: usize) -> IpAddr {
    let nth = u16::try_from(nth).expect("origins have 15 bits");
    host.parse().unwrap_or(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, nth)))
}

impl Platform for World {
    fn listen(&self, place: Place) -> Local<'_, io::Result<Box<dyn Listen>>> {
        Box::pin(async move {
            // Whoever asks comes from another machine, also where everybody is on loopback.
            let port = on_the_network(&place.addr)?.port();
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
            Ok(Box::new(Listener::new(listener)) as Box<dyn Listen>)
        })
    }

    fn dial(&self, addr: Address, _: Tcp) -> Local<'_, io::Result<Box<dyn Io>>> {
        Box::pin(async move {
            let addr = self.find(on_the_network(&addr)?)?;
            Ok(Box::new(Socket(TcpStream::connect(addr).await?)) as Box<dyn Io>)
        })
    }

    fn lookup<'p>(&'p self, host: &'p str, port: u16) -> Local<'p, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            let known = self.hosts.get(host).copied();
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

/// A connection. turmoil resets none but those with something unread, so that to break off looks like an end.
struct Socket(TcpStream);

impl Io for Socket {}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A listening socket, and whoever waits for the next connection: turmoil's cannot be polled.
struct Listener {
    socket: Rc<TcpListener>,
    next: Option<Local<'static, io::Result<(TcpStream, SocketAddr)>>>,
}

impl Listener {
    fn new(socket: TcpListener) -> Self {
        Self { socket: Rc::new(socket), next: None }
    }
}

impl Listen for Listener {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        let next = self.next.get_or_insert_with(|| {
            let socket = Rc::clone(&self.socket);
            Box::pin(async move { socket.accept().await })
        });
        let accepted = ready!(next.as_mut().poll(cx));
        self.next = None;
        let (stream, peer) = accepted?;
        let local = stream.local_addr().ok();
        Poll::Ready(Ok(Accepted { io: Box::new(Socket(stream)), peer: Some(peer), local }))
    }

    fn local_addr(&self) -> io::Result<Address> {
        self.socket.local_addr().map(Address::Ip)
    }
}

#[cfg(test)]
mod tests {
    use lb_config::Source;

    use super::*;
    use crate::scenario::load;

    /// Where origins at these addresses are, the first of which is cut off for a while.
    fn named(at: &[&str]) -> Vec<String> {
        let mut text =
            "# A world.\nschema = 1\nduration = \"20s\"\n[workload]\nrate = 1\n".to_owned();
        for at in at {
            text += &format!("[[origin]]\nat = \"{at}\"\n");
        }
        let first = at[0];
        text += &format!(
            "[[fault]]\nat = \"1s\"\nfor = \"1s\"\nkind = \"partition\"\norigin = \"{first}\"\n\
             [[config.listener]]\nbind = \"0.0.0.0:80\"\n[[config.service]]\nname = \"web\"\n\
             hosts = [\"*\"]\n[[config.service.pool]]\nbackends = [{{ url = \"http://{first}\" }}]\n"
        );
        let (scenario, told) = load(&Source { name: "world.toml", text: &text });
        let scenario = scenario.unwrap_or_else(|| panic!("{told:?}"));
        machines(&scenario).into_iter().map(|it| format!("{} {}", it.name, it.port)).collect()
    }

    #[test]
    fn few_have_machines_of_their_own_and_of_many_those_to_whom_something_happens_on_the_way() {
        assert_eq!(named(&["b1:80", "b2:80"]), ["b1 80", "b2 80"]);
        let of_one_host = named(&["b:80", "b:81", "b:82"]);
        assert_eq!(of_one_host, ["b:80 80", "(origins) 1025", "(origins) 1026"]);
        let many: Vec<String> = (0..=MACHINES_MAX).map(|nth| format!("b{nth}:80")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let places = named(&many);
        assert_eq!((&*places[0], &*places[1], places.len()), ("b0 80", "(origins) 1025", 13));
        assert_eq!(named(&many[1..])[1], "b2 80");
    }
}
