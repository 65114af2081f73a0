//! How a process is told to stop: first politely, then at once.

use tokio::sync::watch;

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
pub struct Trigger(watch::Sender<Phase>);

/// Hears where the process is. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<Phase>);

/// A trigger, and what it triggers.
///
/// ```
/// let (trigger, shutdown) = lb_server::shutdown::pair();
/// trigger.drain();
/// assert_eq!(shutdown.phase(), lb_server::shutdown::Phase::Draining);
/// ```
pub fn pair() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(Phase::Running);
    (Trigger(sender), Shutdown(receiver))
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
        *self.0.borrow() >= Phase::Leaving
    }

    fn advance(&self, to: Phase) {
        self.0.send_if_modified(|phase| {
            let onward = *phase < to;
            if onward {
                *phase = to;
            }
            onward
        });
    }
}

impl Shutdown {
    /// Where the process is.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Waits until the process has come as far as `phase`. Waits for ever if nobody can move it on.
    pub async fn reached(&mut self, phase: Phase) {
        if self.0.wait_for(|now| *now >= phase).await.is_err() {
            std::future::pending().await
        }
    }
}
