//! The life of a request, top to bottom.
//!
//! Strictness, routing, the exchange with the core, and the answer, in this order. What is decided
//! is decided in `lb_core`; here a step says "attempt" and an attempt is made, or "wait" and time
//! passes.

use std::rc::Rc;

use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use lb_core::{Allowance, Ask, Delivery, Exchange, Repeat, Step};
use tokio::time::sleep_until;

use crate::asking::Asking;
use crate::attempt::{self, Answer};
use crate::body::{Broken, Replay};
use crate::client::Client;
use crate::download::{Download, Outgoing, Whose};
use crate::error::{Problem, RATE_LIMIT, rate_limit};
use crate::headers::{self, Forward};
use crate::held::Held;
use crate::line::CallsNext;
use crate::observe::{Journal, RequestFacts};
use crate::request_id::RequestId;
use crate::retry_after::retry_after;
use crate::snapshot::Site;
use crate::tunnel::Tunnel;
use crate::upgrade::{self, Wanted};
use crate::view::View;
use crate::worker::Worker;

/// Answers one request.
pub(crate) async fn respond(
    worker: Rc<Worker>,
    client: Rc<Client>,
    request: Request<Incoming>,
) -> Response<Outgoing> {
    let busy = client.begin();
    let view = worker.view();
    let refusal = client.refusal();
    let (mut head, incoming) = request.into_parts();
    let id = worker.next_request_id();
    let wanted = upgrade::wanted(&mut head, client.is_held(), id);
    let host = headers::host(&head);
    // Of a refused request the head is a stand-in, which leads nowhere and says nothing.
    let site = view.site(&host).filter(|_| refusal.is_none());
    let mut facts = RequestFacts::new(id, client.peer, site);
    if refusal.is_none() && view.gateway.access(view.config.access_log).is_some() {
        facts.asks(&head, &host);
    }
    let journal = Rc::new(Journal::new(Rc::clone(&view), facts));

    let checked = match (refusal, site) {
        (Some(refusal), _) => Err(Problem::Refused(refusal)),
        (None, _) if head.method == Method::CONNECT => Err(Problem::Connect),
        (None, None) => Err(Problem::NoService),
        (None, Some(site)) => Ok(site),
    };
    let passed = match checked {
        Ok(site) => {
            let told = id.header();
            let secure = client.secure.as_ref();
            let forward = Forward { client: &client.address, id: &told, secure };
            headers::to_backend(&mut head, &host, &forward);
            wanted.iter().for_each(|wanted| wanted.ask(&mut head));
            let case =
                Case { view: &view, client: &client, site, journal: &journal, id, told, wanted };
            pass(case, &head, incoming).await
        }
        Err(problem) => Err(problem),
    };
    let response = passed.unwrap_or_else(|problem| {
        // A body that is not malformed and ends early ends with its client: that is no refusal.
        if problem != Problem::BrokenRequest || !client.left() {
            journal.refused(problem);
        }
        let date = headers::date(view.gateway.platform.unix_time());
        problem.response(&head, id, date).map(|body| Whose::ours(body, journal))
    });
    // Whatever the client sent behind it is its next request, or another protocol.
    if client.has_no_tunnel() {
        client.let_go();
    }
    response.map(|body| Outgoing::new(body, busy))
}

/// A request that may pass to a backend, beside its head and its body.
struct Case<'c> {
    view: &'c Rc<View>,
    client: &'c Client,
    site: &'c Site,
    journal: &'c Rc<Journal>,
    id: RequestId,
    /// The same, as a header's value.
    told: HeaderValue,
    /// The protocol that the client would rather speak.
    wanted: Option<Wanted>,
}

/// Takes a request to a backend, and brings back the answer.
async fn pass(
    case: Case<'_>,
    head: &Parts,
    incoming: Incoming,
) -> Result<Response<Whose>, Problem> {
    let Case { view, client, site, journal, id, told, wanted } = case;
    let body_idle = site.service.timeouts().body_idle;
    let replay = Replay::new(incoming, site.replay_buffer, body_idle, || journal.bytes_in());
    let asking = Asking { head, client: client.peer.ip() };
    let ask = Ask {
        id: id.exchange(),
        repeat: repeat(&head.method),
        facts: &asking,
        bodiless: replay.is_empty(),
    };
    let (answer, delivery) = exchange(view, site, journal, ask, head, &replay).await?;

    let Answer { response, connection, remains } = answer;
    let (mut parts, incoming) = response.into_parts();
    journal.answered(parts.status);
    let protocol = parts.headers.get(header::UPGRADE).cloned();
    headers::to_client(&mut parts, || view.gateway.platform.unix_time(), told);
    if let Some(cookie) = delivery.set_cookie(&site.service) {
        let cookie = HeaderValue::try_from(cookie).expect("names and paths are checked");
        parts.headers.append(header::SET_COOKIE, cookie);
    }
    if let Some(Allowance { requests, whole_in_secs }) = delivery.allowance() {
        parts.headers.insert(RATE_LIMIT, rate_limit(requests, whole_in_secs.into()));
    }
    let held = Held::new(view, journal, delivery);
    if parts.status == StatusCode::SWITCHING_PROTOCOLS
        && let (Some(wanted), Some(remains), Some(protocol)) = (wanted, remains, protocol)
    {
        wanted.grant(&mut parts, protocol);
        Tunnel { held, remains }.begin(client, wanted.stream);
        return Ok(Response::from_parts(parts, Whose::nobodys()));
    }
    let download = Download {
        incoming: Some(incoming),
        held,
        connection: Some(connection),
        replay,
        wait: None,
        handed: None,
    };
    Ok(Response::from_parts(parts, Whose::backends(download)))
}

/// Does what the core says, step by step, until there is an answer to deliver.
async fn exchange(
    view: &View,
    site: &Site,
    journal: &Journal,
    ask: Ask<'_>,
    head: &Parts,
    replay: &Replay,
) -> Result<(Answer, Delivery), Problem> {
    let clock = &view.gateway.clock;
    // However it ends, what it held is given back first.
    let _calls_next = CallsNext { line: &site.line, service: &site.service };
    let mut answer = None;
    let mut step = Exchange::start(&site.service, journal, ask, journal.began());
    loop {
        step = match step {
            Step::Attempt(attempt) => {
                // An answer that was not good enough ends here, and its connection with it.
                drop(answer.take());
                let (attempt, made) = attempt::make(view, site, attempt, head, replay).await;
                let outcome = attempt::outcome(&made);
                answer = made.ok();
                let wish = answer.as_ref().and_then(|answer| {
                    let unix_time = || view.gateway.platform.unix_time();
                    retry_after(answer.response.headers(), unix_time)
                });
                if let (Some(broken), None) = (replay.broken(), &answer) {
                    // The client's fault says nothing about the backend: the attempt is dropped.
                    return Err(client_problem(broken));
                }
                let attempt = match wish {
                    Some(span) => attempt.asked_to_wait(span),
                    None => attempt,
                };
                let step = attempt.finish(outcome, replay.body(), clock.now());
                // A failed attempt has given its place at the backend back.
                site.line.call_next(&site.service);
                step
            }
            Step::Queue(queue) => site.line.wait(queue, clock).await,
            // An answer is kept: should nobody be there to take a retry, it goes out after all.
            Step::Wait(wait) => {
                sleep_until(clock.instant(wait.until())).await;
                wait.wake(clock.now())
            }
            Step::Deliver(delivery) => {
                let answer = answer.expect("what is delivered was answered");
                return Ok((answer, delivery));
            }
            Step::Reject(rejection) => return Err(Problem::Rejected(rejection)),
        }
    }
}

/// RFC 9110 §9.2. A method that nobody has defined may do anything.
fn repeat(method: &Method) -> Repeat {
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE => Repeat::Safe,
        Method::PUT | Method::DELETE => Repeat::Idempotent,
        _ => Repeat::Once,
    }
}

fn client_problem(broken: Broken) -> Problem {
    match broken {
        Broken::ClientIdle => Problem::RequestTimeout,
        _ => Problem::BrokenRequest,
    }
}
