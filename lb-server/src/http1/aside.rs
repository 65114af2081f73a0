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
use tokio::time::{Instant, sleep, timeout_at};

use super::Line;
use super::outbox::Outbox;
use crate::body::Upload;
use crate::pulse::{Patience, poll_still};

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
    pub(super) fn begin(outbox: Outbox<Upload>, line: Rc<Line>, patience: Patience) -> Self {
        let way = Rc::new(Way::default());
        let tells = Rc::clone(&way);
        let task = tokio::task::spawn_local(async move {
            tells.ended.set(Some(send(outbox, &line, patience).await));
            drop(line);
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

/// Sends what is left, for as long as the exchange goes on. Whether all of it went out.
async fn send(mut outbox: Outbox<Upload>, line: &Line, Patience { idle, until }: Patience) -> bool {
    let mut late = Box::pin(sleep(idle));
    let mut wrote = Instant::now();
    let sending = poll_fn(|cx| {
        let before = outbox.written();
        let sent = outbox.poll(cx, &mut **line.io.borrow_mut());
        if outbox.written() > before {
            wrote = Instant::now();
        }
        let moved = || outbox.body().last_moved().map(|moved| moved.max(wrote) + idle);
        match sent {
            Poll::Ready(sent) => Poll::Ready(sent.is_ok()),
            Poll::Pending => poll_still(&mut late, cx, moved).map(|()| false),
        }
    });
    timeout_at(until, sending).await.unwrap_or(false)
}
