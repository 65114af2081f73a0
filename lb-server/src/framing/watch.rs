//! What the proxy is told of a connection that is watched.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Waker;

use tokio::time::Instant;

use super::head::Refusal;

/// What the proxy is told of a connection.
pub(crate) struct Watch(pub(super) Rc<Shared>);

#[derive(Default)]
pub(super) struct Shared {
    /// Heads that passed.
    pub(super) passed: Cell<u64>,
    /// Why the head after those did not.
    pub(super) refused: Cell<Option<Refusal>>,
    /// The one that asks for another protocol, counted from 0. What follows it is held.
    pub(super) held: Cell<Option<u64>>,
    /// Who reads, and has to look again when it no longer is.
    pub(super) reader: Cell<Option<Waker>>,
    /// Whether all that the client sent was read, up to the end of a message.
    pub(super) dry: Cell<bool>,
    /// Since when a head is incomplete.
    pub(super) head_since: Cell<Option<Instant>>,
    /// Since when the client takes nothing of what is written.
    pub(super) stuck_since: Cell<Option<Instant>>,
    /// Whether a body goes on behind its answer, and when something of such a body came last.
    pub(super) is_behind: Cell<bool>,
    pub(super) behind_at: Cell<Option<Instant>>,
}

impl Watch {
    /// Why the `n`-th request of the connection, counted from 0, must be refused.
    pub(crate) fn refusal(&self, n: u64) -> Option<Refusal> {
        self.0.refused.get().filter(|_| n == self.0.passed.get())
    }

    /// Since when a head has been incomplete, if one is.
    pub(crate) fn head_since(&self) -> Option<Instant> {
        self.0.head_since.get()
    }

    /// Since when the client has taken nothing of what is written to it, if it does not.
    pub(crate) fn stuck_since(&self) -> Option<Instant> {
        self.0.stuck_since.get()
    }

    /// When something came last of a body that goes on behind its answer, if one does.
    pub(crate) fn behind_since(&self) -> Option<Instant> {
        self.0.behind_at.get().filter(|_| self.0.is_behind.get())
    }

    /// When a body last went on behind its answer, if one did.
    pub(crate) fn behind_until(&self) -> Option<Instant> {
        self.0.behind_at.get()
    }

    /// Whether nothing is on its way once `requests` were answered: everything was read, was passed on,
    /// and what was written has left.
    pub(crate) fn is_quiet(&self, requests: u64) -> bool {
        let shared = &self.0;
        shared.dry.get() && shared.passed.get() == requests && shared.stuck_since.get().is_none()
    }

    /// Whether the `n`-th request, counted from 0, asks for another protocol: what follows is held.
    pub(crate) fn is_held(&self, n: u64) -> bool {
        self.0.held.get() == Some(n)
    }

    /// What follows is the next request.
    pub(crate) fn let_go(&self) {
        self.0.held.set(None);
        self.0.reader.take().iter().for_each(Waker::wake_by_ref);
    }
}
