//! What systemd is told of the process, if it asks to be told (`NOTIFY_SOCKET`, `sd_notify(3)`).

use sd_notify::{NotifyState, notify};

use crate::say;

/// Clients can connect, and what was asked for last is in force.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is read anew; [`ready`] ends it.
pub(crate) fn reloading() {
    // `Type=notify-reload` wants to know when that was.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The process finishes what runs.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Another process is the service from now on.
pub(crate) fn succeeded_by(process: u32) {
    tell(&[NotifyState::MainPid(process), NotifyState::Ready]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = notify(state) {
        say(&format!(
            "lb-server: warning: systemd cannot be told of this (NOTIFY_SOCKET): {error}"
        ));
    }
}
