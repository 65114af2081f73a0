//! The life of the process: sockets, workers, the end.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use lb_config::Config;
use lb_config::config::{Address, Listener};
use lb_server::platform::Place;
use lb_server::platform::os::Os;
use lb_server::platform::os::inheritance::Inheritance;
use lb_server::shutdown::{self, Shutdown};
use lb_server::{
    AccessSink, Bound, Gateway, Listeners, Listening, Platform, RELOAD_CALLS_MAX, RecordSink,
    WorkerOptions,
};
use tokio::runtime;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::control::{Control, Seen, join, until_written, written};
use crate::notices::Said;
use crate::signals::Signals;
use crate::upgrade::Upgrade;
use crate::{access, descriptors, memory, record, say, upgrade};

/// Serves `config`, which came from `file` if it came from any, until a signal says otherwise.
/// `ready` is told where, once clients can connect.
pub(crate) fn serve(
    config: Config,
    file: Option<PathBuf>,
    mut inheritance: Inheritance,
    ready: impl FnOnce(&Bound),
) -> Result<(), String> {
    let program = upgrade::program();
    let control = control_runtime().map_err(|error| format!("cannot start: {error}"))?;
    let mut signals = {
        let _inside = control.enter();
        Signals::hear().map_err(|error| format!("cannot hear signals: {error}"))?
    };
    let seen = file.as_deref().map(Seen::of);
    let limit = descriptors::raise();
    descriptors::warn_if_few(limit, &config);
    let count = config.server.workers.unwrap_or_else(cores);
    let count = u16::try_from(count).map_err(|_| format!("{count} workers are too many"))?;
    let (mut predecessor, inherited) = (inheritance.predecessor(), inheritance.addresses());
    let os = Arc::new(Os::heir(inheritance, count));
    check_free(&config, &os, &inherited)?;
    record::check(config.record.as_ref())?;
    let (access, writer) =
        access::open().map_err(|error| format!("cannot start a thread: {error}"))?;
    let (recorder, recording) =
        record::open().map_err(|error| format!("cannot record: {error}"))?;
    let waiting = access.waiting();
    let (reloads, calls) = mpsc::channel(RELOAD_CALLS_MAX);
    let listeners = Listeners {
        access: Some(access as Arc<dyn AccessSink>),
        recorder: Some(recorder as Arc<dyn RecordSink>),
        tap: None,
        reloads: Some(reloads),
        notices: Some(Arc::new(Said)),
    };
    let gateway = Gateway::new(Arc::clone(&os) as Arc<dyn Platform>, config, listeners)
        .map_err(|error| format!("this configuration cannot be served: {error}"))?;
    memory::recall(&gateway, predecessor.as_mut());

    gateway.snapshot().warnings().iter().for_each(|warning| say(warning));

    let (trigger, shutdown) = shutdown::pair();
    let succeeds = predecessor.is_some();
    let (first, bound) = start(&gateway, WorkerOptions { index: 0, succeeds }, &shutdown)?;
    let mut workers = vec![first];
    for index in 1..count {
        workers.push(start(&gateway, WorkerOptions { index, succeeds }, &shutdown)?.0);
    }
    for addr in os.settle() {
        say(&format!("lb-server: warning: no listener is at {addr}, which was inherited: closed"));
    }
    let cannot = |error| format!("cannot start a thread: {error}");
    let (keeper, keeping) = memory::keep(Arc::clone(&gateway)).map_err(cannot)?;
    announce(&gateway, &bound);
    ready(&bound);

    control.block_on(async {
        let upgrade = Upgrade::new(os, program);
        let told = Control {
            gateway,
            trigger,
            signals,
            calls,
            file,
            seen,
            limit,
            predecessor,
            keeper,
            upgrade,
        };
        signals = told.run(join("workers", workers)?).await?;
        written(join("state", vec![keeping])?).await;
        // All ended with the workers: nobody holds log and record any more but their writers.
        until_written(&mut signals, join("log", vec![writer, recording])?, &waiting).await
    })
}

/// Whether the addresses can be had at which nothing was `inherited`.
fn check_free(config: &Config, os: &Os, inherited: &[Address]) -> Result<(), String> {
    let others = match inherited.is_empty() {
        true => String::new(),
        false => {
            let at: Vec<String> = inherited.iter().map(Address::to_string).collect();
            format!("; the inherited sockets listen at {}", at.join(", "))
        }
    };
    for place in places(config).filter(|place| !inherited.contains(&place.addr)) {
        os.probe(&place).map_err(|error| taken(&place.addr, &error) + &others)?;
    }
    Ok(())
}

/// Where `config` listens.
pub(crate) fn places(config: &Config) -> impl Iterator<Item = Place> {
    let listener = |listener: &Listener| Place {
        socket: listener.socket,
        ..Place::new(listener.bind.clone())
    };
    let admin = config.admin.as_ref().map(|admin| Place::new(admin.bind.clone()));
    config.listeners.iter().map(listener).chain(admin)
}

/// Why nobody can listen at `addr`, and what to do.
pub(crate) fn taken(addr: &Address, error: &io::Error) -> String {
    let other = match addr {
        Address::Ip(addr) => SocketAddr::new(addr.ip(), addr.port().saturating_add(1)).to_string(),
        Address::Unix(_) => format!("{addr}.2"),
    };
    match (error.kind(), addr) {
        (io::ErrorKind::AddrInUse, _) => format!(
            "cannot listen at {addr}: somebody else does; \
             choose another in the configuration (bind = \"{other}\"), \
             or for the demo with --listen or --admin {other}"
        ),
        (io::ErrorKind::PermissionDenied, Address::Ip(_)) => format!(
            "cannot listen at {addr}: not allowed; \
             ports below 1024 need a privilege (CAP_NET_BIND_SERVICE), or choose a higher one"
        ),
        (io::ErrorKind::PermissionDenied, Address::Unix(_)) => format!(
            "cannot listen at {addr}: not allowed; choose a directory that this user may write to"
        ),
        _ => format!("cannot listen at {addr}: {error}"),
    }
}

/// Workers, where nobody says how many.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn control_runtime() -> io::Result<runtime::Runtime> {
    runtime::Builder::new_current_thread().enable_all().build()
}

fn announce(gateway: &Gateway, bound: &Bound) {
    let snapshot = gateway.snapshot();
    for (addr, listener) in bound.listeners.iter().zip(&snapshot.config().listeners) {
        let scheme = match (addr, &listener.tls) {
            (Address::Unix(_), _) => "",
            (_, Some(_)) => "https://",
            (_, None) => "http://",
        };
        say(&format!("lb-server: listening at {scheme}{addr}"));
    }
    if let Some(addr) = &bound.admin {
        let scheme = if addr.ip().is_some() { "http://" } else { "" };
        say(&format!("lb-server: admin at {scheme}{addr}"));
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
    // What it reads aside, or looks up, may hang with a disk or a network, and nobody waits for it now.
    runtime.shutdown_background();
}

fn tell(told: &SyncSender<io::Result<Bound>>, what: io::Result<Bound>) {
    told.send(what).expect("who starts a worker waits until it listens");
}
