//! Whether a client connection is at work: its requests on their way, and the answers it leaves standing.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

/// Whether a connection is at work, and since when it is not.
pub(crate) struct Pulse {
    pub(crate) busy: Cell<u32>,
    pub(crate) since: Cell<Instant>,
    /// Of HTTP/1.1: with the request that began last, whose body may go on behind its answer.
    pub(crate) patience: Cell<Option<Patience>>,
    /// Of HTTP/2: how many requests may be taken back within a second.
    resets_max: Option<u32>,
    resets: Cell<u32>,
    resets_since: Cell<Instant>,
    pub(crate) flooded: Notify,
    /// Of HTTP/2: told when a request begins.
    pub(crate) began: Notify,
    /// Of HTTP/2: answers of which hyper has taken all that it asked for, and when it last took any.
    standing: Cell<u32>,
    moved: Cell<Instant>,
    /// The answers on their way that may have to end for others or for the whole: over HTTP/1.1 there is one at
    /// a time, and it ends with the connection.
    answers: RefCell<Vec<Weak<dyn Standing>>>,
    /// Bytes of memory that the client has them take by leaving them unread, and how many that may be.
    unread: Cell<u64>,
    pub(crate) unread_max: Cell<u64>,
    /// Whether some of them are about to end for that.
    presses: Cell<bool>,
}

/// How long one side may leave what the other sends where it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Without taking any of it.
    pub(crate) idle: Duration,
    /// With all of it.
    pub(crate) until: Instant,
}

/// Waits for the end of `late`, which is put off for as long as `until` lies ahead: what stands still on one
/// side may go on on the other.
pub(crate) fn poll_still(
    late: &mut Pin<Box<Sleep>>,
    cx: &mut Context<'_>,
    until: impl Fn() -> Option<Instant>,
) -> Poll<()> {
    loop {
        ready!(late.as_mut().poll(cx));
        match until() {
            Some(until) if until > Instant::now() => late.as_mut().reset(until),
            _ => return Poll::Ready(()),
        }
    }
}

/// An answer that its client may leave where it is.
pub(crate) trait Standing {
    /// Ends if nobody has taken any of it for too long.
    fn end_if_it_stands(&self, now: Instant);

    /// This client leaves what it leaves. Says whether that is counted.
    fn is_for(&self, reader: &Rc<Pulse>) -> bool;

    /// Bytes of memory that it takes unread.
    fn unread(&self) -> u64;

    /// Ends because it is too much.
    fn end_unread(&self);
}

impl Pulse {
    pub(crate) fn new(resets_max: Option<u32>) -> Rc<Self> {
        let now = Instant::now();
        Rc::new(Self {
            busy: Cell::new(0),
            since: Cell::new(now),
            patience: Cell::new(None),
            resets_max,
            resets: Cell::new(0),
            resets_since: Cell::new(now),
            flooded: Notify::new(),
            began: Notify::new(),
            standing: Cell::new(0),
            moved: Cell::new(now),
            answers: RefCell::default(),
            unread: Cell::new(0),
            unread_max: Cell::new(u64::MAX),
            presses: Cell::new(false),
        })
    }

    fn taken_back(&self) {
        let Some(most) = self.resets_max else { return };
        let now = Instant::now();
        if now >= self.resets_since.get() + Duration::from_secs(1) {
            self.resets_since.set(now);
            self.resets.set(0);
        }
        self.resets.set(self.resets.get() + 1);
        if self.resets.get() > most {
            self.resets.set(0);
            self.flooded.notify_one();
        }
    }

    /// Whether the client has left all that there is to take where it is for as long as `patience`: hyper
    /// asks for no more of any answer, and has no way to give up a stream.
    pub(crate) fn stands(&self, patience: Duration) -> bool {
        self.standing.get() == self.busy.get() && self.moved.get() + patience <= Instant::now()
    }

    pub(crate) fn end_what_stands(&self) {
        let now = Instant::now();
        let answers = std::mem::take(&mut *self.answers.borrow_mut());
        let standing: Vec<_> = answers.into_iter().filter(|it| it.strong_count() > 0).collect();
        standing.iter().filter_map(Weak::upgrade).for_each(|it| it.end_if_it_stands(now));
        self.answers.borrow_mut().extend(standing);
    }

    /// An answer takes so much unread, and took so much before. Whoever says so may hold it.
    pub(crate) fn holds(self: &Rc<Self>, before: u64, now: u64) {
        self.unread.set(self.unread.get() + now - before);
        if self.unread.get() > self.unread_max.get() && !self.presses.replace(true) {
            let this = Rc::clone(self);
            tokio::task::spawn_local(async move { this.make_room() });
        }
    }

    /// Ends the answers that take most, until the others are not too much.
    fn make_room(&self) {
        self.presses.set(false);
        while self.unread.get() > self.unread_max.get() {
            let answers: Vec<_> = self.answers.borrow().iter().filter_map(Weak::upgrade).collect();
            let most = answers.iter().max_by_key(|it| it.unread()).filter(|it| it.unread() > 0);
            let Some(most) = most else { return };
            most.end_unread();
        }
    }
}

/// A request that has not been answered to its last byte.
pub(crate) struct Busy {
    pulse: Rc<Pulse>,
    end: Cell<End>,
    stands: Cell<bool>,
}

/// How a request ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nobody has said yet: whoever takes a request back says nothing but that.
    Unsaid,
    /// With its answer, or by whatever the backend or we did.
    NotTakenBack,
    TakenBack,
}

impl Busy {
    pub(crate) fn new(pulse: &Rc<Pulse>) -> Self {
        pulse.busy.set(pulse.busy.get() + 1);
        pulse.patience.set(None);
        if pulse.resets_max.is_some() {
            pulse.began.notify_one();
        }
        Self { pulse: Rc::clone(pulse), end: Cell::new(End::Unsaid), stands: Cell::new(false) }
    }

    /// A backend's answer begins.
    pub(crate) fn delivers<S: Standing + 'static>(&self, patience: Patience, answer: &Rc<S>) {
        self.pulse.patience.set(Some(patience));
        let is_counted = answer.is_for(&self.pulse);
        if !is_counted && !self.is_of_http2() {
            return;
        }
        let mut answers = self.pulse.answers.borrow_mut();
        // Those that have ended are let go before they are more than those that have not.
        if answers.len() > 2 * self.pulse.busy.get() as usize {
            answers.retain(|it| it.strong_count() > 0);
        }
        let answer = Rc::downgrade(answer);
        answers.push(answer);
    }

    /// Whether its client speaks HTTP/2.
    pub(crate) fn is_of_http2(&self) -> bool {
        self.pulse.resets_max.is_some()
    }

    /// The next of its answer is in the client's hands: nobody asks for more until that is taken.
    pub(crate) fn hands(&self) {
        if self.pulse.resets_max.is_some() {
            self.pulse.moved.set(Instant::now());
            self.stands(true);
        }
    }

    /// There is no more of its answer yet, and the client waits for it.
    pub(crate) fn waits(&self) {
        self.stands(false);
    }

    fn stands(&self, stands: bool) {
        let others = self.pulse.standing.get() - u32::from(self.stands.replace(stands));
        self.pulse.standing.set(others + u32::from(stands));
    }

    /// It ends as it should, or by no doing of its client's.
    pub(crate) fn ends(&self) {
        if self.end.get() == End::Unsaid {
            self.end.set(End::NotTakenBack);
        }
    }

    /// Its client has taken it back, whatever is still said to it.
    pub(crate) fn is_taken_back(&self) {
        self.end.set(End::TakenBack);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let pulse = &self.pulse;
        self.stands(false);
        pulse.busy.set(pulse.busy.get() - 1);
        pulse.since.set(Instant::now());
        if self.end.get() != End::NotTakenBack {
            pulse.taken_back();
        }
    }
}
