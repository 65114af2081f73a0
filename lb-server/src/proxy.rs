//! The life of a request, top to bottom.
//!
//! Strictness, routing, the exchange with the core, and the answer, in this order. What is decided
//! is decided in `lb_core`; here a step says "attempt" and an attempt is made, or "wait" and time
//! passes.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::Full;
use hyper::body::Body;
use lb_config::config::Trust;
use lb_core::{Ask, Delivery, Exchange, Match, Repeat, Step, Unrouted};
use tokio::time::sleep_until;

use crate::arriving::Arriving;
use crate::asking::{Asking, Claims, Word};
use crate::attempt::{self, Answer, Sending};
use crate::body::{Bounds, Broken, Pause, Replay};
use crate::client::Client;
use crate::download::{Download, Outgoing, Whose};
use crate::error::{Problem, Unserved, tell_allowance};
use crate::forwarded::{self, Caller};
use crate::framing::Refusal;
use crate::headers::{self, Forward};
use crate::held::Held;
use crate::line::CallsNext;
use crate::mirror::{Copied, Copy};
use crate::observe::{Journal, RequestFacts, Trace};
use crate::pulse::Busy;
use crate::request_id::RequestId;
use crate::retry_after::retry_after;
use crate::routed::{self, Routed};
use crate::snapshot::Site;
use crate::tunnel::Tunnel;
use crate::upgrade::{self, Wanted};
use crate::view::View;
use crate::worker::Worker;

/// Answers one request.
pub(crate) async fn respond(
    worker: Rc<Worker>,
    client: Rc<Client>,
    request: Request<Arriving>,
) -> Response<Outgoing> {
    let busy = client.begin();
    let view = worker.view();
    let refusal = client.refusal();
    let (mut head, incoming) = request.into_parts();
    let id = worker.next_request_id();
    let wanted = upgrade::wanted(&mut head, client.is_held(), id);
    headers::join_cookies(&mut head.headers);
    let host = headers::host(&head);
    let trust = &view.config.trust;
    let caller = client.peer.map(|peer| forwarded::caller(trust, peer.ip(), &head.headers));
    let seen = || headers::scheme(client.secure.as_ref());
    let scheme = caller.as_ref().and_then(|caller| caller.scheme).unwrap_or_else(seen);
    let address = caller.as_ref().map(|caller| caller.address);
    let told = id.header();
    let claims = Claims::new(forward(&client, &told, trust, caller.as_ref()));
    let word = Word::Client(&claims);
    let asking = Asking { head: &head, host: &host, client: address, scheme, word };
    // Of a refused request the head is a stand-in, which leads nowhere and says nothing.
    let found = match refusal {
        Some(_) => Err(Unrouted::NoRoute),
        None => view.router.find(&asking),
    };
    let (from, led) = (caller.as_ref(), found.as_ref().ok());
    let site = led.and_then(|found| view.site_behind(found));
    let journal = begin_journal(&view, &client, &asking, id, from, led, refusal.is_some());

    let checked = match refusal {
        Some(refusal) => Err(Problem::Refused(refusal)),
        None if is_forbidden(&head, wanted.as_ref(), site) => Err(Problem::Connect),
        None => check(&view, &head, found),
    };
    let own = |problem: Problem, head: &Parts| {
        let date = headers::date(view.gateway.platform.unix_time());
        let response = problem.response(head, id, date);
        response.map(|body| words(problem, body, Rc::clone(&journal), &busy))
    };
    let response = match checked.map(|found| (found, site)) {
        Ok((found, Some(site))) => {
            let routed = Routed::new(found, site, &asking, id);
            let added = routed.tell_backend(&mut head, &host, &claims.forward);
            let word = Word::Ours(added.as_ref());
            let asking = Asking { head: &head, host: &host, client: address, scheme, word };
            let copy = Copy::of(&view, &routed.found, &asking, id).filter(|_| wanted.is_none());
            let passed = match routed.edit_request(&mut head) {
                Ok(()) => {
                    wanted.iter().for_each(|wanted| wanted.ask(&mut head));
                    let (head, host, word) = (&head, &*host, Word::Ours(added.as_ref()));
                    let asking = Asking { head, host, client: address, scheme, word };
                    let (worker, view, client) = (&worker, &view, &*client);
                    let case = Case { worker, view, client, wanted, copy };
                    pass(case, &routed, &journal, (id, told), &asking, incoming).await
                }
                Err(problem) => Err(problem.into()),
            };
            passed.unwrap_or_else(|Unserved { problem, allowance }| {
                let mut response = own(problem, &head);
                routed.edit_own_answer(response.headers_mut());
                tell_allowance(response.headers_mut(), allowance);
                response
            })
        }
        Ok((found, None)) => {
            let answered = answer_by_route(&view, &journal, &found, &asking, id);
            answered.unwrap_or_else(|problem| own(problem, &head))
        }
        Err(problem) => own(problem, &head),
    };
    response.map(|body| Outgoing::new(body, busy))
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
) -> Result<Response<Whose>, Problem> {
    let date = headers::date(view.gateway.platform.unix_time());
    let answer = routed::answer(found, asking, id, date);
    let response = answer.expect("a route that leads to no service answers")?;
    journal.answered_by_route(&found.route().action, response.status());
    Ok(response.map(|body| Whose::ours(body, Rc::clone(journal))))
}

/// Where a request comes in, what its client would rather speak, and who else gets it.
struct Case<'c> {
    worker: &'c Rc<Worker>,
    view: &'c Rc<View>,
    client: &'c Client,
    wanted: Option<Wanted>,
    copy: Option<Box<Copy>>,
}

/// Takes a request to a backend, and brings back the answer.
async fn pass(
    case: Case<'_>,
    routed: &Routed<'_>,
    journal: &Rc<Journal>,
    (id, told): (RequestId, HeaderValue),
    asking: &Asking<'_>,
    incoming: Arriving,
) -> Result<Response<Whose>, Unserved> {
    let Case { worker, view, client, wanted, copy } = case;
    let (site, head) = (routed.site, asking.head);
    let bounds = Bounds {
        idle_for: site.service.timeouts().body_idle,
        keep_max: site.replay_buffer,
        size_max: site.body_bytes_max,
    };
    if incoming.size_hint().lower() > bounds.size_max {
        return Err(Problem::BodyTooLarge.into());
    }
    let layers = routed.layers.as_ref();
    let herald = incoming.herald(layers);
    let replay = Replay::new(incoming, bounds, layers, || journal.bytes_in());
    let ask = Ask {
        id: id.exchange(),
        repeat: repeat(&head.method),
        facts: asking,
        bodiless: replay.is_empty(),
    };
    let sending = Sending {
        view,
        site,
        head,
        added: asking.added(),
        replay: &replay,
        // The host of a CONNECT stands in its target, and in `Host` no other (RFC 9112 §3.2).
        keeps_host: routed.says_host() || head.method == Method::CONNECT,
        ends: client.ends(),
        trace: journal.trace(),
        herald,
        tried: Cell::new(0),
        is_alone: Cell::new(false),
    };
    journal.passes_on(&head.uri);
    let made = exchange(&sending, journal, ask).await;
    // What no backend was asked is not copied.
    if let Some(copy) = copy.filter(|_| sending.tried.get() > 0) {
        copy.send(worker, &Copied { view, client, asking, replay: &replay });
    }
    let (answer, delivery) = made?;

    let Answer { response, connection } = answer;
    let (mut parts, ()) = response.into_parts();
    let granted = wanted.filter(|wanted| wanted.is_granted(parts.status));
    let protocol = granted.as_ref().and_then(|_| parts.headers.get(header::UPGRADE).cloned());
    let challenges = upgrade::challenges(head, &parts.headers);
    headers::to_client(&mut parts, || view.gateway.platform.unix_time(), told);
    for challenge in challenges {
        parts.headers.append(header::PROXY_AUTHENTICATE, challenge);
    }
    routed.edit_answer(&mut parts, delivery.backend());
    journal.answered(parts.status);
    tell_client(&mut parts.headers, &delivery, site);
    let held = Held::new(view, journal, delivery);
    if let Some(wanted) = granted {
        wanted.grant(&mut parts, protocol);
        Tunnel { held, remains: connection.into_remains() }.begin(client, wanted.stream);
        return Ok(Response::from_parts(parts, Whose::nobodys()));
    }
    let download = Download::new(held, connection, replay, layers.cloned());
    Ok(Response::from_parts(parts, Whose::backends(download)))
}

/// Tells the client what the core has for it: with whom it stays, and what it may still ask.
fn tell_client(headers: &mut HeaderMap, delivery: &Delivery, site: &Site) {
    if let Some(cookie) = delivery.set_cookie(&site.service) {
        let cookie = HeaderValue::try_from(cookie).expect("names and paths are checked");
        headers.append(header::SET_COOKIE, cookie);
    }
    tell_allowance(headers, delivery.allowance());
}

/// Does what the core says, step by step, until there is an answer to deliver.
pub(crate) async fn exchange(
    sending: &Sending<'_>,
    journal: &Journal,
    ask: Ask<'_>,
) -> Result<(Answer, Delivery), Unserved> {
    let Sending { view, site, replay, .. } = *sending;
    let clock = &view.gateway.clock;
    // However it ends, what it held is given back first.
    let _calls_next = CallsNext { line: &site.line, service: &site.service };
    let mut answer = None;
    // While it is open which answer goes out, nobody reads on for a backend that has answered.
    let mut paused = None;
    let mut step = Exchange::start(&site.service, journal, ask, journal.began());
    loop {
        step = match step {
            Step::Attempt(attempt) => {
                // An answer that was not good enough ends here, and its connection with it.
                drop((paused.take(), answer.take()));
                let (attempt, made) = attempt::make(sending, attempt).await;
                let outcome = attempt::outcome(&made);
                answer = made.ok();
                let wish = answer.as_ref().and_then(|answer| {
                    let unix_time = || view.gateway.platform.unix_time();
                    retry_after(answer.response.headers(), unix_time)
                });
                if let (Some(broken), None) = (replay.broken(), &answer) {
                    // The client's fault says nothing about the backend: the attempt is dropped.
                    return Err(client_problem(broken).into());
                }
                let attempt = match wish {
                    Some(span) => attempt.asked_to_wait(span),
                    None => attempt,
                };
                let step = attempt.finish(outcome, replay.body(), clock.now());
                paused = (!matches!(step, Step::Deliver(_))).then(|| replay.pause());
                // A failed attempt has given its place at the backend back.
                site.line.call_next(&site.service);
                step
            }
            Step::Queue(queue) => Box::pin(site.line.wait(queue, clock)).await,
            // An answer is kept: should nobody be there to take a retry, it goes out after all.
            Step::Wait(wait) => {
                sleep_until(clock.instant(wait.until())).await;
                wait.wake(clock.now())
            }
            Step::Deliver(delivery) => {
                let answer = answer.expect("what is delivered was answered");
                paused.into_iter().for_each(Pause::end);
                return Ok((answer, delivery));
            }
            Step::Reject(rejection, allowance) => {
                return Err(Unserved { problem: Problem::Rejected(rejection), allowance });
            }
        }
    }
}

/// RFC 9110 §9.2. A method that nobody has defined may do anything.
pub(crate) fn repeat(method: &Method) -> Repeat {
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE => Repeat::Safe,
        Method::PUT | Method::DELETE => Repeat::Idempotent,
        _ => Repeat::Once,
    }
}

fn client_problem(broken: Broken) -> Problem {
    match broken {
        Broken::ClientIdle => Problem::RequestTimeout,
        Broken::TooLarge => Problem::BodyTooLarge,
        Broken::Malformed => Problem::BrokenRequest,
        _ => Problem::ClientLeft,
    }
}
