//! The life of a request, top to bottom.
//!
//! Strictness, routing, the exchange with the core, and the answer, in this order. What is decided
//! is decided in `lb_core`; here ([`exchange()`]) a step says "attempt" and an attempt is made, or "wait"
//! and time passes.
//!
//! What is only needed before the first wait is not held through it: a request that waits takes little room.

mod exchange;

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::Full;
use hyper::body::Body;
use lb_config::config::Trust;
use lb_core::{Delivery, Match, Scheme, Unrouted};

use crate::arriving::Arriving;
use crate::asking::{Asking, Claims, Word};
use crate::attempt::{Answer, Sending};
use crate::body::{Bounds, Replay};
use crate::client::Client;
use crate::download::Download;
use crate::error::{Problem, Unserved, tell_allowance};
use crate::forwarded::{self, Caller};
use crate::framing::Refusal;
use crate::headers::{self, Added, Forward};
use crate::held::Held;
use crate::mirror::{Copied, Copy};
use crate::observe::{Journal, RequestFacts, Trace};
use crate::pulse::Busy;
use crate::reply::{Outgoing, Reply, Whose};
use crate::request_id::RequestId;
use crate::routed::{self, Routed};
use crate::snapshot::Site;
use crate::tunnel::Tunnel;
use crate::upgrade::{self, Wanted};
use crate::view::View;
use crate::worker::Worker;
pub(crate) use exchange::{exchange, repeat};

/// Where a request comes in, and what is held while it is answered.
struct Case<'c> {
    worker: &'c Rc<Worker>,
    view: &'c Rc<View>,
    client: &'c Client,
    busy: &'c Busy,
    id: RequestId,
}

/// A request that goes to a service.
struct Passing<'v> {
    routed: Routed<'v>,
    journal: Rc<Journal>,
    host: String,
    /// Its IP address, and what it came by.
    client: Option<IpAddr>,
    scheme: Scheme,
    /// Its name, as its client is told it.
    told: HeaderValue,
    /// What its backend is told besides.
    added: Option<Added>,
    /// What its client would rather speak.
    wanted: Option<Box<Wanted>>,
    /// Who else gets it.
    copy: Option<Box<Copy>>,
}

/// Answers one request.
pub(crate) async fn respond(
    worker: &Rc<Worker>,
    client: &Client,
    head: &mut Parts,
    incoming: Arriving,
) -> Reply {
    let busy = client.begin();
    let view = worker.view();
    let case = Case { worker, view: &view, client, busy: &busy, id: worker.next_request_id() };
    let reply = match case.admit(head) {
        Ok(mut passing) => match case.pass(&mut passing, head, incoming).await {
            Ok(reply) => reply,
            Err(unserved) => case.refuse_routed(unserved, head, &passing),
        },
        Err(reply) => reply,
    };
    reply.map(|body| Outgoing::new(body, busy))
}

impl<'c> Case<'c> {
    /// Finds out who asks for what, and makes its head one for a backend. Otherwise there is an answer.
    fn admit(&self, head: &mut Parts) -> Result<Passing<'c>, Reply<Whose>> {
        let Self { view, client, id, .. } = *self;
        let refusal = client.refusal();
        let wanted = upgrade::wanted(head, client.is_held(), id);
        headers::join_cookies(&mut head.headers);
        let host = headers::host(head);
        let trust = &view.config.trust;
        let caller = client.peer.map(|peer| forwarded::caller(trust, peer.ip(), &head.headers));
        let seen = || headers::scheme(client.secure.as_ref());
        let scheme = caller.as_ref().and_then(|caller| caller.scheme).unwrap_or_else(seen);
        let address = caller.as_ref().map(|caller| caller.address);
        let told = id.header();
        let claims = Claims::new(forward(client, &told, trust, caller.as_ref()));
        let word = Word::Client(&claims);
        let asking = Asking { head, host: &host, client: address, scheme, word };
        // Of a refused request the head is a stand-in, which leads nowhere and says nothing.
        let found = match refusal {
            Some(_) => Err(Unrouted::NoRoute),
            None => view.router.find(&asking),
        };
        let (from, led) = (caller.as_ref(), found.as_ref().ok());
        let site = led.and_then(|found| view.site_behind(found));
        let journal = begin_journal(view, client, &asking, id, from, led, refusal.is_some());

        let checked = match refusal {
            Some(refusal) => Err(Problem::Refused(refusal)),
            None if is_forbidden(head, wanted.as_ref(), site) => Err(Problem::Connect),
            None => check(view, head, found),
        };
        let found = checked.map_err(|problem| self.refuse(problem, head, &journal))?;
        let Some(site) = site else {
            let answered = answer_by_route(view, &journal, &found, &asking, id);
            return Err(answered.unwrap_or_else(|problem| self.refuse(problem, head, &journal)));
        };
        let routed = Routed::new(found, site, &asking, id);
        let added = routed.tell_backend(head, &host, &claims.forward);
        let word = Word::Ours(added.as_ref());
        let asking = Asking { head, host: &host, client: address, scheme, word };
        let copy = Copy::of(view, &routed.found, &asking, id).filter(|_| wanted.is_none());
        let edited = routed.edit_request(head);
        let wanted = wanted.map(Box::new);
        let client = address;
        let passing = Passing { routed, journal, host, client, scheme, told, added, wanted, copy };
        if let Err(problem) = edited {
            return Err(self.refuse_routed(problem.into(), head, &passing));
        }
        passing.wanted.iter().for_each(|wanted| wanted.ask(head));
        Ok(passing)
    }

    /// Takes a request to a backend, and brings back the answer.
    async fn pass(
        &self,
        passing: &mut Passing<'_>,
        head: &Parts,
        incoming: Arriving,
    ) -> Result<Reply<Whose>, Unserved> {
        let Self { worker, view, client, id, .. } = *self;
        let (routed, journal) = (&passing.routed, &*passing.journal);
        let site = routed.site;
        let herald = incoming.herald(routed.layers.as_ref());
        let may_splice = view.config.server.splice && incoming.splices_out();
        let replay = replay(incoming, routed, journal)?;
        let (host, scheme) = (&*passing.host, passing.scheme);
        let (client_at, added) = (passing.client, passing.added.as_ref());
        let asking = Asking { head, host, client: client_at, scheme, word: Word::Ours(added) };
        let sending = Sending {
            view,
            site,
            head,
            added,
            replay: &replay,
            // The host of a CONNECT stands in its target, and in `Host` no other (RFC 9112 §3.2).
            keeps_host: routed.says_host() || head.method == Method::CONNECT,
            ends: client.ends(),
            trace: journal.trace(),
            herald,
            may_splice,
            tried: Cell::new(0),
            is_alone: Cell::new(false),
        };
        journal.passes_on(&head.uri);
        let made = exchange(&sending, journal, id.exchange(), &asking).await;
        // What no backend was asked is not copied.
        if let Some(copy) = passing.copy.take().filter(|_| sending.tried.get() > 0) {
            copy.send(worker, &Copied { view, client, asking: &asking, replay: &replay });
        }
        let (answer, delivery) = made?;
        Ok(self.deliver(passing, head, answer, delivery, replay))
    }

    /// Makes a backend's answer one for the client.
    fn deliver(
        &self,
        passing: &mut Passing<'_>,
        asked: &Parts,
        Answer { mut head, connection }: Answer,
        delivery: Delivery,
        replay: Replay,
    ) -> Reply<Whose> {
        let Self { view, client, .. } = *self;
        let Passing { routed, journal, told, wanted, .. } = passing;
        let granted = wanted.take().filter(|wanted| wanted.is_granted(head.status));
        let protocol = granted.as_ref().and_then(|_| head.headers.get(header::UPGRADE).cloned());
        let challenges = upgrade::challenges(asked, &head.headers);
        headers::to_client(&mut head, || view.gateway.platform.unix_time(), told.clone());
        for challenge in challenges {
            head.headers.append(header::PROXY_AUTHENTICATE, challenge);
        }
        routed.edit_answer(&mut head, delivery.backend());
        journal.answered(head.status);
        tell_client(&mut head.headers, &delivery, routed.site);
        let held = Held::new(view, journal, delivery);
        if let Some(wanted) = granted {
            wanted.grant(&mut head, protocol);
            Tunnel { held, remains: connection.into_remains() }.begin(client, wanted.stream);
            return Reply { head, body: Whose::nobodys() };
        }
        let download = Download::new(held, connection, replay, routed.layers.clone());
        Reply { head, body: Whose::backends(download) }
    }

    /// Our own answer to a request that a route takes to a service, and that is not served there.
    fn refuse_routed(
        &self,
        Unserved { problem, allowance }: Unserved,
        head: &Parts,
        passing: &Passing<'_>,
    ) -> Reply<Whose> {
        let mut reply = self.refuse(problem, head, &passing.journal);
        passing.routed.edit_own_answer(&mut reply.head.headers);
        tell_allowance(&mut reply.head.headers, allowance);
        reply
    }

    /// Our own answer.
    fn refuse(&self, problem: Problem, head: &Parts, journal: &Rc<Journal>) -> Reply<Whose> {
        let date = headers::date(self.view.gateway.platform.unix_time());
        let response = problem.response(head, self.id, date);
        Reply::from(response).map(|body| words(problem, body, Rc::clone(journal), self.busy))
    }
}

/// The body of a request, unless it is known to be too large.
fn replay(incoming: Arriving, routed: &Routed<'_>, journal: &Journal) -> Result<Replay, Problem> {
    let site = routed.site;
    let bounds = Bounds {
        idle_for: site.service.timeouts().body_idle,
        keep_max: site.replay_buffer,
        size_max: site.body_bytes_max,
    };
    if incoming.size_hint().lower() > bounds.size_max {
        return Err(Problem::BodyTooLarge);
    }
    Ok(Replay::new(incoming, bounds, routed.layers.as_ref(), || journal.bytes_in()))
}

/// What is written down of a request from now on. Of a refused one there is nothing to tell.
fn begin_journal(
    view: &Rc<View>,
    client: &Client,
    asking: &Asking<'_>,
    id: RequestId,
    caller: Option<&Caller>,
    found: Option<&Match<'_>>,
    is_refused: bool,
) -> Rc<Journal> {
    let site = found.and_then(|found| view.site_behind(found));
    let mut facts = RequestFacts::new(id, client.peer, site);
    let tracing = view.config.tracing.as_ref().filter(|_| !is_refused);
    let trace = tracing.map(|said| {
        let seed = view.gateway.platform.seed();
        Trace::begin(&asking.head.headers, seed, id.exchange(), said.sample_per_million)
    });
    let is_told = view.gateway.access(view.config.access_log).is_some()
        || trace.as_ref().is_some_and(Trace::is_sampled);
    if !is_refused && is_told {
        facts.asks(asking, found);
        let caller = caller.filter(|caller| caller.through_proxy);
        caller.into_iter().for_each(|caller| facts.comes_from(caller.address));
    }
    facts.record(view, asking, site);
    trace.into_iter().for_each(|trace| facts.is_traced(trace));
    Rc::new(Journal::new(Rc::clone(view), facts))
}

/// What a backend is told about the client of a request.
fn forward<'r>(
    client: &'r Client,
    id: &'r HeaderValue,
    trust: &'r Trust,
    caller: Option<&'r Caller>,
) -> Forward<'r> {
    let trusted = caller.filter(|_| !trust.proxies.is_empty()).zip(client.peer);
    let trusted = trusted.map(|(caller, peer)| (trust, caller, peer.ip()));
    Forward { client: client.address.as_ref(), id, secure: client.secure.as_ref(), trusted }
}

/// Our own words about a problem.
fn words(problem: Problem, body: Full<Bytes>, journal: Rc<Journal>, busy: &Busy) -> Whose {
    if problem == Problem::ClientLeft {
        busy.is_taken_back();
        return Whose::unheard(body, journal);
    }
    journal.refused(problem);
    Whose::ours(body, journal)
}

/// Whether a request asks for a tunnel that it does not get here.
fn is_forbidden(head: &Parts, wanted: Option<&Wanted>, site: Option<&Site>) -> bool {
    let is_allowed = wanted.is_some() && site.is_some_and(|site| site.allow_connect);
    head.method == Method::CONNECT && !is_allowed
}

/// Whether a request may pass, and the route that takes it.
fn check<'v>(
    view: &View,
    head: &Parts,
    found: Result<Match<'v>, Unrouted>,
) -> Result<Match<'v>, Problem> {
    if let Some(refusal) = headers::refusal_of_http2(head, view.config.server.headers_max) {
        return Err(Problem::Refused(refusal));
    }
    if headers::target_bytes(&head.uri) > view.config.server.target_bytes_max {
        return Err(Problem::Refused(Refusal::TargetTooLong));
    }
    found.map_err(|why| match why {
        Unrouted::NoRoute => Problem::NoService,
        Unrouted::AmbiguousPath => Problem::AmbiguousPath,
    })
}

/// The answer of a route that leads to no service.
fn answer_by_route(
    view: &View,
    journal: &Rc<Journal>,
    found: &Match<'_>,
    asking: &Asking<'_>,
    id: RequestId,
) -> Result<Reply<Whose>, Problem> {
    let date = headers::date(view.gateway.platform.unix_time());
    let answer = routed::answer(found, asking, id, date);
    let response = answer.expect("a route that leads to no service answers")?;
    journal.answered_by_route(&found.route().action, response.status());
    Ok(Reply::from(response).map(|body| Whose::ours(body, Rc::clone(journal))))
}

/// Tells the client what the core has for it: with whom it stays, and what it may still ask.
fn tell_client(headers: &mut HeaderMap, delivery: &Delivery, site: &Site) {
    if let Some(cookie) = delivery.set_cookie(&site.service) {
        let cookie = HeaderValue::try_from(cookie).expect("names and paths are checked");
        headers.append(header::SET_COOKIE, cookie);
    }
    tell_allowance(headers, delivery.allowance());
}
