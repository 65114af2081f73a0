//! Where something is written that may be full for a while: whoever writes waits.
//!
//! Standard output and standard error are shared, and whoever shares them may have said that a write is
//! not to wait (`O_NONBLOCK`, which is the pipe's and not the process's). That is no reason to lose a line.

use std::io::{self, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Waits for room as long as it takes, as a write does by itself that nobody forbade to. Whoever must not
/// wait has a thread for it, and says how long it may take to end.
pub(crate) struct Patient<W>(pub(crate) W);

impl<W: Write + AsFd> Patient<W> {
    fn until_done<T>(&mut self, write: impl Fn(&mut W) -> io::Result<T>) -> io::Result<T> {
        loop {
            match write(&mut self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut full = [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)];
                    // If it cannot be waited for, or a signal came, the next write says so.
                    poll(&mut full, PollTimeout::NONE)?;
                }
                done => return done,
            }
        }
    }
}

impl<W: Write + AsFd> Write for Patient<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.until_done(|out| out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.until_done(Write::flush)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use nix::fcntl::{FcntlArg, OFlag, fcntl};

    use super::*;

    #[test]
    fn what_may_not_wait_is_waited_for() {
        let (mut reader, out) = io::pipe().unwrap();
        fcntl(&out, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let bytes = vec![b'x'; 1 << 20];
        #[expect(clippy::disallowed_methods, reason = "the other end has to be read meanwhile")]
        let writing = std::thread::spawn(move || Patient(out).write_all(&bytes));
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        writing.join().unwrap().unwrap();
        assert_eq!(read.len(), 1 << 20);
    }
}
