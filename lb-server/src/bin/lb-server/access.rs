//! The access log on standard output: a bounded queue, and a thread that writes.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use lb_server::AccessSink;

/// Lines that wait to be written. When more come than standard output takes, they are lost and
/// counted: a slow reader of the log must not slow down a request.
const LINES_MAX: usize = 16_384;

/// Where workers leave their lines.
pub(crate) struct Access {
    lines: SyncSender<Vec<u8>>,
    lost: AtomicU64,
    waiting: Arc<AtomicU64>,
}

/// Opens the log. The thread ends when the last holder of the log is gone.
pub(crate) fn open() -> io::Result<(Arc<Access>, JoinHandle<()>)> {
    let (lines, queue) = sync_channel(LINES_MAX);
    let waiting = Arc::new(AtomicU64::new(0));
    let written = Arc::clone(&waiting);
    #[expect(clippy::disallowed_methods, reason = "standard output has no asynchronous form")]
    let writer = Builder::new().name("access-log".to_owned()).spawn(move || {
        // Nobody reads the log any more: what is left of it is lost.
        let _closed = write(&queue, &written);
    })?;
    Ok((Arc::new(Access { lines, lost: AtomicU64::new(0), waiting }), writer))
}

/// Writes what waits, and flushes whenever nothing does.
fn write(queue: &Receiver<Vec<u8>>, waiting: &AtomicU64) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    while let Ok(first) = queue.recv() {
        for line in std::iter::once(first).chain(queue.try_iter()) {
            out.write_all(&line)?;
            waiting.fetch_sub(1, Ordering::Relaxed);
        }
        out.flush()?;
    }
    Ok(())
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
