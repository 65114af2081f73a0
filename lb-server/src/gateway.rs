//! What all workers of a process share: the snapshot they serve by, and the way to the world.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use lb_config::config::{AccessLog, Address, Config, Listener};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::crowd::Crowd;
use crate::discovery::Ahead;
use crate::discovery::known::Sources;
use crate::distrust::Said;
use crate::doors::Key;
use crate::names::Names;
use crate::observe::{AccessSink, Export, Exporter, Notices, Process, Tap, queue};
use crate::platform::{Clock, Platform};
use crate::record::RecordSink;
use crate::secured::Secured;
use crate::shutdown::{Crew, Phase};
use crate::slots::resize;
use crate::snapshot::{Snapshot, StartError};
use crate::state::Waiting;
use crate::tls::{Files, Why};

/// One process's view of its configuration, and what it learned. Made once, used by every worker.
pub struct Gateway {
    pub(crate) platform: Arc<dyn Platform>,
    pub(crate) clock: Clock,
    pub(crate) tap: Option<Arc<dyn Tap>>,
    pub(crate) access: Option<Arc<dyn AccessSink>>,
    pub(crate) recorder: Option<Arc<dyn RecordSink>>,
    /// A permit for each client connection that may be served at once.
    pub(crate) places: Arc<Semaphore>,
    /// How many connections each client has.
    pub(crate) crowd: Arc<Crowd>,
    pub(crate) process: Process,
    pub(crate) sources: Sources,
    pub(crate) names: Names,
    notices: Option<Arc<dyn Notices>>,
    /// Where spans go, and who takes them to a collector.
    pub(crate) exporter: Exporter,
    pub(crate) export: Mutex<Option<Export>>,
    /// What another process learned of backends that are still to be found.
    waiting: Mutex<Option<Waiting>>,
    /// How many workers were asked for when it began, and those that there are.
    workers: Option<usize>,
    pub(crate) crew: Arc<Crew>,
    current: watch::Sender<Arc<Snapshot>>,
    /// The ports that the system chose.
    chosen: watch::Sender<BTreeMap<Key, Address>>,
    pub(crate) reloads: Option<Reloads>,
    /// When the operator was told of clients that were refused, by [`Why`].
    pub(crate) turned_away: [Said; Why::ALL.len()],
    /// Why what was offered last is not what is served.
    refused: Mutex<Refused>,
    connections: AtomicUsize,
    calls_for_room: watch::Sender<()>,
    /// A [`Phase`], as a number.
    phase: AtomicU64,
    succeeded: AtomicBool,
}

/// Who is told of what a gateway does.
#[derive(Default)]
pub struct Listeners {
    /// Hears every event of the core.
    pub tap: Option<Arc<dyn Tap>>,
    /// Gets a line for each exchange.
    pub access: Option<Arc<dyn AccessSink>>,
    /// Gets a line for each exchange, where a configuration says so.
    pub recorder: Option<Arc<dyn RecordSink>>,
    /// Is told what an operator may want to know.
    pub notices: Option<Arc<dyn Notices>>,
    /// Whoever can read the configuration anew.
    pub reloads: Option<Reloads>,
}

/// Why what was offered last is not what is served.
#[derive(Default)]
pub(crate) struct Refused {
    /// The configuration.
    pub(crate) configuration: Option<String>,
    /// Files that it names.
    pub(crate) certificates: Option<String>,
}

/// What became of files that have changed.
#[derive(Debug, PartialEq, Eq)]
pub struct Renewal {
    /// Whether other certificates are in force.
    pub changed: bool,
    /// All that is wrong with files.
    pub problems: Option<String>,
    /// Whether something else was wrong with them before.
    pub is_new: bool,
}

/// Calls for a reload, to whoever can read the configuration anew.
pub type Reloads = mpsc::Sender<ReloadCall>;

/// Somebody wants the configuration to be read anew.
#[derive(Debug)]
pub struct ReloadCall {
    /// Gets what became of it, in words.
    pub answer: oneshot::Sender<Result<String, String>>,
}

/// Calls for a reload that may wait for each other.
pub const RELOAD_CALLS_MAX: usize = 4;

impl Gateway {
    /// Builds what `config` describes. Time starts now, by tokio's clock: where that is paused,
    /// call it inside the runtime.
    ///
    /// # Errors
    /// [`StartError`] when the configuration is not one that `lb-config` would have let pass.
    pub fn new(
        platform: Arc<dyn Platform>,
        config: Config,
        listeners: Listeners,
    ) -> Result<Arc<Self>, StartError> {
        let sources = Sources::new(config);
        let config = sources.book().served();
        let read = |path: &Path| platform.read(path);
        let files = Files { read: &read, now: platform.unix_time() };
        let secured = Secured::new(&config, files, None)?;
        let snapshot = Snapshot::new(config, Arc::new(secured), &*platform, None)?;
        let (exporter, export) = queue();
        Ok(Arc::new(Self {
            platform,
            clock: Clock::start(),
            tap: listeners.tap,
            access: listeners.access,
            recorder: listeners.recorder,
            places: Arc::new(Semaphore::new(places(&snapshot.config))),
            crowd: Arc::default(),
            process: Process::default(),
            sources,
            names: Names::default(),
            notices: listeners.notices,
            workers: snapshot.config.server.workers,
            crew: Arc::default(),
            exporter,
            export: Mutex::new(Some(export)),
            waiting: Mutex::new(None),
            current: watch::Sender::new(Arc::new(snapshot)),
            chosen: watch::Sender::new(BTreeMap::new()),
            reloads: listeners.reloads,
            turned_away: Default::default(),
            refused: Mutex::default(),
            connections: AtomicUsize::new(0),
            calls_for_room: watch::Sender::new(()),
            phase: AtomicU64::new(0),
            succeeded: AtomicBool::new(false),
        }))
    }

    /// Serves by `config` from the next request on. Exchanges that run end as they began; what was
    /// learned about a backend lives on under its name. Returns what takes effect only when the
    /// process is started anew. Call it inside a runtime.
    ///
    /// # Errors
    /// As [`Gateway::new`]. Nothing changes then.
    pub fn reload(&self, config: Config) -> Result<Vec<&'static str>, StartError> {
        self.reload_with(config, &Ahead::default(), &|path| self.platform.read(path))
    }

    /// The same with what was found [ahead](Gateway::look_ahead) of it, and with files that were read already.
    ///
    /// # Errors
    /// As [`Gateway::new`]. Nothing changes then.
    pub fn reload_with(
        &self,
        config: Config,
        ahead: &Ahead,
        read: &dyn Fn(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Vec<&'static str>, StartError> {
        let before = self.snapshot();
        let files = Files { read, now: self.unix_time() };
        let secured = Secured::new(&config, files, Some((&before.config, &before.secured)))?;
        let late = self.say(config, ahead, Arc::new(secured))?;
        self.process.reloads.add(1);
        *self.refused() = Refused::default();
        Ok(late)
    }

    /// Files that the configuration in force names have changed, its certificates: puts in force what
    /// is in them now. What is bad in them stays as it was, and is told.
    pub fn renew(&self, read: &dyn Fn(&Path) -> io::Result<Vec<u8>>) -> Renewal {
        let before = self.snapshot();
        let files = Files { read, now: self.unix_time() };
        let (secured, problems) = before.secured.renewed(&before.config, &files);
        let changed = !secured.is_as(&before.secured) && self.put(Arc::new(secured), &before);
        self.process.reloads.add(u64::from(changed));
        let why = (!problems.is_empty()).then(|| problems.join("\n"));
        let mut refused = self.refused();
        let is_new = refused.certificates != why;
        self.process.reloads_failed.add(u64::from(is_new && why.is_some()));
        refused.certificates.clone_from(&why);
        Renewal { changed, problems: why, is_new }
    }

    /// Serves by `config` from the next request on, wherever it comes from.
    pub(crate) fn publish(
        &self,
        config: Config,
        secured: Arc<Secured>,
    ) -> Result<Vec<&'static str>, StartError> {
        let before = self.snapshot();
        let known = Some((&*before, self.now()));
        let snapshot = Snapshot::new(config, secured, &*self.platform, known)?;
        let late = needs_restart(self.workers, &before.config, &snapshot.config);
        resize(&self.places, places(&before.config), places(&snapshot.config));
        snapshot.sites.iter().for_each(|site| site.allow_connections());
        self.recall_in(&snapshot);
        let snapshot = Arc::new(snapshot);
        self.current.send_replace(Arc::clone(&snapshot));
        let dns = &snapshot.config.dns;
        if *dns != before.config.dns {
            self.names.ask_anew(dns.stale_max, self.now());
        }
        snapshot.sites.iter().for_each(|site| site.call_next());
        Ok(late)
    }

    /// A configuration was offered that cannot be served, and `why`. Nothing else changes.
    pub fn reload_refused(&self, why: String) {
        self.process.reloads_failed.add(1);
        self.refused().configuration = Some(why);
    }

    /// Why what was offered last is not what is served.
    pub(crate) fn refused(&self) -> MutexGuard<'_, Refused> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What another process learned of backends that are still to be found.
    pub(crate) fn waiting(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the operator, if anybody listens.
    pub(crate) fn announce(&self, notice: impl FnOnce() -> String) {
        if let Some(notices) = &self.notices {
            notices.say(&notice());
        }
    }

    /// How much of what the operator was told is lost.
    pub(crate) fn notices_lost(&self) -> u64 {
        self.notices.as_ref().map_or(0, |notices| notices.lost())
    }

    /// What is served now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.borrow())
    }

    /// Hears when another snapshot is served.
    pub(crate) fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.current.subscribe()
    }

    /// Where the system put a listener that leaves the port to it.
    pub(crate) fn choose(&self, key: &Key, addr: &Address) {
        if key.said.leaves_port_open() {
            self.chosen.send_modify(|chosen| {
                chosen.insert(key.clone(), addr.clone());
            });
        }
    }

    /// Waits until worker 0 knows where that is.
    pub(crate) async fn chosen(&self, key: &Key) -> Address {
        let mut chosen = self.chosen.subscribe();
        let known = chosen.wait_for(|chosen| chosen.contains_key(key)).await;
        known.expect("the gateway is held by its workers")[key].clone()
    }

    /// The time of day.
    pub fn unix_time(&self) -> SystemTime {
        self.platform.unix_time()
    }

    /// What was learned was written down, or could not be.
    pub fn state_written(&self, done: bool) {
        let Process { state_writes, state_failures, .. } = &self.process;
        if done { state_writes.add(1) } else { state_failures.add(1) }
    }

    /// Core time now.
    pub fn now(&self) -> lb_core::Time {
        self.clock.now()
    }

    /// Who gets the access log, if it is `said` to be written.
    pub(crate) fn access(&self, said: AccessLog) -> Option<&dyn AccessSink> {
        self.access.as_deref().filter(|_| said.enabled)
    }

    /// Client connections open now, over all workers.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Somebody waits for room at a backend: each worker looks what it can spare.
    pub(crate) fn call_for_room(&self) {
        self.calls_for_room.send_replace(());
    }

    /// Hears when somebody does.
    pub(crate) fn calls_for_room(&self) -> watch::Receiver<()> {
        self.calls_for_room.subscribe()
    }

    /// Whether new requests are still welcome.
    pub fn is_draining(&self) -> bool {
        self.phase.load(Ordering::Relaxed) != 0
    }

    /// Whether no request will begin any more but on connections that are open: another configuration
    /// would not be served.
    pub fn takes_nothing_new(&self) -> bool {
        self.phase.load(Ordering::Relaxed) >= Phase::Draining as u64
    }

    /// Another process listens at the same sockets, and takes what is new. Tell the workers to drain
    /// then.
    pub fn succeeded(&self) {
        self.succeeded.store(true, Ordering::Relaxed);
    }

    /// Whether another process listens at the same sockets.
    pub fn is_succeeded(&self) -> bool {
        self.succeeded.load(Ordering::Relaxed)
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u64, Ordering::Relaxed);
    }

    pub(crate) fn connection_opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connection_closed(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Gateway").field("snapshot", &self.snapshot()).finish_non_exhaustive()
    }
}

fn places(config: &Config) -> usize {
    config.server.connections_max.min(Semaphore::MAX_PERMITS)
}

/// What a process that runs with so many workers cannot change.
fn needs_restart(workers: Option<usize>, before: &Config, now: &Config) -> Vec<&'static str> {
    let workers = workers != now.server.workers;
    let other_socket = |now: &Listener| {
        before.listeners.iter().any(|old| old.bind == now.bind && old.socket != now.socket)
    };
    let sockets = now.listeners.iter().any(other_socket);
    let late = [(workers, "server.workers"), (sockets, "an option of an open [[listener]]")];
    late.into_iter().filter_map(|(changed, what)| changed.then_some(what)).collect()
}
