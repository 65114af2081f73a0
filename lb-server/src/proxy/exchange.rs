//! The exchange with the core: it says what is to be done, and here it is done, until there is an answer.

use http::Method;
use lb_core::{Ask, Delivery, Exchange, ExchangeId, Repeat, Step};
use tokio::time::sleep_until;

use crate::asking::Asking;
use crate::attempt::{self, Answer, Sending};
use crate::body::{Broken, Pause};
use crate::error::{Problem, Unserved};
use crate::line::CallsNext;
use crate::observe::Journal;
use crate::retry_after::retry_after;

/// Does what the core says of a request, step by step, until there is an answer to deliver.
pub(crate) async fn exchange(
    sending: &Sending<'_>,
    journal: &Journal,
    id: ExchangeId,
    facts: &Asking<'_>,
) -> Result<(Answer, Delivery), Unserved> {
    let Sending { view, site, replay, .. } = *sending;
    let ask = Ask { id, repeat: repeat(&sending.head.method), facts, bodiless: replay.is_empty() };
    let clock = &view.gateway.clock;
    // However it ends, what it held is given back first.
    let _calls_next = CallsNext { line: &site.line, service: &site.service };
    let mut answer = None;
    // While it is open which answer goes out, nobody reads on for a backend that has answered.
    let mut paused = None;
    let mut step = Exchange::start(&site.service, journal, ask, journal.began());
    loop {
        match step {
            Step::Attempt(mut attempt) => {
                // An answer that was not good enough ends here, and its connection with it.
                drop((paused.take(), answer.take()));
                let made;
                match attempt.hedge_at() {
                    None => made = attempt::send(sending, &attempt.errand()).await,
                    // In a box, for which the others need no room.
                    Some(at) => {
                        (attempt, made) = Box::pin(attempt::hedged(sending, attempt, at)).await;
                    }
                }
                let outcome = attempt::outcome(&made);
                answer = made.ok();
                let wish = answer.as_ref().and_then(|answer| {
                    let unix_time = || view.gateway.platform.unix_time();
                    retry_after(&answer.head.headers, unix_time)
                });
                if let (Some(broken), None) = (replay.broken(), &answer) {
                    // The client's fault says nothing about the backend: the attempt is dropped.
                    return Err(client_problem(broken).into());
                }
                if let Some(span) = wish {
                    attempt = attempt.asked_to_wait(span);
                }
                step = attempt.finish(outcome, replay.body(), clock.now());
                paused = (!matches!(step, Step::Deliver(_))).then(|| replay.pause());
                // A failed attempt has given its place at the backend back.
                site.line.call_next(&site.service);
            }
            Step::Queue(queue) => step = Box::pin(site.line.wait(queue, clock)).await,
            // An answer is kept: should nobody be there to take a retry, it goes out after all.
            Step::Wait(wait) => {
                sleep_until(clock.instant(wait.until())).await;
                step = wait.wake(clock.now());
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

fn client_problem(broken: Broken) -> Problem {
    match broken {
        Broken::ClientIdle => Problem::RequestTimeout,
        Broken::TooLarge => Problem::BodyTooLarge,
        Broken::Malformed => Problem::BrokenRequest,
        _ => Problem::ClientLeft,
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
