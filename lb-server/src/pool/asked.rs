//! A request on a connection, and the answer as it comes.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Frame, SizeHint};
use lb_core::Failure;

use super::{Connection, Speaker};
use crate::arriving::is_cut;
use crate::body::{Broken, Upload};
use crate::headers;
use crate::http1::Asked;
use crate::snapshot::Endpoint;
use crate::tls::HandshakeError;

impl Connection {
    /// Sends a request and waits for the head of its answer. [`Failure::Unsent`]: nobody has looked at
    /// it, and nobody will.
    pub(crate) async fn send(
        &mut self,
        mut asked: Asked<'_>,
        upload: Upload,
        endpoint: &Endpoint,
    ) -> Result<Response<()>, Failure> {
        match &mut self.speaker {
            Speaker::Http1(idle) => {
                headers::for_http1(&mut asked.fields);
                idle.line.ask(asked, upload).await
            }
            Speaker::Http2(stream, arriving) => {
                let mut request = Request::new(upload);
                *request.method_mut() = asked.method.clone();
                *request.uri_mut() = asked.uri.clone();
                *request.headers_mut() = asked.fields.into_owned();
                headers::for_http2(&mut request, endpoint.scheme());
                let answered = stream.0.sender.clone().try_send_request(request).await;
                let response = answered.map_err(|mut error| {
                    let is_back = error.take_message().is_some();
                    stream.judged(if is_back { Failure::Unsent } else { failure_of(error.error()) })
                })?;
                let (head, body) = response.into_parts();
                *arriving = Some(body);
                Ok(Response::from_parts(head, ()))
            }
        }
    }

    /// The next of the answer's body.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.speaker {
            Speaker::Http1(idle) => {
                idle.line.poll_frame(cx).map(|it| it.map(|it| it.map_err(|_| Broken::Backend)))
            }
            Speaker::Http2(_, None) => Poll::Ready(None),
            Speaker::Http2(_, Some(body)) => match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Ready(None) if is_cut(body) => Poll::Ready(Some(Err(Broken::Backend))),
                frame => frame.map_err(|_| Broken::Backend),
            },
        }
    }

    /// Whether nothing more of it comes.
    pub(crate) fn is_ended(&self) -> bool {
        match &self.speaker {
            Speaker::Http1(idle) => idle.line.is_ended(),
            Speaker::Http2(_, body) => body.as_ref().is_none_or(Body::is_end_stream),
        }
    }

    /// How much of it is still to come.
    pub(crate) fn size_hint(&self) -> SizeHint {
        match &self.speaker {
            Speaker::Http1(idle) => idle.line.size_hint(),
            Speaker::Http2(_, body) => body.as_ref().map(Body::size_hint).unwrap_or_default(),
        }
    }
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
