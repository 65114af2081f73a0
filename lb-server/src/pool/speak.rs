//! The beginning of HTTP on a connection to a backend.
//!
//! Over HTTP/1.1 nothing happens before there is a request. A connection of HTTP/2, which exchanges
//! share, is there when its backend has sent its SETTINGS, as it is for gRPC: whoever asks before that
//! does not know how many streams it takes, and has those beyond refused. A task of its own drives it;
//! that holds its slot, and ends when the socket is closed.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use lb_config::config::Server;
use lb_core::{Failure, Time};

use super::asked::failure_of;
use super::carried::Carriers;
use super::shared::{Ear, Heard, Http2, Shared, Stream, Trust};
use super::{Idle, Speaker, Stack};
use crate::dial::{Speaks, Wire};
use crate::http1::{Http1, Limits};
use crate::slots::Slot;

/// Bytes that a backend may send ahead of what is read, per stream: an answer from 10 ms away comes with
/// up to 25 MB/s. All that its connection holds for slow clients is so much for each of them, and as many
/// answers as a client may ask for at once stay below what it may leave unread.
const STREAM_WINDOW: u32 = 256 << 10;
/// The same per connection: as much as can be said (RFC 9113 §6.9.1), as nginx says it. Where it is the
/// first to be spent, the slow clients stop the others of their connection. h2 counts what frames of a
/// few bytes cost while nobody reads them, and ends a connection on which that is more than half of
/// this: with messages of 24 bytes that are four hundred streams full of them.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// How long frames may come on a stream that we took back, and how many such streams a connection remembers,
/// in half a KiB each: those of a client that takes back 3,000 requests a second. What a backend had sent
/// already is a whole [`STREAM_WINDOW`] of each, and 5 s are 6 MB of a socket at 10 Mbit/s.
const REMEMBERED_FOR: Duration = Duration::from_secs(5);
const REMEMBERED_MAX: usize = 16_384;
/// Errors on single streams, and frames on streams that are forgotten, that h2 puts up with on a connection in
/// all its life: each may have it hold half a KiB until it is told of. It ends a connection on which there are more.
const STREAM_ERRORS_MAX: usize = 65_536;

/// Streams that a backend allows which has not said how many: as many as none can say.
const UNSAID: usize = usize::MAX - 1;

/// Begins to speak HTTP on a wire.
pub(super) async fn speak(
    (wire, slot): (Wire, Slot),
    server: &Server,
    stack: &Stack,
    now: Time,
) -> Result<Speaker, Failure> {
    // What goes wrong on a connection is told to the exchange that uses it; between exchanges the
    // sender knows that it is closed.
    match wire.speaks {
        Speaks::Http1 => {
            let limits =
                Limits { fields_max: server.headers_max, head_bytes_max: server.header_bytes_max };
            let line = Box::new(Http1::new(wire.io, slot, limits));
            Ok(Speaker::Http1(Idle { line, born: now, since: now }))
        }
        Speaks::Http2 => {
            let heard = Rc::new(Heard::new());
            let ear = Ear::new(wire.io, Rc::clone(&heard));
            let carriers = Carriers::new(&heard);
            let (sender, connection) = http2::Builder::new(carriers.clone())
                .timer(TokioTimer::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .initial_max_send_streams(UNSAID)
                .reset_stream_duration(REMEMBERED_FOR)
                .max_concurrent_reset_streams(REMEMBERED_MAX)
                .max_local_error_reset_streams(STREAM_ERRORS_MAX)
                .max_header_list_size(u32::try_from(server.header_bytes_max).unwrap_or(u32::MAX))
                .handshake(TokioIo::new(ear))
                .await
                .map_err(|_| Failure::ConnectFailed)?;
            let mut connection = Box::pin(connection);
            settled(&mut connection, &heard).await?;
            let connection = Rc::new(RefCell::new(Some(connection)));
            let polled = Rc::clone(&connection);
            tokio::task::spawn_local(poll_fn(move |cx| {
                let mut polled = polled.borrow_mut();
                let Some(connection) = polled.as_mut() else { return Poll::Ready(()) };
                let _held_until_it_ends = &slot;
                let ended = connection.as_mut().poll(cx).map(|_told_elsewhere| ());
                if ended.is_ready() {
                    // Whoever has a request in its queue learns that it is not taken.
                    *polled = None;
                }
                ended
            }));
            let shared = Rc::new(Shared {
                sender,
                connection,
                heard,
                carriers,
                trust: Cell::new(Trust::Whole),
                streams: Rc::default(),
                born: now,
                since: Cell::new(now),
                freed: Rc::clone(&stack.queue.returned),
                is_counted: Cell::new(false),
            });
            stack.dials.learn(shared.carries());
            Ok(Speaker::Http2(Stream::begin(&shared), None))
        }
    }
}

/// Waits until the backend has said how many streams it allows (RFC 9113 §3.4), and that is one at least:
/// some allow none for a while. Nothing was asked yet.
async fn settled(connection: &mut Pin<Box<Http2>>, heard: &Heard) -> Result<(), Failure> {
    loop {
        let more = heard.more();
        let polled = poll_fn(|cx| Poll::Ready(connection.as_mut().poll(cx))).await;
        match polled {
            Poll::Ready(Ok(())) => return Err(Failure::Unsent),
            Poll::Ready(Err(error)) => {
                return Err(match failure_of(&error) {
                    Failure::TlsFailed => Failure::TlsFailed,
                    _ => Failure::ConnectFailed,
                });
            }
            Poll::Pending if ![0, UNSAID].contains(&connection.current_max_send_streams()) => {
                return Ok(());
            }
            Poll::Pending => more.await,
        }
    }
}
