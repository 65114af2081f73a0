//! The rest of a request whose answer came first.
//!
//! A backend may answer before it has read all of a request. Its client may then take the answer as
//! slowly as it likes, and neither waits for the other: the request has a task of its own.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;

use tokio::task::AbortHandle;

use super::Line;
use super::outbox::Outbox;

/// A request on its way by itself.
pub(super) struct Aside {
    done: Rc<Cell<bool>>,
    task: AbortHandle,
}

impl Aside {
    pub(super) fn begin(mut outbox: Outbox, line: Rc<Line>) -> Self {
        let done = Rc::new(Cell::new(false));
        let tells = Rc::clone(&done);
        let task = tokio::task::spawn_local(async move {
            let sent = poll_fn(|cx| outbox.poll(cx, &mut **line.io.borrow_mut())).await;
            tells.set(sent.is_ok());
        });
        Self { done, task: task.abort_handle() }
    }

    /// Whether all of it has gone out.
    pub(super) fn is_done(&self) -> bool {
        self.done.get()
    }

    /// Nobody takes the answer any more.
    pub(super) fn abort(&self) {
        self.task.abort();
    }
}
