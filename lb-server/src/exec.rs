//! Where hyper runs what it needs to run beside us: on this thread.

use std::cell::{Cell, OnceCell};
use std::future::Future;
use std::rc::Rc;

use hyper::rt::Executor;
use tokio::task::AbortHandle;

/// Runs tasks on the worker's own thread.
#[derive(Clone, Copy, Debug)]
pub struct Here;

impl<F: Future<Output = ()> + 'static> Executor<F> for Here {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

/// The same for a client's connection, whose streams may become tunnels: what is sent on such a stream goes
/// through a task of hyper's.
#[derive(Clone)]
pub(crate) struct Carrying {
    next: Option<Rc<Cell<Option<Carrier>>>>,
}

/// The task that carries what is sent in a tunnel, once there is one.
#[derive(Clone, Default)]
pub(crate) struct Carrier(Rc<OnceCell<AbortHandle>>);

impl Carrying {
    pub(crate) fn new() -> Self {
        Self { next: Some(Rc::default()) }
    }

    /// Of HTTP/1.1, where hyper carries nothing.
    pub(crate) const fn nobodys() -> Self {
        Self { next: None }
    }

    /// What will carry the tunnel that is about to be granted: hyper makes it as soon as it has the answer,
    /// before it does anything else. Should it make none, this stays empty or holds a task that nobody asks
    /// about.
    pub(crate) fn next(&self) -> Carrier {
        let carrier = Carrier::default();
        self.next.iter().for_each(|next| next.set(Some(carrier.clone())));
        carrier
    }
}

impl Carrier {
    /// Ends it before it can say that all was sent. A stream of which nobody has anything then is reset with
    /// CANCEL: hyper gives nobody another word for it.
    pub(crate) fn break_off(&self) {
        self.0.get().into_iter().for_each(AbortHandle::abort);
    }
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Carrying {
    fn execute(&self, task: F) {
        let task = tokio::task::spawn_local(task);
        if let Some(carrier) = self.next.as_ref().and_then(|next| next.take()) {
            // It was made for one task, and gets no other.
            let _first = carrier.0.set(task.abort_handle());
        }
    }
}
