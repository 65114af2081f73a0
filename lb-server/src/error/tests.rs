//! Answers of our own, as people, machines and calls of gRPC get them.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use expect_test::{Expect, expect};
use http::Request;
use http_body_util::BodyExt;
use lb_core::ExchangeId;

use super::*;

fn check(problem: Problem, request: http::request::Builder, expected: &Expect) {
    let (head, ()) = request.body(()).unwrap().into_parts();
    let id = RequestId::new(7, ExchangeId(1));
    let response = problem.response(&head, id, HeaderValue::from_static("(now)"));
    let (parts, body) = response.into_parts();
    let collecting = pin!(body.collect());
    let Poll::Ready(body) = collecting.poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("our own bodies are there at once");
    };
    let body = String::from_utf8(body.unwrap().to_bytes().to_vec()).unwrap();
    let mut text = format!("{}\n", parts.status);
    for (name, value) in &parts.headers {
        text += &format!("{name}: {}\n", value.to_str().unwrap());
    }
    let id = id.to_string();
    expected.assert_eq(&format!("{text}\n{body}").replace(&id, "(id)"));
}

#[test]
fn a_machine_gets_json_with_the_reason_and_the_request() {
    check(
        Problem::Rejected(Rejection::NoFitBackend),
        Request::get("/"),
        &expect![[r#"
        503 Service Unavailable
        content-type: application/json
        cache-control: no-store
        date: (now)
        x-request-id: (id)
        retry-after: 1

        {"error":"no_fit_backend","message":"no backend can take this request now","request_id":"(id)"}
    "#]],
    );
}

#[test]
fn a_person_gets_a_line_of_text() {
    let accept = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";
    check(
        Problem::NoService,
        Request::get("/").header("accept", accept),
        &expect![[r#"
        404 Not Found
        content-type: text/plain; charset=utf-8
        cache-control: no-store
        date: (now)
        x-request-id: (id)

        no service is configured for this host (no_service, (id))
    "#]],
    );
}

#[test]
fn a_head_request_gets_the_length_and_no_body() {
    check(
        Problem::NoService,
        Request::head("/"),
        &expect![[r#"
        404 Not Found
        content-type: application/json
        cache-control: no-store
        date: (now)
        x-request-id: (id)
        content-length: 122

    "#]],
    );
}

#[test]
fn a_call_of_grpc_web_is_answered_in_its_own_kind() {
    check(
        Problem::Rejected(Rejection::NoFitBackend),
        Request::post("/").header("content-type", "application/grpc-web-text+proto; x=y"),
        &expect![[r#"
            200 OK
            content-type: application/grpc-web-text+proto
            cache-control: no-store
            grpc-status: 14
            grpc-message: no backend can take this request now
            date: (now)
            x-request-id: (id)

        "#]],
    );
    check(
        Problem::NoService,
        Request::post("/").header("content-type", "application/grpc+proto"),
        &expect![[r#"
            200 OK
            content-type: application/grpc
            cache-control: no-store
            grpc-status: 12
            grpc-message: no service is configured for this host
            date: (now)
            x-request-id: (id)

        "#]],
    );
}

#[test]
fn a_page_is_refused_by_its_status_whatever_kind_it_is_asked_for_as() {
    check(
        Problem::NoService,
        Request::get("/").header("content-type", "application/grpc").header("accept", "text/html"),
        &expect![[r#"
            404 Not Found
            content-type: text/plain; charset=utf-8
            cache-control: no-store
            date: (now)
            x-request-id: (id)

            no service is configured for this host (no_service, (id))
        "#]],
    );
}

#[test]
fn nothing_follows_on_the_connection_of_a_refused_request() {
    check(
        Problem::Refused(Refusal::TwoFramings),
        Request::get("/"),
        &expect![[r#"
        400 Bad Request
        content-type: application/json
        cache-control: no-store
        date: (now)
        x-request-id: (id)
        connection: close

        {"error":"length_and_transfer_encoding","message":"Content-Length and Transfer-Encoding exclude each other","request_id":"(id)"}
    "#]],
    );
}

#[test]
fn every_problem_has_a_status_a_reason_of_its_own_and_a_sentence() {
    let refusals = Refusal::ALL.map(Problem::Refused);
    let own = [
        Problem::Connect,
        Problem::NoService,
        Problem::AmbiguousPath,
        Problem::RequestTimeout,
        Problem::BrokenRequest,
        Problem::BodyTooLarge,
        Problem::Rejected(Rejection::NoFitBackend),
        Problem::Rejected(Rejection::DeadlinePassed),
    ];
    let failed = Failure::ALL.map(|why| Problem::Rejected(Rejection::AttemptFailed(why)));
    let mut reasons = std::collections::BTreeSet::new();
    for problem in refusals.into_iter().chain(own).chain(failed) {
        assert!(reasons.insert(problem.reason()), "{problem:?}: {} is taken", problem.reason());
        let status = problem.status();
        let ours = matches!(problem, Problem::Rejected(_));
        assert_eq!(status.is_server_error(), ours, "{problem:?}: {status}");
        assert!(status.is_client_error() || ours, "{problem:?}: {status}");
        assert!(!problem.sentence().ends_with('.'), "{problem:?}");
    }
}

/// That every reason stands there at all, and no other, is looked at in `tests/tidy/access_log.rs`.
#[test]
fn every_reason_stands_in_the_documents_with_its_status() {
    let document = include_str!("../../../docs/access-log.md");
    let own = [
        Problem::Connect,
        Problem::NoService,
        Problem::AmbiguousPath,
        Problem::NoHost,
        Problem::TargetTooLong,
        Problem::RequestTimeout,
        Problem::BrokenRequest,
        Problem::BodyTooLarge,
    ];
    let rejections = [
        Rejection::NoFitBackend,
        Rejection::Replaced(502),
        Rejection::RateLimited(std::time::Duration::ZERO),
        Rejection::ClientBusy,
        Rejection::Overloaded,
        Rejection::QueueTimeout,
        Rejection::DeadlinePassed,
    ];
    let failed = Failure::ALL.map(Rejection::AttemptFailed);
    let rejected = rejections.into_iter().chain(failed).map(Problem::Rejected);
    let refusals = Refusal::ALL.map(Problem::Refused);
    for problem in refusals.into_iter().chain(own).chain(rejected) {
        let reason = format!("`{}`", problem.reason());
        let status = problem.status().as_str().to_owned();
        let is_row = |line: &str| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            cells.len() > 2 && cells[1].contains(&reason) && cells[2] == status
        };
        assert!(document.lines().any(is_row), "docs/access-log.md: {reason} is {status}");
    }
}
