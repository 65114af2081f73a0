//! Kept connections to backends, of one worker.
//!
//! HTTP/1.1: per backend a stack of idle connections. The one used last is used next, so that the
//! others can grow old and be closed. A connection comes back when the last byte of a response was
//! read and all of the request was written. While it rests there a [`bell`] rings if its backend closes
//! it, and it leaves; before anything is said on it, it is asked once more.
//!
//! HTTP/2: per backend a few connections, each with as many streams as its backend allows. While one
//! is being made that all can share, whoever comes waits for it ([`dials`]). Another is made when all are
//! full.
//!
//! Where a backend has as many connections as it may have, whoever comes waits for [`room`].

mod asked;
mod bell;
mod carried;
mod dials;
mod inflow;
mod room;
mod shared;
mod speak;
mod window;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use lb_config::config::{KeepAlive, Protocol};
use lb_core::{BackendId, Failure, Time};
use tokio::time::timeout_at;

use crate::dial::{Announced, Speaks, dial};
use crate::distrust;
use crate::http1::Http1;
pub(crate) use crate::http1::Remains;
use crate::names;
use crate::slots::{Slot, Slots};
use crate::view::View;
use bell::Bell;
pub(crate) use bell::Closed;
use carried::Coming;
use dials::Dials;
use room::{Queue, Room};
use shared::{Shared, Stream};
use speak::speak;

/// A connection to a backend, or a place on one, ready for a request.
pub(crate) struct Connection {
    speaker: Speaker,
    stack: Rc<Stack>,
    /// Whether it carried a request before.
    pub(crate) reused: bool,
    /// Whether it may carry another client's.
    kept: bool,
}

enum Speaker {
    Http1(Idle),
    /// What comes there is in a box: a connection goes from hand to hand.
    Http2(Stream, Option<Box<Coming>>),
}

/// The connections of one worker to one backend.
pub(crate) struct Stack {
    /// Of HTTP/1.1, oldest first.
    idle: RefCell<Vec<Idle>>,
    /// Of HTTP/2.
    shared: RefCell<Vec<Rc<Shared>>>,
    keep_alive: Cell<KeepAlive>,
    /// Whether exchanges share a connection, as far as is known, and those that are being made.
    shares: Cell<bool>,
    dials: Dials,
    /// Who waits where there may be no more of them.
    queue: Queue,
    /// Rung by those of HTTP/1.1 that close.
    bell: Bell,
}

struct Idle {
    line: Box<Http1>,
    born: Time,
    since: Time,
}

/// For whom a connection is made.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    /// It is kept for others, or shared with them.
    Anybody,
    /// It is announced to be for this client.
    Client(Announced),
    /// It is for a single request.
    Single,
}

/// Nothing is kept.
const NOTHING: KeepAlive = KeepAlive {
    connections_max: 0,
    idle_max: 0,
    idle_timeout: Duration::ZERO,
    age_max: Duration::ZERO,
};

/// A kept connection that still works, if nobody waits for one.
pub(crate) fn kept(view: &View, backend: BackendId) -> Option<Connection> {
    let stack = view.stack(backend);
    if stack.queue.has_waiting() {
        return None;
    }
    Some(stack.reused(stack.take(view.gateway.now())?))
}

/// A kept connection that still works, or a new one by `deadline`.
pub(crate) async fn connection(
    view: &View,
    backend: BackendId,
    deadline: Time,
) -> Result<Connection, Failure> {
    let stack = view.stack(backend);
    loop {
        if let Some(kept) = kept(view, backend) {
            return Ok(kept);
        }
        let until = view.gateway.clock.instant(deadline);
        if !(stack.shares.get() && stack.dials.suffice()) {
            let room = timeout_at(until, stack.room(&view.gateway)).await;
            return match room.map_err(|_| Failure::Crowded)? {
                Room::Kept(kept) => Ok(stack.reused(kept)),
                Room::Slot(slot) => {
                    let protocol = view.endpoint(backend).protocol;
                    open(view, backend, protocol, Purpose::Anybody, (slot, deadline)).await
                }
            };
        }
        let waited = timeout_at(until, stack.dials.one()).await;
        waited.map_err(|_| Failure::ConnectTimeout)?;
    }
}

/// Another connection by `deadline` in place of a kept one that was closed: of HTTP/1.1 a new one, as others
/// that were kept may be closed too; of HTTP/2 any that has room.
pub(crate) async fn another(
    view: &View,
    backend: BackendId,
    deadline: Time,
) -> Result<Connection, Failure> {
    if view.stack(backend).shares.get() {
        return connection(view, backend, deadline).await;
    }
    fresh(view, backend, view.endpoint(backend).protocol, Purpose::Anybody, deadline).await
}

/// A new connection by `deadline`, on which `protocol` is spoken.
pub(crate) async fn fresh(
    view: &View,
    backend: BackendId,
    protocol: Protocol,
    purpose: Purpose,
    deadline: Time,
) -> Result<Connection, Failure> {
    let until = view.gateway.clock.instant(deadline);
    let slot = timeout_at(until, view.stack(backend).slot(&view.gateway)).await;
    let slot = slot.map_err(|_| Failure::Crowded)?;
    open(view, backend, protocol, purpose, (slot, deadline)).await
}

/// A new connection in this slot.
async fn open(
    view: &View,
    backend: BackendId,
    protocol: Protocol,
    purpose: Purpose,
    (slot, deadline): (Slot, Time),
) -> Result<Connection, Failure> {
    let endpoint = view.endpoint(backend);
    let gateway = &view.gateway;
    let stack = Rc::clone(view.stack(backend));
    if protocol == Protocol::Http2 {
        stack.shares.set(true);
    }
    let announced = if let Purpose::Client(announced) = purpose { Some(announced) } else { None };
    let kept = matches!(purpose, Purpose::Anybody);
    // Nobody waits for what is for one alone.
    let dialing = (!matches!(purpose, Purpose::Single)).then(|| stack.dials.begin());
    let until = gateway.clock.instant(deadline);
    let made = timeout_at(until, async {
        let wire = dial(gateway, endpoint, protocol, announced).await?;
        if protocol == endpoint.protocol {
            stack.shares.set(wire.speaks == Speaks::Http2);
        }
        let spoken = speak((wire, slot), &view.config.server, &stack, gateway.now()).await;
        spoken.inspect_err(|failure| {
            // The proxy's handshake was over, and the backend's was not (RFC 8446 §4.4.2.4).
            if *failure == Failure::TlsFailed {
                distrust::refused(gateway, endpoint);
            }
        })
    });
    let made = made.await.unwrap_or(Err(Failure::ConnectTimeout));
    let speaker = made.inspect_err(|failure| match failure {
        Failure::ConnectRefused
        | Failure::ConnectFailed
        | Failure::ConnectTimeout
        | Failure::TlsFailed => names::doubt(gateway, endpoint),
        _ => {}
    })?;
    if let (Speaker::Http2(first, _), true) = (&speaker, kept) {
        stack.share(first);
    }
    drop(dialing);
    Ok(Connection { speaker, stack, reused: false, kept })
}

impl Connection {
    /// What is left of it when its answer has ended HTTP on it, if that was asked for on one of its own.
    pub(crate) fn into_remains(self) -> Option<Remains> {
        match self.speaker {
            Speaker::Http1(idle) => idle.line.into_remains(),
            Speaker::Http2(..) => None,
        }
    }

    /// Whether the answer that has begun is the last of one that was kept.
    pub(crate) fn is_left(&self) -> bool {
        match &self.speaker {
            Speaker::Http1(idle) => self.reused && idle.line.is_last(),
            // Whoever leaves says GOAWAY, and not of a stream.
            Speaker::Http2(..) => false,
        }
    }

    /// What was to come on it is too late: if others share it, no more do until something comes. Where it had
    /// less time than it is due, that says something of a connection only on which nobody hears anything.
    pub(crate) fn doubt(&self, is_hurried: bool) {
        if let Speaker::Http2(stream, _) = &self.speaker
            && !(is_hurried && stream.0.is_alive())
        {
            stream.0.doubt();
        }
    }

    /// Whether nothing of a request's body could be sent, because others have all that may be under way.
    pub(crate) fn is_held_up(&self) -> bool {
        match &self.speaker {
            Speaker::Http2(stream, Some(coming)) => {
                coming.place.waits() && stream.0.heard.window.is_spent()
            }
            Speaker::Http1(_) | Speaker::Http2(_, None) => false,
        }
    }

    /// Takes it back when its exchange is over.
    pub(crate) fn give_back(self, now: Time) {
        if let Speaker::Http1(idle) = self.speaker
            && self.kept
            && idle.line.is_free()
        {
            self.stack.put(Idle { since: now, ..idle });
        }
    }
}

impl Stack {
    fn reused(self: &Rc<Self>, speaker: Speaker) -> Connection {
        Connection { speaker, stack: Rc::clone(self), reused: true, kept: true }
    }

    /// Of connections that each take one of `slots`. Those that close while they rest are told of.
    pub(crate) fn new(slots: Arc<Slots>, closed: &Arc<Closed>) -> Self {
        Self {
            idle: RefCell::default(),
            shared: RefCell::default(),
            keep_alive: Cell::new(NOTHING),
            shares: Cell::new(false),
            dials: Dials::new(),
            queue: Queue::new(slots),
            bell: Bell::new(closed),
        }
    }

    /// What may be kept from now on.
    pub(crate) fn allow(&self, keep_alive: KeepAlive) {
        self.keep_alive.set(keep_alive);
        let mut idle = self.idle.borrow_mut();
        let surplus = idle.len().saturating_sub(keep_alive.idle_max);
        idle.drain(..surplus);
        if keep_alive.idle_max == 0 {
            // Streams that run hold their connection until they end.
            self.shared.borrow_mut().clear();
        }
    }

    /// Nobody asks for connections from here any more.
    pub(crate) fn retire(&self) {
        self.allow(NOTHING);
    }

    fn take(&self, now: Time) -> Option<Speaker> {
        if self.shares.get() {
            return self.take_place(now).map(|place| Speaker::Http2(place, None));
        }
        let limits = self.keep_alive.get();
        let mut idle = self.idle.borrow_mut();
        let taken = idle.pop().filter(|idle| idle.is_young(limits, now));
        if taken.is_none() {
            idle.retain(|idle| idle.is_young(limits, now));
        }
        taken.map(Speaker::Http1)
    }

    /// A place on the first connection that has one.
    fn take_place(&self, now: Time) -> Option<Stream> {
        let age_max = self.keep_alive.get().age_max;
        let mut shared = self.shared.borrow_mut();
        shared.retain(|it| it.is_kept() && now < it.born + age_max);
        shared.iter().find(|it| it.has_room()).map(Stream::begin)
    }

    /// Others may have places on a new connection as well.
    fn share(&self, first: &Stream) {
        if self.keep_alive.get().idle_max > 0 {
            self.shared.borrow_mut().push(Rc::clone(&first.0));
            self.queue.returned.notify_one();
        }
    }

    fn put(&self, mut idle: Idle) {
        let limits = self.keep_alive.get();
        if limits.idle_max == 0 || self.bell.is_closed(&mut idle.line) {
            return;
        }
        let mut stack = self.idle.borrow_mut();
        if stack.len() >= limits.idle_max {
            stack.remove(0);
        }
        stack.push(idle);
        drop(stack);
        if self.queue.slots.waiting() > 0 {
            self.hand_on();
        }
    }

    /// Closes what its backend closed while it rested.
    pub(crate) fn sweep(&self) {
        if self.bell.has_rung() {
            self.idle.borrow_mut().retain_mut(|idle| !self.bell.is_closed(&mut idle.line));
        }
    }

    /// Closes what has been idle for too long, and what of HTTP/2 was closed by its backend.
    pub(crate) fn reap(&self, now: Time) {
        let limits = self.keep_alive.get();
        self.idle.borrow_mut().retain(|idle| idle.is_young(limits, now));
        self.shared.borrow_mut().retain(|it| {
            if it.streams.get() > 0 {
                it.since.set(now);
            }
            !it.sender.is_closed() && now < it.since.get() + limits.idle_timeout
        });
    }
}

impl Idle {
    /// Whether it may be used at `now`.
    fn is_young(&self, limits: KeepAlive, now: Time) -> bool {
        now <= self.since + limits.idle_timeout && now < self.born + limits.age_max
    }
}
