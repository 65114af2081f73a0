//! A request on a connection, and the answer as it comes.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::Either;
use http::Request;
use http::response::Parts;
use hyper::body::{Body, Frame, SizeHint};
use lb_core::Failure;

use super::carried::Coming;
use super::shared::Stream;
use super::{Connection, Speaker};
use crate::arriving::is_cut;
use crate::body::{Broken, Upload};
use crate::headers;
use crate::http1::Asked;
use crate::platform::Pipe;
use crate::pulse::Pulse;
use crate::snapshot::Endpoint;
use crate::tls::HandshakeError;
use crate::turn;

impl Connection {
    /// Sends a request and waits for the head of its answer. [`Failure::Unsent`]: nobody has looked at
    /// it, and nobody will.
    pub(crate) fn send<'c>(
        &'c mut self,
        asked: Asked<'c>,
        upload: Upload,
        endpoint: &'c Endpoint,
    ) -> impl Future<Output = Result<Box<Parts>, Failure>> + use<'c> {
        match &mut self.speaker {
            Speaker::Http1(idle) => Either::Left(idle.line.ask(&asked, upload)),
            // In a box, for which a request over HTTP/1.1 needs no room.
            Speaker::Http2(stream, arriving) => {
                let coming = arriving.insert(Box::new(Coming::new(&stream.0)));
                Either::Right(Box::pin(ask(stream, coming, asked, upload, endpoint)))
            }
        }
    }

    /// The next of the answer's body.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        ready!(turn::poll_spend(cx));
        match &mut self.speaker {
            Speaker::Http1(idle) => {
                idle.line.poll_frame(cx).map(|it| it.map(|it| it.map_err(|_| Broken::Backend)))
            }
            Speaker::Http2(_, None) => Poll::Ready(None),
            Speaker::Http2(stream, Some(body)) => match Pin::new(&mut **body).poll_frame(cx) {
                Poll::Ready(None) if is_cut(&**body) => Poll::Ready(Some(Err(Broken::Backend))),
                frame => frame.map_err(|error| {
                    stream.fails(&error);
                    Broken::Backend
                }),
            },
        }
    }

    /// The same in a pipe. `None`: it has to be read.
    pub(crate) fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Option<Poll<Result<Pipe, Broken>>> {
        let Speaker::Http1(idle) = &mut self.speaker else { return None };
        Some(idle.line.poll_splice(cx)?.map_err(|_| Broken::Backend))
    }

    /// What it comes to that it failed: to `alone`, or to `shared` if it did so with a connection that others
    /// share, and one of them has answered for that.
    pub(crate) fn counted_once<T: PartialEq>(&self, alone: T, shared: T) -> T {
        match &self.speaker {
            Speaker::Http1(_) => alone,
            Speaker::Http2(stream, _) => stream.counted_once(alone, shared),
        }
    }

    /// Whether it may be for this request that we ended a connection that others share.
    pub(crate) fn is_suspect(&self) -> bool {
        matches!(&self.speaker, Speaker::Http2(stream, _) if stream.is_suspect())
    }

    /// Whether nothing more of it comes.
    pub(crate) fn is_ended(&self) -> bool {
        match &self.speaker {
            Speaker::Http1(idle) => idle.line.is_ended(),
            Speaker::Http2(_, body) => body.as_ref().is_none_or(|body| body.is_end_stream()),
        }
    }

    /// How much of it is still to come.
    pub(crate) fn size_hint(&self) -> SizeHint {
        match &self.speaker {
            Speaker::Http1(idle) => idle.line.size_hint(),
            Speaker::Http2(_, body) => {
                body.as_ref().map(|body| body.size_hint()).unwrap_or_default()
            }
        }
    }

    /// It is for this client. Says whether what that leaves of it is counted.
    pub(crate) fn is_for(&self, reader: &Rc<Pulse>) -> bool {
        let Speaker::Http2(_, Some(coming)) = &self.speaker else { return false };
        coming.place.unread.is_for(reader);
        true
    }

    /// Bytes of memory that it takes, as nobody has asked for them yet.
    pub(crate) fn unread(&self) -> u64 {
        match &self.speaker {
            Speaker::Http2(_, Some(coming)) => coming.place.unread.cost(),
            // It waits at the backend.
            Speaker::Http1(_) | Speaker::Http2(_, None) => 0,
        }
    }
}

/// Sends a request over HTTP/2, and waits for the head of its answer.
async fn ask(
    stream: &Stream,
    coming: &mut Coming,
    asked: Asked<'_>,
    upload: Upload,
    endpoint: &Endpoint,
) -> Result<Box<Parts>, Failure> {
    let mut request = Request::new(coming.carried(upload, asked.patience.until));
    *request.method_mut() = asked.method.clone();
    *request.uri_mut() = asked.uri.clone();
    *request.headers_mut() = asked.fields.into_owned();
    if let Some(added) = asked.added {
        added.clone().join(request.headers_mut());
    }
    // What cannot be said was not, and no backend is to blame for it.
    let said = headers::for_http2(&mut request, endpoint.scheme());
    said.map_err(|_| Failure::Unsent)?;
    let answered = stream.0.sender.clone().try_send_request(request).await;
    let response = answered.map_err(|mut error| {
        stream.fails(error.error());
        let is_back = error.take_message().is_some();
        stream.judged(if is_back { Failure::Unsent } else { failure_of(error.error()) })
    })?;
    let (head, body) = response.into_parts();
    coming.begins(body);
    Ok(Box::new(head))
}

/// What went wrong with a request of which something was sent over HTTP/2.
pub(super) fn failure_of(error: &hyper::Error) -> Failure {
    let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    if let Some(refusal) = cause.and_then(HandshakeError::refusal) {
        return refusal.failure();
    }
    match error.source().and_then(|source| source.downcast_ref::<h2::Error>()) {
        // Whyever it goes away, this is none of the streams that it still looks at: h2 tells no others
        // of a GOAWAY (RFC 9113 §6.8).
        Some(error) if error.is_remote() && error.is_go_away() => Failure::Unsent,
        Some(error) if error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM) => {
            Failure::RefusedStream
        }
        Some(error) if error.is_library() => Failure::Malformed,
        _ if error.is_parse() => Failure::Malformed,
        _ => Failure::Reset,
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::future::poll_fn;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::time::Duration;

    use http::{HeaderMap, Method, Uri};
    use lb_core::Time;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::super::{Closed, Idle, Stack};
    use super::*;
    use crate::http1::{Http1, Limits};
    use crate::pulse::Patience;
    use crate::slots::Slots;

    #[tokio::test]
    async fn an_answer_in_chunks_of_one_byte_is_carried_in_turns_and_not_by_the_byte() {
        const CHUNKS: usize = 150_000;
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let slots = Slots::new(1);
        let slot = slots.take().expect("nobody has taken it");
        let limits = Limits { fields_max: 32, head_bytes_max: 8_192 };
        let mut line = Box::new(Http1::new(Box::new(near), slot, limits));
        let (method, uri) = (Method::GET, Uri::from_static("/"));
        let fields = Cow::Owned(HeaderMap::new());
        let patience = Patience { idle: Duration::ZERO, until: Instant::now() };
        let (uri, added, herald, may_splice) = (&uri, None, None, false);
        let asked = Asked { method: &method, uri, fields, added, herald, patience, may_splice };
        let says = async {
            far.read_exact(&mut [0; 4]).await.unwrap();
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            let said = head.to_owned() + &"1\r\na\r\n".repeat(CHUNKS) + "0\r\n\r\n";
            far.write_all(said.as_bytes()).await.unwrap();
        };
        let (answered, ()) = tokio::join!(line.ask(&asked, Upload::EMPTY), says);
        assert!(answered.is_ok());
        let stack = Rc::new(Stack::new(slots, &Arc::new(Closed::new())));
        let idle = Idle { line, born: Time::ZERO, since: Time::ZERO };
        let speaker = Speaker::Http1(idle);
        let mut connection = Connection { speaker, stack, reused: false, kept: true };
        let (mut frames, mut bytes, mut most) = (0, 0, 0);
        poll_fn(|cx| {
            let before = frames;
            while let Poll::Ready(frame) = connection.poll_frame(cx) {
                let Some(frame) = frame else { return Poll::Ready(()) };
                frames += 1;
                most = most.max(frames - before);
                bytes += frame.unwrap().into_data().unwrap().len();
            }
            Poll::Pending
        })
        .await;
        assert_eq!(bytes, CHUNKS, "all of it has come");
        assert!(frames < CHUNKS / 500, "{frames} frames");
        // It is what tokio lets a task do before others have their turn.
        assert!(most <= 128, "{most} of {frames} frames in one turn");
        assert!(frames > 128, "there are more than one turn can carry");
    }
}
