//! The sockets that one worker listens at, and who comes in.
//!
//! A listener is known by its address in the configuration. Where that leaves the port to the system,
//! worker 0 is the first to open it, and the others share the port that it was given.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use crate::boxed::in_box;
use crate::crowd::{self, Crowded, Share};
use crate::curfew::{Curfew, Hearer};
use crate::platform::{Accepted, Address, Listen, Place, Socket};
use crate::serve;
use crate::shutdown::Phase;
use crate::worker::Worker;

/// Who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Client,
    Admin,
}

/// What a listener is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) kind: Kind,
    /// Its address in the configuration.
    pub(crate) said: Address,
    /// How many before it have the same: those that leave the port to the system may.
    pub(crate) nth: usize,
}

impl Key {
    /// What a successor of the process finds the socket by, where its address does not say it. In
    /// a list of such names colons stand between them.
    fn name(&self) -> Option<String> {
        let kind = match self.kind {
            Kind::Client => "client",
            Kind::Admin => "admin",
        };
        let said = self.said.to_string().replace(':', ".");
        self.said.leaves_port_open().then(|| format!("lb-{kind}-{said}-{}", self.nth))
    }
}

/// The listeners of one kind.
pub(crate) struct Doors {
    kind: Kind,
    places: Arc<Semaphore>,
    /// In the order of the configuration.
    doors: Vec<Door>,
    /// Why not all of them are open.
    trouble: Option<String>,
}

struct Door {
    key: Key,
    addr: Address,
    curfew: Curfew,
    /// Until somebody accepts.
    listener: Option<Box<dyn Listen>>,
}

/// How often it is tried to listen where that was not possible (out of file descriptors, say).
pub(crate) const OPEN_AGAIN: Duration = Duration::from_secs(1);
/// After a failed accept (out of file descriptors, say) trying at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Admin connections of one process.
const ADMIN_CONNECTIONS_MAX: usize = 64;

impl Doors {
    pub(crate) fn new(kind: Kind) -> Self {
        let places = Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX));
        Self { kind, places, doors: Vec::new(), trouble: None }
    }

    /// Where they are.
    pub(crate) fn addresses(&self) -> Vec<Address> {
        self.doors.iter().map(|door| door.addr.clone()).collect()
    }

    /// Opens what the configuration names and is not open, as far as it can be; the rest stays as it is.
    pub(crate) async fn open(&mut self, worker: &Worker) -> io::Result<()> {
        let mut before = std::mem::take(&mut self.doors);
        let mut opened = Ok(());
        for (key, socket) in self.wanted(worker) {
            let door = match before.iter().position(|door| door.key == key) {
                Some(at) => Ok(before.swap_remove(at)),
                None => Door::open(worker, key, socket).await,
            };
            match door {
                Ok(door) => self.doors.push(door),
                Err(error) => opened = opened.and(Err(error)),
            }
        }
        // Whoever came in by one that is not wanted any more goes when its request is answered.
        before.iter().for_each(|door| door.curfew.drain());
        opened
    }

    /// Lets clients in.
    pub(crate) fn serve(&mut self, worker: &Rc<Worker>) {
        let places = match self.kind {
            Kind::Client => &worker.gateway.places,
            Kind::Admin => &self.places,
        };
        for door in &mut self.doors {
            if let Some(listener) = door.listener.take() {
                let entrance = Entrance {
                    worker: Rc::clone(worker),
                    key: door.key.clone(),
                    places: Arc::clone(places),
                    told: door.curfew.hearer(),
                };
                tokio::task::spawn_local(entrance.accept(listener));
            }
        }
    }

    /// Opens and closes what another snapshot asks for. Says whether all of it is open; what is not has to
    /// be tried again.
    pub(crate) async fn follow(&mut self, worker: &Rc<Worker>) -> bool {
        let trouble = self.open(worker).await.err().map(|error| error.to_string());
        self.serve(worker);
        worker.gateway.process.listen_failures.add(u64::from(trouble.is_some()));
        if trouble != self.trouble {
            let name = format!("worker {}", worker.index);
            worker.gateway.announce(|| match &trouble {
                Some(why) => format!("warning: {name}: {why}; it tries again every {OPEN_AGAIN:?}"),
                None => format!("{name} listens wherever it has to"),
            });
            self.trouble = trouble;
        }
        self.trouble.is_none()
    }

    /// Lets nobody in any more.
    pub(crate) fn drain(&self) {
        self.doors.iter().for_each(|door| door.curfew.drain());
    }

    /// Cuts off who is in.
    pub(crate) fn stop(&self) {
        self.doors.iter().for_each(|door| door.curfew.stop());
    }

    fn wanted(&self, worker: &Worker) -> Vec<(Key, Socket)> {
        let view = worker.view();
        let said: Vec<(&Address, Socket)> = match self.kind {
            Kind::Client => view.config.listeners.iter().map(|it| (&it.bind, it.socket)).collect(),
            Kind::Admin => view.config.admin.iter().map(|it| (&it.bind, Socket::DEFAULT)).collect(),
        };
        let before =
            |at: usize| said[..at].iter().filter(|(other, _)| *other == said[at].0).count();
        let key = |at: usize| Key { kind: self.kind, said: said[at].0.clone(), nth: before(at) };
        (0..said.len()).map(|at| (key(at), said[at].1)).collect()
    }
}

impl Door {
    async fn open(worker: &Worker, key: Key, socket: Socket) -> io::Result<Self> {
        let gateway = &worker.gateway;
        let addr = match key.said.leaves_port_open() {
            true if worker.index > 0 => gateway.chosen(&key).await,
            _ => key.said.clone(),
        };
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen at {addr}: {error}"))
        };
        let place = Place { addr: addr.clone(), name: key.name(), worker: worker.index, socket };
        let listener = gateway.platform.listen(place).await.map_err(named)?;
        let addr = listener.local_addr()?;
        gateway.choose(&key, &addr);
        Ok(Self { key, addr, curfew: Curfew::new(), listener: Some(listener) })
    }
}

/// What is needed to let somebody in.
struct Entrance {
    worker: Rc<Worker>,
    key: Key,
    places: Arc<Semaphore>,
    told: Hearer,
}

impl Entrance {
    /// Accepts while there is a place for one more in the whole process. A connection that finds none
    /// waits for one, and those behind it in the kernel's queue.
    async fn accept(self, mut listener: Box<dyn Listen>) {
        let mut stopping = self.told.clone();
        loop {
            let accepted = tokio::select! {
                biased;
                () = stopping.reached(Phase::Draining) => return,
                accepted = poll_fn(|cx| listener.poll_accept(cx)) => accepted,
            };
            let Accepted { io, peer, local } = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.failed(&error).await;
                    continue;
                }
            };
            let Ok(share) = self.share(peer) else {
                self.worker.gateway.process.refused_connections.add(1);
                continue;
            };
            let place = match Arc::clone(&self.places).try_acquire_owned() {
                Ok(place) => place,
                Err(_all_taken) => match self.wait(&mut stopping).await {
                    Some(place) => place,
                    None => return,
                },
            };
            let guest = serve::Guest { door: self.key.clone(), peer, local, place, share };
            let (worker, told) = (Rc::clone(&self.worker), self.told.clone());
            tokio::task::spawn_local(in_box(|| serve::connection(worker, io, guest, told)));
        }
    }

    /// Waits for a place, unless the process stops first. Who was let in is served, even if it drains meanwhile.
    async fn wait(&self, stopping: &mut Hearer) -> Option<OwnedSemaphorePermit> {
        let is_admin = self.key.kind == Kind::Admin;
        self.worker.gateway.process.admin_waits.add(u64::from(is_admin));
        tokio::select! {
            biased;
            () = stopping.reached(Phase::Stopping) => None,
            place = Arc::clone(&self.places).acquire_owned() => {
                Some(place.expect("the semaphore is never closed"))
            }
        }
    }

    /// What whoever connects has of the connections that a client may have open.
    fn share(&self, peer: Option<SocketAddr>) -> Result<Option<Share>, Crowded> {
        match (self.key.kind, peer) {
            (Kind::Client, Some(peer)) => crowd::share(&self.worker.view(), peer),
            _ => Ok(None),
        }
    }

    /// Counts a failure, and pauses if the next attempt would fail as well: whoever wants to connect
    /// waits in the kernel's queue until something has been closed here.
    async fn failed(&self, error: &io::Error) {
        let process = &self.worker.gateway.process;
        process.accept_failures.add(1);
        if error.kind() == io::ErrorKind::ConnectionAborted {
            return; // that client left, and the next may be there
        }
        process.accept_pauses.add(u64::from(is_exhausted(error)));
        sleep(ACCEPT_PAUSE).await;
    }
}

/// Whether the process or the system has run out of something: descriptors, mostly.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    let exhausted = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM];
    error.raw_os_error().is_some_and(|number| exhausted.contains(&Errno::from_raw(number)))
}
