//! The record of one exchange: it hears the core, tells the counters, and becomes a line of JSON.

mod line;
mod recorded;
mod spans;

use std::cell::{Cell, OnceCell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use http::header::{self, HeaderValue};
use http::{Method, StatusCode, Uri, Version};
use lb_config::config::Level;
use lb_core::config::Action;
use lb_core::{
    Ask, BackendId, BodyEnd, Choice, Event, Explanation, Input, Match, Observe, Outcome, Scheme,
    Time, Withheld,
};

use self::line::Line;
use crate::asking::Asking;
use crate::error::Problem;
use crate::headers::X_REQUEST_ID;
use crate::observe::Tap;
use crate::observe::made::Made;
use crate::observe::metrics::{Close, SPOILED};
use crate::observe::trace::Trace;
use crate::observe::why::{AttemptLine, Why, millis};
use crate::request_id::RequestId;
use crate::snapshot::Site;
use crate::view::View;

/// What is known of a request when it arrives.
pub(crate) struct RequestFacts {
    id: RequestId,
    client: Option<SocketAddr>,
    asked: Option<Box<Asked>>,
    service: Option<usize>,
    trace: Option<Trace>,
    recorded: Option<recorded::Recorded>,
}

/// What was asked for, and of whom: for the log, and noted only where there is one.
struct Asked {
    method: Method,
    uri: Uri,
    host: String,
    /// The place of its route in the configuration.
    route: Option<usize>,
    /// Who it is from, where a trusted proxy says so.
    caller: Option<IpAddr>,
    version: Version,
    scheme: Scheme,
    user_agent: Option<HeaderValue>,
    /// What the client calls its request. Not believed, only noted.
    client_request_id: Option<String>,
}

/// The longest name of a request that is noted for a client.
const CLIENT_REQUEST_ID_MAX: usize = 128;

impl RequestFacts {
    pub(crate) fn new(id: RequestId, client: Option<SocketAddr>, site: Option<&Site>) -> Self {
        let service = site.map(|site| usize::from(site.service.index()));
        Self { id, client, asked: None, service, trace: None, recorded: None }
    }

    /// With what its head says, which is to be believed.
    pub(crate) fn asks(&mut self, asking: &Asking<'_>, found: Option<&Match<'_>>) {
        let head = asking.head;
        let theirs = head.headers.get(X_REQUEST_ID).and_then(|value| value.to_str().ok());
        self.asked = Some(Box::new(Asked {
            method: head.method.clone(),
            uri: head.uri.clone(),
            host: asking.host.to_owned(),
            version: head.version,
            scheme: asking.scheme,
            user_agent: head.headers.get(header::USER_AGENT).cloned(),
            route: found.and_then(Match::place),
            caller: None,
            client_request_id: theirs
                .filter(|theirs| theirs.len() <= CLIENT_REQUEST_ID_MAX)
                .map(str::to_owned),
        }));
    }

    /// It is part of a trace.
    pub(crate) fn is_traced(&mut self, trace: Trace) {
        self.trace = Some(trace);
    }

    /// It is from somebody else than who is connected.
    pub(crate) fn comes_from(&mut self, caller: IpAddr) {
        self.asked.iter_mut().for_each(|asked| asked.caller = Some(caller));
    }
}

/// The record of one exchange. Dropping it, at the last byte or when the client leaves, writes it.
pub(crate) struct Journal {
    view: Rc<View>,
    facts: RequestFacts,
    began: Time,
    /// Bytes of the request's body that were read, whoever reads them; most requests have none.
    bytes_in: OnceCell<Rc<Cell<u64>>>,
    /// The path that backends are asked for, where spans tell it and it is not the client's.
    passed: OnceCell<Box<str>>,
    record: RefCell<Record>,
}

#[derive(Default)]
struct Record {
    status: Option<StatusCode>,
    reason: Option<&'static str>,
    attempts: Vec<Attempt>,
    withheld: Option<Withheld>,
    queued: bool,
    /// What each choice was made from, where the log is to say.
    choices: Vec<Made>,
    end: Option<BodyEnd>,
    bytes_out: u64,
}

struct Attempt {
    backend: BackendId,
    began: Time,
    choice: Choice,
    concluded: Option<(Outcome, Duration)>,
    /// Another one was quicker.
    is_overtaken: bool,
}

impl Journal {
    pub(crate) fn new(view: Rc<View>, facts: RequestFacts) -> Self {
        let (began, bytes_in, passed) = (view.gateway.now(), OnceCell::new(), OnceCell::new());
        Self { view, facts, began, bytes_in, passed, record: RefCell::default() }
    }

    /// When the request came.
    pub(crate) const fn began(&self) -> Time {
        self.began
    }

    /// A backend's answer goes out with this status, which edits may have changed.
    pub(crate) fn answered(&self, status: StatusCode) {
        self.record.borrow_mut().status = Some(status);
    }

    /// A route answers it.
    pub(crate) fn answered_by_route(&self, action: &Action, status: StatusCode) {
        let process = &self.view.gateway.process;
        let (reason, count) = match action {
            Action::Redirect { .. } => ("redirect", &process.redirected),
            Action::Respond { .. } | Action::Service(_) => ("respond", &process.responded),
        };
        count.add(1);
        let mut record = self.record.borrow_mut();
        (record.status, record.reason) = (Some(status), Some(reason));
    }

    /// We answer ourselves.
    pub(crate) fn refused(&self, problem: Problem) {
        let mut record = self.record.borrow_mut();
        record.status = Some(problem.status());
        record.reason = Some(problem.reason());
        if !matches!(problem, Problem::Rejected(_)) {
            self.view.gateway.process.refused_requests.add(1);
        }
        let was_asked = !record.attempts.is_empty();
        drop(record);
        // Its exchange has begun, and no backend answers it: its body is not what it has to be.
        let spoiled = SPOILED.iter().position(|reason| *reason == problem.reason());
        if let (Some(nth), Some(site), true) = (spoiled, self.site(), was_asked) {
            site.counts.service.spoiled[nth].add(1);
            self.client_left();
        }
    }

    fn client_left(&self) {
        self.on(self.view.gateway.now(), &Event::Left { exchange: self.facts.id.exchange() });
    }

    /// Where the bytes of the request's body are counted.
    pub(crate) fn bytes_in(&self) -> Rc<Cell<u64>> {
        Rc::clone(self.bytes_in.get_or_init(Rc::default))
    }

    pub(crate) fn body_bytes_out(&self, bytes: u64) {
        self.record.borrow_mut().bytes_out += bytes;
    }

    /// The trace that the request belongs to.
    pub(crate) const fn trace(&self) -> Option<&Trace> {
        self.facts.trace.as_ref()
    }

    fn site(&self) -> Option<&Site> {
        self.facts.service.map(|service| &*self.view.sites[service])
    }

    fn taps(&self) -> impl Iterator<Item = &dyn Tap> {
        self.view.gateway.tap.as_deref().into_iter()
    }

    fn explains_in_log(&self) -> bool {
        let said = self.view.config.access_log;
        said.level == Level::Debug && self.view.gateway.access(said).is_some()
    }

    fn line(&self) -> Vec<u8> {
        let gateway = &self.view.gateway;
        let (facts, record) = (&self.facts, self.record.borrow());
        let site = self.site();
        let asked = facts.asked.as_ref();
        // What the end of the process cuts short looks like a client that left.
        let cut = self.view.is_cutting() && matches!(record.end, None | Some(BodyEnd::ClientLeft));
        let unanswered = if cut { UNAVAILABLE } else { CLIENT_CLOSED_REQUEST };
        let status = record.status.map_or(unanswered, |status| status.as_u16());
        let name = |id: BackendId| {
            let service = site.map(|site| &site.service);
            service.map_or("", |service| service.backend(id.backend).name())
        };
        let caller = asked.and_then(|asked| asked.caller);
        let route = asked.and_then(|asked| asked.route);
        let route = route.map(|place| self.view.config.routing.routes[place].name.as_str());
        let took = gateway.now() - self.began;
        let began_at = gateway.platform.unix_time().checked_sub(took).unwrap_or(UNIX_EPOCH);
        let line = Line {
            time: humantime::format_rfc3339_millis(began_at).to_string(),
            request_id: facts.id.to_string(),
            client_request_id: asked.and_then(|asked| asked.client_request_id.as_deref()),
            client: caller
                .map(|it| it.to_string())
                .or_else(|| facts.client.map(|it| it.to_string())),
            peer: caller.and(facts.client),
            method: asked.map(|asked| asked.method.as_str()),
            host: asked.map(|asked| asked.host.as_str()),
            // Not the query: it holds tokens and names.
            path: asked.map(|asked| asked.uri.path()),
            route: route.filter(|name| site.is_none_or(|site| site.service.name() != *name)),
            service: site.map(|site| site.service.name()),
            status,
            reason: record.reason.or(cut.then_some("drained")),
            end: record.end.map(|end| if cut { "drained" } else { end.as_str() }),
            duration_ms: millis(took),
            bytes_in: self.bytes_in.get().map_or(0, |bytes| bytes.get()),
            bytes_out: record.bytes_out,
            queued: record.queued.then_some(true),
            retry_withheld: record.withheld.map(Withheld::as_str),
            attempts: record
                .attempts
                .iter()
                .map(|attempt| {
                    let pools = site.map_or(&[][..], |site| site.service.pools());
                    attempt.line(name, pools[usize::from(attempt.choice.pool)].name())
                })
                .collect(),
            choices: &record.choices,
        };
        serde_json::to_vec(&line).expect("a line has neither maps nor numbers that JSON lacks")
    }
}

/// What a process says that ends.
const UNAVAILABLE: u16 = 503;
/// nginx's word for a client that left before there was an answer.
const CLIENT_CLOSED_REQUEST: u16 = 499;

impl Attempt {
    fn line<'l>(&self, name: impl Fn(BackendId) -> &'l str, pool: &'l str) -> AttemptLine<'l> {
        let other = |place| name(BackendId { backend: place, ..self.backend });
        AttemptLine {
            backend: name(self.backend),
            outcome: self.concluded.map_or("abandoned", |(outcome, _)| match outcome {
                Outcome::Answered(_) => "answered",
                Outcome::Failed(failure) => failure.as_str(),
            }),
            status: self.concluded.and_then(|(outcome, _)| match outcome {
                Outcome::Answered(status) => Some(status),
                Outcome::Failed(_) => None,
            }),
            ms: self.concluded.map(|(_, took)| millis(took)),
            why: Why::new(self.choice, pool, other),
        }
    }
}

impl Observe for Journal {
    fn explains(&self) -> bool {
        self.taps().any(|tap| tap.explains()) || self.explains_in_log()
    }

    fn explained(&self, explanation: &Explanation<'_>) {
        self.taps().filter(|tap| tap.explains()).for_each(|tap| tap.explained(explanation));
        if self.explains_in_log() {
            self.record.borrow_mut().choices.push(Made::from(explanation));
        }
    }

    fn begins(&self, now: Time, service: u16, ask: &Ask<'_>) {
        self.taps().for_each(|tap| tap.begins(now, &self.view, service, ask));
    }

    fn hears(&self, now: Time, input: Input) {
        self.taps().for_each(|tap| tap.hears(now, &self.view, input));
    }

    fn on(&self, now: Time, event: &Event) {
        // An exchange that nobody goes on with has ended with our answer, or with its client.
        let is_ours = matches!(event, Event::Left { .. }) && self.record.borrow().reason.is_some();
        if let Some(site) = self.site().filter(|_| !is_ours) {
            site.counts.on(now, event);
        }
        self.taps().for_each(|tap| tap.on(now, &self.view, event));
        let mut close = None;
        let mut record = self.record.borrow_mut();
        match *event {
            Event::Attempted { backend, choice, .. } => {
                let (began, concluded, is_overtaken) = (now, None, false);
                record.attempts.push(Attempt { backend, began, choice, concluded, is_overtaken });
            }
            Event::Concluded { attempt, outcome, took, .. } => {
                let attempt = record.attempts.get_mut(usize::from(attempt) - 1);
                attempt.expect("what concludes was attempted").concluded = Some((outcome, took));
            }
            Event::Overtaken { attempt, .. } => {
                let attempt = record.attempts.get_mut(usize::from(attempt) - 1);
                attempt.expect("what is overtaken was attempted").is_overtaken = true;
            }
            Event::Withheld { why, .. } => record.withheld = Some(why),
            Event::Ended { end, .. } => {
                record.end = Some(end);
                close = record.status.map(|status| Close::of(status.as_u16(), end));
            }
            Event::Rejected { .. } => close = Some(Close::Rejected),
            Event::Left { .. } if is_ours => close = Some(Close::Rejected),
            Event::Left { .. } => close = Some(Close::Left),
            Event::Queued { .. } => record.queued = true,
            Event::Started { .. }
            | Event::Delayed { .. }
            | Event::Delivered { .. }
            | Event::Ejected { .. }
            | Event::Pardoned { .. }
            | Event::Hastened { .. }
            | Event::HealthMoved { .. }
            | Event::BreakerMoved { .. } => {}
        }
        if let (Some(close), Some(site)) = (close, self.site()) {
            site.counts.closed(now, close, now - self.began);
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if self.record.borrow().status.is_none() {
            self.client_left();
        }
        for attempt in self.record.borrow().attempts.iter().filter(|it| it.concluded.is_none()) {
            let site = self.view.site_of(attempt.backend);
            site.counts.backend(attempt.backend).abandoned.add(1);
        }
        if let Some(trace) = self.trace().filter(|trace| trace.is_sampled()) {
            self.trace_spans(trace);
        }
        self.write_record();
        if let Some(access) = self.view.gateway.access(self.view.config.access_log) {
            access.line(&self.line());
        }
    }
}
