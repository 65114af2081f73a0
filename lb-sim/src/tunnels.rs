//! Clients that switch to another protocol, and talk on that connection until the run is over.
//!
//! What they speak is as plain as can be: the origin says every word again. To the proxy it is what
//! WebSocket is, bytes after a 101 that are nobody's business but the two sides'.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use lb_core::ExchangeId;
use lb_server::platform::{Io, Platform, Tcp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use crate::arrivals::START;
use crate::client::request_id;
use crate::log::{Log, TunnelEnd, What};
use crate::scenario::{self, Scenario};

/// What they speak.
pub(crate) const ECHO: HeaderValue = HeaderValue::from_static("echo");

/// All tunnels of a run.
pub(crate) struct Tunnels {
    said: scenario::Tunnels,
    host: String,
    /// How long a client waits for a word.
    patience: Duration,
    until: Duration,
    world: Arc<dyn Platform>,
    proxy: (String, u16),
    log: Log,
    open: Cell<u32>,
}

impl Tunnels {
    /// The tunnels of `scenario`, whose clients reach the proxy at `proxy`.
    pub(crate) fn new(
        said: scenario::Tunnels,
        scenario: &Scenario,
        world: Arc<dyn Platform>,
        proxy: (&str, u16),
        log: Log,
    ) -> Rc<Self> {
        Rc::new(Self {
            said,
            host: scenario.workload.host.clone(),
            patience: scenario.workload.timeout,
            until: scenario.duration,
            world,
            proxy: (proxy.0.to_owned(), proxy.1),
            log,
            open: Cell::new(said.count),
        })
    }

    /// Tunnels that have not come to their end, or not even begun.
    pub(crate) fn open(&self) -> u32 {
        self.open.get()
    }

    /// Opens all of them, one after the other.
    pub(crate) async fn run(self: Rc<Self>) -> turmoil::Result {
        let start = Instant::now();
        for tunnel in 0..self.said.count {
            sleep_until(start + START + self.said.over * tunnel / self.said.count).await;
            tokio::task::spawn_local(Rc::clone(&self).hold(tunnel, start + self.until));
        }
        std::future::pending().await
    }

    async fn hold(self: Rc<Self>, tunnel: u32, until: Instant) {
        let words = Cell::new(0);
        let end = match timeout(self.patience, self.open_one()).await {
            Ok(Some((io, exchange))) => {
                self.log.write(What::TunnelOpened { tunnel, exchange });
                self.talk(io, until, &words).await
            }
            Ok(None) | Err(_) => TunnelEnd::Refused,
        };
        self.log.write(What::TunnelEnded { tunnel, end, words: words.get() });
        self.open.set(self.open.get() - 1);
    }

    /// A connection on which the other protocol is spoken.
    async fn open_one(&self) -> Option<(Box<dyn Io>, Option<ExchangeId>)> {
        let (host, port) = &self.proxy;
        let addr = *self.world.lookup(host, *port).await.ok()?.first()?;
        let io = self.world.dial(addr.into(), Tcp::DEFAULT).await.ok()?;
        let (mut sender, mut connection) = handshake(TokioIo::new(io)).await.ok()?;
        let request = Request::builder()
            .uri("/")
            .header(header::HOST, &self.host)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, ECHO)
            .body(Empty::<Bytes>::new())
            .expect("a request of valid parts");
        let wire = tokio::task::spawn_local(async move {
            // HTTP ends on it with the answer, and the connection stays.
            let _ended = (&mut connection).await;
            connection.into_parts()
        });
        let response = sender.send_request(request).await.ok()?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return None;
        }
        let parts = wire.await.ok()?;
        // Nobody says anything before he is spoken to.
        let io = parts.read_buf.is_empty().then(|| parts.io.into_inner())?;
        Some((io, request_id(&response).map(|id| id.exchange())))
    }

    /// Says a word, and hears it again, until it is time to go.
    async fn talk(&self, mut io: Box<dyn Io>, until: Instant, words: &Cell<u32>) -> TunnelEnd {
        let mut next = Instant::now();
        while next < until {
            tokio::select! {
                biased;
                () = sleep_until(next) => {}
                // Nobody says anything before he is spoken to, but he may leave.
                said = io.read_u8() => match said {
                    Ok(_) => return TunnelEnd::Garbled,
                    Err(_) => return TunnelEnd::CutOff,
                },
            }
            next += self.said.every;
            // One that comes back too late is not taken for the next.
            let letter = b'a' + u8::try_from(words.get() % 26).expect("a letter of 26");
            let word = vec![letter; self.said.word];
            match timeout(self.patience, repeated(&mut io, &word)).await {
                Ok(Some(true)) => words.set(words.get() + 1),
                Ok(None) => return TunnelEnd::CutOff,
                Ok(Some(false)) | Err(_) => return TunnelEnd::Garbled,
            }
        }
        let gone = async {
            io.shutdown().await.ok()?;
            // The other side goes as well, without another word.
            io.read(&mut [0]).await.ok().filter(|bytes| *bytes == 0)
        };
        match timeout(self.patience, gone).await {
            Ok(Some(_)) => TunnelEnd::Done,
            Ok(None) => TunnelEnd::CutOff,
            Err(_) => TunnelEnd::Garbled,
        }
    }
}

/// Whether `word` comes back as it was. `None`: the connection ends.
async fn repeated(io: &mut Box<dyn Io>, word: &[u8]) -> Option<bool> {
    io.write_all(word).await.ok()?;
    let mut heard = vec![0; word.len()];
    io.read_exact(&mut heard).await.ok()?;
    Some(heard == word)
}

/// Says every word again, until there are no more.
pub(crate) async fn echo(mut io: Box<dyn Io>, begun: Bytes) {
    let mut piece = begun.to_vec();
    loop {
        if io.write_all(&piece).await.is_err() {
            return;
        }
        piece.clear();
        if !matches!(io.read_buf(&mut piece).await, Ok(1..)) {
            break;
        }
    }
    let _gone = io.shutdown().await;
}
