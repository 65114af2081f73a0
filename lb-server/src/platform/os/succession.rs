//! A process in place of this one: the same program, perhaps a newer build of it, that begins with this
//! one's listening sockets, and with what this one has learned about backends.
//!
//! The sockets are never closed in between, and the connections that wait in them neither: both
//! processes accept until the successor says that it serves, and then it alone. Until it says so nothing has
//! changed here, so a successor that cannot start costs nothing.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Line;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use bytes::{Buf, Bytes};
use command_fds::{CommandFdExt, FdMapping};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep, timeout_at};

use super::Os;
use super::inheritance::{PREDECESSOR, READY};

/// A process that is to take this one's place.
#[derive(Debug)]
pub struct Successor {
    child: Child,
    line: OwnedReadHalf,
    heard: Vec<u8>,
    tells: OwnedWriteHalf,
    /// What it has not been told yet of what was learned.
    untold: Bytes,
    until: Instant,
}

/// How long a successor may take to serve. It opens sockets and reads a file.
const START_MAX: Duration = Duration::from_secs(60);
/// How long one that has given up may take to end, and how often it is asked whether it has.
const LAST_WORDS_MAX: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Where inherited descriptors begin (`SD_LISTEN_FDS_START`).
const FIRST: i32 = 3;

impl Successor {
    /// Starts `program` with the sockets of `os`, to begin with what was `learned`. Must run inside a runtime.
    ///
    /// # Errors
    /// When it cannot be started, or there are no descriptors left.
    pub fn start(
        os: &Os,
        program: &Path,
        args: impl IntoIterator<Item = OsString>,
        learned: &[u8],
    ) -> io::Result<Self> {
        let (ours, theirs) = Line::pair()?;
        ours.set_nonblocking(true)?;
        let mut legacy = os.legacy()?;
        legacy.push((PREDECESSOR.to_owned(), theirs.into()));
        let (names, descriptors): (Vec<String>, Vec<OwnedFd>) = legacy.into_iter().unzip();
        let mut command = Command::new(program);
        command
            .args(args)
            .env("LISTEN_FDS", descriptors.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            // It would have to name a process that does not exist yet.
            .env_remove("LISTEN_PID");
        let mapping = |(parent_fd, child_fd)| FdMapping { parent_fd, child_fd };
        command
            .fd_mappings(descriptors.into_iter().zip(FIRST..).map(mapping).collect())
            .expect("each descriptor has a number of its own");
        // With the command goes our end of their descriptors.
        let child = command.spawn()?;
        drop(command);
        let (line, tells) = UnixStream::from_std(ours)?.into_split();
        let untold = [&(learned.len() as u64).to_be_bytes(), learned].concat().into();
        let until = Instant::now() + START_MAX;
        Ok(Self { child, line, heard: Vec::new(), tells, untold, until })
    }

    /// Waits until it serves, and says which process it is. May be dropped and called again.
    ///
    /// # Errors
    /// Why it does not, and never will: it was ended then.
    pub async fn serves(&mut self) -> Result<u32, String> {
        let why = loop {
            tokio::select! {
                biased;
                heard = timeout_at(self.until, self.line.read_buf(&mut self.heard)) => match heard {
                    Ok(Ok(_)) if self.heard == READY => return Ok(self.child.id()),
                    Ok(Ok(1..)) if self.heard.len() < READY.len() => {}
                    Ok(_) => break "it ended before it served".to_owned(),
                    Err(_) => break format!("it did not serve within {START_MAX:?}"),
                },
                told = self.tells.write_buf(&mut self.untold), if self.untold.has_remaining() => {
                    if told.is_err() {
                        // It is about to end, or wants to know nothing.
                        self.untold.clear();
                    }
                }
            }
        };
        Err(match self.last_words().await {
            Ok(status) => format!("{why} ({status})"),
            Err(error) => format!("{why}, and cannot be ended: {error}"),
        })
    }

    /// Waits for a moment until it has ended by itself, since it may be about to say why; then ends it.
    async fn last_words(&mut self) -> io::Result<ExitStatus> {
        let until = Instant::now() + LAST_WORDS_MAX;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            sleep(LOOK_EVERY).await;
        }
        self.end()
    }

    /// Ends it, whatever it does.
    ///
    /// # Errors
    /// When it cannot be.
    pub fn end(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }
}
