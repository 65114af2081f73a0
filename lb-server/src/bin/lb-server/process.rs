//! The life of the process: sockets, workers, the end.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use lb_config::Config;
use lb_server::platform::os::Os;
use lb_server::shutdown::{self, Shutdown};
use lb_server::{
    AccessSink, Bound, Gateway, Listeners, Listening, RELOAD_CALLS_MAX, WorkerOptions,
};
use nix::sys::signal::{SigSet, Signal};
use tokio::runtime;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::control::{Control, Signals, join, until_written};
use crate::{access, say};

/// Serves `config`, which came from `file` if it came from any, until a signal says otherwise.
/// `ready` is told where, once clients can connect.
pub(crate) fn serve(
    config: Config,
    file: Option<PathBuf>,
    ready: impl FnOnce(&Bound),
) -> Result<(), String> {
    // First of all: a signal that nobody has asked to hear ends the process on the spot, and one that
    // comes while its handler is set up is lost. So it waits until somebody listens.
    let unheard = |error| format!("cannot hear signals: {error}");
    let held = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    held.thread_block().map_err(io::Error::from).map_err(unheard)?;
    let control = control_runtime().map_err(|error| format!("cannot start: {error}"))?;
    let mut signals = {
        let _inside = control.enter();
        Signals::hear().map_err(unheard)?
    };
    held.thread_unblock().map_err(io::Error::from).map_err(unheard)?;
    for addr in addresses(&config) {
        Os::probe(addr).map_err(|error| taken(addr, &error))?;
    }
    let count = config.server.workers.unwrap_or_else(cores);
    let count = u16::try_from(count).map_err(|_| format!("{count} workers are too many"))?;
    let (access, writer) =
        access::open().map_err(|error| format!("cannot start a thread: {error}"))?;
    let waiting = access.waiting();
    let (reloads, calls) = mpsc::channel(RELOAD_CALLS_MAX);
    let listeners = Listeners {
        access: Some(access as Arc<dyn AccessSink>),
        tap: None,
        reloads: Some(reloads),
    };
    let gateway = Gateway::new(Arc::new(Os::new()), config, listeners)
        .map_err(|error| format!("this configuration cannot be served: {error}"))?;

    gateway.snapshot().warnings().iter().for_each(|warning| say(warning));

    let (trigger, shutdown) = shutdown::pair();
    let (first, bound) = start(&gateway, WorkerOptions { index: 0 }, &shutdown)?;
    let mut workers = vec![first];
    for index in 1..count {
        workers.push(start(&gateway, WorkerOptions { index }, &shutdown)?.0);
    }
    announce(&gateway, &bound);
    ready(&bound);

    control.block_on(async {
        let told = Control { gateway, trigger, signals, calls, file };
        let trigger;
        (signals, trigger) = told.run(join("workers", workers)?).await?;
        // Both ended with the workers: nobody holds the log any more but its writer.
        until_written(&mut signals, &trigger, join("log", vec![writer])?, &waiting).await
    })
}

/// Where `config` listens.
pub(crate) fn addresses(config: &Config) -> impl Iterator<Item = SocketAddr> {
    let listeners = config.listeners.iter().map(|listener| listener.bind);
    listeners.chain(config.admin.as_ref().map(|admin| admin.bind))
}

/// Why nobody can listen at `addr`, and what to do.
pub(crate) fn taken(addr: SocketAddr, error: &io::Error) -> String {
    let other = SocketAddr::new(addr.ip(), addr.port().saturating_add(1));
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "cannot listen at {addr}: somebody else does; \
             choose another in the configuration (bind = \"{other}\"), \
             or for the demo with --listen or --admin {other}"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "cannot listen at {addr}: not allowed; \
             ports below 1024 need a privilege (CAP_NET_BIND_SERVICE), or choose a higher one"
        ),
        _ => format!("cannot listen at {addr}: {error}"),
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn control_runtime() -> io::Result<runtime::Runtime> {
    runtime::Builder::new_current_thread().enable_all().build()
}

fn announce(gateway: &Gateway, bound: &Bound) {
    let snapshot = gateway.snapshot();
    for (addr, listener) in bound.listeners.iter().zip(&snapshot.config().listeners) {
        let scheme = if listener.tls.is_some() { "https" } else { "http" };
        say(&format!("lb-server: listening at {scheme}://{addr}"));
    }
    if let Some(addr) = bound.admin {
        say(&format!("lb-server: admin at http://{addr}"));
    }
}

/// Starts a worker on a thread of its own, and waits until it listens.
fn start(
    gateway: &Arc<Gateway>,
    options: WorkerOptions,
    shutdown: &Shutdown,
) -> Result<(JoinHandle<()>, Bound), String> {
    let (told, hear) = sync_channel(1);
    let (gateway, shutdown) = (Arc::clone(gateway), shutdown.clone());
    let name = format!("worker-{}", options.index);
    #[expect(clippy::disallowed_methods, reason = "a worker is a thread")]
    let thread = Builder::new()
        .name(name.clone())
        .spawn(move || work(gateway, options, shutdown, &told))
        .map_err(|error| format!("cannot start {name}: {error}"))?;
    match hear.recv() {
        Ok(Ok(bound)) => Ok((thread, bound)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("{name} panicked before it listened")),
    }
}

fn work(
    gateway: Arc<Gateway>,
    options: WorkerOptions,
    shutdown: Shutdown,
    told: &SyncSender<io::Result<Bound>>,
) {
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tell(told, Err(error)),
    };
    LocalSet::new().block_on(&runtime, async {
        match Listening::open(gateway, options).await {
            Ok(listening) => {
                tell(told, Ok(listening.bound().clone()));
                listening.serve(shutdown).await;
            }
            Err(error) => tell(told, Err(error)),
        }
    });
}

fn tell(told: &SyncSender<io::Result<Bound>>, what: io::Result<Bound>) {
    told.send(what).expect("who starts a worker waits until it listens");
}
