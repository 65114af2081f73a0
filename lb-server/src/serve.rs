//! One worker: listeners, client connections, and the end of both.
//!
//! A worker runs on one thread and shares nothing with the others but the [`Gateway`]. Every wait
//! has an end: a connection that says nothing is closed after `keep_alive_timeout`, one that does
//! not finish a head after `header_timeout`, and all of them `drain_timeout` after the process was
//! told to stop.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use lb_core::ExchangeId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::admin;
use crate::client::Client;
use crate::framing::{Guard, Limits};
use crate::gateway::Gateway;
use crate::platform::{Io, Listen};
use crate::pool::Pool;
use crate::probe;
use crate::proxy;
use crate::request_id::RequestId;
use crate::shutdown::{self, Phase, Shutdown};

/// What distinguishes one worker of a process from the others.
#[derive(Clone, Debug, Default)]
pub struct WorkerOptions {
    /// Which worker this is, counted from 0. Worker 0 serves the admin listener.
    pub index: u16,
    /// How many there are; 0 counts as 1.
    pub count: u16,
    /// Where to listen instead of where the configuration says: where worker 0 was
    /// [`Bound`], so that all share a port that the system chose.
    pub listeners: Option<Vec<SocketAddr>>,
}

/// Where a worker listens, once it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// In the order of the configuration.
    pub listeners: Vec<SocketAddr>,
    /// The admin listener, if there is one and this worker serves it.
    pub admin: Option<SocketAddr>,
}

/// A worker whose sockets are open: clients can connect, and nobody has accepted yet.
pub struct Listening {
    worker: Rc<Worker>,
    listeners: Vec<Box<dyn Listen>>,
    admin: Option<Box<dyn Listen>>,
    bound: Bound,
}

/// What the tasks of one worker share.
pub(crate) struct Worker {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) pool: Pool,
    options: WorkerOptions,
    exchanges: Cell<u64>,
    open: Cell<usize>,
    closed: Notify,
    /// Whether what still runs is cut short.
    cutting: Cell<bool>,
}

/// After a failed accept (out of file descriptors, say) trying at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Admin connections of one process.
const ADMIN_CONNECTIONS_MAX: usize = 64;

/// Opens the sockets of one worker, and serves on them until told to stop.
///
/// # Errors
/// When an address cannot be listened at.
pub async fn run(
    gateway: Arc<Gateway>,
    options: WorkerOptions,
    shutdown: Shutdown,
) -> io::Result<()> {
    Listening::open(gateway, options).await?.serve(shutdown).await;
    Ok(())
}

impl Listening {
    /// Opens the sockets of one worker.
    ///
    /// # Errors
    /// When an address cannot be listened at; the message names it.
    pub async fn open(gateway: Arc<Gateway>, options: WorkerOptions) -> io::Result<Self> {
        let said = gateway.config.listeners.iter().map(|said| said.bind);
        let mut listeners = Vec::new();
        for addr in options.listeners.clone().unwrap_or_else(|| said.collect()) {
            listeners.push(listen(&gateway, addr).await?);
        }
        let admin = match &gateway.config.admin {
            Some(said) if options.index == 0 => Some(listen(&gateway, said.bind).await?),
            _ => None,
        };
        let bound = Bound {
            listeners: listeners.iter().map(|it| it.local_addr()).collect::<Result<_, _>>()?,
            admin: admin.as_ref().map(|it| it.local_addr()).transpose()?,
        };
        let worker = Rc::new(Worker {
            pool: Pool::new(&gateway),
            gateway,
            options,
            exchanges: Cell::new(0),
            open: Cell::new(0),
            closed: Notify::new(),
            cutting: Cell::new(false),
        });
        Ok(Self { worker, listeners, admin, bound })
    }

    /// Where it listens.
    pub const fn bound(&self) -> &Bound {
        &self.bound
    }

    /// Serves until told to stop, then drains. Must run inside a `LocalSet`.
    pub async fn serve(self, mut shutdown: Shutdown) {
        let Self { worker, listeners, admin, .. } = self;
        let gateway = Arc::clone(&worker.gateway);
        let (stop, stopping) = shutdown::pair();
        for listener in listeners {
            let accepting = accept(
                Rc::clone(&worker),
                listener,
                Arc::clone(&gateway.places),
                Kind::Client,
                stopping.clone(),
            );
            tokio::task::spawn_local(accepting);
        }
        // The admin listener stays open during the drain: somebody may want to watch it.
        let (admin_stop, admin_stopping) = shutdown::pair();
        if let Some(listener) = admin {
            let places = Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX));
            let accepting =
                accept(Rc::clone(&worker), listener, places, Kind::Admin, admin_stopping);
            tokio::task::spawn_local(accepting);
        }
        let reaping = tokio::task::spawn_local(reap(Rc::clone(&worker)));
        // One worker checks for all.
        let checking = (worker.options.index == 0)
            .then(|| tokio::task::spawn_local(probe::run(Arc::clone(&gateway))));

        shutdown.reached(Phase::Draining).await;
        gateway.enter(Phase::Draining);
        stop.drain();
        let drain_timeout = gateway.config.server.drain_timeout;
        tokio::select! {
            biased;
            () = worker.all_closed() => {}
            () = sleep(drain_timeout) => {}
            () = shutdown.reached(Phase::Stopping) => {}
        }
        worker.cutting.set(true);
        stop.stop();
        admin_stop.stop();
        reaping.abort();
        checking.inspect(JoinHandle::abort);
        // What was told to stop does so at its next turn.
        tokio::task::yield_now().await;
    }
}

impl Worker {
    /// A name for the next exchange: unique in the process.
    pub(crate) fn next_request_id(&self) -> RequestId {
        let count = self.exchanges.get() + 1;
        self.exchanges.set(count);
        let exchange = ExchangeId((u64::from(self.options.index) << 48) | count);
        RequestId::new(self.gateway.platform.seed(), exchange)
    }

    /// Whether what still runs is cut short, since the process ends.
    pub(crate) fn is_cutting(&self) -> bool {
        self.cutting.get()
    }

    async fn all_closed(&self) {
        while self.open.get() > 0 {
            self.closed.notified().await;
        }
    }
}

async fn listen(gateway: &Gateway, addr: SocketAddr) -> io::Result<Box<dyn Listen>> {
    let opened = gateway.platform.listen(addr).await;
    opened
        .map_err(|error| io::Error::new(error.kind(), format!("cannot listen at {addr}: {error}")))
}

async fn reap(worker: Rc<Worker>) {
    loop {
        sleep(Pool::reap_every(&worker.gateway)).await;
        worker.pool.reap(&worker.gateway);
    }
}

/// Who connects.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Client,
    Admin,
}

/// Accepts while there is a place for one more in the whole process. A connection that finds none
/// waits for one, and those behind it in the kernel's queue.
async fn accept(
    worker: Rc<Worker>,
    mut listener: Box<dyn Listen>,
    places: Arc<Semaphore>,
    kind: Kind,
    mut stopping: Shutdown,
) {
    let told = stopping.clone();
    loop {
        let next = async {
            let accepted = listener.accept().await?;
            let place = Arc::clone(&places).acquire_owned().await;
            Ok::<_, io::Error>((accepted, place.expect("the semaphore is never closed")))
        };
        let accepted = tokio::select! {
            biased;
            () = stopping.reached(Phase::Draining) => return,
            next = next => next,
        };
        match accepted {
            Ok(((io, peer), place)) => {
                let serving = connection(Rc::clone(&worker), io, peer, place, kind, told.clone());
                tokio::task::spawn_local(serving);
            }
            Err(_) => {
                worker.gateway.metrics.accept_failures.add(1);
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection to its end.
async fn connection(
    worker: Rc<Worker>,
    io: Box<dyn Io>,
    peer: SocketAddr,
    _place: OwnedSemaphorePermit,
    kind: Kind,
    mut stopping: Shutdown,
) {
    let _open = (kind == Kind::Client).then(|| Open::new(&worker));
    let server = worker.gateway.config.server;
    let limits = Limits {
        bytes_max: server.header_bytes_max,
        lines_max: server.headers_max,
        timeout: server.header_timeout,
    };
    let (io, watch) = Guard::new(io, limits);
    let client = Client::new(peer, watch);
    let service = service_fn(|request| {
        let (worker, client) = (Rc::clone(&worker), Rc::clone(&client));
        async move {
            Ok::<_, std::convert::Infallible>(match kind {
                Kind::Client => proxy::respond(worker, client, request).await,
                Kind::Admin => admin::respond(worker, client, request).await,
            })
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Ours tell an idle connection from a slow head, and Date comes from the platform.
        .header_read_timeout(None)
        .auto_date_header(false)
        .max_headers(server.headers_max)
        .max_buf_size(server.header_bytes_max);
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service));
    let mut next = Phase::Draining;
    loop {
        tokio::select! {
            biased;
            // What goes wrong on a client's connection is the client's, and in the access log.
            _served = serving.as_mut() => return,
            () = stopping.reached(next) => {
                if next == Phase::Stopping {
                    return;
                }
                next = Phase::Stopping;
                serving.as_mut().graceful_shutdown();
            }
            () = client.silent(&server) => return,
        }
    }
}

/// A connection, counted while it is open.
struct Open(Rc<Worker>);

impl Open {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.open.set(worker.open.get() + 1);
        worker.gateway.connection_opened();
        Self(Rc::clone(worker))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.gateway.connection_closed();
        self.0.closed.notify_one();
    }
}
