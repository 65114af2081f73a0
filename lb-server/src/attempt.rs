//! One attempt: a connection, the request on it, and the head of the response by a deadline; or two
//! of them side by side.

use std::borrow::Cow;
use std::cell::Cell;
use std::pin::Pin;

use futures_util::FutureExt;
use http::request::Parts;
use http::{header, response};
use lb_config::config::{HostPolicy, Protocol};
use lb_core::{Attempt, BackendId, Body, Errand, Failure, Outcome, Time};
use tokio::time::timeout_at;

use crate::body::Replay;
use crate::dial::Announced;
use crate::distrust;
use crate::headers::{self, Added};
use crate::http1::{Asked, Herald};
use crate::observe::Trace;
use crate::platform::Clock;
use crate::pool::{self, Connection, Purpose};
use crate::proxy_protocol::Ends;
use crate::pulse::Patience;
use crate::snapshot::Site;
use crate::upgrade;
use crate::view::View;

/// The head of a response, and the connection its body arrives on.
pub(crate) struct Answer {
    pub(crate) head: Box<response::Parts>,
    pub(crate) connection: Connection,
}

/// A request as it goes out, as often as it takes.
pub(crate) struct Sending<'r> {
    pub(crate) view: &'r View,
    pub(crate) site: &'r Site,
    pub(crate) head: &'r Parts,
    /// What goes out with it.
    pub(crate) added: Option<&'r Added>,
    pub(crate) replay: &'r Replay,
    /// Whether backends see its `Host`, whatever the service says.
    pub(crate) keeps_host: bool,
    /// The two ends of its client's connection.
    pub(crate) ends: Option<Ends>,
    /// The trace that it belongs to.
    pub(crate) trace: Option<&'r Trace>,
    /// Whoever tells its client what comes before the answer.
    pub(crate) herald: Option<Herald>,
    /// Whether the answer may go to its client in a pipe.
    pub(crate) may_splice: bool,
    /// How often it went out.
    pub(crate) tried: Cell<u32>,
    /// Whether it goes out on connections of its own: one that it shared was ended, perhaps for its answer.
    pub(crate) is_alone: Cell<bool>,
}

/// Connections that one attempt may find closed, or leaving, and be tried on another.
const AGAIN_MAX: u8 = 3;

/// Makes an attempt, and at this time another one beside it if the core says so. Returns the one that came to
/// something, and what.
pub(crate) async fn hedged<'c>(
    sending: &Sending<'_>,
    mut attempt: Attempt<'c>,
    at: Time,
) -> (Attempt<'c>, Result<Answer, Failure>) {
    let clock = &sending.view.gateway.clock;
    let errand = attempt.errand();
    let mut first = std::pin::pin!(send(sending, &errand));
    if let Ok(made) = timeout_at(clock.instant(at), first.as_mut()).await {
        return (attempt, made);
    }
    let Some(hedge) = attempt.hedge(clock.now()) else { return (attempt, first.await) };
    let errand = hedge.errand();
    let mut second = std::pin::pin!(send(sending, &errand));
    tokio::select! {
        biased;
        made = first.as_mut() => {
            let outcome = outcome(&made);
            if attempt.settles(outcome) {
                attempt.outrun(hedge, clock.now());
                (attempt, made)
            } else {
                let attempt = attempt.give_way(hedge, Some(outcome), clock.now());
                (attempt, second.await)
            }
        }
        made = second.as_mut() => {
            let outcome = outcome(&made);
            if attempt.settles(outcome) {
                (attempt.give_way(hedge, None, clock.now()), made)
            } else {
                attempt.hedge_failed(hedge, outcome, clock.now());
                (attempt, first.await)
            }
        }
    }
}

/// What an attempt came to, as the core knows it.
pub(crate) fn outcome(made: &Result<Answer, Failure>) -> Outcome {
    match made {
        Ok(answer) => Outcome::Answered(answer.head.status.as_u16()),
        Err(failure) => Outcome::Failed(*failure),
    }
}

/// Sends the request to a backend and waits for an answer.
pub(crate) fn send(
    sending: &Sending<'_>,
    errand: &Errand,
) -> impl Future<Output = Result<Answer, Failure>> {
    carry(sending, errand).map(|made| of_backend(sending, errand.backend(), made))
}

/// What an attempt came to at this backend. A tunnel is asked for in HTTP/1.1 whatever the backend speaks: one
/// of HTTP/2 need not understand that.
fn of_backend(
    sending: &Sending<'_>,
    backend: BackendId,
    made: Result<Answer, Failure>,
) -> Result<Answer, Failure> {
    let speaks = sending.view.endpoint(backend).protocol;
    if speaks != Protocol::Http2 || !upgrade::is_asked(sending.head) {
        return made;
    }
    match outcome(&made).of_foreign_tunnel() {
        Some(failure) => Err(failure),
        None => made,
    }
}

/// Sends the request on one connection after the other, until nobody can have closed it beforehand.
async fn carry(sending: &Sending<'_>, errand: &Errand) -> Result<Answer, Failure> {
    let Sending { view, replay, ref tried, .. } = *sending;
    let gateway = &view.gateway;
    let backend = errand.backend();
    let connect_deadline = errand.connect_deadline();
    let endpoint = view.endpoint(backend);
    // Whatever becomes of it, as the journal counts.
    let number = tried.replace(tried.get() + 1);
    let late = |failure| errand.judged(failure, Time::ZERO, gateway.now());
    let mut connection = connect(sending, backend, connect_deadline).await.map_err(late)?;
    let mut again = 0;
    loop {
        let made = {
            let asked = asked(sending, errand, number);
            let answer = std::pin::pin!(connection.send(asked, replay.upload(), endpoint));
            in_time(&gateway.clock, errand, replay, answer).await
        };
        let may = connection.reused
            && again < AGAIN_MAX
            && gateway.now() < connect_deadline
            && matches!(replay.body(), Body::Intact);
        let failure = match made {
            Some(Ok(head)) => {
                let status = head.status.as_u16();
                if !(may && connection.is_left() && errand.is_goodbye(status)) {
                    return judged(sending, connection, head);
                }
                Failure::Unsent
            }
            Some(Err(failure)) => {
                // The proxy's handshake was over, and the backend's was not (RFC 8446 §4.4.2.4).
                if failure == Failure::TlsFailed {
                    distrust::refused(gateway, endpoint);
                }
                blamed(sending, &connection, failure)
            }
            None => {
                let moved = replay.moved().map_or(Time::ZERO, |moved| gateway.clock.time(moved));
                let mut failure = errand.judged(Failure::FirstByteTimeout, moved, gateway.now());
                if connection.is_held_up() {
                    failure = failure.with_body_held_up();
                }
                connection.doubt(failure == Failure::OutOfTime);
                return Err(failure);
            }
        };
        if !(failure == Failure::Unsent && may) {
            return Err(failure);
        }
        // The backend closed a kept connection while it was idle, or went away, which it may at any
        // time, and nothing of the request was looked at: another one carries the same attempt.
        again += 1;
        let another = Box::pin(pool::another(view, backend, connect_deadline));
        connection = another.await.map_err(late)?;
    }
}

/// What is asked of a backend in the attempt of this number.
fn asked<'r>(sending: &'r Sending<'_>, errand: &Errand, number: u32) -> Asked<'r> {
    let Sending { view, site, head, added, keeps_host, trace, may_splice, .. } = *sending;
    // Mostly it goes out as it is, and then nobody needs a copy.
    let mut fields = Cow::Borrowed(&head.headers);
    if let Some(trace) = trace {
        trace.tell_backend(fields.to_mut(), trace.attempt(number));
    }
    // A client of HTTP/1.0 may name no host; we speak 1.1 and must (RFC 9112 §3.2).
    if (site.host == HostPolicy::Backend && !keeps_host) || !fields.contains_key(header::HOST) {
        let authority = view.endpoint(errand.backend()).authority.clone();
        fields.to_mut().insert(header::HOST, authority);
    }
    let patience = Patience {
        idle: site.service.timeouts().body_idle,
        until: view.gateway.clock.instant(errand.exchange_deadline()),
    };
    let (method, uri, herald) = (&head.method, &head.uri, sending.herald.as_ref());
    Asked { method, uri, fields, added, herald, patience, may_splice }
}

/// What a failure on this connection comes to.
fn blamed(sending: &Sending<'_>, connection: &Connection, failure: Failure) -> Failure {
    if connection.is_suspect() {
        sending.is_alone.set(true);
    }
    let waits = sending.replay.waits_for_client();
    let failure = if waits { failure.with_body_awaited() } else { failure };
    connection.counted_once(failure, failure.counted_once())
}

/// A connection for the request by `deadline`: mostly one that was kept.
async fn connect(
    sending: &Sending<'_>,
    backend: BackendId,
    deadline: Time,
) -> Result<Connection, Failure> {
    let Sending { view, site, head, ends, ref is_alone, .. } = *sending;
    let announced = site.proxy_protocol.map(|version| Announced { version, ends });
    let purpose = announced.map_or(Purpose::Anybody, Purpose::Client);
    // Another protocol or a tunnel takes the whole connection, after HTTP/1.1. What waits for one is in a
    // box: a request that waits for none needs no room for it.
    if upgrade::is_asked(head) || announced.is_some() {
        return Box::pin(pool::fresh(view, backend, Protocol::Http1, purpose, deadline)).await;
    }
    if is_alone.get() {
        let protocol = view.endpoint(backend).protocol;
        return Box::pin(pool::fresh(view, backend, protocol, Purpose::Single, deadline)).await;
    }
    match pool::kept(view, backend) {
        Some(kept) => Ok(kept),
        None => Box::pin(pool::connection(view, backend, deadline)).await,
    }
}

/// The answer, if it is one to this request.
fn judged(
    sending: &Sending<'_>,
    connection: Connection,
    mut answer: Box<response::Parts>,
) -> Result<Answer, Failure> {
    let Sending { view, head, .. } = *sending;
    let server = &view.config.server;
    upgrade::unframe(head, &mut answer);
    let is_head = answer.headers.len() <= server.headers_max
        && headers::is_answer(&answer.headers, server.header_bytes_max);
    let failure = if is_head { upgrade::misfits(head, &answer) } else { Some(Failure::Malformed) };
    match failure {
        None => Ok(Answer { head: answer, connection }),
        Some(failure) => Err(failure),
    }
}

/// Waits for an answer for as long as the core lets the backend think, which begins anew with every
/// piece of the request's body that it takes. `None`: that was too long.
async fn in_time<A>(
    clock: &Clock,
    errand: &Errand,
    replay: &Replay,
    mut answer: Pin<&mut impl Future<Output = A>>,
) -> Option<A> {
    let deadline = || match replay.moved() {
        None => errand.deadline(),
        Some(moved) => errand.deadline_after(clock.time(moved)),
    };
    loop {
        if let Ok(answer) = timeout_at(clock.instant(deadline()), answer.as_mut()).await {
            return Some(answer);
        }
        if deadline() <= clock.now() {
            if replay.waits_for_client() {
                replay.give_up();
            }
            return None;
        }
    }
}
