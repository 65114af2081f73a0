//! Carries out health checks: asks backends how they are, when the core says so.
//!
//! One task of the first worker does it for the whole process, beside the traffic and never in its
//! way. Each check has a connection of its own, a deadline, and a bound on what is read; only so many
//! run at once. What an answer means, and when the next check is due, is decided in `lb_core`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::Response;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use lb_core::config::{BODY_MAX, ProbeConfig, ProbeKind};
use lb_core::{Checked, Event, Found, Input, Observe, Then, Time};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout_at};

use crate::dial::{Announced, Speaks, connect, dial};
use crate::exec::Here;
use crate::gateway::Gateway;
use crate::headers;
use crate::snapshot::{Site, Snapshot};

/// Checks that run at once. More wait for their turn.
const CHECKS_MAX: usize = 64;
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("lb-health/", env!("CARGO_PKG_VERSION")));

/// A check that is to be carried out: when, of which backend of which service, and the how-manieth.
type Due = Reverse<(Time, usize, u16, u64)>;

/// Tells metrics and whoever listens.
struct Told<'g> {
    gateway: &'g Gateway,
    snapshot: &'g Snapshot,
    site: &'g Site,
}

impl Observe for Told<'_> {
    fn hears(&self, now: Time, input: Input) {
        if let Some(tap) = &self.gateway.tap {
            tap.hears(now, self.snapshot, input);
        }
    }

    fn on(&self, now: Time, event: &Event) {
        if let Event::HealthMoved { .. } = event {
            self.site.counts.on(now, event);
        }
        if let Some(tap) = &self.gateway.tap {
            tap.on(now, self.snapshot, event);
        }
    }
}

/// When the next check of each backend is due and how many it had, by service and by backend.
type Schedule = BTreeMap<(String, String), (Time, u64)>;

/// Checks backends for as long as it is polled. When another snapshot is served, whoever is in both
/// keeps its turn; checks that were under way begin again.
pub(crate) async fn run(gateway: Arc<Gateway>) {
    let mut snapshots = gateway.snapshots();
    let mut schedule = Schedule::new();
    loop {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        let mut due = due(&snapshot, &schedule);
        let mut running = BTreeMap::new();
        tokio::select! {
            biased;
            changed = snapshots.changed() => changed.expect("the gateway is held here"),
            () = check_all(&gateway, &snapshot, &mut due, &mut running) => {
                unreachable!("checks have no end")
            }
        }
        let under_way = running
            .into_iter()
            .map(|((index, place), (at, round))| Reverse((at, index, place, round)));
        schedule = due
            .into_iter()
            .chain(under_way)
            .map(|Reverse((at, index, place, round))| {
                let service = &snapshot.sites[index].service;
                let names = (service.name().to_owned(), service.backend(place).name().to_owned());
                (names, (at, round))
            })
            .collect();
    }
}

/// What is due in `snapshot`, given what was due before.
fn due(snapshot: &Snapshot, schedule: &Schedule) -> BinaryHeap<Due> {
    let mut due = BinaryHeap::new();
    for (index, site) in snapshot.sites.iter().enumerate() {
        for backend in site.service.backends() {
            let place = backend.id().backend;
            let Some(first) = site.service.first_check(place) else { continue };
            let names = (site.service.name().to_owned(), backend.name().to_owned());
            let (at, round) = schedule.get(&names).copied().unwrap_or((first, 0));
            due.push(Reverse((at, index, place, round)));
        }
    }
    due
}

/// Carries out what is due, without end. What is under way stands in `running`.
async fn check_all(
    gateway: &Arc<Gateway>,
    snapshot: &Arc<Snapshot>,
    due: &mut BinaryHeap<Due>,
    running: &mut BTreeMap<(usize, u16), (Time, u64)>,
) {
    // Dropped with this future, and the checks with it.
    let mut checks = JoinSet::new();
    loop {
        let soonest = due.peek().filter(|_| checks.len() < CHECKS_MAX);
        let soonest = soonest.map(|Reverse((at, ..))| gateway.clock.instant(*at));
        let begins = async {
            match soonest {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(ended) = checks.join_next() => {
                let again: Due = ended.expect("a check does not panic");
                let Reverse((_, index, place, _)) = again;
                running.remove(&(index, place));
                due.push(again);
            }
            () = begins => {
                let Reverse((at, index, place, round)) = due.pop().expect("it was looked at");
                running.insert((index, place), (at, round));
                let (gateway, snapshot) = (Arc::clone(gateway), Arc::clone(snapshot));
                checks.spawn_local(async move {
                    let again = check(&gateway, &snapshot, index, place, round, at).await;
                    Reverse((again, index, place, round + 1))
                });
            }
        }
    }
}

/// Carries out one check, and says when the next is due.
async fn check(
    gateway: &Arc<Gateway>,
    snapshot: &Snapshot,
    index: usize,
    place: u16,
    round: u64,
    began: Time,
) -> Time {
    let site = &snapshot.sites[index];
    let config = site.service.probe().expect("a check was due");
    let deadline = gateway.clock.instant(gateway.clock.now() + config.timeout);
    let mut path = site.service.check_path(place).expect("a check was due").to_owned();
    loop {
        let asked = gateway.clock.now();
        let asking = ask(gateway, snapshot, site, usize::from(place), config, &path);
        let found = timeout_at(deadline, asking).await.ok().flatten().unwrap_or(Found::Nothing);
        let now = gateway.clock.now();
        let checked = Checked { round, began, took: now - asked, found };
        match site.service.checked(place, checked, now, &Told { gateway, snapshot, site }) {
            Then::Ask(other) => other.clone_into(&mut path),
            Then::Wait(until) => return until,
        }
    }
}

/// Asks once. `None`: there was no answer.
async fn ask(
    gateway: &Arc<Gateway>,
    snapshot: &Snapshot,
    site: &Site,
    place: usize,
    config: &ProbeConfig,
    path: &str,
) -> Option<Found> {
    let endpoint = &site.endpoints[place];
    let ProbeKind::Http { head, expect_body, headers: said, .. } = &config.kind else {
        return connect(gateway, endpoint).await.ok().map(|_| Found::Connected);
    };
    let mut request = Request::builder();
    let user_agent = said.iter().all(|(name, _)| name != header::USER_AGENT.as_str());
    if user_agent {
        request = request.header(header::USER_AGENT, USER_AGENT);
    }
    for (name, value) in said {
        request = request.header(name, value);
    }
    let mut request = request
        .method(if *head { Method::HEAD } else { Method::GET })
        .uri(path)
        .header(header::HOST, &endpoint.authority)
        .body(Empty::<Bytes>::new())
        .ok()?;
    let answered = async |response: Response<Incoming>| {
        let status = response.status().as_u16();
        let body = match expect_body {
            Some(text) => has(response, text.as_bytes()).await,
            None => true,
        };
        Some(Found::Answered { status, body })
    };
    let server = &snapshot.config.server;
    let announced = site.proxy_protocol.map(|version| Announced { version, ends: None });
    let wire = dial(gateway, endpoint, endpoint.protocol, announced).await.ok()?;
    let io = TokioIo::new(wire.io);
    match wire.speaks {
        Speaks::Http1 => {
            request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            let mut builder = http1::Builder::new();
            builder.max_buf_size(server.header_bytes_max).max_headers(server.headers_max);
            let (mut sender, connection) = builder.handshake(io).await.ok()?;
            let asked = async { answered(sender.send_request(request).await.ok()?).await };
            beside(connection, asked).await
        }
        Speaks::Http2 => {
            headers::for_http2(&mut request, endpoint.scheme());
            let (mut sender, connection) = http2::Builder::new(Here).handshake(io).await.ok()?;
            let asked = async { answered(sender.send_request(request).await.ok()?).await };
            beside(connection, asked).await
        }
    }
}

/// Asks on a `connection`, both on this task: what ends the check ends its connection.
async fn beside(
    connection: impl Future,
    asked: impl Future<Output = Option<Found>>,
) -> Option<Found> {
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
