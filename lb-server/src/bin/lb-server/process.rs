//! The life of the process: sockets, workers, signals, the end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use lb_config::Config;
use lb_server::platform::os::Os;
use lb_server::shutdown::{self, Shutdown, Trigger};
use lb_server::{AccessSink, Bound, Gateway, Listeners, Listening, WorkerOptions};
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use crate::{access, say};

/// Serves `config` until a signal says otherwise. `ready` is told where, once clients can connect.
pub(crate) fn serve(config: Config, ready: impl FnOnce(&Bound)) -> Result<(), String> {
    for addr in addresses(&config) {
        Os::probe(addr).map_err(|error| taken(addr, &error))?;
    }
    let count = config.server.workers.unwrap_or_else(cores);
    let count = u16::try_from(count).map_err(|_| format!("{count} workers are too many"))?;
    let (sink, writer) =
        access::open().map_err(|error| format!("cannot start a thread: {error}"))?;
    let sink = config.access_log.enabled.then_some(sink as Arc<dyn AccessSink>);
    let listeners = Listeners { access: sink, tap: None };
    let gateway = Gateway::new(Arc::new(Os::new()), config, listeners)
        .map_err(|error| format!("this configuration cannot be served: {error}"))?;

    let (trigger, shutdown) = shutdown::pair();
    let control = control_runtime().map_err(|error| format!("cannot start: {error}"))?;
    let (first, bound) =
        start(&gateway, WorkerOptions { index: 0, count, listeners: None }, &shutdown)?;
    let mut workers = vec![first];
    for index in 1..count {
        let listeners = Some(bound.listeners.clone());
        workers.push(start(&gateway, WorkerOptions { index, count, listeners }, &shutdown)?.0);
    }
    drop(gateway);
    announce(&bound);
    ready(&bound);

    control.block_on(until_stopped(trigger, workers))?;
    writer.join().map_err(|_| "the access log's thread panicked".to_owned())
}

fn addresses(config: &Config) -> impl Iterator<Item = SocketAddr> {
    let listeners = config.listeners.iter().map(|listener| listener.bind);
    listeners.chain(config.admin.map(|admin| admin.bind))
}

fn taken(addr: SocketAddr, error: &io::Error) -> String {
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

fn announce(bound: &Bound) {
    for addr in &bound.listeners {
        say(&format!("lb-server: listening at http://{addr}"));
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

/// Waits for the first signal to drain, for a second one to stop, and for the workers to end.
async fn until_stopped(trigger: Trigger, workers: Vec<JoinHandle<()>>) -> Result<(), String> {
    let listen = |kind| signal(kind).map_err(|error| format!("cannot hear signals: {error}"));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let (ended, mut all_ended) = tokio::sync::oneshot::channel();
    #[expect(
        clippy::disallowed_methods,
        reason = "joining threads blocks, and signals must be heard"
    )]
    let joining = Builder::new().name("join".to_owned()).spawn(move || {
        let panicked = workers.into_iter().filter_map(|worker| worker.join().err()).count();
        // Nobody waits any more when the process stops at once.
        let _unheard = ended.send(panicked);
    });
    joining.map_err(|error| format!("cannot start a thread: {error}"))?;
    loop {
        tokio::select! {
            biased;
            panicked = &mut all_ended => {
                return match panicked {
                    Ok(0) => Ok(()),
                    _ => Err("a worker panicked".to_owned()),
                };
            }
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if trigger.is_drained() {
            say("lb-server: stopping at once");
            trigger.stop();
        } else {
            say("lb-server: finishing what runs; once more to stop at once");
            trigger.drain();
        }
    }
}
