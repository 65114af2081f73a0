//! HTTP/1.1 with a client, driven by the task of its connection.
//!
//! Requests are answered one after the other. While one is, nothing is read but its own body and, behind
//! that, at most 4 KiB of what comes next: so it is known when a client leaves, and nobody has us keep
//! more.
//! What is read has passed the guard (`framing`): where a head ends and what follows it can be told in one
//! way only.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::request::Parts;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::answer::{self, Told};
use super::body::Body;
use super::lane::{Inbound, Lane};
use super::outbox::Outbox;
use super::piece;
use super::spare::{self, Flat};
use super::{Limits, head};
use crate::arriving::Arriving;
use crate::framing::Guard;
use crate::platform::Io;
use crate::reply::{Outgoing, Reply};

/// A client's socket.
pub(crate) type Guarded = Guard<Box<dyn Io>>;

/// A client's connection while its requests are on their way.
pub(crate) struct Visit(Rc<Lane>);

/// How a visit ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// The client has left.
    Gone,
    /// The connection is to be closed, perhaps with last words.
    Leave(Option<&'static [u8]>),
    /// HTTP has ended, with an answer that grants something else.
    Switched,
}

/// What is answered to a head that says nothing to us. The guard should let none through.
const REFUSAL: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
/// How long a client may go on sending that has its last answer (RFC 9112 §9.6): in all, and with a pause.
const LINGER: Duration = Duration::from_secs(30);
const LINGER_PAUSE: Duration = Duration::from_secs(2);
/// Bytes that are thrown away at once.
const LINGER_BYTES: usize = 64 * 1024;

impl Visit {
    /// With what was read of it and not looked at.
    pub(crate) fn new(io: Guarded, begun: Bytes, limits: Limits) -> Self {
        Self(Rc::new(Lane::new(io, begun, limits)))
    }

    /// Answers requests until HTTP ends on the connection. Whoever does it is lent the head.
    pub(crate) async fn talk(
        &self,
        respond: impl AsyncFn(&mut Parts, Arriving) -> Reply,
    ) -> Farewell {
        let (mut head, ()) = Request::new(()).into_parts();
        loop {
            let asking = self.0.next_head(&mut head).await;
            let Some(asking) = asking else { return Farewell::Leave(None) };
            let Ok(head::Asking { told, body }) = asking else {
                return Farewell::Leave(Some(REFUSAL));
            };
            let arriving = self.begin(&told, body);
            let reply = {
                let mut responding = std::pin::pin!(respond(&mut head, arriving));
                poll_fn(|cx| match responding.as_mut().poll(cx) {
                    Poll::Ready(reply) => Poll::Ready(Some(reply)),
                    Poll::Pending => match self.0.poll_told_beside(cx) {
                        Poll::Ready(Err(_gone)) => Poll::Ready(None),
                        Poll::Ready(Ok(())) | Poll::Pending => self.0.poll_gone(cx).map(|()| None),
                    },
                })
                .await
            };
            head::clear(&mut head);
            let Some(reply) = reply else { return Farewell::Gone };
            // A client that was not asked for its body may send it or not: nobody can tell what comes next.
            let can_go_on = !self.0.waits.take() && self.0.can_go_on().await;
            let told = Told { keeps: told.keeps && can_go_on, ..told };
            let (outbox, next) = self.write(&told, reply);
            if !self.send(outbox).await {
                return Farewell::Gone;
            }
            if next == Next::Switch {
                return Farewell::Switched;
            }
            let is_read = can_go_on && self.0.is_read(next == Next::Ask).await;
            if next == Next::Leave || !is_read {
                return Farewell::Leave(None);
            }
        }
    }

    fn begin(&self, told: &Told, body: Body) -> Arriving {
        let lane = &self.0;
        lane.turn.set(lane.turn.get() + 1);
        let is_ended = body.is_ended();
        // Who has begun to send does not wait.
        let waits = told.expects && !is_ended && lane.ahead.borrow().is_empty();
        lane.waits.set(waits);
        lane.hears.set(told.is_current);
        *lane.body.borrow_mut() = body;
        lane.is_wanted.set(!is_ended);
        lane.is_begun.set(false);
        Arriving::Http1(Inbound { lane: Rc::clone(lane), turn: lane.turn.get(), is_ended })
    }

    /// An answer as it goes out, and what follows it.
    fn write(&self, told: &Told, reply: Reply) -> (Outbox<Outgoing>, Next) {
        let mut flat = Flat::new();
        // What it was to be told before comes first, and half of that may have gone out.
        flat.extend_from_slice(&self.0.untold.take());
        let Reply { head, body } = reply;
        let (framing, next) = answer::write(told, &head, &body, &mut flat);
        spare::keep(head);
        (Outbox::new(flat, framing, body), next)
    }

    /// Sends an answer. Says whether its client is still there, and its body came to its end.
    fn send(&self, mut outbox: Outbox<Outgoing>) -> impl Future<Output = bool> {
        let lane = &self.0;
        poll_fn(move |cx| {
            let sent = lane.with_io(|io| outbox.poll(cx, io));
            match sent {
                Poll::Ready(sent) => Poll::Ready(sent.is_ok()),
                Poll::Pending => lane.poll_gone(cx).map(|()| false),
            }
        })
    }

    /// The socket, where nothing is left to be read of it but what the guard has.
    pub(crate) fn into_io(self) -> Guarded {
        self.0.is_over.set(true);
        self.0.io.take().expect("it is taken by whoever ends the visit, which this does")
    }

    /// Ends the connection, perhaps with `last` words. A client that still sends is listened to for a
    /// moment: a socket that is closed with something unread takes back what was said on it.
    pub(crate) async fn close(self, last: Option<&[u8]>, is_plain: bool) {
        let is_read = self.0.has_nothing_unread().await;
        let io = self.into_io();
        let is_read = is_read && !io.is_refused();
        if is_plain && is_read && last.is_none() {
            return; // the kernel sees to what is on its way
        }
        // Nobody asks the guard about what is thrown away.
        let (mut io, _begun) = io.into_parts();
        let farewell = async {
            if let Some(last) = last {
                io.write_all(last).await?;
            }
            io.shutdown().await?;
            if is_read {
                return Ok(());
            }
            loop {
                let reading = poll_fn(|cx| piece::poll_read(&mut io, cx, LINGER_BYTES));
                if timeout(LINGER_PAUSE, reading).await??.is_empty() {
                    return Ok::<(), io::Error>(());
                }
            }
        };
        let _in_time_or_not = timeout(LINGER, farewell).await;
    }
}

/// Whoever still reads a body has lost its client, and the socket is nobody's.
impl Drop for Visit {
    fn drop(&mut self) {
        self.0.is_over.set(true);
        drop(self.0.io.take());
    }
}

/// What follows an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another request.
    Ask,
    /// The end of the connection.
    Leave,
    /// Another protocol.
    Switch,
}
