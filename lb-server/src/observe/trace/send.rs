//! One batch of spans on its way to a collector: OTLP over HTTP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use lb_config::config::{Origin, Tracing};

use super::otlp;
use super::span::Span;
use crate::platform::{Address, Io, Platform, Tcp};
use crate::retry_after::retry_after;

/// Bytes of an answer that are looked at.
const ANSWER_BYTES_MAX: usize = 4_096;
/// What a collector says that may take the same later (OTLP 1, "Retryable Response Codes").
const NOT_NOW: [StatusCode; 4] = [
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// What became of a batch.
pub(super) enum Sent {
    /// The collector took it, but for so many spans of it.
    Taken { rejected: u64 },
    /// It may take it later, perhaps after as long as it asks for.
    NotNow { why: String, wait: Option<Duration> },
    /// It will not take it.
    Refused(String),
}

/// Sends a batch on a connection of its own: one in five seconds is not worth keeping.
pub(super) async fn send(platform: &dyn Platform, to: &Tracing, batch: &[Span]) -> Sent {
    let not_now = |why| Sent::NotNow { why, wait: None };
    let io = match connect(platform, &to.endpoint).await {
        Ok(io) => io,
        Err(error) => return not_now(format!("cannot be reached: {error}")),
    };
    let broken = |error: hyper::Error| not_now(format!("has not answered: {error}"));
    let (mut sender, connection) = match http1::handshake(TokioIo::new(io)).await {
        Ok(both) => both,
        Err(error) => return broken(error),
    };
    let request = Request::builder()
        .method(Method::POST)
        .uri("/v1/traces")
        .header(header::HOST, authority(&to.endpoint))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("lb/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Full::new(Bytes::from(otlp::request(batch, &to.service_name))));
    let Ok(request) = request else { return Sent::Refused("has no host name".to_owned()) };
    // Both on this task: what ends the sending ends its connection.
    let asked = async {
        let response = match sender.send_request(request).await {
            Ok(response) => response,
            Err(error) => return broken(error),
        };
        let status = response.status();
        if !status.is_success() {
            let why = format!("answers {}", status.as_u16());
            let wait = retry_after(response.headers(), || platform.unix_time());
            let is_not_now = NOT_NOW.contains(&status);
            return if is_not_now { Sent::NotNow { why, wait } } else { Sent::Refused(why) };
        }
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        // An answer that breaks off or goes on and on rejects nothing that we could read.
        Sent::Taken { rejected: body.map_or(0, |body| otlp::rejected(&body.to_bytes())) }
    };
    let mut asked = std::pin::pin!(asked);
    tokio::select! {
        biased;
        taken = &mut asked => taken,
        // It ends with the answer, which is there to be taken, or without one.
        _ended = connection => asked.await,
    }
}

async fn connect(platform: &dyn Platform, to: &Origin) -> io::Result<Box<dyn Io>> {
    let addresses = match (&to.socket, to.host.parse::<IpAddr>()) {
        (Some(path), _) => vec![Address::Unix(path.clone())],
        (None, Ok(ip)) => vec![Address::Ip(SocketAddr::new(ip, to.port))],
        (None, Err(_)) => {
            let found = platform.lookup(&to.host, to.port).await?;
            found.into_iter().map(Address::Ip).collect()
        }
    };
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for addr in addresses {
        match platform.dial(addr, Tcp::DEFAULT).await {
            Ok(io) => return Ok(io),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn authority(to: &Origin) -> String {
    match to.host.contains(':') {
        true => format!("[{}]:{}", to.host, to.port),
        false => format!("{}:{}", to.host, to.port),
    }
}
