//! A request's body on a connection that exchanges share, and the place that both take there.
//!
//! A stream is there until both sides of it have ended, and a backend may answer before it has read all of a
//! request: what is left goes on behind the answer, as over HTTP/1.1, until all time is up. Nobody may wait
//! for that in hyper: it asks no body for more before what it has can go out, and whoever has only that to
//! wait for has nobody to end it. So what carries a body is a task of ours. And a stream of which the end was
//! said cannot be taken back, whatever of it lies in h2: so that is said when the rest has gone out.

use std::cell::{Cell, OnceCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use http::HeaderMap;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::rt::Executor;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::shared::{Heard, Shared};
use crate::body::{Broken, Upload};
use crate::unread::Unread;

/// Bytes of a body that go out together with its end: as many as a frame takes (RFC 9113 §4.2).
const AT_ONCE: usize = 16 << 10;

/// A stream on a connection.
pub(super) struct Place {
    taken: Rc<Cell<usize>>,
    /// Told when it comes free.
    freed: Rc<Notify>,
    /// Whether it is taken for what is left of the request alone.
    outlives: Cell<bool>,
    /// Told when nobody waits for the answer any more.
    given_up: Notify,
    /// What is on its way of the request's body, once anything is.
    ahead: OnceCell<Arc<Ahead>>,
    /// The number of its stream, once that has begun, and what has come on it.
    number: Cell<u32>,
    pub(super) unread: Rc<Unread>,
}

/// What is between a body and the wire: whoever has a part of it has this.
#[derive(Default)]
struct Ahead {
    /// Whether anything has gone out.
    begun: AtomicBool,
    /// Who waits until all has.
    waits: AtomicWaker,
}

impl Place {
    /// Whether there is some of the request's body, and nothing of it could go out.
    pub(super) fn waits(&self) -> bool {
        self.ahead.get().is_some_and(|it| !it.begun.load(Ordering::Relaxed)) && !self.has_sent()
    }

    /// Whether nothing of the request's body is on its way.
    fn has_sent(&self) -> bool {
        self.ahead.get().is_none_or(|it| Arc::strong_count(it) == 1)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.outlives.get() {
            self.taken.set(self.taken.get() - 1);
            self.freed.notify_one();
        }
    }
}

/// An answer as it comes, or is to.
pub(super) struct Coming {
    pub(super) place: Rc<Place>,
    carriers: Carriers,
    body: Option<Incoming>,
}

impl Coming {
    /// To a request that is about to begin.
    pub(super) fn new(shared: &Shared) -> Self {
        let place = Rc::new(Place {
            taken: Rc::clone(&shared.streams),
            freed: Rc::clone(&shared.freed),
            outlives: Cell::default(),
            given_up: Notify::new(),
            ahead: OnceCell::new(),
            number: Cell::default(),
            unread: Rc::default(),
        });
        Self { place, carriers: shared.carriers.clone(), body: None }
    }

    /// The body of the request, which is carried until then at most.
    pub(super) fn carried(&self, upload: Upload, until: Instant) -> Carried {
        let (carriers, place) = (self.carriers.clone(), Rc::clone(&self.place));
        let (until, is_begun) = (Some(until), Cell::default());
        Carried { upload, carriers, place, until, is_begun, sent: 0, end: None }
    }

    /// Its head has come.
    pub(super) fn begins(&mut self, body: Incoming) {
        self.body = Some(body);
    }
}

impl Body for Coming {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && frame.data_ref().is_some_and(|data| !data.is_empty())
        {
            self.place.unread.taken();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for Coming {
    /// A request goes on to its end when its answer has ended before it, and else ends with it.
    fn drop(&mut self) {
        let place = &self.place;
        self.carriers.heard.inflow.ends(place.number.get());
        if !self.is_end_stream() {
            place.given_up.notify_one();
        }
        if Rc::strong_count(place) > 1 {
            place.outlives.set(true);
            place.taken.set(place.taken.get() + 1);
        }
    }
}

/// Runs what hyper runs for a connection: a body for as long as it may take, and all else to its end.
#[derive(Clone)]
pub(super) struct Carriers {
    /// Whose body the next task carries: hyper makes one at once if there is more of it than can go out.
    next: Rc<Cell<Option<Course>>>,
    heard: Rc<Heard>,
}

impl Carriers {
    pub(super) fn new(heard: &Rc<Heard>) -> Self {
        Self { next: Rc::default(), heard: Rc::clone(heard) }
    }
}

/// For how long a body is carried at most.
struct Course {
    place: Rc<Place>,
    until: Instant,
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Carriers {
    fn execute(&self, task: F) {
        let Some(Course { place, until }) = self.next.take() else {
            tokio::task::spawn_local(task);
            return;
        };
        tokio::task::spawn_local(async move {
            // A stream of which nobody has anything then is reset with CANCEL.
            tokio::select! {
                biased;
                () = place.given_up.notified() => {}
                _ended = timeout_at(until, task) => {}
            }
        });
    }
}

/// A request's body on its way.
pub(super) struct Carried {
    upload: Upload,
    carriers: Carriers,
    place: Rc<Place>,
    /// Until it is asked for: for how long it is carried.
    until: Option<Instant>,
    /// Whether its stream has begun: hyper asks whether there is a body when it begins one.
    is_begun: Cell<bool>,
    /// How many bytes of it were asked for.
    sent: usize,
    /// What comes behind them, once it is known.
    end: Option<Option<HeaderMap>>,
}

impl Carried {
    /// Whether its end may be said.
    fn has_left(&self) -> bool {
        self.sent <= AT_ONCE || self.place.has_sent()
    }

    fn poll_left(&self, cx: &Context<'_>) -> Poll<()> {
        self.place.ahead.get().into_iter().for_each(|it| it.waits.register(cx.waker()));
        if self.has_left() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Body for Carried {
    type Data = Piece;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, Broken>>> {
        if let Some(until) = self.until.take() {
            self.carriers.next.set(Some(Course { place: Rc::clone(&self.place), until }));
        }
        if self.end.is_none() && !self.upload.is_end_stream() {
            match ready!(Pin::new(&mut self.upload).poll_frame(cx))
                .transpose()?
                .map(Frame::into_data)
            {
                Some(Ok(bytes)) => {
                    self.sent += bytes.len();
                    let ahead = Some(Arc::clone(self.place.ahead.get_or_init(Arc::default)));
                    return Poll::Ready(Some(Ok(Frame::data(Piece { bytes, ahead }))));
                }
                Some(Err(trailers)) => self.end = Some(trailers.into_trailers().ok()),
                None => self.end = Some(None),
            }
        }
        ready!(self.poll_left(cx));
        Poll::Ready(self.end.replace(None).flatten().map(|end| Ok(Frame::trailers(end))))
    }

    fn is_end_stream(&self) -> bool {
        if !self.is_begun.replace(true) {
            self.place.number.set(self.carriers.heard.inflow.begins(&self.place.unread));
        }
        self.upload.is_end_stream() && self.end.is_none() && self.has_left()
    }

    fn size_hint(&self) -> SizeHint {
        self.upload.size_hint()
    }
}

impl Drop for Carried {
    /// All of it went out at once: no task carries it.
    fn drop(&mut self) {
        self.carriers.next.take();
    }
}

/// A part of a body, until the connection has written it.
pub(super) struct Piece {
    bytes: Bytes,
    /// Until it is dropped.
    ahead: Option<Arc<Ahead>>,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.ahead.iter().for_each(|it| it.begun.store(true, Ordering::Relaxed));
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(ahead) = self.ahead.take() {
            let waker = ahead.waits.take();
            drop(ahead);
            waker.into_iter().for_each(|it| it.wake());
        }
    }
}
