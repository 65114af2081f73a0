//! Our own answers: short, with a reason a machine can read, and nothing of our insides.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Body;
use lb_core::Rejection;

use crate::framing::Refusal;
use crate::headers::{self, X_REQUEST_ID};
use crate::request_id::RequestId;

/// Why we answer a request ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// It could be read in two ways, or not at all.
    Refused(Refusal),
    /// It asks for a tunnel.
    Connect,
    /// No service has its host.
    NoService,
    /// Its body stopped coming.
    RequestTimeout,
    /// Its body was broken off.
    BrokenRequest,
    /// The core found nobody to answer it.
    Rejected(Rejection),
}

impl Problem {
    /// RFC 9110 §15.5 and §15.6.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Refused(Refusal::TooLong) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Refused(_) | Self::BrokenRequest => StatusCode::BAD_REQUEST,
            Self::Connect => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoService => StatusCode::NOT_FOUND,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Rejected(rejection) => StatusCode::from_u16(rejection.status())
                .expect("a rejection has a status between 500 and 599"),
        }
    }

    /// For machines, logs and metrics.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.as_str(),
            Self::Connect => "connect_not_allowed",
            Self::NoService => "no_service",
            Self::RequestTimeout => "request_timeout",
            Self::BrokenRequest => "broken_request",
            Self::Rejected(rejection) => rejection.as_str(),
        }
    }

    /// For people.
    const fn sentence(self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.sentence(),
            Self::Connect => "this proxy opens no tunnels",
            Self::NoService => "no service is configured for this host",
            Self::RequestTimeout => "the rest of the request did not arrive in time",
            Self::BrokenRequest => "the request was broken off",
            Self::Rejected(Rejection::NoFitBackend) => "no backend can take this request now",
            Self::Rejected(rejection) if rejection.status() == 504 => {
                "no backend answered this request in time"
            }
            Self::Rejected(_) => "no backend answered this request",
        }
    }

    /// The answer to a request with this head.
    pub(crate) fn response(
        self,
        request: &Parts,
        id: RequestId,
        date: HeaderValue,
    ) -> Response<Full<Bytes>> {
        let (kind, body) = if prefers_text(request) {
            let sentence = self.sentence();
            ("text/plain; charset=utf-8", format!("{sentence} ({}, {id})\n", self.reason()))
        } else {
            let body = serde_json::json!({
                "error": self.reason(),
                "message": self.sentence(),
                "request_id": id.to_string(),
            });
            ("application/json", format!("{body}\n"))
        };
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::DATE, date);
        headers.insert(X_REQUEST_ID, headers::written(id));
        match self {
            // Whatever follows on this connection cannot be trusted to begin where it seems to.
            Self::Refused(_) | Self::RequestTimeout | Self::BrokenRequest => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Self::Connect => {
                let allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
                headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
            }
            Self::Rejected(Rejection::NoFitBackend) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Self::NoService | Self::Rejected(_) => {}
        }
        if request.method == Method::HEAD {
            let length = headers::written(response.body().size_hint().lower());
            response.headers_mut().insert(header::CONTENT_LENGTH, length);
            *response.body_mut() = Full::default();
        }
        response
    }
}

/// Whether a person reads the answer: a browser asks for HTML, `curl` for anything.
fn prefers_text(request: &Parts) -> bool {
    let accept = request.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let first = accept.and_then(|accept| accept.split([',', ';']).next()).map(str::trim);
    matches!(first, Some("text/plain" | "text/html"))
}
