//! The listening sockets of a process: opened, inherited, shared by its workers, handed on.
//!
//! Each worker has a TCP socket of its own at the same address (`SO_REUSEPORT`), among which the kernel
//! spreads connections. Unix sockets know no such thing: there, all workers share one. The same holds
//! for an inherited socket when there are more workers than sockets.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use super::inheritance::Inheritance;
use super::{Address, Place, Tcp};

/// What a socket of systemd is called that it gave no name. What systemd made at a path, it removes, and a
/// successor has to know: what we made at a path ourselves has no name, with predecessors of all ages.
const LENT: &str = "lb-lent";

/// Why an address is taken, if we took it.
const OURS: &str = "this process listens there itself, for something else; choose another, or take that out \
                    first and reload";

/// The listening sockets of a process.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    state: Mutex<State>,
    handed_over: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct State {
    /// What came with the process, until all workers have taken their part of it.
    inherited: Vec<Arc<Held>>,
    workers: usize,
    /// What is open, in the order in which it was opened. Those that closed are forgotten.
    open: Vec<Weak<Held>>,
}

/// A socket that is listened at. It closes when nobody holds it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) socket: Socket,
    /// Where it listens.
    pub(super) addr: Address,
    /// What a successor finds it by.
    name: String,
    /// The file of a Unix socket that is removed with it.
    file: Option<SocketFile>,
    handed_over: Arc<AtomicBool>,
}

/// The file of a Unix socket, which may be another one by now: the numbers tell.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(file) = &self.file else { return };
        let is_ours = SocketFile::of(&file.path)
            .is_ok_and(|now| (now.device, now.inode) == (file.device, file.inode));
        if is_ours && !self.handed_over.load(Ordering::Relaxed) {
            // Whoever removed it meanwhile did what was to be done.
            let _gone = fs::remove_file(&file.path);
        }
    }
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: found.dev(), inode: found.ino() })
    }
}

impl Sockets {
    /// Sockets of which some are open already.
    pub(super) fn inherited(inheritance: Inheritance, workers: u16) -> Self {
        let sockets = Self::default();
        let from_own_kind = inheritance.is_from_predecessor();
        let held = |(name, socket): (Option<String>, Socket)| {
            let addr = local_addr(&socket).ok()?;
            let nameless = if from_own_kind { "" } else { LENT };
            let name = name.unwrap_or_else(|| nameless.to_owned());
            let file = match &addr {
                Address::Unix(path) if name.is_empty() => SocketFile::of(path).ok(),
                _ => None,
            };
            let handed_over = Arc::clone(&sockets.handed_over);
            Some(Arc::new(Held { socket, addr, name, file, handed_over }))
        };
        let inherited = inheritance.into_sockets().into_iter().filter_map(held).collect();
        {
            let mut state = sockets.state();
            (state.inherited, state.workers) = (inherited, usize::from(workers).max(1));
        }
        sockets
    }

    /// The sockets for one worker at `place`: its own, or its part of those that are open.
    pub(super) fn open(&self, place: &Place) -> io::Result<Vec<Arc<Held>>> {
        let mut state = self.state();
        state.open.retain(|held| held.strong_count() > 0);
        let mut found = state.inherited_by(place);
        if found.is_empty() && matches!(place.addr, Address::Unix(_)) {
            let mut open = state.open.iter().filter_map(Weak::upgrade);
            found.extend(open.find(|held| held.addr == place.addr));
        }
        if found.is_empty() {
            found.push(Arc::new(self.listen(place)?));
        }
        for held in &found {
            if !state.open.iter().any(|open| std::ptr::eq(open.as_ptr(), Arc::as_ptr(held))) {
                state.open.push(Arc::downgrade(held));
            }
        }
        Ok(found)
    }

    /// Forgets what was inherited and nobody asked for. Returns where that was.
    pub(super) fn settle(&self) -> Vec<Address> {
        let inherited = std::mem::take(&mut self.state().inherited);
        let unclaimed = inherited.iter().filter(|held| Arc::strong_count(held) == 1);
        unclaimed.map(|held| held.addr.clone()).collect()
    }

    /// See [`Os::probe`](super::Os::probe).
    pub(super) fn probe(&self, place: &Place) -> io::Result<()> {
        let addr = match &place.addr {
            Address::Ip(addr) => *addr,
            Address::Unix(path) => return stale(path).map(drop),
        };
        let only_v6 = place.socket.ipv6_only;
        let alone = open(&place.addr, false, only_v6).and_then(|socket| socket.listen(1));
        let Err(error) = alone else { return Ok(()) };
        if error.kind() != io::ErrorKind::AddrInUse {
            return Err(error);
        }
        let ours = self.state().addresses();
        if ours.iter().any(|(ours, _)| *ours == addr) {
            return Err(io::Error::other(OURS));
        }
        // It may be ourselves who are in the way, at an address that has this one in it or is in it: both
        // of them may be listened at, and one of them is perhaps to go.
        let is_ours = |(ours, ours_only_v6): &(SocketAddr, bool)| {
            hears(*ours, *ours_only_v6, addr) || hears(addr, only_v6, *ours)
        };
        match ours.iter().any(is_ours) {
            true => open(&place.addr, true, only_v6).map(drop),
            false => Err(error),
        }
    }

    pub(super) fn legacy(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        let open: Vec<_> = self.state().open.iter().filter_map(Weak::upgrade).collect();
        open.iter().map(|held| Ok((held.name.clone(), held.socket.try_clone()?.into()))).collect()
    }

    pub(super) fn hand_over(&self) {
        self.handed_over.store(true, Ordering::Relaxed);
    }

    /// Opens a socket that nobody has.
    fn listen(&self, place: &Place) -> io::Result<Held> {
        let (socket, file) = match &place.addr {
            Address::Ip(_) => (open(&place.addr, true, place.socket.ipv6_only)?, None),
            Address::Unix(path) => {
                remove_stale(path)?;
                let socket = open(&place.addr, true, false)?;
                // Before it listens nobody can connect, whatever the file allows.
                fs::set_permissions(path, fs::Permissions::from_mode(place.socket.mode))?;
                (socket, Some(SocketFile::of(path)?))
            }
        };
        prepare(&socket, place)?;
        let addr = local_addr(&socket)?;
        let name = place.name.clone().unwrap_or_default();
        let handed_over = Arc::clone(&self.handed_over);
        Ok(Held { socket, addr, name, file, handed_over })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Where this process listens by IP, and whether to IPv6 alone.
    fn addresses(&self) -> Vec<(SocketAddr, bool)> {
        let open = self.open.iter().filter_map(Weak::upgrade);
        let held = self.inherited.iter().cloned().chain(open);
        // Who listens by IPv4 knows of no such thing.
        let only_v6 = |held: &Held| held.socket.only_v6().unwrap_or(false);
        held.filter_map(|held| Some((held.addr.ip()?, only_v6(&held)))).collect()
    }

    /// The part of the worker: every n-th of what was inherited for this place, where there are n
    /// workers; or one that it shares with another worker.
    fn inherited_by(&self, place: &Place) -> Vec<Arc<Held>> {
        let fits = |held: &&Arc<Held>| match &place.name {
            Some(name) => held.name == *name,
            None => held.addr == place.addr,
        };
        let all: Vec<_> = self.inherited.iter().filter(fits).collect();
        let worker = usize::from(place.worker);
        let mine: Vec<_> = all.iter().skip(worker).step_by(self.workers.max(1)).collect();
        let mine = match (mine.is_empty(), all.is_empty()) {
            (true, false) => vec![&all[worker % all.len()]],
            _ => mine,
        };
        let ready = mine.into_iter().filter(|held| prepare(&held.socket, place).is_ok());
        ready.map(|held| Arc::clone(held)).collect()
    }
}

/// Whether whoever listens at `wide` hears what comes to `addr`, which is another address.
fn hears(wide: SocketAddr, only_v6: bool, addr: SocketAddr) -> bool {
    let family = wide.is_ipv4() == addr.is_ipv4() || (wide.is_ipv6() && !only_v6);
    family && wide.ip().is_unspecified() && wide.port() == addr.port() && wide != addr
}

fn open(addr: &Address, shared: bool, ipv6_only: bool) -> io::Result<Socket> {
    let (name, domain, protocol) = match addr {
        Address::Ip(addr) => {
            (SockAddr::from(*addr), Domain::for_address(*addr), Some(Protocol::TCP))
        }
        Address::Unix(path) => (SockAddr::unix(path)?, Domain::UNIX, None),
    };
    let socket = Socket::new(domain, Type::STREAM, protocol)?;
    if let Address::Ip(addr) = addr {
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(shared)?;
        if addr.is_ipv6() {
            // Said either way: what it is otherwise, the system decides (net.ipv6.bindv6only).
            socket.set_only_v6(ipv6_only)?;
        }
    }
    socket.bind(&name)?;
    Ok(socket)
}

/// Bytes of an answer that may wait to be sent for the first time; what is on its way comes on top. The system
/// keeps up to 4 MiB (`net.ipv4.tcp_wmem`), and says that there is room again when a third of them is free:
/// more than a minute of a slow way, in which nobody can tell who reads from who does not, and whatever is said
/// to a stream of HTTP/2 waits behind what others have to take.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT_MAX: u32 = 128 << 10;

/// Sets what connections are to have on the socket that they come in by: the kernel hands it on, and
/// no call is spent on each of them.
fn prepare(socket: &Socket, place: &Place) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    if let Address::Ip(_) = place.addr {
        configure(&SockRef::from(socket), place.socket.tcp)?;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        socket.set_tcp_notsent_lowat(UNSENT_MAX)?;
    }
    socket.listen(i32::from(place.socket.backlog))
}

/// Sets what TCP does on a connection.
pub(super) fn configure(socket: &SockRef<'_>, tcp: Tcp) -> io::Result<()> {
    socket.set_tcp_nodelay(tcp.nodelay)?;
    if let Some(keepalive) = tcp.keepalive {
        let times = TcpKeepalive::new().with_time(keepalive.idle).with_interval(keepalive.interval);
        return socket.set_tcp_keepalive(&times.with_retries(keepalive.count));
    }
    Ok(())
}

pub(super) fn local_addr(socket: &Socket) -> io::Result<Address> {
    let addr = socket.local_addr()?;
    let path = || addr.as_pathname().map(|path| Address::Unix(path.to_owned()));
    let unknown = || io::Error::new(io::ErrorKind::InvalidInput, "it has no address");
    addr.as_socket().map(Address::Ip).or_else(path).ok_or_else(unknown)
}

/// Whether there is the file of a socket at which nobody listens any more.
///
/// # Errors
/// When somebody does, or when it is no socket.
fn stale(path: &Path) -> io::Result<bool> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        let said = "there is a file that is no socket; remove it or choose another path";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, said));
    }
    // Who has a full queue of those who wait, and accepts nobody, must not keep us.
    let client = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    client.set_nonblocking(true)?;
    match client.connect(&SockAddr::unix(path)?) {
        Ok(()) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
        // Its queue is full: somebody is there.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::ErrorKind::AddrInUse.into())
        }
        Err(error) => Err(error),
    }
}

fn remove_stale(path: &Path) -> io::Result<()> {
    if stale(path)? { fs::remove_file(path) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lb_config::config::{Socket as Said, TcpKeepAlive};
    use socket2::SockAddr;

    use super::*;

    #[test]
    fn connections_have_the_options_of_the_socket_that_they_came_in_by() {
        for (said, is) in [
            (Tcp::DEFAULT, (true, true)),
            (Tcp { nodelay: false, keepalive: None }, (false, false)),
        ] {
            let any = Address::Ip(([127, 0, 0, 1], 0).into());
            let place = Place { socket: Said { tcp: said, ..Said::DEFAULT }, ..Place::new(any) };
            let sockets = Sockets::default();
            let held = sockets.open(&place).unwrap().remove(0);
            let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let addr = SockAddr::from(held.addr.ip().unwrap());
            client.connect(&addr).unwrap();
            // The connection is there when connecting is over.
            let (stream, _) = held.socket.accept().unwrap();
            assert_eq!((stream.tcp_nodelay().unwrap(), stream.keepalive().unwrap()), is);
            assert_eq!(stream.tcp_notsent_lowat().unwrap(), UNSENT_MAX);
            if let Some(TcpKeepAlive { idle, interval, count }) = said.keepalive {
                assert_eq!(stream.tcp_keepalive_time().unwrap(), idle);
                assert_eq!(stream.tcp_keepalive_interval().unwrap(), interval);
                assert_eq!(stream.tcp_keepalive_retries().unwrap(), count);
                assert_eq!(idle + interval * count, Duration::from_secs(120));
            }
        }
    }
}
