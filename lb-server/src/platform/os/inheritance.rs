//! Sockets that were open before the process began, by the protocol of systemd: `LISTEN_FDS` of them,
//! from descriptor 3 on, with `LISTEN_FDNAMES` (`sd_listen_fds(3)`).
//!
//! systemd hands sockets over so that it can listen before the service runs. A process that gives way
//! to a newer binary does the same, with one more descriptor among them: a line to itself, on which it tells
//! what it has learned, and the successor says that it serves ([`Inheritance::predecessor`]).

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use listenfd::ListenFd;
use nix::libc::{AF_UNIX, SOCK_STREAM};
use socket2::Socket;

use super::Address;
use crate::state::STATE_BYTES_MAX;

/// What the line to a predecessor is called among the names of descriptors.
pub const PREDECESSOR: &str = "lb-predecessor";

/// What came with the process.
#[derive(Debug, Default)]
pub struct Inheritance {
    sockets: Vec<(Option<String>, Socket)>,
    predecessor: Option<UnixStream>,
    from_predecessor: bool,
}

impl Inheritance {
    /// What the environment says was inherited. Takes it from there, so that no child process finds
    /// it: call it once, before there are threads.
    ///
    /// # Errors
    /// When a descriptor is none of a listening socket.
    pub fn from_environment() -> io::Result<Self> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<&str> = names.split(':').collect();
        let mut given = ListenFd::from_env();
        let mut inherited = Self::default();
        for at in 0..given.len() {
            let name = names.get(at).copied().filter(|name| !name.is_empty());
            if name == Some(PREDECESSOR) {
                inherited.predecessor =
                    given.take_custom(at, AF_UNIX, SOCK_STREAM, "line to a predecessor")?;
                inherited.from_predecessor = true;
                continue;
            }
            let tcp = given.take_tcp_listener(at).map(|found| found.map(Socket::from));
            let socket = match tcp {
                Ok(socket) => socket,
                Err(_) => given.take_unix_listener(at)?.map(Socket::from),
            };
            inherited.sockets.extend(socket.map(|socket| (name.map(str::to_owned), socket)));
        }
        Ok(inherited)
    }

    /// Whether a process of the same kind waits for this one to serve.
    pub const fn is_from_predecessor(&self) -> bool {
        self.from_predecessor
    }

    /// The line to it.
    pub fn predecessor(&mut self) -> Option<Predecessor> {
        self.predecessor.take().map(Predecessor)
    }

    /// Where the sockets listen.
    pub fn addresses(&self) -> Vec<Address> {
        let addr = |(_, socket): &(_, Socket)| super::sockets::local_addr(socket).ok();
        self.sockets.iter().filter_map(addr).collect()
    }

    pub(super) fn into_sockets(self) -> Vec<(Option<String>, Socket)> {
        self.sockets
    }
}

/// Whoever gives way to this process as soon as it serves.
#[derive(Debug)]
pub struct Predecessor(UnixStream);

/// How long a predecessor may be silent while it tells what it has learned.
const SILENCE_MAX: Duration = Duration::from_secs(5);

impl Predecessor {
    /// What it has learned, as [`state::save`](crate::state::save) writes it. Asked for once, before anything
    /// is said to it.
    ///
    /// # Errors
    /// When it is gone, says nothing for some seconds, or too much.
    pub fn learned(&mut self) -> io::Result<Vec<u8>> {
        self.0.set_read_timeout(Some(SILENCE_MAX))?;
        let mut length = [0; 8];
        self.0.read_exact(&mut length)?;
        let length = usize::try_from(u64::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > STATE_BYTES_MAX {
            return Err(io::Error::other(format!("is longer than {STATE_BYTES_MAX} bytes")));
        }
        let mut learned = vec![0; length];
        self.0.read_exact(&mut learned)?;
        Ok(learned)
    }

    /// Tells it that this process serves.
    ///
    /// # Errors
    /// When it is gone.
    pub fn give_way(mut self) -> io::Result<()> {
        self.0.write_all(READY)
    }
}

/// What a successor says when it serves.
pub const READY: &[u8] = b"ready\n";
