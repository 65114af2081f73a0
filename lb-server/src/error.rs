//! Our own answers: short, with a reason a machine can read, and nothing of our insides.

mod grpc;

pub(crate) use grpc::is_call;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Body;
use lb_core::{Allowance, Failure, Rejection};

use crate::framing::Refusal;
use crate::headers::{self, X_REQUEST_ID};
use crate::request_id::RequestId;

/// What is left of a client's allowance, and when there is more
/// (draft-ietf-httpapi-ratelimit-headers).
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Why we answer a request ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// It could be read in two ways, or not at all.
    Refused(Refusal),
    /// It asks for a tunnel, and its service allows none.
    Connect,
    /// No service has its host.
    NoService,
    /// Some servers read its path as that of another route.
    AmbiguousPath,
    /// Its route sends it elsewhere at the same host, and it names none.
    NoHost,
    /// What its route makes of its target is too long.
    TargetTooLong,
    /// Its body stopped coming.
    RequestTimeout,
    /// Its body is malformed.
    BrokenRequest,
    /// Its body was broken off: nobody hears the answer.
    ClientLeft,
    /// Its body is larger than its service takes.
    BodyTooLarge,
    /// The core found nobody to answer it.
    Rejected(Rejection),
}

/// A problem, and what is left to the client, if the request was taken from its allowance.
pub(crate) struct Unserved {
    pub(crate) problem: Problem,
    pub(crate) allowance: Option<Allowance>,
}

impl From<Problem> for Unserved {
    fn from(problem: Problem) -> Self {
        Self { problem, allowance: None }
    }
}

impl Problem {
    /// RFC 9110 §15.5 and §15.6.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Refused(Refusal::TargetTooLong) => StatusCode::URI_TOO_LONG,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Refused(Refusal::TooLong) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Refused(Refusal::Late) | Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Refused(_) | Self::BrokenRequest | Self::ClientLeft => StatusCode::BAD_REQUEST,
            Self::Connect => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoService => StatusCode::NOT_FOUND,
            Self::AmbiguousPath | Self::NoHost => StatusCode::BAD_REQUEST,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Rejected(rejection) => StatusCode::from_u16(rejection.status())
                .expect("a rejection has a status that is one"),
        }
    }

    /// For machines, logs and metrics.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.as_str(),
            Self::Connect => "connect_not_allowed",
            Self::NoService => "no_service",
            Self::AmbiguousPath => "ambiguous_path",
            Self::NoHost => "no_host",
            Self::TargetTooLong => "target_too_long",
            Self::RequestTimeout => "request_timeout",
            Self::BrokenRequest | Self::ClientLeft => "broken_request",
            Self::BodyTooLarge => "body_too_large",
            Self::Rejected(rejection) => rejection.as_str(),
        }
    }

    /// For people.
    const fn sentence(self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.sentence(),
            Self::Connect => "no tunnel may be opened here",
            Self::NoService => "no service is configured for this host",
            Self::AmbiguousPath => {
                "the path could be read in two ways that lead to different places"
            }
            Self::NoHost => "the request names no host",
            Self::TargetTooLong => "the path and query are too long",
            Self::RequestTimeout => "the rest of the request did not arrive in time",
            Self::BrokenRequest => "the request's body is malformed",
            Self::ClientLeft => "the request was broken off",
            Self::BodyTooLarge => "the request's body is larger than is taken here",
            Self::Rejected(Rejection::NoFitBackend) => "no backend can take this request now",
            Self::Rejected(Rejection::RateLimited(_)) => "too many requests",
            Self::Rejected(Rejection::ClientBusy) => "too many requests at once",
            Self::Rejected(Rejection::Overloaded | Rejection::QueueTimeout) => {
                "too much is going on here: try again later"
            }
            Self::Rejected(Rejection::AttemptFailed(Failure::NoTunnel)) => {
                "the backend opened no tunnel"
            }
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
        if let Some(kind) = grpc::kind(request) {
            return self.grpc(kind, id, date);
        }
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
        headers.insert(X_REQUEST_ID, headers::written(&id));
        match self {
            // Whatever follows on this connection cannot be trusted to begin where it seems to.
            Self::Refused(_)
            | Self::RequestTimeout
            | Self::BrokenRequest
            | Self::ClientLeft
            | Self::BodyTooLarge => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Self::Connect => {
                let allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
                headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
            }
            Self::Rejected(Rejection::RateLimited(wait)) => {
                // Rounded up, so that whoever waits has waited long enough.
                let secs = wait.as_micros().div_ceil(1_000_000).max(1);
                headers.insert(header::RETRY_AFTER, headers::written(&secs));
                headers.insert(RATE_LIMIT, said_of(0, secs));
            }
            Self::Rejected(
                Rejection::NoFitBackend
                | Rejection::ClientBusy
                | Rejection::Overloaded
                | Rejection::QueueTimeout,
            ) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Self::NoService
            | Self::AmbiguousPath
            | Self::NoHost
            | Self::TargetTooLong
            | Self::Rejected(_) => {}
        }
        if request.method == Method::HEAD {
            let length = headers::written(&response.body().size_hint().lower());
            response.headers_mut().insert(header::CONTENT_LENGTH, length);
            *response.body_mut() = Full::default();
        }
        response
    }
}

/// Tells a client what is left to it, beside what others tell it of theirs.
pub(crate) fn tell_allowance(headers: &mut HeaderMap, allowance: Option<Allowance>) {
    if let Some(Allowance { requests, whole_in_secs }) = allowance {
        headers.append(RATE_LIMIT, said_of(requests, whole_in_secs.into()));
    }
}

/// How many requests a client has left, and in how many seconds it has all of them.
fn said_of(requests: u32, secs: u128) -> HeaderValue {
    headers::written(&format!("\"client\";r={requests};t={secs}"))
}

/// Whether a person reads the answer: a browser asks for HTML, `curl` for anything.
fn prefers_text(request: &Parts) -> bool {
    let accept = request.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let first = accept.and_then(|accept| accept.split([',', ';']).next()).map(str::trim);
    matches!(first, Some("text/plain" | "text/html"))
}

#[cfg(test)]
mod tests;
