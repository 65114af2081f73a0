//! How many connections a backend has, with a bound: one count for all workers.
//!
//! A connection holds its [`Slot`] until its socket is closed, whatever is spoken on it meanwhile.
//! Slots that come free go to those who wait, in the order in which they came.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places for connections to one backend.
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    most: Mutex<usize>,
    waiting: AtomicUsize,
}

/// The place of one connection. Dropping it makes room for another.
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
}

/// Somebody waits for a slot, until this is dropped.
pub(crate) struct Waiting<'s>(&'s AtomicUsize);

impl Slots {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(most));
        Arc::new(Self { free, most: Mutex::new(most), waiting: AtomicUsize::new(0) })
    }

    /// There may be so many from now on. Call it inside a runtime.
    pub(crate) fn allow(&self, most: usize) {
        let mut before = self.most.lock().unwrap_or_else(PoisonError::into_inner);
        resize(&self.free, *before, most);
        *before = most;
    }

    /// A free one, if nobody waits for it.
    pub(crate) fn take(&self) -> Option<Slot> {
        Arc::clone(&self.free).try_acquire_owned().ok().map(|permit| Slot { _permit: permit })
    }

    /// The next one that comes free. It may wait for ever: the caller has the deadline.
    pub(crate) async fn next(&self) -> Slot {
        let permit = Arc::clone(&self.free).acquire_owned().await;
        Slot { _permit: permit.expect("the semaphore is never closed") }
    }

    /// How many wait, over all workers.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Somebody begins to wait.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(&self.waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Of so many places there are so many `now`. What is taken beyond a lower number stays taken; what is
/// new waits until there is room. Call it inside a runtime.
pub(crate) fn resize(places: &Arc<Semaphore>, before: usize, now: usize) {
    if now >= before {
        return places.add_permits(now - before);
    }
    let surplus = before - now;
    let missing = surplus - places.forget_permits(surplus);
    if missing > 0 {
        let (places, missing) = (Arc::clone(places), u32::try_from(missing));
        tokio::task::spawn(async move {
            let missing = missing.unwrap_or(u32::MAX);
            if let Ok(permits) = places.acquire_many_owned(missing).await {
                permits.forget();
            }
        });
    }
}
