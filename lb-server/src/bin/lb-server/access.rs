//! The access log on standard output: a bounded queue, and a thread that writes.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use lb_server::AccessSink;
use tokio::time::Instant;

use crate::patient::Patient;
use crate::say;

/// Lines that wait to be written. When more come than standard output takes, they are lost and
/// counted: a slow reader of the log must not slow down a request.
const LINES_MAX: usize = 16_384;

/// Where workers leave their lines.
pub(crate) struct Access {
    lines: SyncSender<Vec<u8>>,
    lost: Arc<AtomicU64>,
    waiting: Arc<AtomicU64>,
}

/// Opens the log. The thread ends when the last holder of the log is gone.
pub(crate) fn open() -> io::Result<(Arc<Access>, JoinHandle<()>)> {
    let (lines, queue) = sync_channel(LINES_MAX);
    let (waiting, lost) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut writer = Writer {
        waiting: Arc::clone(&waiting),
        lost: Arc::clone(&lost),
        cut: None,
        told: Told::default(),
    };
    #[expect(clippy::disallowed_methods, reason = "standard output has no asynchronous form")]
    let writer = Builder::new().name("access-log".to_owned()).spawn(move || {
        writer.write_all(&queue, &mut Patient(io::stdout().lock()));
    })?;
    Ok((Arc::new(Access { lines, lost, waiting }), writer))
}

/// Bytes that are written at once, give or take a line.
const BATCH_BYTES: usize = 64 * 1024;

/// Whoever writes. What cannot be written is lost and counted, and the next is tried again: disks have
/// room again, and who read the log comes back.
struct Writer {
    waiting: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
    /// Whether what was written last failed, and whether a line of it was cut then.
    cut: Option<bool>,
    told: Told,
}

/// How long nothing is said of a failure after another one: what takes a line now and then would be told of
/// with each.
const QUIET: Duration = Duration::from_secs(60);

/// What was said of failures.
#[derive(Default)]
struct Told {
    last: Option<Instant>,
    /// Whether it is said that lines are lost, and not yet that they are not.
    is_open: bool,
}

impl Told {
    /// Lines are lost at `now`. Whether that is to be said.
    fn fails(&mut self, now: Instant) -> bool {
        let is_quiet = self.last.is_some_and(|last| now < last + QUIET);
        if self.is_open || is_quiet {
            return false;
        }
        *self = Self { last: Some(now), is_open: true };
        true
    }

    /// Lines are written. Whether that is to be said.
    fn works(&mut self) -> bool {
        std::mem::take(&mut self.is_open)
    }
}

impl Writer {
    /// Writes what waits, as much of it at once as is there.
    fn write_all(&mut self, queue: &Receiver<Vec<u8>>, out: &mut impl Write) {
        let mut batch = Vec::new();
        while let Ok(first) = queue.recv() {
            let mut lines = 0;
            for line in std::iter::once(first).chain(queue.try_iter()) {
                batch.extend_from_slice(&line);
                lines += 1;
                if batch.len() >= BATCH_BYTES {
                    break;
                }
            }
            self.write(&batch, out);
            self.waiting.fetch_sub(lines, Ordering::Relaxed);
            batch.clear();
        }
    }

    /// Writes whole lines.
    fn write(&mut self, lines: &[u8], out: &mut impl Write) {
        let (mut left, mut failed) = (lines, None);
        // What is left of a line that was cut is none.
        let mut is_cut = self.cut == Some(true);
        if is_cut {
            failed = out.write_all(b"\n").err();
            is_cut = failed.is_some();
        }
        while failed.is_none() && !left.is_empty() {
            match out.write(left) {
                Ok(0) => failed = Some(io::ErrorKind::WriteZero.into()),
                Ok(wrote) => left = &left[wrote..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => failed = Some(error),
            }
        }
        let failed = failed.or_else(|| out.flush().err());
        let lost = left.split_inclusive(|byte| *byte == b'\n').count() as u64;
        let all = self.lost.fetch_add(lost, Ordering::Relaxed) + lost;
        match &failed {
            None if self.told.works() => {
                say(&format!("lb-server: the access log is written again; {all} lines are lost"));
            }
            Some(error) if self.told.fails(Instant::now()) => say(&format!(
                "lb-server: warning: the access log cannot be written: {error}; lines are lost until it can"
            )),
            None | Some(_) => {}
        }
        let begun = &lines[..lines.len() - left.len()];
        self.cut = failed.map(|_| begun.last().map_or(is_cut, |byte| *byte != b'\n'));
    }
}

impl Access {
    /// How many lines wait to be written, for whoever outlives the log.
    pub(crate) fn waiting(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.waiting)
    }
}

impl AccessSink for Access {
    fn line(&self, line: &[u8]) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // In one piece, since a successor of this process may write to the same file.
        if self.lines.try_send([line, b"\n"].concat()).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, and no more until there is room again.
    struct Disk {
        room: usize,
        written: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let taken = bytes.len().min(self.room);
            self.room -= taken;
            self.written.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn failures_are_told_of_once_a_minute_each_with_its_end() {
        let (mut told, began) = (Told::default(), Instant::now());
        let mut at = |seconds, fails| match fails {
            true => told.fails(began + Duration::from_secs(seconds)),
            false => told.works(),
        };
        assert!(!at(0, false), "nothing was wrong");
        assert_eq!([at(0, true), at(1, true), at(2, false)], [true, false, true]);
        assert_eq!([at(3, true), at(3, false), at(59, true), at(59, false)], [false; 4]);
        assert_eq!([at(60, true), at(200, true), at(200, false)], [true, false, true]);
    }

    #[test]
    fn what_a_full_disk_does_not_take_is_counted_and_what_comes_later_is_written() {
        let lost = Arc::new(AtomicU64::new(0));
        let (waiting, told) = (Arc::default(), Told::default());
        let mut writer = Writer { waiting, lost: Arc::clone(&lost), cut: None, told };
        let mut disk = Disk { room: 10, written: Vec::new() };
        writer.write(b"one\ntwo\nthree\nfour\n", &mut disk);
        assert_eq!((lost.load(Ordering::Relaxed), writer.cut), (2, Some(true)), "\"th\" is cut");
        writer.write(b"five\n", &mut disk);
        assert_eq!((lost.load(Ordering::Relaxed), writer.cut), (3, Some(true)));
        disk.room = 1;
        writer.write(b"six\n", &mut disk);
        assert_eq!((lost.load(Ordering::Relaxed), writer.cut), (4, Some(false)), "it is ended");
        disk.room = 100;
        writer.write(b"seven\n", &mut disk);
        writer.write(b"eight\n", &mut disk);
        assert_eq!((lost.load(Ordering::Relaxed), writer.cut), (4, None));
        assert_eq!(disk.written, b"one\ntwo\nth\nseven\neight\n");
    }
}
