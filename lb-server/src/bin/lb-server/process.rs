//! The life of the process: sockets, workers, signals, the end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use lb_config::Config;
use lb_server::platform::os::Os;
use lb_server::shutdown::{self, Shutdown, Trigger};
use lb_server::{AccessSink, Bound, Gateway, Listeners, Listening, WorkerOptions};
use nix::sys::signal::{SigSet, Signal};
use tokio::runtime;
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use crate::{access, say};

/// How long the rest of the access log may take to be written when everything else has ended.
const LOG_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves `config` until a signal says otherwise. `ready` is told where, once clients can connect.
pub(crate) fn serve(config: Config, ready: impl FnOnce(&Bound)) -> Result<(), String> {
    // First of all: a signal that nobody has asked to hear ends the process on the spot, and one that
    // comes while its handler is set up is lost. So it waits until somebody listens.
    let unheard = |error| format!("cannot hear signals: {error}");
    let held = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    held.thread_block().map_err(io::Error::from).map_err(unheard)?;
    let control = control_runtime().map_err(|error| format!("cannot start: {error}"))?;
    let signals = {
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
    let sink = config.access_log.enabled.then_some(access as Arc<dyn AccessSink>);
    let listeners = Listeners { access: sink, tap: None };
    let gateway = Gateway::new(Arc::new(Os::new()), config, listeners)
        .map_err(|error| format!("this configuration cannot be served: {error}"))?;

    let (trigger, shutdown) = shutdown::pair();
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

    control.block_on(async {
        let mut signals = signals;
        until_stopped(&mut signals, &trigger, join("workers", workers)?).await?;
        // Both ended with the workers: nobody holds the log any more but its writer.
        until_written(&mut signals, &trigger, join("log", vec![writer])?, &waiting).await
    })
}

fn addresses(config: &Config) -> impl Iterator<Item = SocketAddr> {
    let listeners = config.listeners.iter().map(|listener| listener.bind);
    listeners.chain(config.admin.as_ref().map(|admin| admin.bind))
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

/// The signals that ask a process to end, heard from the first moment on.
struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

impl Signals {
    fn hear() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Waits for threads to end on a thread of its own, since joining blocks and signals must be heard.
/// Says how many of them panicked.
fn join(name: &str, threads: Vec<JoinHandle<()>>) -> Result<oneshot::Receiver<usize>, String> {
    let (ended, all_ended) = oneshot::channel();
    #[expect(clippy::disallowed_methods, reason = "joining threads blocks")]
    let joining = Builder::new().name(format!("join-{name}")).spawn(move || {
        let panicked = threads.into_iter().filter_map(|thread| thread.join().err()).count();
        // Nobody waits any more when the process stops at once.
        let _unheard = ended.send(panicked);
    });
    joining.map(|_| all_ended).map_err(|error| format!("cannot start a thread: {error}"))
}

/// Waits for the first signal to drain, for a second one to stop, and for the workers to end.
async fn until_stopped(
    signals: &mut Signals,
    trigger: &Trigger,
    mut workers: oneshot::Receiver<usize>,
) -> Result<(), String> {
    loop {
        tokio::select! {
            biased;
            panicked = &mut workers => {
                return match panicked {
                    Ok(0) => Ok(()),
                    _ => Err("a worker panicked".to_owned()),
                };
            }
            () = signals.next() => {}
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

/// Waits until the rest of the access log is written, for a bounded time or until another signal:
/// whoever reads standard output may have stopped reading.
async fn until_written(
    signals: &mut Signals,
    trigger: &Trigger,
    mut writer: oneshot::Receiver<usize>,
    waiting: &AtomicU64,
) -> Result<(), String> {
    let given_up = tokio::time::sleep(LOG_TIMEOUT);
    tokio::pin!(given_up);
    loop {
        tokio::select! {
            biased;
            panicked = &mut writer => {
                return match panicked {
                    Ok(0) => Ok(()),
                    _ => Err("the access log's thread panicked".to_owned()),
                };
            }
            () = &mut given_up => break,
            () = signals.next() => {
                if trigger.is_drained() {
                    break;
                }
                trigger.drain();
            }
        }
    }
    let lost = waiting.load(Ordering::Relaxed);
    say(&format!("lb-server: nobody reads the access log; its last {lost} lines are lost"));
    Ok(())
}
