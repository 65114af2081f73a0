//! A connection on which HTTP/2 is spoken.
//!
//! hyper and h2 bound what a peer can make them hold: streams, header lists, CONTINUATION frames,
//! resets before a request was taken up, answers to PING and SETTINGS. Here is what they leave to us:
//! how often a client may take its requests back, how long a connection may idle, how long a client may
//! leave an answer where it is, and whether it is there at all (`life`).

use std::convert::Infallible;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;

use super::Seat;
use super::life::Watched;
use crate::arriving::Arriving;
use crate::boxed::in_box;
use crate::client::Client;
use crate::platform::Io;
use crate::shutdown::Phase;

/// Bytes that a client may send ahead of what is read, per stream. A connection has as many as all its
/// streams: where it has fewer, uploads that a backend leaves where they are stop all others.
const STREAM_WINDOW: u32 = 256 << 10;
/// Streams for which a connection has windows at least. h2 counts what frames of a few bytes cost while
/// nobody reads them, and ends a connection on which that is more than half its window: one that is full
/// of messages of 24 bytes takes 2.5 MB of it, and 8 MiB are there.
const STREAMS_MIN: u32 = 64;
/// Bytes of an answer that wait on a stream to be written.
const SEND_BUFFER: usize = 64 << 10;
/// How often a client is asked whether it is still there, and how long it may give no sign of life.
const PING_EVERY: Duration = Duration::from_secs(20);
const SILENCE_MAX: Duration = Duration::from_secs(40);
/// How long hyper waits for the answer, which others than we may keep back meanwhile.
const PING_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// Serves a connection to its end.
pub(super) async fn serve(seat: &mut Seat, io: impl Io + 'static) {
    let (io, life) = Watched::new(io);
    let server = seat.server;
    let client = Client::of_http2(seat.whence.clone(), server.http2.resets_per_second_max);
    client.allow(&server);
    let (worker, kind) = (Rc::clone(&seat.worker), seat.kind);
    // In a box: on its way into a task of its own, hyper moves it a dozen times.
    let service = service_fn(|request: Request<Incoming>| {
        let (mut head, incoming) = request.map(Arriving::Http2).into_parts();
        let (worker, client) = (Rc::clone(&worker), Rc::clone(&client));
        in_box(move || async move {
            let reply = Seat::respond(&worker, kind, &client, &mut head, incoming).await;
            Ok::<_, Infallible>(reply.into_response())
        })
    });
    let mut builder = http2::Builder::new(client.carrying.clone());
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .enable_connect_protocol()
        .max_concurrent_streams(server.http2.streams_max)
        .max_header_list_size(u32::try_from(server.header_bytes_max).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(connection_window(server.http2.streams_max))
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service));
    let mut next = Phase::Draining;
    let (mut was_told, mut is_spent, mut has_flooded) = (None, false, false);
    loop {
        tokio::select! {
            biased;
            served = serving.as_mut() => {
                let is_flood = served.is_err_and(|error| is_calmed(&error));
                seat.worker.gateway.process.floods.add(u64::from(is_flood));
                return;
            }
            () = seat.stopping.reached(next) => {
                if next == Phase::Stopping {
                    return;
                }
                next = Phase::Stopping;
                serving.as_mut().graceful_shutdown();
            }
            // Those that are on their way are answered, unless more come and come.
            () = client.spent() => {
                if is_spent {
                    return;
                }
                is_spent = true;
                serving.as_mut().graceful_shutdown();
            }
            // It may be a proxy with clients of its own, most of whom wait for their answers: those are
            // answered, and others go elsewhere. Who floods on has not listened.
            () = client.floods() => {
                if has_flooded {
                    return;
                }
                has_flooded = true;
                seat.worker.gateway.process.floods.add(1);
                serving.as_mut().graceful_shutdown();
            }
            () = life.ends(SILENCE_MAX) => return,
            // It says goodbye, and does not wait for ever to be heard.
            () = client.idle(&server, was_told) => {
                if was_told.is_some() {
                    return;
                }
                was_told = Some(Instant::now());
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Whether we ended it, and told the client to be calm: it took back more requests at once than h2 lets
/// wait, or sent more frames that carry nothing (RFC 9113 §7, §10.5).
fn is_calmed(error: &hyper::Error) -> bool {
    let error = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    error.is_some_and(|it| it.is_library() && it.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM))
}

/// Bytes that a client may send ahead on a connection of so many streams (RFC 9113 §6.9.1).
fn connection_window(streams_max: u32) -> u32 {
    streams_max.max(STREAMS_MIN).saturating_mul(STREAM_WINDOW).min((1 << 31) - 1)
}
