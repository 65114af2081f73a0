//! How a process is told to stop: first politely, then at once.
//!
//! Whoever waits is woken in the order in which he began to. A `watch` channel would do but for that:
//! it spreads those who wait over several queues by chance, and no drain would be like another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// How far a process has come towards its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It serves.
    Running,
    /// It serves, and says that it is about to end: whoever sends clients here should stop.
    Leaving,
    /// It finishes what runs and takes nothing new.
    Draining,
    /// It stops at once.
    Stopping,
}

/// Moves a process towards its end. Dropping it changes nothing.
#[derive(Debug)]
pub struct Trigger(Arc<Progress>);

/// Hears where the process is. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<Progress>);

/// How far it is, and who waits to hear of it.
#[derive(Debug, Default)]
struct Progress {
    /// A [`Phase`], as a number.
    phase: AtomicU8,
    moved: Notify,
}

/// A trigger, and what it triggers.
///
/// ```
/// let (trigger, shutdown) = lb_server::shutdown::pair();
/// trigger.drain();
/// assert_eq!(shutdown.phase(), lb_server::shutdown::Phase::Draining);
/// ```
pub fn pair() -> (Trigger, Shutdown) {
    let progress = Arc::new(Progress::default());
    (Trigger(Arc::clone(&progress)), Shutdown(progress))
}

impl Trigger {
    /// Say that the end is near, and drain after `shutdown_delay`.
    pub fn leave(&self) {
        self.advance(Phase::Leaving);
    }

    /// Finish what runs, take nothing new.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Stop at once.
    pub fn stop(&self) {
        self.advance(Phase::Stopping);
    }

    /// Whether it was told to end already.
    pub fn is_leaving(&self) -> bool {
        self.0.phase() >= Phase::Leaving
    }

    fn advance(&self, to: Phase) {
        if self.0.phase.fetch_max(to as u8, Ordering::AcqRel) < to as u8 {
            self.0.moved.notify_waiters();
        }
    }
}

impl Shutdown {
    /// Where the process is.
    pub fn phase(&self) -> Phase {
        self.0.phase()
    }

    /// Waits until the process has come as far as `phase`. Waits for ever if nobody moves it on.
    pub async fn reached(&mut self, phase: Phase) {
        loop {
            // Whoever looks first and then begins to wait may miss what happens in between.
            let mut moved = std::pin::pin!(self.0.moved.notified());
            moved.as_mut().enable();
            if self.phase() >= phase {
                return;
            }
            moved.await;
        }
    }
}

/// How many workers of a process have not ended, and who waits to hear of it.
#[derive(Debug, Default)]
pub(crate) struct Crew {
    count: AtomicUsize,
    fewer: Notify,
}

/// A worker that has not ended. Dropping it says that it has.
#[derive(Debug)]
pub(crate) struct Member(Arc<Crew>);

impl Crew {
    pub(crate) fn join(self: &Arc<Self>) -> Member {
        self.count.fetch_add(1, Ordering::Relaxed);
        Member(Arc::clone(self))
    }
}

impl Member {
    /// Waits until all others have ended.
    pub(crate) async fn is_last(&self) {
        loop {
            let mut fewer = std::pin::pin!(self.0.fewer.notified());
            fewer.as_mut().enable();
            if self.0.count.load(Ordering::Acquire) <= 1 {
                return;
            }
            fewer.await;
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Release);
        self.0.fewer.notify_waiters();
    }
}

impl Progress {
    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Leaving,
            2 => Phase::Draining,
            _ => Phase::Stopping,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    #[test]
    fn who_waits_first_is_woken_first_and_each_when_his_phase_has_come() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let woken = Rc::new(RefCell::new(Vec::new()));
            let (trigger, shutdown) = pair();
            let wait = |number: usize, phase| {
                let (mut shutdown, woken) = (shutdown.clone(), Rc::clone(&woken));
                spawn_local(async move {
                    shutdown.reached(phase).await;
                    woken.borrow_mut().push(number);
                })
            };
            let last = wait(0, Phase::Stopping);
            let waiting = (1..20).map(|number| wait(number, Phase::Draining)).collect::<Vec<_>>();
            tokio::task::yield_now().await;
            assert!(woken.borrow().is_empty());
            trigger.drain();
            for task in waiting {
                task.await.unwrap();
            }
            assert_eq!(woken.take(), (1..20).collect::<Vec<_>>());
            assert_eq!(shutdown.phase(), Phase::Draining);
            trigger.stop();
            trigger.drain();
            last.await.unwrap();
            assert_eq!((woken.take(), shutdown.phase()), (vec![0], Phase::Stopping));
        });
    }
}
