//! Bodies on their way: both stream with backpressure, and a request's is kept as far as allowed.
//!
//! A request's body is read when the backend takes it and not before; what was read is kept up to
//! `replay_buffer`, so that another attempt can send it again. Past that bound nothing is kept and
//! the request is simply no longer repeatable. While it is open which answer goes out nobody reads: what
//! could be sent again when that was decided still can. What is kept is one run of bytes, however small the
//! pieces were that it came in: the bound is on memory. Trailers follow where the backend's protocol has
//! a place for them. A response's body carries the delivery: the lease is held to its last byte, and the
//! connection goes back to the pool when that was read.

mod broken;
mod kept;

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::arriving::Arriving;
use crate::layers::{self, Layers};
use crate::pulse;
pub(crate) use broken::Broken;
use kept::Kept;

/// A request's body, and as much of it as is kept for another attempt.
pub(crate) struct Replay {
    /// `None`: the request has no body, and every attempt can do without.
    source: Option<Rc<Source>>,
}

struct Source {
    state: RefCell<State>,
    /// Which upload may read: the last one made.
    turn: Cell<u64>,
    /// Whether it may not read for the moment.
    paused: Cell<bool>,
    /// Who waits to read.
    reader: Cell<Option<Waker>>,
    /// Bytes read from the client.
    bytes: Rc<Cell<u64>>,
    /// When the backend last took a piece, and last said one.
    moved: Cell<Instant>,
    heard: Cell<Instant>,
    size: SizeHint,
    bounds: Bounds,
    /// What is changed in the request, if anything is.
    layers: Option<Layers>,
}

/// What a request's body may be like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// How long the client may pause between two pieces.
    pub(crate) idle_for: Duration,
    /// Bytes that are kept to be sent again.
    pub(crate) keep_max: usize,
    /// Bytes of it.
    pub(crate) size_max: u64,
}

struct State {
    /// `None`: all of it is kept.
    incoming: Option<Arriving>,
    /// What was read, as long as all of it is.
    kept: Option<Kept>,
    /// What came behind the body, for as long as that is kept.
    trailers: Option<HeaderMap>,
    done: bool,
    broken: Option<Broken>,
    idle: Option<Pin<Box<Sleep>>>,
}

impl Replay {
    /// The body of a request in which these change something. What the client sends is counted in `bytes`,
    /// if it may send any.
    pub(crate) fn new(
        incoming: Arriving,
        bounds: Bounds,
        layers: Option<&Layers>,
        bytes: impl FnOnce() -> Rc<Cell<u64>>,
    ) -> Self {
        if incoming.is_end_stream() {
            return Self { source: None };
        }
        let size = incoming.size_hint();
        // What is known to be too large is not kept in the first place.
        let keep = size.lower() <= bounds.keep_max as u64;
        let state = State {
            incoming: Some(incoming),
            kept: keep.then(|| Kept::One(Bytes::new())),
            trailers: None,
            done: false,
            broken: None,
            idle: None,
        };
        let source = Source {
            state: RefCell::new(state),
            turn: Cell::new(0),
            paused: Cell::default(),
            reader: Cell::default(),
            bytes: bytes(),
            moved: Cell::new(Instant::now()),
            heard: Cell::new(Instant::now()),
            size,
            bounds,
            layers: layers.cloned(),
        };
        Self { source: Some(Rc::new(source)) }
    }

    /// The same body once more, for somebody else, where these change something; `None` unless all of it was
    /// read and kept, and is at most `size_max`.
    pub(crate) fn copy(&self, size_max: u64, layers: Option<&Layers>) -> Option<Self> {
        let Some(source) = &self.source else { return Some(Self { source: None }) };
        let state = source.state.borrow();
        let is_whole = state.done && state.broken.is_none();
        let fits = |kept: &&Kept| is_whole && kept.bytes().len() as u64 <= size_max;
        let kept = state.kept.as_ref().filter(fits)?;
        let copy = State {
            incoming: None,
            kept: Some(Kept::One(Bytes::copy_from_slice(kept.bytes()))),
            trailers: state.trailers.clone().map(|trailers| layers::behind_body(trailers, layers)),
            done: true,
            broken: None,
            idle: None,
        };
        Some(Self {
            source: Some(Rc::new(Source {
                state: RefCell::new(copy),
                turn: Cell::new(0),
                paused: Cell::default(),
                reader: Cell::default(),
                bytes: Rc::default(),
                moved: Cell::new(Instant::now()),
                heard: Cell::new(Instant::now()),
                size: source.size,
                bounds: source.bounds,
                layers: None, // nothing more comes
            })),
        })
    }

    /// Whether there is nothing to send.
    pub(crate) const fn is_empty(&self) -> bool {
        self.source.is_none()
    }

    /// The body for one more attempt. Earlier ones can no longer read.
    pub(crate) fn upload(&self) -> Upload {
        let Some(source) = &self.source else { return Upload::EMPTY };
        source.take_back();
        Upload { source: Some(Rc::clone(source)), turn: source.turn.get(), ..Upload::EMPTY }
    }

    /// Nobody reads for the moment: what can be sent once more now still can be at the end of it.
    pub(crate) fn pause(&self) -> Pause {
        if let Some(source) = &self.source {
            source.paused.set(true);
            source.state.borrow_mut().idle = None;
        }
        Pause(self.source.clone())
    }

    /// Whether the whole body can be sent once more.
    pub(crate) fn body(&self) -> lb_core::Body {
        match &self.source {
            Some(source) if !source.can_begin_again() => lb_core::Body::Spent,
            _ => lb_core::Body::Intact,
        }
    }

    /// What the client did wrong, if its side of the body broke.
    pub(crate) fn broken(&self) -> Option<Broken> {
        self.source.as_ref().and_then(|source| source.state.borrow().broken)
    }

    /// When the backend last took a piece of the body. It is now as long as it waits for one: what
    /// it cannot have is not held against it.
    pub(crate) fn moved(&self) -> Option<Instant> {
        let source = self.source.as_ref()?;
        Some(if self.waits_for_client() { Instant::now() } else { source.moved.get() })
    }

    /// When a piece of the body last went out, if there is one.
    pub(crate) fn last_taken(&self) -> Option<Instant> {
        self.source.as_ref().map(|source| source.moved.get())
    }

    /// A piece of the answer has come: the exchange goes on.
    pub(crate) fn heard(&self, now: Instant) {
        self.source.iter().for_each(|source| source.heard.set(now));
    }

    /// Whether the backend wants more of the body than the client has sent.
    pub(crate) fn waits_for_client(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.state.borrow().idle.is_some())
    }

    /// Nobody waits for the client any longer.
    pub(crate) fn give_up(&self) {
        if let Some(source) = &self.source {
            source.state.borrow_mut().broken.get_or_insert(Broken::ClientIdle);
        }
    }

    /// Whether all of the body was read.
    pub(crate) fn is_done(&self) -> bool {
        self.source.as_ref().is_none_or(|source| source.state.borrow().done)
    }
}

/// A time in which nobody reads a body. Whoever read before it has no more of it once this is dropped.
pub(crate) struct Pause(Option<Rc<Source>>);

impl Pause {
    /// Whoever read before it goes on.
    pub(crate) fn end(mut self) {
        if let Some(source) = self.0.take() {
            source.paused.set(false);
            source.wake();
        }
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        self.0.iter().for_each(|source| source.take_back());
    }
}

impl Source {
    /// Nobody who read so far may read any more, and learns so.
    fn take_back(&self) {
        self.turn.set(self.turn.get() + 1);
        self.paused.set(false);
        self.state.borrow_mut().idle = None;
        self.wake();
    }

    fn wake(&self) {
        self.reader.take().iter().for_each(Waker::wake_by_ref);
    }

    fn can_begin_again(&self) -> bool {
        let state = self.state.borrow();
        state.broken.is_none() && (state.kept.is_some() || self.bytes.get() == 0 && !state.done)
    }

    fn poll_incoming(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let state = &mut *self.state.borrow_mut();
        if let Some(broken) = state.broken {
            return Poll::Ready(Some(Err(broken)));
        }
        let Some(incoming) = &mut state.incoming else { return Poll::Ready(None) };
        let frame = match Pin::new(&mut *incoming).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let idle_until = || Box::pin(sleep_until(Instant::now() + self.bounds.idle_for));
                let idle = state.idle.get_or_insert_with(idle_until);
                let until = || Some(self.heard.get() + self.bounds.idle_for);
                ready!(pulse::poll_still(idle, cx, until));
                state.broken = Some(Broken::ClientIdle);
                return Poll::Ready(Some(Err(Broken::ClientIdle)));
            }
        };
        state.idle = None;
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    self.bytes.set(self.bytes.get() + data.len() as u64);
                    if self.bytes.get() > self.bounds.size_max {
                        state.broken = Some(Broken::TooLarge);
                        return Poll::Ready(Some(Err(Broken::TooLarge)));
                    }
                    state.done = incoming.is_end_stream();
                    state.keep(&data, self.bounds.keep_max);
                    Poll::Ready(Some(Ok(Frame::data(data))))
                }
                Err(frame) => {
                    state.done = true;
                    let trailers = frame.into_trailers().unwrap_or_default();
                    let trailers = layers::behind_body(trailers, self.layers.as_ref());
                    if state.kept.is_some() {
                        state.trailers = Some(trailers.clone());
                    }
                    Poll::Ready(Some(Ok(Frame::trailers(trailers))))
                }
            },
            None => {
                state.done = true;
                Poll::Ready(None)
            }
            Some(Err(broken)) => {
                state.broken = Some(broken);
                Poll::Ready(Some(Err(broken)))
            }
        }
    }
}

impl State {
    fn keep(&mut self, data: &Bytes, keep_max: usize) {
        self.kept = match self.kept.take() {
            Some(kept) if kept.bytes().len() + data.len() <= keep_max => Some(kept.and(data)),
            _ => None,
        };
    }

    /// What was read before and has to be sent again, beyond the first `sent` bytes.
    fn again(&self, sent: usize) -> Option<Frame<Bytes>> {
        let trailers = || self.trailers.clone().map(Frame::trailers);
        self.kept.as_ref()?.beyond(sent).map(Frame::data).or_else(trailers)
    }
}

/// The request's body as one attempt sends it.
pub(crate) struct Upload {
    source: Option<Rc<Source>>,
    turn: u64,
    /// How many bytes this attempt has sent.
    sent: usize,
    /// Whether it has sent what comes behind them.
    ended: bool,
}

impl Upload {
    /// No body.
    pub(crate) const EMPTY: Self = Self { source: None, turn: 0, sent: 0, ended: false };

    /// When something of the exchange last moved, in either direction, if it has a body.
    pub(crate) fn last_moved(&self) -> Option<Instant> {
        self.source.as_ref().map(|source| source.moved.get().max(source.heard.get()))
    }

    /// Whether all that it has not sent can still be had. Half a body must never look like a whole one.
    fn is_whole(&self, source: &Source) -> bool {
        let is_kept = || source.state.borrow().kept.is_some();
        source.turn.get() == self.turn && (self.sent as u64 >= source.bytes.get() || is_kept())
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Some(source) = self.source.clone() else { return Poll::Ready(None) };
        if !self.is_whole(&source) {
            return Poll::Ready(Some(Err(Broken::Superseded)));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        if source.paused.get() {
            source.reader.set(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        let again = source.state.borrow().again(self.sent);
        let frame = match again {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => source.poll_incoming(cx),
        };
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            self.sent += frame.data_ref().map_or(0, Bytes::len);
            self.ended = frame.is_trailers();
            source.moved.set(Instant::now());
        }
        if frame.is_pending() {
            source.reader.set(Some(cx.waker().clone()));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.source.as_ref().is_none_or(|source| {
            let state = source.state.borrow();
            let sent = state.kept.as_ref().is_none_or(|kept| self.sent >= kept.bytes().len());
            self.is_whole(source) && state.done && sent && (self.ended || state.trailers.is_none())
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.source.as_ref().map_or_else(|| SizeHint::with_exact(0), |source| source.size)
    }
}
