//! Carries out health checks: asks backends how they are, when the core says so.
//!
//! One task of the first worker does it for the whole process, beside the traffic and never in its
//! way. Each check has a connection of its own, a deadline, and a bound on what is read; only so many
//! run at once. What an answer means, and when the next check is due, is decided in `lb_core`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::Response;
use hyper::body::Incoming;
use hyper::client::conn::http1::Builder;
use hyper_util::rt::TokioIo;
use lb_core::config::{BODY_MAX, ProbeConfig, ProbeKind};
use lb_core::{Checked, Event, Found, Observe, Then, Time};
use tokio::sync::Semaphore;
use tokio::time::{sleep_until, timeout_at};

use crate::gateway::{Endpoint, Gateway, Site};
use crate::platform::Io;

/// Checks that run at once. More wait for their turn.
const CHECKS_MAX: usize = 64;
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("lb-health/", env!("CARGO_PKG_VERSION")));

/// A check that is to be carried out: when, of which backend of which service, and the how-manieth.
type Due = Reverse<(Time, usize, u16, u64)>;

/// Tells metrics and whoever listens.
struct Told<'g>(&'g Gateway);

impl Observe for Told<'_> {
    fn on(&self, now: Time, event: &Event) {
        if let Event::HealthMoved { backend, .. } = event {
            self.0.metrics.on(usize::from(backend.service), event);
        }
        if let Some(tap) = &self.0.tap {
            tap.on(now, event);
        }
    }
}

/// Checks backends for as long as it is polled. Ends at once where there is nothing to check.
pub(crate) async fn run(gateway: Arc<Gateway>) {
    let mut due: BinaryHeap<Due> = BinaryHeap::new();
    for (index, site) in gateway.sites.iter().enumerate() {
        for backend in site.service.backends() {
            let place = backend.id().backend;
            let first = site.service.first_check(place);
            due.extend(first.map(|first| Reverse((first, index, place, 0))));
        }
    }
    let places = Arc::new(Semaphore::new(CHECKS_MAX));
    let (done, mut next) = tokio::sync::mpsc::channel(CHECKS_MAX);
    while !due.is_empty() || places.available_permits() < CHECKS_MAX {
        let soonest = due.peek().map(|Reverse((at, ..))| gateway.clock.instant(*at));
        let begins = async {
            match soonest {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
            Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed")
        };
        tokio::select! {
            biased;
            Some(again) = next.recv() => due.push(again),
            permit = begins => {
                let Reverse((at, index, place, round)) = due.pop().expect("it was looked at");
                let (gateway, done) = (Arc::clone(&gateway), done.clone());
                tokio::task::spawn_local(async move {
                    let again = check(&gateway, index, place, round, at).await;
                    // The driver is gone when the process ends.
                    let _gone = done.send(Reverse((again, index, place, round + 1))).await;
                    drop(permit);
                });
            }
        }
    }
}

/// Carries out one check, and says when the next is due.
async fn check(gateway: &Gateway, index: usize, place: u16, round: u64, began: Time) -> Time {
    let site = &gateway.sites[index];
    let config = site.service.probe().expect("a check was due");
    let deadline = gateway.clock.instant(gateway.clock.now() + config.timeout);
    let mut path = site.service.check_path(place).expect("a check was due").to_owned();
    loop {
        let asked = gateway.clock.now();
        let asking = ask(gateway, site, usize::from(place), config, &path);
        let found = timeout_at(deadline, asking).await.ok().flatten().unwrap_or(Found::Nothing);
        let now = gateway.clock.now();
        let checked = Checked { round, began, took: now - asked, found };
        match site.service.checked(place, checked, now, &Told(gateway)) {
            Then::Ask(other) => other.clone_into(&mut path),
            Then::Wait(until) => return until,
        }
    }
}

/// Asks once. `None`: there was no answer.
async fn ask(
    gateway: &Gateway,
    site: &Site,
    place: usize,
    config: &ProbeConfig,
    path: &str,
) -> Option<Found> {
    let endpoint = &site.endpoints[place];
    let io = dial(gateway, endpoint).await?;
    let ProbeKind::Http { head, expect_body, headers, .. } = &config.kind else {
        return Some(Found::Connected);
    };
    let server = &gateway.config.server;
    let (mut sender, connection) = Builder::new()
        .max_buf_size(server.header_bytes_max)
        .max_headers(server.headers_max)
        .handshake(TokioIo::new(io))
        .await
        .ok()?;
    let mut request = Request::builder();
    let user_agent = headers.iter().all(|(name, _)| name != header::USER_AGENT.as_str());
    if user_agent {
        request = request.header(header::USER_AGENT, USER_AGENT);
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request
        .method(if *head { Method::HEAD } else { Method::GET })
        .uri(path)
        .header(header::HOST, &endpoint.authority)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .ok()?;
    // Both on this task: what ends the check ends its connection.
    let asked = async {
        let response = sender.send_request(request).await.ok()?;
        let status = response.status().as_u16();
        let body = match expect_body {
            Some(text) => has(response, text.as_bytes()).await,
            None => true,
        };
        Some(Found::Answered { status, body })
    };
    let mut asked = std::pin::pin!(asked);
    tokio::select! {
        biased;
        found = &mut asked => found,
        // It ends with the answer, which is there to be taken, or without one.
        _ended = connection => asked.await,
    }
}

/// Whether a body contains `text` within the first bytes that are looked at.
async fn has(response: Response<Incoming>, text: &[u8]) -> bool {
    let (mut body, mut seen) = (response.into_body(), Vec::new());
    while let Some(Ok(frame)) = body.frame().await {
        seen.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        seen.truncate(BODY_MAX);
        if memchr::memmem::find(&seen, text).is_some() {
            return true;
        }
        if seen.len() >= BODY_MAX {
            return false;
        }
    }
    false
}

async fn dial(gateway: &Gateway, endpoint: &Endpoint) -> Option<Box<dyn Io>> {
    let addresses = match endpoint.literal {
        Some(addr) => vec![addr],
        None => gateway.platform.lookup(&endpoint.host, endpoint.port).await.ok()?,
    };
    for addr in addresses {
        if let Ok(io) = gateway.platform.dial(addr).await {
            return Some(io);
        }
    }
    None
}
