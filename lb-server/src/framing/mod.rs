//! Requests that could be read in two ways are refused before anybody repairs them.
//!
//! Parsers are lenient where it is safe for them: hyper drops a `Content-Length` beside a
//! `Transfer-Encoding`, merges equal lengths, accepts bare line feeds. Behind us there may be a
//! server that decides otherwise, and what two parsers read differently is how requests are
//! smuggled. So [`Guard`] sits on the socket (whoever reads it is `http1::Visit`), looks at every head
//! in the raw bytes ([`head`]), follows the body to know where the next head begins ([`chunks`]), and
//! replaces a head that must be refused by a harmless stand-in. The [`Watch`] tells the proxy which
//! request that is.
//!
//! A head that arrives in one read is checked where it lies and copied nowhere. An incomplete one
//! waits here until it is complete.

pub(crate) mod chunks;
pub(crate) mod head;
mod kind;
mod outward;
mod target;
mod watch;

use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use chunks::Chunks;
use head::{Follows, Framing};
pub(crate) use head::{Limits, Refusal};
pub(crate) use target::{has_port, is_host};
use watch::Shared;
pub(crate) use watch::Watch;

/// A client's connection, watched.
pub(crate) struct Guard<I> {
    io: I,
    limits: Limits,
    /// Checked, and not yet read.
    passed: Vec<u8>,
    passed_at: usize,
    /// The beginning of a head that is not complete.
    head: Vec<u8>,
    /// Where the line begins that was looked at last.
    line_at: usize,
    next: Next,
    /// Runs while a head is incomplete.
    late: Option<Pin<Box<Sleep>>>,
    shared: Rc<Shared>,
}

/// What the next byte belongs to.
enum Next {
    Head,
    Length(u64),
    Chunks(Chunks),
    /// Whatever follows a refused head. It is read and thrown away, up to a bound.
    Refused {
        thrown: usize,
    },
    /// Another protocol or the next head: what comes is held until there is an answer.
    Held,
    /// HTTP/2, which is not for us to follow.
    Http2,
    /// Nothing: the chunks of a body are malformed, and nobody knows where it would end.
    Broken,
}

/// How a client begins to speak.
pub(crate) enum Begun {
    /// In HTTP/1.1: this passes.
    Spoken(Bytes),
    /// In HTTP/2.
    Turned,
    /// Never.
    Ended,
}

/// What is read in place of a refused head. Nobody is asked for it.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused.invalid\r\nconnection: close\r\n\r\n";

/// Bytes that are read after a refused head, so that the client can read our answer: closing a
/// socket with unread bytes makes the kernel throw the answer away.
const THROWN_MAX: usize = 256 * 1024;

/// Bytes that are read at first when a client begins to speak.
const FIRST_READ: usize = 8 * 1024;

/// Bytes that are held behind a request for another protocol or a tunnel. More wait in the socket.
const HELD_MAX: usize = 64 * 1024;

impl<I> Guard<I> {
    /// Watches `io`.
    pub(crate) fn new(io: I, limits: Limits) -> (Self, Watch) {
        let shared = Rc::new(Shared::default());
        let guard = Self {
            io,
            limits,
            passed: Vec::new(),
            passed_at: 0,
            head: Vec::new(),
            line_at: 0,
            next: Next::Head,
            late: None,
            shared: Rc::clone(&shared),
        };
        (guard, Watch(shared))
    }

    /// Follows `bytes` and says how many of them may pass now. The rest is kept here: the beginning
    /// of a head, or nothing, because it was refused.
    fn follow(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            match &mut self.next {
                Next::Head => match self.follow_head(&bytes[at..]) {
                    Some(length) => at += length,
                    None => return at,
                },
                Next::Length(left) => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    at += here;
                    *left -= here as u64;
                    if *left == 0 {
                        self.next = self.behind_body();
                    }
                }
                Next::Chunks(chunks) => {
                    let (here, state) = chunks.follow(&bytes[at..]);
                    at += here;
                    match state {
                        chunks::State::Within => {}
                        chunks::State::Done => self.next = self.behind_body(),
                        chunks::State::Malformed => self.next = Next::Broken,
                    }
                }
                Next::Refused { thrown } => {
                    *thrown += bytes.len() - at;
                    return at;
                }
                Next::Held => {
                    self.head = bytes[at..].to_vec();
                    return at;
                }
                Next::Http2 | Next::Broken => return at,
            }
        }
        at
    }

    /// The length of the head that `bytes` begins with, if it is complete and passes.
    fn follow_head(&mut self, bytes: &[u8]) -> Option<usize> {
        match head::end(bytes, &mut self.line_at, &self.limits) {
            Ok(None) => {
                // An empty line alone is no beginning.
                if self.shared.head_since.get().is_none() && !head::BLANK.starts_with(bytes) {
                    self.shared.head_since.set(Some(Instant::now()));
                }
                self.head = bytes.to_vec();
                return None;
            }
            Ok(Some(length)) if self.is_preface(&bytes[..length]) => {
                self.shared.head_since.set(None);
                self.head = bytes.to_vec();
                self.next = Next::Http2;
            }
            Ok(Some(length)) => match head::inspect(&bytes[..length], &self.limits) {
                Ok(Follows { body, may_switch }) => {
                    self.line_at = 0;
                    self.late = None;
                    self.shared.head_since.set(None);
                    if may_switch {
                        self.shared.held.set(Some(self.shared.passed.get()));
                    }
                    self.shared.passed.set(self.shared.passed.get() + 1);
                    self.next = match body {
                        Framing::None => self.behind_body(),
                        Framing::Length(length) => Next::Length(length),
                        Framing::Chunked => Next::Chunks(Chunks::new()),
                    };
                    return Some(length);
                }
                Err(refusal) => self.refuse(refusal),
            },
            Err(refusal) => self.refuse(refusal),
        }
        None
    }

    fn behind_body(&self) -> Next {
        if self.shared.held.get().is_some() { Next::Held } else { Next::Head }
    }

    fn is_preface(&self, head: &[u8]) -> bool {
        self.limits.http2 && self.shared.passed.get() == 0 && head == head::PREFACE
    }

    /// Whether a head was refused, behind which nothing is read.
    pub(crate) const fn is_refused(&self) -> bool {
        matches!(self.next, Next::Refused { .. })
    }

    /// A body goes on behind its answer, or it no longer does.
    pub(crate) fn goes_on_behind(&self, goes_on: bool) {
        self.shared.is_behind.set(goes_on);
        self.shared.behind_at.set(Some(Instant::now()));
    }

    /// What it watched, and what was read of it and not passed on.
    pub(crate) fn into_parts(self) -> (I, Vec<u8>) {
        (self.io, self.head)
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.late = None;
        self.shared.head_since.set(None);
        self.shared.refused.set(Some(refusal));
        self.next = Next::Refused { thrown: 0 };
    }

    /// Refuses a head whose time is up; says whether it was.
    fn refuse_late_head(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(since) = self.shared.head_since.get() else { return false };
        let until = since + self.limits.timeout;
        let late = self.late.get_or_insert_with(|| Box::pin(sleep_until(until)));
        let is_late = late.as_mut().poll(cx).is_ready();
        if is_late {
            self.refuse(Refusal::Late);
        }
        is_late
    }

    /// Follows what is kept here, with what has come to it.
    fn take_in(&mut self) {
        let refused = self.shared.refused.get().is_some();
        let mut bytes = std::mem::take(&mut self.head);
        let passed = self.follow(&bytes);
        bytes.truncate(passed);
        (self.passed, self.passed_at) = (bytes, 0);
        self.stand_in(refused);
    }

    /// Passes a stand-in for a refused head that was just found: it was not `refused` before.
    fn stand_in(&mut self, refused: bool) {
        if !refused && self.shared.refused.get().is_some() {
            self.passed.extend_from_slice(STAND_IN);
        }
    }
}

impl<I: AsyncRead + Unpin> Guard<I> {
    /// Waits until something passes, or it turns out that nothing will. Between two polls there is no
    /// buffer: that is what makes an idle connection small.
    pub(crate) async fn begins(&mut self) -> io::Result<Begun> {
        poll_fn(|cx| {
            let mut room = [MaybeUninit::uninit(); FIRST_READ];
            let mut read = ReadBuf::uninit(&mut room);
            let polled = Pin::new(&mut *self).poll_read(cx, &mut read);
            if matches!(self.next, Next::Http2) {
                return Poll::Ready(Ok(Begun::Turned));
            }
            ready!(polled)?;
            Poll::Ready(Ok(match read.filled() {
                [] => Begun::Ended,
                passed => Begun::Spoken(Bytes::copy_from_slice(passed)),
            }))
        })
        .await
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Guard<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.shared.dry.set(false);
        loop {
            if this.passed_at < this.passed.len() {
                let here = buf.remaining().min(this.passed.len() - this.passed_at);
                buf.put_slice(&this.passed[this.passed_at..this.passed_at + here]);
                this.passed_at += here;
                return Poll::Ready(Ok(()));
            }
            if matches!(this.next, Next::Refused { thrown } if thrown > THROWN_MAX) {
                return Poll::Pending; // it is answered, and the connection closed
            }
            if matches!(this.next, Next::Http2) {
                return Poll::Pending; // somebody else takes over
            }
            if matches!(this.next, Next::Broken) {
                let said = "the chunks of a request's body are malformed";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, said)));
            }
            if matches!(this.next, Next::Held) {
                if this.shared.held.get().is_none() {
                    this.next = Next::Head;
                    if !this.head.is_empty() {
                        this.take_in();
                        continue;
                    }
                } else {
                    this.shared.reader.set(Some(cx.waker().clone()));
                    if this.head.len() > HELD_MAX {
                        return Poll::Pending;
                    }
                }
            }
            let before = buf.filled().len();
            match Pin::new(&mut this.io).poll_read(cx, buf) {
                Poll::Ready(read) => read?,
                Poll::Pending if this.refuse_late_head(cx) => {
                    this.passed = STAND_IN.to_vec();
                    this.passed_at = 0;
                    continue;
                }
                Poll::Pending => {
                    let between_messages = matches!(this.next, Next::Head) && this.head.is_empty();
                    this.shared.dry.set(between_messages);
                    return Poll::Pending;
                }
            }
            if buf.filled().len() == before {
                return Poll::Ready(Ok(())); // the client's end
            }
            if this.shared.is_behind.get() {
                this.goes_on_behind(true);
            }
            if this.head.is_empty() {
                let refused = this.shared.refused.get().is_some();
                let passed = this.follow(&buf.filled()[before..]);
                buf.set_filled(before + passed);
                this.passed.clear();
                this.passed_at = 0;
                this.stand_in(refused);
            } else {
                this.head.extend_from_slice(&buf.filled()[before..]);
                buf.set_filled(before);
                this.take_in();
            }
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
