//! Where bytes lie on their way from one socket to another that nobody looks at: in the kernel, in a pipe, as the
//! pages that they came in (splice(2)).
//!
//! A pipe is taken for each piece, and comes back when the piece has gone out, so a connection that waits has
//! none. Without one, whether there may be no more or the system has none, a piece is read and written instead.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

/// Bytes that are moved at once.
const PIECE_BYTES: usize = 256 * 1024;
/// Pages that a pipe has room for. A piece takes one for each part of it that came by itself, however small.
const PAGES: usize = 64;
/// Pipes that a worker may have, each of two descriptors. A piece lies in one for as long as its client takes. Other
/// systems than Linux have none that would do.
pub const PIPES_MAX: usize =
    if cfg!(any(target_os = "linux", target_os = "android")) { 64 } else { 0 };
/// Of these, that it keeps while nobody uses them.
pub const SPARE_PIPES_MAX: usize = 16;
/// How long nobody asks for a pipe after there was none to be had.
const REFUSED_FOR: Duration = Duration::from_secs(1);

thread_local! {
    static PIPES: Pipes = const {
        Pipes { spare: RefCell::new(Vec::new()), count: Cell::new(0), refused: Cell::new(None) }
    };
}

/// The pipes of a thread.
struct Pipes {
    spare: RefCell<Vec<Ends>>,
    /// How many there are, with those in use.
    count: Cell<usize>,
    /// When the system had none.
    refused: Cell<Option<Instant>>,
}

struct Ends {
    reads: OwnedFd,
    writes: OwnedFd,
}

/// A piece that lies in a pipe of its own.
pub struct Pipe {
    ends: Option<Ends>,
    held: usize,
}

impl Pipe {
    /// An empty one, if there may be another.
    pub(crate) fn take() -> Option<Self> {
        PIPES.with(|pipes| {
            let spare = pipes.spare.borrow_mut().pop();
            let ends = spare.or_else(|| pipes.open())?;
            Some(Self { ends: Some(ends), held: 0 })
        })
    }

    /// Whether there is probably one for whoever asks.
    pub(crate) fn can_be_had() -> bool {
        PIPES.with(|pipes| !pipes.spare.borrow().is_empty() || pipes.may_open())
    }

    /// How many bytes are in it.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    fn ends(&self) -> &Ends {
        self.ends.as_ref().expect("they are taken by whoever drops it")
    }

    /// Moves into it what has come on a socket, and so much at most.
    pub(super) fn fill(&mut self, from: impl AsFd, most: usize) -> io::Result<usize> {
        let moved = system::splice(from, &self.ends().writes, most.min(PIECE_BYTES - self.held))?;
        self.held += moved;
        Ok(moved)
    }

    /// Moves what is in it to a socket, as far as there is room.
    pub(super) fn drain(&mut self, to: impl AsFd) -> io::Result<usize> {
        let moved = system::splice(&self.ends().reads, to, self.held)?;
        self.held -= moved;
        Ok(moved)
    }

    /// What is in it, for whoever cannot be sent it as it is.
    pub(crate) fn read(mut self) -> io::Result<Bytes> {
        let bytes = system::read(&self.ends().reads, self.held)?;
        self.held -= bytes.len();
        Ok(bytes.into())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let Some(ends) = self.ends.take() else { return };
        // A thread that ends keeps nothing.
        let _ended = PIPES.try_with(|pipes| pipes.put(ends, self.held == 0));
    }
}

impl Pipes {
    fn may_open(&self) -> bool {
        let is_refused = |at: Instant| at.elapsed() < REFUSED_FOR;
        self.count.get() < PIPES_MAX && !self.refused.get().is_some_and(is_refused)
    }

    fn open(&self) -> Option<Ends> {
        if !self.may_open() {
            return None;
        }
        let opened = system::open();
        match opened {
            Some(_) => self.count.set(self.count.get() + 1),
            None => self.refused.set(Some(Instant::now())),
        }
        opened
    }

    /// Takes back what is empty. Of the rest nobody wants anything.
    fn put(&self, ends: Ends, is_empty: bool) {
        let mut spare = self.spare.borrow_mut();
        if is_empty && spare.len() < SPARE_PIPES_MAX {
            spare.push(ends);
        } else {
            self.count.set(self.count.get() - 1);
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::io;
    use std::os::fd::AsFd;

    use nix::errno::Errno;
    use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl};
    use nix::unistd::{SysconfVar, pipe2, sysconf};

    use super::{Ends, PAGES};

    /// None, where there are no descriptors left, or the user has as many pages in pipes as may be (pipe(7)).
    pub(super) fn open() -> Option<Ends> {
        let page = sysconf(SysconfVar::PAGE_SIZE).ok()??;
        let bytes = i32::try_from(page).ok()?.checked_mul(i32::try_from(PAGES).ok()?)?;
        let (reads, writes) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).ok()?;
        // A smaller one would take more calls than it saves.
        fcntl(&writes, FcntlArg::F_SETPIPE_SZ(bytes)).ok()?;
        Some(Ends { reads, writes })
    }

    pub(super) fn read(from: impl AsFd, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        let mut at = 0;
        while at < count {
            match nix::unistd::read(&from, &mut bytes[at..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => at += read,
            }
        }
        Ok(bytes)
    }

    pub(super) fn splice(from: impl AsFd, to: impl AsFd, most: usize) -> io::Result<usize> {
        let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
        nix::fcntl::splice(from, None, to, None, most, flags).map_err(|errno| match errno {
            // There are sockets, and systems, that cannot do it.
            Errno::EINVAL | Errno::ENOSYS | Errno::EPERM => io::ErrorKind::Unsupported.into(),
            errno => errno.into(),
        })
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    use std::io;
    use std::os::fd::AsFd;

    use super::Ends;

    pub(super) fn open() -> Option<Ends> {
        None
    }

    pub(super) fn read(_from: impl AsFd, _count: usize) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn splice(_from: impl AsFd, _to: impl AsFd, _most: usize) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_pipes_and_those_that_are_empty_are_used_again() {
        let all: Vec<_> = (0..PIPES_MAX).map_while(|_| Pipe::take()).collect();
        assert_eq!(all.len(), PIPES_MAX, "a test's process may have so many");
        assert!(Pipe::take().is_none());
        drop(all);
        let count = || PIPES.with(|pipes| (pipes.spare.borrow().len(), pipes.count.get()));
        assert_eq!(count(), (SPARE_PIPES_MAX, SPARE_PIPES_MAX), "and keeps few that nobody uses");
        let mut pipe = Pipe::take().unwrap();
        let (hears, mut says) = io::pipe().unwrap();
        io::Write::write_all(&mut says, b"piece").unwrap();
        assert_eq!((pipe.fill(&hears, 3).unwrap(), pipe.held()), (3, 3));
        drop(pipe);
        assert_eq!(
            count(),
            (SPARE_PIPES_MAX - 1, SPARE_PIPES_MAX - 1),
            "what is in it goes with it"
        );
    }
}
