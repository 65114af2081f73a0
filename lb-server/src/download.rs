//! A response on its way to the client, and everything that is held until its last byte.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, response};
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use lb_core::BodyEnd;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::body::{Broken, Replay};
use crate::headers;
use crate::held::Held;
use crate::http1::settled;
use crate::layers::Layers;
use crate::observe::Journal;
use crate::pool::Connection;
use crate::pulse::{self, Busy, Patience, Pulse, Standing};

/// Bytes of an answer that a client of HTTP/2 is handed at a time. Of many answers on a slow way each goes on by
/// one of those in turn, and whoever was handed more of it would seem to take nothing until all that has gone:
/// this much in 30 s is 1 kB/s. Less of it is cut into more and smaller frames, where windows are small.
const HANDED_BYTES: usize = 32 * 1024;

/// An answer on its way to the client. Its head is in a box: it passes through many hands.
pub(crate) struct Reply<B = Outgoing> {
    pub(crate) head: Box<response::Parts>,
    pub(crate) body: B,
}

/// The body of whatever we answer. While it is there, its client is busy.
pub(crate) struct Outgoing {
    body: Whose,
    busy: Busy,
}

/// Whose words a body is.
pub(crate) enum Whose {
    /// Our own, and the record that ends with them.
    Ours { body: Full<Bytes>, _record: Option<Rc<Journal>> },
    /// A backend's.
    Backends(Rc<RefCell<Download>>),
}

/// A backend's body: the lease, the connection and the record of the exchange end with it.
pub(crate) struct Download {
    held: Held,
    /// Which it comes on, until it has ended or is given up.
    connection: Option<Connection>,
    /// What has come, and was not asked for.
    rest: Bytes,
    /// Whether all of it has come.
    complete: bool,
    /// The request's own body may still be on its way.
    replay: Replay,
    /// What is changed in the answer, if anything is.
    layers: Option<Layers>,
    /// Runs while the backend lets us wait.
    wait: Option<Pin<Box<Sleep>>>,
    /// Since when the last piece is in the client's hands, and no other was asked for.
    handed: Option<Instant>,
    /// How long the client let such pieces lie, in all.
    untaken: Duration,
}

impl<B> Reply<B> {
    /// The same with another body.
    pub(crate) fn map<C>(self, with: impl FnOnce(B) -> C) -> Reply<C> {
        Reply { head: self.head, body: with(self.body) }
    }

    pub(crate) fn into_response(self) -> Response<B> {
        Response::from_parts(*self.head, self.body)
    }
}

impl<B> From<Response<B>> for Reply<B> {
    fn from(response: Response<B>) -> Self {
        let (head, body) = response.into_parts();
        Self { head: Box::new(head), body }
    }
}

impl Outgoing {
    pub(crate) fn new(body: Whose, busy: Busy) -> Self {
        if let Whose::Backends(download) = &body
            && let Some(patience) = download.borrow().patience()
        {
            busy.delivers(patience, download);
        }
        busy.hands();
        Self { body, busy }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.busy.ends();
        }
    }
}

impl Whose {
    pub(crate) fn ours(body: Full<Bytes>, journal: Rc<Journal>) -> Self {
        journal.body_bytes_out(body.size_hint().lower());
        Self::unheard(body, journal)
    }

    /// Ours, for a client that has left.
    pub(crate) const fn unheard(body: Full<Bytes>, journal: Rc<Journal>) -> Self {
        Self::Ours { body, _record: Some(journal) }
    }

    /// Nobody's: nothing.
    pub(crate) fn nobodys() -> Self {
        Self::Ours { body: Full::default(), _record: None }
    }

    pub(crate) fn backends(download: Download) -> Self {
        let download = Rc::new(RefCell::new(download));
        download.borrow_mut().is_over();
        Self::Backends(download)
    }
}

impl Download {
    /// What comes on `connection` in answer to the request that `replay` is the body of, and in which
    /// `layers` change something.
    pub(crate) const fn new(
        held: Held,
        connection: Connection,
        replay: Replay,
        layers: Option<Layers>,
    ) -> Self {
        let connection = Some(connection);
        Self {
            held,
            connection,
            rest: Bytes::new(),
            complete: false,
            replay,
            layers,
            wait: None,
            handed: None,
            untaken: Duration::ZERO,
        }
    }

    /// The next of it, and so much at most.
    pub(crate) fn poll_backend(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.untaken += self.handed.take().map_or(Duration::ZERO, |handed| handed.elapsed());
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(if self.complete { None } else { Some(Err(Broken::Late)) });
        };
        let frame = match next(connection, &mut self.rest, cx, most) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let end = ready!(self.poll_wait(cx));
                // Both stand still: the backend has nothing to go on with.
                let is_hurried = end == BodyEnd::Deadline;
                let fault = !is_hurried && self.replay.waits_for_client();
                self.connection.iter().for_each(|it| it.doubt(is_hurried));
                self.end(if fault { BodyEnd::ClientLeft } else { end });
                return Poll::Ready(Some(Err(Broken::Late)));
            }
        };
        self.wait = None;
        match frame {
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    let layers = self.layers.as_ref();
                    headers::trailers(trailers, |name| {
                        layers.is_some_and(|layers| layers.decide_for_client(name))
                    });
                }
                self.held
                    .journal
                    .body_bytes_out(frame.data_ref().map_or(0, |data| data.len() as u64));
                // Nothing follows trailers, and nobody asks.
                if frame.is_trailers() || self.is_end_stream() {
                    self.end(BodyEnd::Complete);
                } else {
                    let now = Instant::now();
                    self.handed = Some(now);
                    self.replay.heard(now);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            None => {
                self.end(BodyEnd::Complete);
                Poll::Ready(None)
            }
            Some(Err(_)) => {
                // A backend that answers while it still reads breaks off when its client does.
                let fault = self.replay.broken().is_some();
                let broke = || BodyEnd::of_break(self.untaken);
                let end = if fault { BodyEnd::ClientLeft } else { broke() };
                let end = connection.counted_once(end, end.counted_once());
                self.end(end);
                Poll::Ready(Some(Err(Broken::Backend)))
            }
        }
    }

    /// Whether nothing more comes.
    pub(crate) fn is_over(&mut self) -> bool {
        let over = self.is_end_stream();
        if over {
            self.end(BodyEnd::Complete);
        }
        over
    }

    fn size_hint(&self) -> SizeHint {
        match &self.connection {
            Some(connection) => {
                let (mut left, rest) = (connection.size_hint(), self.rest.len() as u64);
                left.upper().into_iter().for_each(|upper| left.set_upper(upper + rest));
                left.set_lower(left.lower() + rest);
                left
            }
            None if self.complete => SizeHint::with_exact(0),
            None => SizeHint::default(),
        }
    }

    fn is_end_stream(&self) -> bool {
        let is_over = |connection: &Connection| connection.is_ended() && self.rest.is_empty();
        self.connection.as_ref().map_or(self.complete, is_over)
    }

    /// Waits for whatever comes first: the backend idle for too long, or the exchange's end. A backend that
    /// takes the request meanwhile is not idle.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<BodyEnd> {
        let Some(Patience { idle, until }) = self.patience() else { return Poll::Pending };
        let sleep = self
            .wait
            .get_or_insert_with(|| Box::pin(sleep_until((Instant::now() + idle).min(until))));
        let taken = || self.replay.last_taken().map(|taken| (taken + idle).min(until));
        ready!(pulse::poll_still(sleep, cx, taken));
        let is_late = sleep.deadline() >= until;
        let silence = || BodyEnd::of_silence(self.size_hint().exact());
        Poll::Ready(if is_late { BodyEnd::Deadline } else { silence() })
    }

    /// How long the rest may take, on either side. `None`: there is no rest.
    fn patience(&self) -> Option<Patience> {
        Some(Patience { idle: self.held.timeouts()?.body_idle, until: self.held.deadline()? })
    }

    /// Ends the exchange, once.
    fn end(&mut self, end: BodyEnd) {
        self.complete |= end == BodyEnd::Complete;
        // A connection is worth keeping when nothing of this exchange is left on it.
        if self.held.end(end)
            && end == BodyEnd::Complete
            && self.replay.is_done()
            && let Some(connection) = self.connection.take()
        {
            connection.give_back(self.held.view().gateway.now());
        }
    }
}

/// The next of what comes, and so much at most, while the `rest` waits.
fn next(
    connection: &mut Connection,
    rest: &mut Bytes,
    cx: &mut Context<'_>,
    most: usize,
) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
    if rest.is_empty() {
        let frame = ready!(connection.poll_frame(cx));
        match frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            // Whoever gets it bit by bit keeps it for as long as he likes.
            Some(data) if data.len() > most => *rest = settled(data),
            _ => return Poll::Ready(frame),
        }
    }
    let most = most.min(rest.len());
    Poll::Ready(Some(Ok(Frame::data(rest.split_to(most)))))
}

impl Standing for RefCell<Download> {
    fn end_if_it_stands(&self, now: Instant) {
        let mut download = self.borrow_mut();
        let (Some(handed), Some(patience)) = (download.handed, download.patience()) else { return };
        if now >= patience.until {
            download.end(BodyEnd::Deadline);
        } else if now >= handed + patience.idle {
            download.end(BodyEnd::ClientLeft);
        } else {
            return;
        }
        download.connection = None;
    }

    fn is_for(&self, reader: &Rc<Pulse>) -> bool {
        self.borrow().connection.as_ref().is_some_and(|it| it.is_for(reader))
    }

    fn unread(&self) -> u64 {
        self.borrow().connection.as_ref().map_or(0, Connection::unread)
    }

    fn end_unread(&self) {
        let mut download = self.borrow_mut();
        download.end(BodyEnd::ClientLeft);
        download.connection = None;
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let late = self.patience().is_some_and(|patience| patience.until <= Instant::now());
        self.end(if late { BodyEnd::Deadline } else { BodyEnd::ClientLeft });
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let most = if self.busy.is_of_http2() { HANDED_BYTES } else { usize::MAX };
        let frame = match &mut self.body {
            Whose::Ours { body, .. } => {
                Pin::new(body).poll_frame(cx).map_err(|never| match never {})
            }
            Whose::Backends(download) => download.borrow_mut().poll_backend(cx, most),
        };
        match &frame {
            // Whoever asks has looked whether its client took it back: it is somebody else who ends it.
            Poll::Ready(Some(Err(_))) => self.busy.ends(),
            Poll::Ready(_) => self.busy.hands(),
            Poll::Pending => self.busy.waits(),
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Whose::Ours { body, .. } => body.is_end_stream(),
            Whose::Backends(download) => download.borrow().is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Whose::Ours { body, .. } => body.size_hint(),
            Whose::Backends(download) => download.borrow().size_hint(),
        }
    }
}
