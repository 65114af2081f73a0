//! The rest of a request whose answer came first.
//!
//! A backend may answer before it has read all of a request. Its client may then take the answer as
//! slowly as it likes, and neither waits for the other: the request has a task of its own.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::task::AbortHandle;

use super::Line;
use super::outbox::Outbox;
use crate::body::Upload;

/// A request on its way by itself.
pub(super) struct Aside {
    way: Rc<Way>,
    task: AbortHandle,
}

/// How far it has come.
#[derive(Default)]
struct Way {
    /// Whether all of it has gone out, once it goes no further.
    ended: Cell<Option<bool>>,
    /// Who is told then.
    waits: Cell<Option<Waker>>,
}

impl Aside {
    pub(super) fn begin(mut outbox: Outbox<Upload>, line: Rc<Line>) -> Self {
        let way = Rc::new(Way::default());
        let tells = Rc::clone(&way);
        let task = tokio::task::spawn_local(async move {
            let sent = poll_fn(|cx| outbox.poll(cx, &mut **line.io.borrow_mut())).await;
            tells.ended.set(Some(sent.is_ok()));
            tells.waits.take().iter().for_each(Waker::wake_by_ref);
        });
        Self { way, task: task.abort_handle() }
    }

    /// Whether all of it has gone out.
    pub(super) fn is_done(&self) -> bool {
        self.way.ended.get() == Some(true)
    }

    /// Waits until it is known not to go out.
    pub(super) fn poll_failed(&self, cx: &Context<'_>) -> Poll<io::Error> {
        if self.way.ended.get() == Some(false) {
            return Poll::Ready(io::ErrorKind::BrokenPipe.into());
        }
        self.way.waits.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    /// Nobody takes the answer any more.
    pub(super) fn abort(&self) {
        self.task.abort();
    }
}
