//! The signals that a process hears, and what each of them asks for.

use std::io;

use nix::sys::signal::{SigSet, Signal};
use tokio::signal::unix::{self, SignalKind, signal};

/// All that are heard.
const ALL: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR2];
/// Those of them that ask to end.
const ENDING: [Signal; 2] = [Signal::SIGTERM, Signal::SIGINT];

/// Starts a thread in peace: a signal that nobody has asked to hear ends the process on the spot, and
/// one that comes while its handler is set up is lost, on whichever thread it comes. What asks for
/// something else than the end waits from now on until somebody hears it.
pub(crate) fn hold<T>(start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    SigSet::from_iter(ALL).thread_block()?;
    let started = start();
    SigSet::from_iter(ENDING).thread_unblock()?;
    started
}

/// The signals that a process hears, from the first moment on.
pub(crate) struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
    user2: unix::Signal,
    /// Whether it was asked to end before.
    is_ending: bool,
}

/// What a signal asks for.
pub(crate) enum Asked {
    /// To end when what runs is finished.
    End,
    /// The same once more: to end at once.
    Stop,
    Reload,
    Upgrade,
}

impl Signals {
    /// Hears them from now on. Must run inside a runtime.
    pub(crate) fn hear() -> io::Result<Self> {
        SigSet::from_iter(ALL).thread_block()?;
        let heard = Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user2: signal(SignalKind::user_defined2())?,
            is_ending: false,
        };
        SigSet::from_iter(ALL).thread_unblock()?;
        Ok(heard)
    }

    /// May be dropped and called again.
    pub(crate) async fn next(&mut self) -> Asked {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => self.end(),
            _ = self.interrupt.recv() => self.end(),
            _ = self.hangup.recv() => Asked::Reload,
            _ = self.user2.recv() => Asked::Upgrade,
        }
    }

    /// Waits for one that asks to end at once.
    pub(crate) async fn stop(&mut self) {
        while !matches!(self.next().await, Asked::Stop) {}
    }

    fn end(&mut self) -> Asked {
        match std::mem::replace(&mut self.is_ending, true) {
            false => Asked::End,
            true => Asked::Stop,
        }
    }
}
