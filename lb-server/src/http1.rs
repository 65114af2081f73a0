//! HTTP/1.1, with clients ([`visit`]) and, here, on a connection to a backend: driven by whoever waits for
//! the answer.
//!
//! There is no task per connection and nothing to wake one: the request's own task writes the head,
//! reads the answer, and goes on reading while its client takes the body. So an exchange costs one write
//! and one read where both fit, and a connection at rest is its socket and nothing else. Only where an
//! answer begins before the request has gone out does a task of its own carry the rest of it ([`aside`]).
//!
//! Heads are parsed by httparse into the map that hyper would make of them ([`head`]). What follows is
//! read as one of three framings ([`body`]): a length, chunks, or all until the end (RFC 9112 §6.3).
//! Whatever is out of place ends the connection; nothing is repaired.

mod answer;
mod aside;
mod body;
mod head;
mod herald;
mod lane;
mod outbox;
mod piece;
mod splice;
mod spare;
mod visit;
mod write;

use std::borrow::Cow;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http::{HeaderMap, Method, Uri};
use hyper::body::{Frame, SizeHint};
use lb_core::Failure;
use tokio::io::ReadBuf;

use crate::body::Upload;
use crate::headers::Added;
use crate::platform::Io;
use crate::pulse::Patience;
use crate::slots::Slot;
use crate::tls::HandshakeError;
use crate::turn;
use aside::Aside;
use body::Body;
pub(crate) use herald::Herald;
pub(crate) use lane::Inbound;
pub(crate) use outbox::Source;
use outbox::{Cut, Outbox};
use piece::Reader;
pub(crate) use piece::settled;
pub(crate) use visit::{Farewell, Guarded, Visit};

/// A connection to a backend.
pub(crate) struct Http1 {
    line: Rc<Line>,
    limits: Limits,
    reader: Reader,
    /// What was read and not looked at.
    ahead: Bytes,
    /// Whether anything was said since the last answer.
    asked: bool,
    sending: Sending,
    body: Body,
    /// Why it broke off, until that is told.
    broken: Option<io::Error>,
    /// Whether both sides let it be used again.
    keeps: bool,
    /// Whether the answer's body may be moved on unseen, and how often in a row little of it came.
    may_splice: bool,
    little: u8,
    /// Whether little is to be read with its head.
    reads_little: bool,
}

/// The socket and the place that it takes, for as long as anybody uses it.
struct Line {
    io: RefCell<Box<dyn Io>>,
    slot: Slot,
}

/// What a head may be like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Fields of a head, and of trailers.
    pub(crate) fields_max: usize,
    /// Bytes of a head. Of a request's, the guard has made sure before.
    pub(crate) head_bytes_max: usize,
}

/// The head of a request.
pub(crate) struct Asked<'r> {
    pub(crate) method: &'r Method,
    pub(crate) uri: &'r Uri,
    pub(crate) fields: Cow<'r, HeaderMap>,
    /// What goes out behind them.
    pub(crate) added: Option<&'r Added>,
    /// Whoever tells the client what comes before the answer.
    pub(crate) herald: Option<&'r Herald>,
    /// How long it may go on when its answer has come.
    pub(crate) patience: Patience,
    /// Whether the answer may go to its client in pipes.
    pub(crate) may_splice: bool,
}

/// What has come of an answer's head.
#[derive(Default)]
struct Begun {
    bytes: BytesMut,
    /// Heads before it.
    interim: u32,
}

/// Interim answers before an answer: more have no end.
const INTERIM_MAX: u32 = 4_096;

/// Where the request is.
enum Sending {
    /// All of it has gone out.
    Done,
    /// On its way, with whoever waits for the answer; and how long it may go on when that has come.
    Here(Box<Outbox<Upload>>, Patience),
    /// The answer came first, and the rest is on its way by itself.
    Aside(Aside),
    /// The backend takes no more of it.
    Cut,
}

/// A connection on which HTTP has ended, and what was read of it beyond that.
pub(crate) struct Remains {
    pub(crate) io: Box<dyn Io>,
    pub(crate) begun: Bytes,
    pub(crate) slot: Slot,
}

impl Http1 {
    pub(crate) fn new(io: Box<dyn Io>, slot: Slot, limits: Limits) -> Self {
        Self {
            line: Rc::new(Line { io: RefCell::new(io), slot }),
            limits,
            reader: Reader::default(),
            ahead: Bytes::new(),
            asked: false,
            sending: Sending::Done,
            body: Body::Ended,
            broken: None,
            keeps: true,
            may_splice: false,
            little: 0,
            reads_little: false,
        }
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) fn ask<'c>(
        &'c mut self,
        asked: &Asked<'c>,
        upload: Upload,
    ) -> impl Future<Output = Result<Box<Parts>, Failure>> + use<'c> {
        let (method, herald) = (asked.method, asked.herald);
        let outbox = Box::new(Outbox::of_request(asked, upload));
        self.sending = Sending::Here(outbox, asked.patience);
        // A failure in the middle of it leaves a connection of no use.
        (self.asked, self.keeps) = (false, false);
        self.little = 0;
        self.may_splice = asked.may_splice && self.line.io.borrow().splices_in();
        let mut cut = None;
        let mut begun = Begun::default();
        poll_fn(move |cx| {
            loop {
                if let Poll::Ready(read) = self.poll_head(cx, (method, herald), &mut begun) {
                    let why = |failure| cut.as_ref().map_or(failure, |why| self.failure_of(why));
                    return Poll::Ready(read.map_err(why));
                }
                let Sending::Here(outbox, _) = &mut self.sending else { return Poll::Pending };
                let sent = outbox.poll(cx, &mut **self.line.io.borrow_mut());
                self.asked = outbox.written() > 0;
                match ready!(sent) {
                    Ok(()) => {
                        self.sending = Sending::Done;
                        return Poll::Pending;
                    }
                    Err(Cut(None)) => return Poll::Ready(Err(Failure::Reset)),
                    // It may have said why before it closed (RFC 9112 §9.5).
                    Err(Cut(Some(error))) => {
                        self.sending = Sending::Cut;
                        cut = Some(error);
                    }
                }
            }
        })
    }

    /// Reads until there is a head that ends the wait. What comes before anything was said is no
    /// answer, and a backend that has closed by then has not looked.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        (method, herald): (&Method, Option<&Herald>),
        Begun { bytes: begun, interim }: &mut Begun,
    ) -> Poll<Result<Box<Parts>, Failure>> {
        loop {
            while !self.ahead.is_empty() {
                if !self.asked {
                    return Poll::Ready(Err(Failure::Unsent));
                }
                let parsed = head::parse(&self.ahead, method, self.limits);
                match parsed.map_err(|_| Failure::Malformed)? {
                    None if self.ahead.len() > self.limits.head_bytes_max => {
                        return Poll::Ready(Err(Failure::Malformed));
                    }
                    None => {
                        begun.extend_from_slice(&self.ahead);
                        self.ahead = Bytes::new();
                    }
                    Some(head) => {
                        self.ahead = self.ahead.slice(head.bytes..);
                        let Some(body) = head.body else {
                            // RFC 9110 §15.2: more is to come.
                            *interim += 1;
                            if *interim > INTERIM_MAX || head.bytes > self.limits.head_bytes_max {
                                return Poll::Ready(Err(Failure::Malformed));
                            }
                            herald.iter().for_each(|herald| herald.tell(&head.parts));
                            ready!(turn::poll_spend(cx));
                            continue;
                        };
                        (self.body, self.keeps) = (body, head.keeps);
                        self.learn();
                        self.set_aside();
                        return Poll::Ready(Ok(head.parts));
                    }
                }
            }
            let read = match ready!(self.poll_read_head(cx)) {
                Ok(read) if !read.is_empty() => read,
                Ok(_end) => return Poll::Ready(Err(self.failed())),
                Err(error) => return Poll::Ready(Err(self.failure_of(&error))),
            };
            if begun.is_empty() {
                self.ahead = read;
                continue;
            }
            let looked_at = begun.len();
            begun.extend_from_slice(&read);
            if head::may_end(begun, looked_at) {
                self.ahead = begun.split().freeze();
            } else if begun.len() > self.limits.head_bytes_max {
                return Poll::Ready(Err(Failure::Malformed));
            }
        }
    }

    /// What it comes to that the connection failed before there was an answer.
    const fn failed(&self) -> Failure {
        if self.asked { Failure::Reset } else { Failure::Unsent }
    }

    fn failure_of(&self, error: &io::Error) -> Failure {
        let refusal = HandshakeError::refusal(error);
        refusal.map_or_else(|| self.failed(), |refusal| refusal.failure())
    }

    /// The answer has begun: what is left of the request goes out by itself.
    fn set_aside(&mut self) {
        self.sending = match std::mem::replace(&mut self.sending, Sending::Done) {
            Sending::Here(outbox, patience) => {
                Sending::Aside(Aside::begin(*outbox, Rc::clone(&self.line), patience))
            }
            sending => sending,
        };
    }

    /// The next of the answer's body. Where it breaks off, what came before has a turn to go out first.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match ready!(self.poll_body(cx)) {
            Some(Err(error)) => self.breaks(cx, error),
            frame => Poll::Ready(frame),
        }
    }

    /// It breaks off, which is told when whoever asks has sent what he has.
    fn breaks<T>(&mut self, cx: &Context<'_>, error: io::Error) -> Poll<T> {
        self.broken = Some(error);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Half a request cannot have a whole answer, and its backend may wait for ever.
    fn poll_aside(&self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Sending::Aside(aside) = &self.sending else { return Poll::Pending };
        aside.poll_failed(cx)
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if self.body.is_ended() {
                return Poll::Ready(None);
            }
            match self.body.take(&mut self.ahead, self.limits.fields_max) {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if self.body.is_ended() => return Poll::Ready(None),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            let read = self.reader.poll_read(&mut **self.line.io.borrow_mut(), cx);
            match read {
                Poll::Pending => return self.poll_aside(cx).map(|error| Some(Err(error))),
                Poll::Ready(Ok(read)) if read.is_empty() => {
                    let ended = self.body.end();
                    return Poll::Ready(ended.err().map(Err));
                }
                Poll::Ready(Ok(read)) => self.ahead = read,
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// Whether nothing more of the answer comes.
    pub(crate) const fn is_ended(&self) -> bool {
        self.body.is_ended()
    }

    /// How much is still to come.
    pub(crate) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    /// Whether the answer is the last on the connection.
    pub(crate) const fn is_last(&self) -> bool {
        !self.keeps
    }

    /// Whether the exchange is over, and another may follow.
    pub(crate) fn is_free(&self) -> bool {
        let sent = match &self.sending {
            Sending::Done => true,
            Sending::Here(..) | Sending::Cut => false,
            Sending::Aside(aside) => aside.is_done(),
        };
        self.keeps && sent && self.body.is_ended() && self.ahead.is_empty()
    }

    /// Waits, while it is free, until its backend closes it or says something that nobody asked for.
    pub(crate) fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sending = Sending::Done;
        let mut byte = [0];
        let mut io = self.line.io.borrow_mut();
        Pin::new(&mut **io).poll_read(cx, &mut ReadBuf::new(&mut byte)).map(drop)
    }

    /// What is left of it when HTTP has ended with the last answer. `None`: the request has not.
    pub(crate) fn into_remains(mut self) -> Option<Remains> {
        let begun = std::mem::take(&mut self.ahead);
        self.sending = Sending::Done;
        let line = Rc::clone(&self.line);
        drop(self);
        let Line { io, slot } = Rc::into_inner(line)?;
        Some(Remains { io: io.into_inner(), begun, slot })
    }
}

impl Drop for Http1 {
    /// A request goes on to its end when its answer has ended before it, and else ends with it.
    fn drop(&mut self) {
        if let Sending::Aside(aside) = &self.sending
            && !self.body.is_ended()
        {
            aside.abort();
        }
    }
}

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug)]
struct Malformed;

impl From<Malformed> for io::Error {
    fn from(Malformed: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, "the body is not framed as its head says")
    }
}

#[cfg(test)]
mod tests;
