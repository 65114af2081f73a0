//! Who hears that a backend has closed a connection at rest.
//!
//! Nobody waits for a connection in the pool; its socket has a waker nevertheless, as any that is read
//! from. It is the bell of its stack, and rings for whoever looks after the worker's connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use tokio::sync::Notify;

use crate::http1::Http1;

/// Told when a connection at rest has closed, of one worker.
pub(crate) type Closed = Notify;

/// The bell of the connections to one backend.
pub(super) struct Bell {
    rope: Arc<Rope>,
    waker: Waker,
}

/// What a socket pulls.
struct Rope {
    rung: AtomicBool,
    closed: Arc<Closed>,
}

impl Wake for Rope {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Relaxed);
        self.closed.notify_one();
    }
}

impl Bell {
    pub(super) fn new(closed: &Arc<Closed>) -> Self {
        let rope = Arc::new(Rope { rung: AtomicBool::new(false), closed: Arc::clone(closed) });
        Self { waker: Waker::from(Arc::clone(&rope)), rope }
    }

    /// Whether a connection at rest has closed. If not, the bell will ring.
    pub(super) fn is_closed(&self, line: &mut Http1) -> bool {
        line.poll_closed(&mut Context::from_waker(&self.waker)).is_ready()
    }

    /// Whether it has rung since it was asked last.
    pub(super) fn has_rung(&self) -> bool {
        self.rope.rung.swap(false, Ordering::Relaxed)
    }
}
