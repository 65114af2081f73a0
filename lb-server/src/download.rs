//! A backend's body on its way to the client, and everything that is held until its last byte.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use lb_core::BodyEnd;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::body::{Broken, Replay};
use crate::headers;
use crate::held::Held;
use crate::http1::settled;
use crate::layers::Layers;
use crate::platform::Pipe;
use crate::pool::Connection;
use crate::pulse::{self, Patience, Pulse, Standing};

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
        self.has_taken();
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(if self.complete { None } else { Some(Err(Broken::Late)) });
        };
        match next(connection, &mut self.rest, cx, most) {
            Poll::Pending => self.poll_silence(cx).map(|broken| Some(Err(broken))),
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    let layers = self.layers.as_ref();
                    headers::trailers(trailers, |name| {
                        layers.is_some_and(|layers| layers.decide_for_client(name))
                    });
                }
                // Nothing follows trailers, and nobody asks.
                let is_last = frame.is_trailers() || self.is_end_stream();
                self.came(frame.data_ref().map_or(0, Bytes::len), is_last);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.end(BodyEnd::Complete);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(self.breaks()))),
        }
    }

    /// The next of it in a pipe. `None`: it has to be read.
    pub(crate) fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Option<Poll<Result<Pipe, Broken>>> {
        if !self.rest.is_empty() {
            return None;
        }
        let spliced = self.connection.as_mut()?.poll_splice(cx)?;
        self.has_taken();
        Some(match spliced {
            Poll::Pending => self.poll_silence(cx).map(Err),
            Poll::Ready(Ok(pipe)) => {
                self.held.view().gateway.process.spliced_bytes.add(pipe.held() as u64);
                self.came(pipe.held(), self.is_end_stream());
                Poll::Ready(Ok(pipe))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(self.breaks())),
        })
    }

    /// The client has taken what it was handed.
    fn has_taken(&mut self) {
        self.untaken += self.handed.take().map_or(Duration::ZERO, |handed| handed.elapsed());
    }

    /// So many bytes have come, and are on their way to the client.
    fn came(&mut self, bytes: usize, is_last: bool) {
        self.wait = None;
        self.held.journal.body_bytes_out(bytes as u64);
        if is_last {
            return self.end(BodyEnd::Complete);
        }
        let now = Instant::now();
        self.handed = Some(now);
        self.replay.heard(now);
    }

    /// Nothing has come. Ready when it is too late for it.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        let end = ready!(self.poll_wait(cx));
        // Both stand still: the backend has nothing to go on with.
        let is_hurried = end == BodyEnd::Deadline;
        let fault = !is_hurried && self.replay.waits_for_client();
        self.connection.iter().for_each(|it| it.doubt(is_hurried));
        self.end(if fault { BodyEnd::ClientLeft } else { end });
        Poll::Ready(Broken::Late)
    }

    /// The backend has broken off.
    fn breaks(&mut self) -> Broken {
        // One that answers while it still reads does so when the client does.
        let fault = self.replay.broken().is_some();
        let broke = || BodyEnd::of_break(self.untaken);
        let end = if fault { BodyEnd::ClientLeft } else { broke() };
        let counted = |it: &Connection| it.counted_once(end, end.counted_once());
        let end = self.connection.as_ref().map_or(end, counted);
        self.end(end);
        Broken::Backend
    }

    /// Whether nothing more comes.
    pub(crate) fn is_over(&mut self) -> bool {
        let over = self.is_end_stream();
        if over {
            self.end(BodyEnd::Complete);
        }
        over
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
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

    pub(crate) fn is_end_stream(&self) -> bool {
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
    pub(crate) fn patience(&self) -> Option<Patience> {
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
