//! Carries out health checks: asks backends how they are, when the core says so.
//!
//! One task of the first worker does it for the whole process, beside the traffic and never in its
//! way. Each check has a connection of its own, a deadline, and a bound on what is read; only so many
//! run at once. What an answer means, and when the next check is due, is decided in `lb_core`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
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
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{sleep_until, timeout_at};

use crate::dial::{Announced, Speaks, connect, dial};
use crate::exec::Here;
use crate::gateway::Gateway;
use crate::headers;
use crate::names;
use crate::snapshot::{Endpoint, Site, Snapshot};

/// Checks that run at once. More wait for their turn.
const CHECKS_MAX: usize = 1024;
/// Those of one service: where nobody answers, others are checked all the same.
const SERVICE_CHECKS_MAX: usize = 256;
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("lb-health/", env!("CARGO_PKG_VERSION")));

/// A check that is to be carried out: when, of which backend, and the how-manieth.
type Due = Reverse<(Time, u16, u64)>;

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

/// A backend in its place in a snapshot.
#[derive(Clone)]
struct Target {
    snapshot: Arc<Snapshot>,
    index: usize,
    place: u16,
}

/// A check under way, and when it was due.
struct Running {
    at: Time,
    round: u64,
    target: Target,
    task: AbortHandle,
}

/// All checks of a snapshot: those that are due some time, and those that are under way.
struct Checks {
    snapshot: Arc<Snapshot>,
    /// Of each service.
    due: Vec<BinaryHeap<Due>>,
    running: Vec<Running>,
    /// Each comes to the time of the next, or to nothing where it is of no use any more. Dropped with
    /// this, and the checks with it.
    tasks: JoinSet<Option<Time>>,
}

/// Checks backends for as long as it is polled. When another snapshot is served, whoever is in both
/// keeps its turn, and a check that is under way goes on if it would be the same one.
pub(crate) async fn run(gateway: Arc<Gateway>) {
    let mut snapshots = gateway.snapshots();
    let mut checks = Checks::new(Arc::clone(&snapshots.borrow_and_update()));
    loop {
        tokio::select! {
            biased;
            changed = snapshots.changed() => changed.expect("the gateway is held here"),
            () = checks.carry_out(&gateway) => unreachable!("checks have no end"),
        }
        checks.follow(Arc::clone(&snapshots.borrow_and_update()), gateway.now());
    }
}

impl Checks {
    fn new(snapshot: Arc<Snapshot>) -> Self {
        let due = due(&snapshot, &BTreeMap::new(), &[], Time::ZERO);
        Self { snapshot, due, running: Vec::new(), tasks: JoinSet::new() }
    }

    /// Checks those of another snapshot from `now` on.
    fn follow(&mut self, next: Arc<Snapshot>, now: Time) {
        let turns = self.due.iter().zip(&self.snapshot.sites).flat_map(|(due, site)| {
            let service = &site.service;
            due.iter().map(|Reverse((at, place, round))| {
                let backend = service.backend(*place).name().to_owned();
                ((service.name().to_owned(), backend), (*at, *round))
            })
        });
        let mut turns: BTreeMap<_, _> = turns.collect();
        for running in std::mem::take(&mut self.running) {
            let Running { at, round, target, task } = running;
            match target.stays_in(&next) {
                Some(target) => self.running.push(Running { at, round, target, task }),
                None => {
                    task.abort();
                    turns.insert(target.names(), (at, round));
                }
            }
        }
        self.due = due(&next, &turns, &self.running, now);
        self.snapshot = next;
    }

    /// Carries out what is due, without end. It may be dropped at any time and called again.
    async fn carry_out(&mut self, gateway: &Arc<Gateway>) {
        loop {
            let soonest = self.soonest();
            let begins = async {
                match soonest {
                    Some((at, index)) => {
                        sleep_until(gateway.clock.instant(at)).await;
                        index
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                index = begins => self.begin(gateway, index),
            }
        }
    }

    /// Which service has the next check that may begin, and when that is due.
    fn soonest(&self) -> Option<(Time, usize)> {
        if self.running.len() >= CHECKS_MAX {
            return None;
        }
        let mut running = vec![0; self.due.len()];
        self.running.iter().for_each(|it| running[it.target.index] += 1);
        let heads = self.due.iter().enumerate().zip(running);
        let may_begin = heads.filter(|(_, running)| *running < SERVICE_CHECKS_MAX);
        may_begin.filter_map(|((index, due), _)| Some((due.peek()?.0.0, index))).min()
    }

    fn begin(&mut self, gateway: &Arc<Gateway>, index: usize) {
        let Reverse((at, place, round)) = self.due[index].pop().expect("it was looked at");
        let target = Target { snapshot: Arc::clone(&self.snapshot), index, place };
        let (gateway, checked) = (Arc::clone(gateway), target.clone());
        let check = async move { check(&gateway, checked, round, at).await };
        let task = self.tasks.spawn_local(check);
        self.running.push(Running { at, round, target, task });
    }

    /// A check has come to its end, and the next one is due some time.
    fn ended(&mut self, ended: Result<(Id, Option<Time>), JoinError>) {
        let (id, again) = match ended {
            Ok(ended) => ended,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return, // another snapshot has no use for it
        };
        let Some(nth) = self.running.iter().position(|it| it.task.id() == id) else { return };
        let Running { at, round, target, .. } = self.running.swap_remove(nth);
        let (at, round) = again.map_or((at, round), |again| (again, round + 1));
        self.due[target.index].push(Reverse((at, target.place, round)));
    }
}

/// What is due in `snapshot`, given the `turns` of before and what is `running`; whoever has neither is known
/// `since` then.
fn due(
    snapshot: &Snapshot,
    turns: &BTreeMap<(String, String), (Time, u64)>,
    running: &[Running],
    since: Time,
) -> Vec<BinaryHeap<Due>> {
    let running: BTreeSet<(usize, u16)> =
        running.iter().map(|it| (it.target.index, it.target.place)).collect();
    let of = |(index, site): (usize, &Arc<Site>)| {
        let mut due = BinaryHeap::new();
        for backend in site.service.backends() {
            let place = backend.id().backend;
            let Some(first) = site.service.first_check(place, since) else { continue };
            if running.contains(&(index, place)) {
                continue;
            }
            let names = (site.service.name().to_owned(), backend.name().to_owned());
            let (at, round) = turns.get(&names).copied().unwrap_or((first, 0));
            due.push(Reverse((at, place, round)));
        }
        due
    };
    snapshot.sites.iter().enumerate().map(of).collect()
}

impl Target {
    fn site(&self) -> &Site {
        &self.snapshot.sites[self.index]
    }

    fn endpoint(&self) -> &Endpoint {
        &self.site().endpoints[usize::from(self.place)]
    }

    fn names(&self) -> (String, String) {
        let service = &self.site().service;
        (service.name().to_owned(), service.backend(self.place).name().to_owned())
    }

    /// The same backend in another snapshot, if a check of the one is as good as a check of the other.
    fn stays_in(&self, next: &Arc<Snapshot>) -> Option<Self> {
        if Arc::ptr_eq(&self.snapshot, next) {
            return Some(self.clone());
        }
        let (service, backend) = self.names();
        let index = next.sites.iter().position(|site| site.service.name() == service)?;
        let mut backends = next.sites[index].service.backends();
        let place = backends.find(|member| member.name() == backend)?.id().backend;
        let target = Self { snapshot: Arc::clone(next), index, place };
        let same = self.site().service.probe() == target.site().service.probe()
            && self.site().proxy_protocol == target.site().proxy_protocol
            && self.endpoint().leads_where(target.endpoint());
        same.then_some(target)
    }
}

/// Carries out one check, and says when the next is due. What it finds is told to the snapshot that is
/// served by then; `None` if that would find out in another way.
async fn check(gateway: &Arc<Gateway>, target: Target, round: u64, began: Time) -> Option<Time> {
    let Target { snapshot, place, .. } = &target;
    let site = target.site();
    let config = site.service.probe().expect("a check was due");
    let deadline = gateway.clock.instant(gateway.clock.now() + config.timeout);
    let mut path = site.service.check_path(*place).expect("a check was due").to_owned();
    loop {
        let asked = gateway.clock.now();
        let asking = ask(gateway, snapshot, site, usize::from(*place), config, &path);
        let found = timeout_at(deadline, asking).await.ok().flatten().unwrap_or(Found::Nothing);
        if found == Found::Nothing {
            names::doubt(gateway, target.endpoint());
        }
        let now = gateway.clock.now();
        let checked = Checked { round, began, took: now - asked, found };
        let here = target.stays_in(&gateway.snapshot())?;
        let told = Told { gateway, snapshot: &here.snapshot, site: here.site() };
        match here.site().service.checked(here.place, checked, now, &told) {
            Then::Ask(other) => other.clone_into(&mut path),
            Then::Wait(until) => return Some(until),
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
            headers::for_http2(&mut request, endpoint.scheme()).ok()?;
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
