//! The real world as a scenario needs it: the kernel's sockets on the loopback interface, under the
//! scenario's names, with its network's delays ([`Wire`]).
//!
//! Every origin has a port of the system's choice. A socket that nobody listens at holds it for the whole
//! run: while the origin's process is down, the kernel refuses whoever connects, and nobody else can get
//! the port. Nothing is listened at and nothing is dialled but 127.0.0.1.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use lb_server::Platform;
use lb_server::platform::os::Os;
use lb_server::platform::{Accepted, Address, Io, Listen, Local, Place, Tcp};
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::sleep;

use crate::dice::{Chance, Dice};
use crate::harm::Net;
use crate::scenario::{Scenario, Span};
use crate::way::Way;
use crate::wire::{LATE, LOOK, Link, Wire};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1_024;
/// Where the system chooses a port.
const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Where everybody is.
pub(crate) struct Street {
    doors: BTreeMap<(String, u16), Door>,
    /// The address that each name of an origin is looked up as. Whoever dials it is led to the door.
    names: BTreeMap<IpAddr, String>,
    /// The proxy's listeners, by the port that they would have.
    proxy: Mutex<BTreeMap<u16, SocketAddr>>,
    network: Span,
    seed: u64,
    wires: AtomicU64,
}

/// Where an origin is.
struct Door {
    name: String,
    at: SocketAddr,
    link: Arc<Link>,
    /// Holds the port.
    _held: TcpSocket,
}

/// The world as one of its hosts sees it.
pub(crate) struct House {
    street: Arc<Street>,
    os: Os,
    who: Who,
}

/// Who lives there.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    /// The proxy.
    Proxy,
    /// Everybody who asks it something.
    Clients,
    /// The origins of this host.
    Origin(String),
}

impl Street {
    /// Finds a place for each origin of `scenario`.
    ///
    /// # Errors
    /// When the system has no sockets left.
    pub(crate) fn open(scenario: &Scenario, seed: u64) -> io::Result<Arc<Self>> {
        let mut doors = BTreeMap::new();
        for (origin, name) in scenario.origins.iter().zip(scenario.names()) {
            let held = socket_at(ANYWHERE)?;
            let (at, link) = (held.local_addr()?, Arc::default());
            let door = Door { name, at, link, _held: held };
            doors.insert((origin.host.clone(), origin.port), door);
        }
        let hosts: BTreeSet<_> = doors.keys().map(|(host, _)| host.clone()).collect();
        let names = (0..).map(|nth: u16| address(nth)).zip(hosts).collect();
        let (proxy, network, wires) = (Mutex::default(), scenario.network, AtomicU64::new(0));
        Ok(Arc::new(Self { doors, names, proxy, network, seed, wires }))
    }

    /// What `who` sees of it.
    pub(crate) fn seen_by(self: &Arc<Self>, who: Who) -> Arc<dyn Platform> {
        Arc::new(House { street: Arc::clone(self), os: Os::with_seed(self.seed), who })
    }

    fn proxy(&self) -> MutexGuard<'_, BTreeMap<u16, SocketAddr>> {
        self.proxy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection as it is on this street.
    fn wire(&self, io: Box<dyn Io>, link: Option<Arc<Link>>) -> Box<dyn Io> {
        Box::new(Wire::new(io, link, self.network, self.dice()))
    }

    /// The dice of the next connection.
    fn dice(&self) -> Dice {
        Dice::new(self.seed, "wires", self.wires.fetch_add(1, Ordering::Relaxed))
    }
}

/// An address of the loopback interface for each name.
fn address(nth: u16) -> IpAddr {
    let [high, low] = nth.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 77, high, low))
}

fn socket_at(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Whoever listens shares the port with the socket that holds it.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    Ok(socket)
}

impl Net for Arc<Street> {
    fn change(&mut self, origin: &str, _was: Way, is: Way) {
        if let Some(door) = self.doors.values().find(|door| door.name == origin) {
            door.link.set(is);
        }
    }
}

impl House {
    /// Who is at an address that was looked up, or stands in the configuration as such.
    fn door(&self, addr: SocketAddr) -> Option<&Door> {
        let name = self.street.names.get(&addr.ip()).cloned();
        let name = name.unwrap_or_else(|| addr.ip().to_string());
        self.street.doors.get(&(name, addr.port()))
    }

    async fn accepts(&self, place: Place) -> io::Result<Box<dyn Listen>> {
        let Address::Ip(asked) = place.addr else { return Err(nobody(&place.addr)) };
        let listener = match &self.who {
            Who::Origin(host) => {
                let door = self.street.doors.get(&(host.clone(), asked.port()));
                let door = door.ok_or_else(|| nobody(&place.addr))?;
                let listener = socket_at(door.at)?.listen(BACKLOG)?;
                Box::new(Direct(listener)) as Box<dyn Listen>
            }
            Who::Proxy | Who::Clients => {
                let here = Place { addr: Address::Ip(ANYWHERE), name: None, ..place };
                let listener = self.os.listen(here).await?;
                if let Address::Ip(at) = listener.local_addr()? {
                    self.street.proxy().insert(asked.port(), at);
                }
                listener
            }
        };
        Ok(Box::new(Listener { listener, street: Arc::clone(&self.street) }))
    }

    async fn dials(&self, addr: Address, tcp: Tcp) -> io::Result<Box<dyn Io>> {
        let Address::Ip(asked) = addr else { return Err(nobody(&addr)) };
        let street = &self.street;
        let (at, link) = match self.door(asked) {
            Some(door) => (door.at, Some(Arc::clone(&door.link))),
            None if street.proxy().values().any(|at| *at == asked) => (asked, None),
            None => return Err(nobody(&addr)),
        };
        if let Some(link) = &link {
            while matches!(link.state(), Way::Held | Way::Off) {
                sleep(LOOK).await;
            }
            if link.state() == Way::Cut {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
        }
        let mut dice = street.dice();
        let trip = dice.within(street.network) + dice.within(street.network);
        sleep(trip.saturating_sub(LATE)).await;
        let io = self.os.dial(Address::Ip(at), tcp).await?;
        Ok(street.wire(io, link))
    }
}

fn nobody(addr: &Address) -> io::Error {
    let said =
        format!("{addr}: nobody of the scenario is there; a rehearsal leaves loopback to no one");
    io::Error::new(io::ErrorKind::AddrNotAvailable, said)
}

impl Platform for House {
    fn listen(&self, place: Place) -> Local<'_, io::Result<Box<dyn Listen>>> {
        Box::pin(self.accepts(place))
    }

    fn dial(&self, addr: Address, tcp: Tcp) -> Local<'_, io::Result<Box<dyn Io>>> {
        Box::pin(self.dials(addr, tcp))
    }

    fn lookup<'p>(&'p self, host: &'p str, port: u16) -> Local<'p, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            let mut names = self.street.names.iter();
            let origin = names.find(|(_, name)| *name == host);
            let origin = origin.map(|(ip, _)| SocketAddr::new(*ip, port));
            let proxy = || self.street.proxy().get(&port).copied();
            let at = origin.or_else(|| proxy().filter(|_| host == crate::net::PROXY));
            at.map(|at| vec![at]).ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    fn read(&self, _path: &Path) -> io::Result<Vec<u8>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "there are no files in a rehearsal"))
    }

    fn unix_time(&self) -> SystemTime {
        self.os.unix_time()
    }

    fn seed(&self) -> u64 {
        self.street.seed
    }
}

/// A listening socket whose connections are as on this street.
struct Listener {
    listener: Box<dyn Listen>,
    street: Arc<Street>,
}

impl Listen for Listener {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        let accepted = self.listener.poll_accept(cx);
        accepted.map_ok(|it| Accepted { io: self.street.wire(it.io, None), ..it })
    }

    fn local_addr(&self) -> io::Result<Address> {
        self.listener.local_addr()
    }
}

/// An origin's.
struct Direct(TcpListener);

impl Listen for Direct {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        let (stream, peer) = ready!(self.0.poll_accept(cx))?;
        stream.set_nodelay(true)?;
        let local = stream.local_addr().ok();
        Poll::Ready(Ok(Accepted { io: Box::new(stream), peer: Some(peer), local }))
    }

    fn local_addr(&self) -> io::Result<Address> {
        self.0.local_addr().map(Address::Ip)
    }
}
