//! How spans get to a collector: in batches, beside the traffic and never in its way.
//!
//! Whoever has a span gives it to an [`Exporter`] and goes on; one that finds the queue full is
//! dropped and counted. A single task, [`Export::run`], sends what is there. A batch that cannot be
//! sent is given up and counted: what a collector missed is of little use later, and keeping it would
//! only put off the moment when the queue is full.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use lb_config::config::{Origin, Tracing};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::otlp;
use super::span::Span;
use crate::platform::{Io, Platform};

/// Spans that wait. Each has a dozen short texts: about 4 MiB in all.
const SPANS_MAX: usize = 4_096;
/// Spans that are sent at once.
const BATCH_MAX: usize = 512;
/// How long the first span of a batch waits for others.
const BATCH_WAIT: Duration = Duration::from_secs(5);
/// From asking for a connection to the end of the answer.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are looked at.
const ANSWER_BYTES_MAX: usize = 4_096;

/// Where spans are handed in, from any thread. The task ends when nobody has one any more.
#[derive(Clone, Debug)]
pub(crate) struct Exporter {
    spans: mpsc::Sender<Span>,
    counts: Arc<Counts>,
}

/// What became of the spans.
#[derive(Debug, Default)]
pub(crate) struct Counts {
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
}

/// A queue of spans: where they go in and where they come out.
pub(crate) fn queue() -> (Exporter, Export) {
    let (sender, receiver) = mpsc::channel(SPANS_MAX);
    let counts = Arc::<Counts>::default();
    let export = Export { spans: receiver, batch: Vec::new(), counts: Arc::clone(&counts) };
    (Exporter { spans: sender, counts }, export)
}

impl Exporter {
    /// Hands in a span. Never waits.
    pub(crate) fn offer(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            self.counts.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Where it is counted what becomes of them; whoever counts does not keep the queue open.
    pub(crate) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }
}

impl Counts {
    /// What became of all spans so far.
    pub(crate) fn read(&self) -> Exported {
        let Self { exported, dropped, failed } = self;
        Exported {
            exported: exported.load(Relaxed),
            dropped: dropped.load(Relaxed),
            failed: failed.load(Relaxed),
        }
    }
}

impl Export {
    /// Sends spans until every [`Exporter`] is gone and the queue is empty. It may be dropped at any
    /// time and run again, for another collector: what waited then still does.
    pub(crate) async fn run(&mut self, platform: &dyn Platform, to: &Tracing) {
        loop {
            if self.batch.is_empty() && self.spans.recv_many(&mut self.batch, BATCH_MAX).await == 0
            {
                return;
            }
            self.fill(Instant::now() + BATCH_WAIT).await;
            let sent = timeout(EXPORT_TIMEOUT, send(platform, to, &self.batch)).await;
            let count = u64::try_from(self.batch.len()).expect("a batch is short");
            let taken = match sent {
                Ok(Some(rejected)) => count.saturating_sub(rejected),
                Ok(None) | Err(_) => 0,
            };
            self.counts.exported.fetch_add(taken, Relaxed);
            self.counts.failed.fetch_add(count - taken, Relaxed);
            self.batch.clear();
        }
    }

    /// Waits until the batch is full, `due` is past, or nobody is left who could add to it.
    async fn fill(&mut self, due: Instant) {
        while self.batch.len() < BATCH_MAX {
            let room = BATCH_MAX - self.batch.len();
            tokio::select! {
                biased;
                got = self.spans.recv_many(&mut self.batch, room) => if got == 0 { return },
                () = sleep_until(due) => return,
            }
        }
    }
}

/// Sends a batch on a connection of its own: one in five seconds is not worth keeping. Says how many
/// the collector rejected; `None` if it did not take the batch at all.
async fn send(platform: &dyn Platform, to: &Tracing, batch: &[Span]) -> Option<u64> {
    let io = connect(platform, &to.endpoint).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.ok()?;
    let request = Request::builder()
        .method(Method::POST)
        .uri("/v1/traces")
        .header(header::HOST, authority(&to.endpoint))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("lb/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Full::new(Bytes::from(otlp::request(batch, &to.service_name))))
        .ok()?;
    // Both on this task: what ends the sending ends its connection.
    let asked = async {
        let response = sender.send_request(request).await.ok()?;
        response.status().is_success().then_some(())?;
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        // An answer that breaks off or goes on and on rejects nothing that we could read.
        Some(body.map_or(0, |body| otlp::rejected(&body.to_bytes())))
    };
    let mut asked = std::pin::pin!(asked);
    tokio::select! {
        biased;
        taken = &mut asked => taken,
        // It ends with the answer, which is there to be taken, or without one.
        _ended = connection => asked.await,
    }
}

async fn connect(platform: &dyn Platform, to: &Origin) -> io::Result<Box<dyn Io>> {
    let addresses = match to.host.parse::<IpAddr>() {
        Ok(ip) => vec![SocketAddr::new(ip, to.port)],
        Err(_) => platform.lookup(&to.host, to.port).await?,
    };
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for addr in addresses {
        match platform.dial(addr).await {
            Ok(io) => return Ok(io),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn authority(to: &Origin) -> String {
    match to.host.contains(':') {
        true => format!("[{}]:{}", to.host, to.port),
        false => format!("{}:{}", to.host, to.port),
    }
}
