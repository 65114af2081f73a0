//! How spans get to a collector: in batches, beside the traffic and never in its way.
//!
//! Whoever has a span gives it to an [`Exporter`] and goes on; one that finds the queue full is
//! dropped and counted. A single task, [`Export::run`], sends what is there. A batch that a collector
//! cannot take now is sent a few times more, and given up and counted then: what it missed is of little
//! use later, and keeping it would only put off the moment when the queue is full.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use lb_config::config::Tracing;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::send::{Sent, send};
use super::span::Span;
use crate::platform::Platform;

/// Spans that wait. Each has a dozen short texts: about 4 MiB in all.
const SPANS_MAX: usize = 4_096;
/// Spans that are sent at once.
const BATCH_MAX: usize = 512;
/// How long the first span of a batch waits for others.
const BATCH_WAIT: Duration = Duration::from_secs(5);
/// From asking for a connection to the end of the answer.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a batch is sent that the collector cannot take now, and how long it is left alone then: twice
/// as long each time, or as long as it asks for.
const SENDS_MAX: u32 = 4;
const SEND_AGAIN: Duration = Duration::from_secs(1);
const SEND_AGAIN_MAX: Duration = Duration::from_secs(30);

/// Where spans are handed in, from any thread. The task ends when nobody has one any more.
#[derive(Clone, Debug)]
pub(crate) struct Exporter {
    spans: mpsc::Sender<Span>,
    counts: Arc<Counts>,
    over: Arc<Notify>,
}

/// What became of the spans.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    waiting: AtomicU64,
    exported: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

/// A reading of [`Counts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exported {
    /// A collector took them.
    pub(crate) exported: u64,
    /// There was no room in the queue.
    pub(crate) dropped: u64,
    /// They could not be sent, or the collector did not want them.
    pub(crate) failed: u64,
}

/// The other end of the queue.
#[derive(Debug)]
pub(crate) struct Export {
    spans: mpsc::Receiver<Span>,
    batch: Vec<Span>,
    counts: Arc<Counts>,
    over: Arc<Notify>,
}

/// A queue of spans: where they go in and where they come out.
pub(crate) fn queue() -> (Exporter, Export) {
    let (sender, receiver) = mpsc::channel(SPANS_MAX);
    let (counts, over) = (Arc::<Counts>::default(), Arc::<Notify>::default());
    let exporter = Exporter { spans: sender, counts: Arc::clone(&counts), over: Arc::clone(&over) };
    (exporter, Export { spans: receiver, batch: Vec::new(), counts, over })
}

impl Exporter {
    /// Hands in a span. Never waits.
    pub(crate) fn offer(&self, span: Span) {
        self.counts.waiting.fetch_add(1, Relaxed);
        if self.spans.try_send(span).is_err() {
            self.counts.waiting.fetch_sub(1, Relaxed);
            self.counts.dropped.fetch_add(1, Relaxed);
        }
    }

    /// No more will come: what waits is sent at once, and the task ends.
    pub(crate) fn close(&self) {
        self.over.notify_one();
    }

    /// Nobody sends any more: what still waits has failed. Says how much that is.
    pub(crate) fn give_up(&self) -> u64 {
        let left = self.counts.waiting.swap(0, Relaxed);
        self.counts.failed.fetch_add(left, Relaxed);
        left
    }

    /// Where it is counted what becomes of them; whoever counts does not keep the queue open.
    pub(crate) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }
}

impl Counts {
    /// What became of all spans so far.
    pub(crate) fn read(&self) -> Exported {
        let Self { exported, dropped, failed, .. } = self;
        Exported {
            exported: exported.load(Relaxed),
            dropped: dropped.load(Relaxed),
            failed: failed.load(Relaxed),
        }
    }
}

impl Export {
    /// Sends spans until every [`Exporter`] is gone, or one said that no more will come, and the queue is
    /// empty; why some cannot be sent it `tells`. It may be dropped at any time and run again, for another
    /// collector: what waited then still does.
    pub(crate) async fn run(
        &mut self,
        platform: &dyn Platform,
        to: &Tracing,
        tells: &dyn Fn(&str),
    ) {
        loop {
            if self.batch.is_empty() && !self.take_more(None).await {
                return;
            }
            let due = Instant::now() + BATCH_WAIT;
            while self.batch.len() < BATCH_MAX && self.take_more(Some(due)).await {}
            if self.batch.is_empty() {
                continue;
            }
            let count = u64::try_from(self.batch.len()).expect("a batch is short");
            let taken = match self.send(platform, to).await {
                Ok(rejected) => count.saturating_sub(rejected),
                Err(why) => {
                    tells(&why);
                    0
                }
            };
            self.counts.waiting.fetch_sub(count, Relaxed);
            self.counts.exported.fetch_add(taken, Relaxed);
            self.counts.failed.fetch_add(count - taken, Relaxed);
            self.batch.clear();
        }
    }

    /// Ends when no more will come.
    pub(crate) async fn is_over(&self) {
        self.over.notified().await;
    }

    /// Adds to the batch what waits, or comes until `due`. Says whether more may come.
    async fn take_more(&mut self, due: Option<Instant>) -> bool {
        let room = BATCH_MAX - self.batch.len();
        let late = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            got = self.spans.recv_many(&mut self.batch, room) => got > 0,
            () = self.over.notified() => {
                self.spans.close();
                true
            }
            () = late => false,
        }
    }

    /// Sends the batch, and again while the collector cannot take it. Says how many spans of it were
    /// rejected, or why all of them were.
    async fn send(&self, platform: &dyn Platform, to: &Tracing) -> Result<u64, String> {
        let mut pause = SEND_AGAIN;
        for nth in 1.. {
            let sent = timeout(EXPORT_TIMEOUT, send(platform, to, &self.batch)).await;
            match sent {
                Ok(Sent::Taken { rejected }) => return Ok(rejected),
                Ok(Sent::Refused(why)) => return Err(why),
                Ok(Sent::NotNow { why, .. }) if nth == SENDS_MAX => return Err(why),
                Ok(Sent::NotNow { wait, .. }) => {
                    sleep(wait.unwrap_or(pause).min(SEND_AGAIN_MAX)).await;
                    pause *= 2;
                }
                // It may have them, and another time as many seconds would fill the queue.
                Err(_) => return Err(format!("has not answered within {EXPORT_TIMEOUT:?}")),
            }
        }
        unreachable!("the last time is the last")
    }
}
