//! The answering side of a connection of HTTP/2, by h2 itself.
//!
//! hyper's server forgets streams that it reset after a second of real time, and what comes on them
//! then is answered in another way. A run must not depend on how fast the machine is, and h2 can be
//! told to remember.

use std::future::{Future, poll_fn};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{RecvStream, SendStream};
use http::{Response, header};
use http_body_util::BodyExt;
use hyper::body::Body;
use lb_server::platform::Io;

use crate::filling::{BrokeOff, Filling};

/// What a connection and each of its streams take in before the other side has to wait, in bytes.
const WINDOW: u32 = 1024 * 1024;

/// All the headers of a request, in bytes.
const HEADERS_MAX: u32 = 16 * 1024;

/// Streams of a connection that are known to have been reset: more than any scenario has.
const RESET_STREAMS_MAX: usize = 1_000_000;

/// Shakes hands with a client, in whatever time it takes. It may have so many requests open at a time.
pub(crate) async fn begin(
    io: Box<dyn Io>,
    streams: u32,
) -> Result<Connection<Box<dyn Io>, Bytes>, h2::Error> {
    Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_concurrent_streams(streams)
        .max_header_list_size(HEADERS_MAX)
        .max_concurrent_reset_streams(RESET_STREAMS_MAX)
        .reset_stream_duration(Duration::MAX)
        .handshake(io)
        .await
}

/// Reads what a request brings, until it ends or breaks off.
pub(crate) async fn drain(mut body: RecvStream) {
    while let Some(Ok(piece)) = body.data().await {
        let _gone = body.flow_control().release_capacity(piece.len());
    }
}

/// Answers one request, unless its client no longer wants to know.
pub(crate) async fn reply(
    mut to: SendResponse<Bytes>,
    answer: impl Future<Output = Result<Response<Filling>, BrokeOff>>,
) {
    let answer = tokio::select! {
        biased;
        answer = answer => answer,
        _reset = poll_fn(|cx| to.poll_reset(cx)) => return,
    };
    let (mut head, body) = match answer {
        Ok(response) => response.into_parts(),
        Err(BrokeOff(why)) => return to.send_reset(why),
    };
    let ends = body.is_end_stream();
    if let Some(length) = body.size_hint().exact().filter(|_| !ends) {
        head.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    // The stream or its connection may be gone.
    let Ok(stream) = to.send_response(Response::from_parts(head, ()), ends) else { return };
    if !ends {
        let _gone = send(body, stream).await;
    }
}

/// Sends the pieces of a body as they come and as the other side has room for them.
async fn send(mut body: Filling, mut to: SendStream<Bytes>) -> Result<(), h2::Error> {
    loop {
        let frame = tokio::select! {
            biased;
            _reset = poll_fn(|cx| to.poll_reset(cx)) => return Ok(()),
            frame = body.frame() => frame,
        };
        let piece = match frame {
            None => return to.send_data(Bytes::new(), true),
            Some(Err(BrokeOff(why))) => {
                to.send_reset(why);
                return Ok(());
            }
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        };
        to.reserve_capacity(1);
        while to.capacity() == 0 {
            let Some(_room) = poll_fn(|cx| to.poll_capacity(cx)).await.transpose()? else {
                return Ok(());
            };
        }
        let ends = body.is_end_stream();
        to.send_data(piece, ends)?;
        if ends {
            return Ok(());
        }
    }
}
