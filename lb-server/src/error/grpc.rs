//! Our own answers to calls of gRPC: an outcome in fields, and no body.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response};
use http_body_util::Full;

use super::Problem;
use crate::headers::{self, X_REQUEST_ID};
use crate::request_id::RequestId;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The kind of answer that the client of a call of gRPC reads; `None` if the request is no such call. One of
/// gRPC-Web reads what it sent and nothing else
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md>).
pub(super) fn kind(request: &Parts) -> Option<HeaderValue> {
    let said = content_type(request)?;
    // Whatever it says besides is not for us to repeat.
    let named = said.split(|byte| matches!(byte, b';' | b',' | b' ')).next()?;
    if !named.starts_with(b"application/grpc-web") {
        return Some(HeaderValue::from_static(GRPC));
    }
    HeaderValue::from_bytes(named).ok()
}

/// Whether a request is a call of gRPC, or of gRPC-Web.
pub(crate) fn is_call(request: &Parts) -> bool {
    content_type(request).is_some()
}

/// What a call of gRPC says of its content. Every call is a POST (gRPC over HTTP/2, "Requests"): who asks for
/// a page is told in statuses, which caches understand, whatever else he says of himself.
fn content_type(request: &Parts) -> Option<&[u8]> {
    let is_post = request.method == Method::POST;
    let said = is_post.then(|| request.headers.get(header::CONTENT_TYPE)).flatten()?.as_bytes();
    said.starts_with(GRPC.as_bytes()).then_some(said)
}

const GRPC: &str = "application/grpc";

impl Problem {
    /// The answer to a client that looks for trouble in `grpc-status`, of the `kind` that it reads.
    pub(super) fn grpc(
        self,
        kind: HeaderValue,
        id: RequestId,
        date: HeaderValue,
    ) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, kind);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(GRPC_STATUS, headers::written(&self.grpc_status()));
        let message = HeaderValue::from_static(self.sentence());
        headers.insert(GRPC_MESSAGE, message);
        headers.insert(header::DATE, date);
        headers.insert(X_REQUEST_ID, headers::written(&id));
        response
    }

    /// What gRPC calls it (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).
    fn grpc_status(self) -> u8 {
        const DEADLINE_EXCEEDED: u8 = 4;
        const RESOURCE_EXHAUSTED: u8 = 8;
        const UNIMPLEMENTED: u8 = 12;
        const INTERNAL: u8 = 13;
        const UNAVAILABLE: u8 = 14;
        match self.status().as_u16() {
            413 | 414 | 429 | 431 => RESOURCE_EXHAUSTED,
            404 | 405 => UNIMPLEMENTED,
            408 | 504 => DEADLINE_EXCEEDED,
            502 | 503 => UNAVAILABLE,
            _ => INTERNAL,
        }
    }
}
