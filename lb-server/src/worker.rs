//! One worker: a thread's view of the gateway, its listeners, and the end of both.
//!
//! A worker runs on one thread and shares nothing with the others but the [`Gateway`]. When another
//! snapshot is served it follows: connections to backends that stay are kept, listeners that stay are
//! not touched, and requests that run end as they began. Told to end, it says that it is not ready any
//! more, goes on for `shutdown_delay`, and drains: what is open has `drain_timeout` to end.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use lb_core::ExchangeId;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::doors::{Doors, Kind, OPEN_AGAIN};
use crate::duties::Duties;
use crate::gateway::Gateway;
use crate::platform::Address;
use crate::request_id::RequestId;
use crate::shutdown::{Member, Phase, Shutdown};
use crate::snapshot::Snapshot;
use crate::view::View;

/// What distinguishes one worker of a process from the others.
#[derive(Clone, Copy, Debug, Default)]
pub struct WorkerOptions {
    /// Which worker this is, counted from 0. Worker 0 opens its sockets first, serves the admin
    /// listener, and ends last.
    pub index: u16,
    /// Whether another process serves until this one does. Then nobody is let in before it can.
    pub succeeds: bool,
}

/// Where a worker listens, once it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// In the order of the configuration.
    pub listeners: Vec<Address>,
    /// The admin listener, if there is one and this worker serves it.
    pub admin: Option<Address>,
}

/// A worker whose sockets are open: clients can connect, and nobody has accepted yet.
pub struct Listening {
    worker: Rc<Worker>,
    doors: Doors,
    admin: Doors,
    succeeds: bool,
    member: Member,
}

/// What the tasks of one worker share.
pub(crate) struct Worker {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) index: u16,
    view: RefCell<Rc<View>>,
    exchanges: Cell<u64>,
    open: Cell<usize>,
    /// Copies of requests that are on their way.
    pub(crate) mirrors: Cell<usize>,
    closed: Notify,
}

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
        let member = gateway.crew.join();
        let worker = Rc::new(Worker::new(gateway, options.index));
        let (mut doors, mut admin) = (Doors::new(Kind::Client), Doors::new(Kind::Admin));
        doors.open(&worker).await?;
        if options.index == 0 {
            admin.open(&worker).await?;
        }
        Ok(Self { worker, doors, admin, succeeds: options.succeeds, member })
    }

    /// Where it listens.
    pub fn bound(&self) -> Bound {
        Bound {
            listeners: self.doors.addresses(),
            admin: self.admin.addresses().into_iter().next(),
        }
    }

    /// Serves until told to stop, then drains. Must run inside a `LocalSet`.
    pub async fn serve(self, mut shutdown: Shutdown) {
        let Self { worker, mut doors, mut admin, succeeds, member } = self;
        let gateway = Arc::clone(&worker.gateway);
        if !succeeds {
            admin.serve(&worker);
        }
        let reaping = tokio::task::spawn_local(reap(Rc::clone(&worker)));
        let duties = (worker.index == 0).then(|| Duties::begin(&gateway));
        // Who comes meanwhile waits to be accepted, instead of being told that nobody is there.
        tokio::select! {
            biased;
            () = shutdown.reached(Phase::Draining) => {}
            () = gateway.settled() => {}
        }
        worker.follow(gateway.snapshot());
        admin.serve(&worker);
        doors.serve(&worker);

        follow(&worker, &mut doors, &mut admin, &mut shutdown).await;
        gateway.enter(Phase::Draining);
        let server = worker.view().config.server;
        doors.drain();
        if gateway.is_succeeded() {
            // Whoever asks how the service is asks about the process that takes its place.
            admin.drain();
        }
        let drained = async {
            worker.all_closed().await;
            if duties.is_some() {
                // Others may have something to finish, and somebody to watch it.
                member.is_last().await;
            }
        };
        tokio::select! {
            biased;
            () = drained => {}
            () = sleep(server.drain_timeout) => {}
            () = shutdown.reached(Phase::Stopping) => {}
        }
        worker.view().cut();
        doors.stop();
        // The admin listener stays open during the drain: somebody may want to watch it.
        admin.stop();
        reaping.abort();
        // What was told to stop does so at its next turn.
        tokio::task::yield_now().await;
        if let Some(duties) = duties {
            duties.end(&gateway, &member, &mut shutdown).await;
        }
    }
}

impl Worker {
    fn new(gateway: Arc<Gateway>, index: u16) -> Self {
        let view = View::first(Arc::clone(&gateway));
        Self {
            gateway,
            index,
            view: RefCell::new(Rc::new(view)),
            exchanges: Cell::new(0),
            open: Cell::new(0),
            mirrors: Cell::new(0),
            closed: Notify::new(),
        }
    }

    /// What is served now.
    pub(crate) fn view(&self) -> Rc<View> {
        Rc::clone(&self.view.borrow())
    }

    fn follow(&self, snapshot: Arc<Snapshot>) {
        let before = self.view();
        if !before.is_of(&snapshot) {
            *self.view.borrow_mut() = Rc::new(before.next(snapshot));
        }
    }

    /// A name for the next exchange: unique in the process.
    pub(crate) fn next_request_id(&self) -> RequestId {
        let count = self.exchanges.get() + 1;
        self.exchanges.set(count);
        let exchange = ExchangeId((u64::from(self.index) << 48) | count);
        RequestId::new(self.gateway.platform.seed(), exchange)
    }

    async fn all_closed(&self) {
        while self.open.get() > 0 {
            self.closed.notified().await;
        }
    }
}

/// Serves by each snapshot that is put in force, until nobody new is to be let in.
async fn follow(
    worker: &Rc<Worker>,
    doors: &mut Doors,
    admin: &mut Doors,
    shutdown: &mut Shutdown,
) {
    let mut snapshots = worker.gateway.snapshots();
    snapshots.mark_changed();
    let mut over = std::pin::pin!(left(worker, shutdown));
    let mut is_open = true;
    loop {
        tokio::select! {
            biased;
            () = &mut over => return,
            changed = snapshots.changed() => changed.expect("the gateway is held here"),
            () = sleep(OPEN_AGAIN), if !is_open => {}
        }
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        worker.follow(snapshot);
        is_open = doors.follow(worker).await;
        if worker.index == 0 {
            is_open &= admin.follow(worker).await;
        }
    }
}

/// Waits until the process is to leave, and then for as long as others take to notice.
async fn left(worker: &Worker, shutdown: &mut Shutdown) {
    shutdown.reached(Phase::Leaving).await;
    worker.gateway.enter(Phase::Leaving);
    let delay = worker.view().config.server.shutdown_delay;
    if delay > Duration::ZERO {
        tokio::select! {
            biased;
            () = shutdown.reached(Phase::Draining) => {}
            () = sleep(delay) => {}
        }
    }
}

/// Closes idle connections to backends: those that are too old, and at once those whose room is wanted.
async fn reap(worker: Rc<Worker>) {
    let mut called = worker.gateway.calls_for_room();
    let closed = Arc::clone(&worker.view().closed);
    let mut due = std::pin::pin!(sleep(reap_every(&worker.view())));
    loop {
        tokio::select! {
            biased;
            called = called.changed() => {
                called.expect("the gateway is held here");
                worker.view().stacks().for_each(|stack| stack.make_room());
            }
            () = closed.notified() => {
                worker.view().stacks().for_each(|stack| stack.sweep());
            }
            () = &mut due => {
                let (view, now) = (worker.view(), worker.gateway.clock.now());
                view.stacks().for_each(|stack| stack.reap(now));
                due.set(sleep(reap_every(&view)));
            }
        }
    }
}

/// How often idle connections are worth looking through.
fn reap_every(snapshot: &Snapshot) -> Duration {
    let shortest = snapshot.sites.iter().map(|site| site.keep_alive.idle_timeout).min();
    (shortest.unwrap_or(REAP_MAX) / 2).clamp(REAP_MIN, REAP_MAX)
}

/// Bounds on how often idle connections are looked through.
const REAP_MIN: Duration = Duration::from_millis(100);
const REAP_MAX: Duration = Duration::from_secs(5);

/// A connection, counted while it is open.
pub(crate) struct Open(Rc<Worker>);

impl Open {
    pub(crate) fn new(worker: &Rc<Worker>) -> Self {
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
