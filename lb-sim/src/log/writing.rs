//! The log while it is being written, by everybody in the world, and the tape beside it.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use lb_core::{Ask, Event, Explanation, Input, Time};
use lb_server::{Snapshot, Tap};
use tokio::time::Instant;

use super::{Entry, What};
use crate::roster::Roster;
use crate::tape::{Asked, Heard, Note, Tape};

/// The log while it is being written. Everybody in the world has a handle.
#[derive(Clone, Debug)]
pub struct Log {
    entries: Arc<Mutex<Vec<Entry>>>,
    explains: bool,
    roster: Arc<Roster>,
    served: Arc<Mutex<Served>>,
    tape: Option<Tape>,
    /// When the world began, where its time is that of the clock on the wall.
    began: Arc<OnceLock<Instant>>,
}

/// What the proxy was given to serve by.
#[derive(Debug, Default)]
struct Served {
    /// In turn.
    snapshots: Vec<Arc<Snapshot>>,
    /// Which of them the last request found.
    now: usize,
}

impl Log {
    /// A log of a run in which `roster` is who is who. It also says what choices were made from, if
    /// it `explains`.
    pub fn new(roster: &Roster, explains: bool) -> Self {
        let (entries, served, began) = (Arc::default(), Arc::default(), Arc::default());
        Self { entries, explains, roster: Arc::new(roster.clone()), served, tape: None, began }
    }

    /// The same log, which also puts on `tape` what the core is handed.
    pub(crate) fn with_tape(self, tape: &Tape) -> Self {
        Self { tape: Some(tape.clone()), ..self }
    }

    /// The world began then, and its time is that of the clock on the wall.
    pub(crate) fn began(&self, at: Instant) {
        self.began.get_or_init(|| at);
    }

    /// How old the world is; nobody knows outside of it.
    pub(crate) fn now(&self) -> Duration {
        match self.began.get() {
            Some(began) => began.elapsed(),
            None => turmoil::sim_elapsed().unwrap_or_default(),
        }
    }

    /// The proxy is given `snapshot` to serve by.
    pub(crate) fn knows(&self, snapshot: Arc<Snapshot>) {
        self.served().snapshots.push(snapshot);
    }

    /// Everything that the proxy was given to serve by, in turn.
    pub(crate) fn snapshots(&self) -> Vec<Arc<Snapshot>> {
        self.served().snapshots.clone()
    }

    fn served(&self) -> MutexGuard<'_, Served> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The proxy will be given another configuration, at `now` by its own clock.
    pub(crate) fn reloads(&self, now: Time) {
        if let Some(tape) = &self.tape {
            let (era, line) = (self.served().snapshots.len(), self.lines() + 1);
            tape.note(Note { now, line, era, what: Heard::Reloaded });
        }
    }

    fn lines(&self) -> usize {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Puts on tape what was heard, where somebody wants it. What stands in the log stands in its last
    /// line, and anything else before the next one.
    fn tape(&self, now: Time, snapshot: &Snapshot, what: impl FnOnce() -> Heard) {
        let Some(tape) = &self.tape else { return };
        let (era, what) = (self.era(snapshot), what());
        let line = self.lines() + usize::from(!matches!(what, Heard::Event(_)));
        tape.note(Note { now, line, era, what });
    }

    /// Follows the proxy to the snapshot that a request found, if it is another one.
    fn follow(&self, era: usize) {
        let mut served = self.served();
        if era > served.now {
            served.now = era;
            drop(served);
            self.write(What::Serves(era));
        }
    }

    /// How many reloads there were before `snapshot`.
    fn era(&self, snapshot: &Snapshot) -> usize {
        let is_it = |known: &Arc<Snapshot>| std::ptr::eq(Arc::as_ptr(known), snapshot);
        let era = self.served().snapshots.iter().position(is_it);
        era.expect("the log knows what is served")
    }

    /// Writes down that `what` happens now.
    pub fn write(&self, what: What) {
        self.write_at(self.now(), what);
    }

    /// Writes down that `what` happened at `at`, where nobody in the world can tell the time.
    pub fn write_at(&self, at: Duration, what: What) {
        // A poisoned log belongs to a run that has panicked, and is reported as such.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(Entry { at, what });
    }

    /// Everything that was written.
    pub fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut *self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Tap for Log {
    fn begins(&self, now: Time, snapshot: &Snapshot, service: u16, ask: &Ask<'_>) {
        self.tape(now, snapshot, || Heard::Began(service, Box::new(Asked::of(ask))));
    }

    fn hears(&self, now: Time, snapshot: &Snapshot, input: Input) {
        self.tape(now, snapshot, || Heard::Input(input));
    }

    fn on(&self, now: Time, snapshot: &Snapshot, event: &Event) {
        let era = self.era(snapshot);
        if let Event::Started { .. } = event {
            self.follow(era);
        }
        self.write(What::Core(self.roster.renumbered(era, *event)));
        self.tape(now, snapshot, || Heard::Event(*event));
    }

    fn explains(&self) -> bool {
        self.explains
    }

    fn explained(&self, explanation: &Explanation<'_>) {
        let (exchange, text) = (explanation.exchange, explanation.to_string());
        self.write(What::Explained { exchange, text });
    }
}
