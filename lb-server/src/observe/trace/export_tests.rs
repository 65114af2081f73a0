//! Spans as JSON, and a collector on a real socket.

use std::cell::RefCell;
use std::convert::Infallible;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use expect_test::expect;
use http::header::HeaderMap;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use lb_config::config::{Origin, Tracing};
use lb_core::ExchangeId;
use serde_json::Value;
use tokio::time::Instant;

use super::export::{Exported, queue};
use super::span::{self, Asked, At, Ended, Span, Took, Tried, of_attempt, of_exchange};
use super::{MILLION, TRACEPARENT, Trace, otlp};
use crate::headers::written;
use crate::platform::os::Os;
use crate::platform::{Accepted, Address, Listen, Place, Platform};

fn begin(headers: &HeaderMap, exchange: u64) -> Trace {
    Trace::begin(headers, 7, ExchangeId(exchange), 0)
}

/// From one second after the epoch, for so long.
fn took(millis: u64) -> Took {
    let start = UNIX_EPOCH + Duration::from_secs(1);
    Took { start, end: start + Duration::from_millis(millis) }
}

fn exchange(trace: &Trace) -> Span {
    let asked = Asked {
        method: &Method::GET,
        version: Version::HTTP_11,
        scheme: "http",
        path: "/a/b",
        host: "[::1]:8080",
        client: "192.0.2.1".parse().ok(),
        user_agent: Some("curl/8"),
        service: Some("web"),
    };
    let ended = Ended { status: Some(StatusCode::NOT_FOUND), error: None, took: took(20) };
    of_exchange(trace, &asked, &ended)
}

fn attempt(trace: &Trace) -> Span {
    let method = Method::from_bytes(b"PURGE").unwrap();
    let at = At::Host("::1", 3000);
    let tried = Tried { method: &method, resent: 1, ..tried(1, at) };
    let ended = Ended { status: None, error: Some("connect_refused"), took: took(5) };
    of_attempt(trace, &tried, &ended)
}

fn tried(number: u32, at: At<'_>) -> Tried<'_> {
    let (method, path, scheme) = (&Method::GET, "/a/b", "http");
    Tried { method, path, number, resent: 0, is_overtaken: false, scheme, at }
}

#[test]
fn a_batch_is_an_export_request_of_otlp() {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let trace = begin(&HeaderMap::from_iter([(TRACEPARENT, written(&parent))]), 1);
    let json = otlp::request(&[exchange(&trace), attempt(&trace)], "edge");
    // A line for each span and attribute.
    let json = String::from_utf8(json).unwrap();
    let lines = json.replace("{\"traceId\"", "\n{\"traceId\"").replace("{\"key\"", "\n  {\"key\"");
    expect![[r#"
        {"resourceSpans":[{"resource":{"attributes":[
          {"key":"service.name","value":{"stringValue":"edge"}}]},"scopeSpans":[{"scope":{"name":"lb","version":"0.1.0"},"spans":[
        {"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"d2215fc000c70ba9","parentSpanId":"00f067aa0ba902b7","name":"GET","kind":2,"startTimeUnixNano":"1000000000","endTimeUnixNano":"1020000000","attributes":[
          {"key":"http.request.method","value":{"stringValue":"GET"}},
          {"key":"url.scheme","value":{"stringValue":"http"}},
          {"key":"url.path","value":{"stringValue":"/a/b"}},
          {"key":"server.address","value":{"stringValue":"::1"}},
          {"key":"server.port","value":{"intValue":"8080"}},
          {"key":"client.address","value":{"stringValue":"192.0.2.1"}},
          {"key":"network.protocol.version","value":{"stringValue":"1.1"}},
          {"key":"user_agent.original","value":{"stringValue":"curl/8"}},
          {"key":"lb.service","value":{"stringValue":"web"}},
          {"key":"http.response.status_code","value":{"intValue":"404"}}],"status":{"code":0}},
        {"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"d09061e952f49476","parentSpanId":"d2215fc000c70ba9","name":"HTTP","kind":3,"startTimeUnixNano":"1000000000","endTimeUnixNano":"1005000000","attributes":[
          {"key":"http.request.method","value":{"stringValue":"_OTHER"}},
          {"key":"http.request.method_original","value":{"stringValue":"PURGE"}},
          {"key":"url.full","value":{"stringValue":"http://[::1]:3000/a/b"}},
          {"key":"server.address","value":{"stringValue":"::1"}},
          {"key":"server.port","value":{"intValue":"3000"}},
          {"key":"http.request.resend_count","value":{"intValue":"1"}},
          {"key":"error.type","value":{"stringValue":"connect_refused"}}],"status":{"code":2}}]}]}]}"#]].assert_eq(&lines);
}

#[test]
fn a_failure_is_a_failure_on_its_own_side() {
    let trace = begin(&HeaderMap::new(), 1);
    let failed = |status: u16| {
        let status = Some(StatusCode::from_u16(status).unwrap());
        let ended = Ended { status, error: None, took: took(1) };
        let method = &Method::GET;
        let tried = tried(0, At::Host("b", 80));
        let asked = Asked {
            method,
            version: Version::HTTP_2,
            scheme: "https",
            path: "/",
            host: "",
            client: "::1".parse().ok(),
            user_agent: None,
            service: None,
        };
        (of_exchange(&trace, &asked, &ended).failed, of_attempt(&trace, &tried, &ended).failed)
    };
    assert_eq!(failed(200), (false, false));
    assert_eq!(failed(404), (false, true));
    assert_eq!(failed(503), (true, true));
}

#[test]
fn who_is_overtaken_has_not_failed_and_a_socket_has_no_port() {
    let trace = begin(&HeaderMap::new(), 1);
    let ended = Ended { status: None, error: None, took: took(1) };
    let mut tried = tried(1, At::Socket(Path::new("/run/app.sock")));
    assert!(of_attempt(&trace, &tried, &ended).failed, "nobody was quicker");
    tried.is_overtaken = true;
    let span = of_attempt(&trace, &tried, &ended);
    let text = |text: &str| span::Value::Text(text.to_owned());
    let expected = [
        ("http.request.method", text("GET")),
        ("url.full", text("http://unix:/run/app.sock:/a/b")),
        ("server.address", text("/run/app.sock")),
        ("network.transport", text("unix")),
    ];
    assert_eq!((span.failed, &span.attributes[..]), (false, &expected[..]));
}

#[test]
fn an_answer_may_reject_a_part() {
    assert_eq!(otlp::rejected(b"{}"), 0);
    assert_eq!(otlp::rejected(b""), 0);
    assert_eq!(
        otlp::rejected(br#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"x"}}"#),
        3
    );
    assert_eq!(otlp::rejected(br#"{"partialSuccess":{"rejectedSpans":2}}"#), 2);
    assert_eq!(otlp::rejected(br#"{"partialSuccess":{"rejectedSpans":-2}}"#), 0);
}

type Got = Rc<RefCell<Vec<(String, Value)>>>;

/// Answers requests one connection after the other, for as long as it is polled, and keeps them.
async fn collector(
    mut listener: Box<dyn Listen>,
    got: Got,
    status: StatusCode,
    body: &'static str,
) {
    loop {
        let Accepted { io, .. } = listener.accept().await.unwrap();
        let answer = service_fn(|request: Request<Incoming>| {
            let got = Rc::clone(&got);
            async move {
                let head = format!(
                    "{} {} {}",
                    request.method(),
                    request.uri(),
                    request.headers()["content-type"].to_str().unwrap()
                );
                let bytes = request.into_body().collect().await.unwrap().to_bytes();
                got.borrow_mut().push((head, serde_json::from_slice(&bytes).unwrap()));
                let mut response = Response::new(Full::new(Bytes::from(body)));
                *response.status_mut() = status;
                Ok::<_, Infallible>(response)
            }
        });
        // A client that goes away early is its own business.
        let _gone = http1::Builder::new().serve_connection(TokioIo::new(io), answer).await;
    }
}

/// Hands in so many spans and lets go of the queue; what became of them, and what a collector got
/// that answers so.
async fn export(
    spans: usize,
    status: StatusCode,
    body: &'static str,
) -> (Exported, Vec<(String, Value)>) {
    let os = Os::with_seed(7);
    let listener = listen(&os).await;
    let to = collector_at(listener.local_addr().unwrap().ip().unwrap().port());
    let (exporter, mut export) = queue();
    let trace = begin(&HeaderMap::new(), 1);
    for _ in 0..spans {
        exporter.offer(exchange(&trace));
    }
    let (got, counts) = (Got::default(), exporter.counts());
    drop(exporter);
    tokio::select! {
        biased;
        () = collector(listener, Rc::clone(&got), status, body) => unreachable!("it has no end"),
        () = export.run(&os, &to, &|_| ()) => {}
    }
    let got = got.take();
    (counts.read(), got)
}

async fn listen(os: &Os) -> Box<dyn Listen> {
    os.listen(Place::new(Address::Ip(([127, 0, 0, 1], 0).into()))).await.unwrap()
}

fn collector_at(port: u16) -> Tracing {
    let endpoint = Origin { host: "127.0.0.1".into(), port, tls: false, socket: None, at: None };
    Tracing { endpoint, sample_per_million: MILLION, service_name: "edge".into() }
}

#[tokio::test]
async fn spans_arrive_at_a_collector_in_batches() {
    let (exported, got) = export(700, StatusCode::OK, "{}").await;
    assert_eq!(exported, Exported { exported: 700, dropped: 0, failed: 0 });
    let counts: Vec<usize> = got
        .iter()
        .map(|(head, body)| {
            assert_eq!(head, "POST /v1/traces application/json");
            let resource = &body["resourceSpans"][0];
            let name = &resource["resource"]["attributes"][0];
            assert_eq!(name["key"], "service.name");
            assert_eq!(name["value"]["stringValue"], "edge");
            resource["scopeSpans"][0]["spans"].as_array().unwrap().len()
        })
        .collect();
    assert_eq!(counts, [512, 188]);
}

#[tokio::test(start_paused = true)]
async fn what_a_collector_does_not_take_is_counted() {
    for (status, sends) in [(400, 1), (413, 1), (500, 1), (429, 4), (502, 4), (503, 4), (504, 4)] {
        let (exported, got) = export(3, StatusCode::from_u16(status).unwrap(), "").await;
        assert_eq!(exported, Exported { exported: 0, dropped: 0, failed: 3 }, "{status}");
        assert_eq!(got.len(), sends, "{status}");
    }
    let partly = r#"{"partialSuccess":{"rejectedSpans":"2"}}"#;
    let (exported, _) = export(3, StatusCode::OK, partly).await;
    assert_eq!(exported, Exported { exported: 1, dropped: 0, failed: 2 });
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_is_not_there_costs_its_spans_and_nothing_else() {
    let os = Os::with_seed(7);
    let listener = listen(&os).await;
    let to = collector_at(listener.local_addr().unwrap().ip().unwrap().port());
    drop(listener);
    let (exporter, mut export) = queue();
    exporter.offer(exchange(&begin(&HeaderMap::new(), 1)));
    let counts = exporter.counts();
    drop(exporter);
    let said = RefCell::new(Vec::new());
    let began = Instant::now();
    export.run(&os, &to, &|why| said.borrow_mut().push(why.to_owned())).await;
    assert_eq!(counts.read(), Exported { exported: 0, dropped: 0, failed: 1 });
    assert_eq!(began.elapsed().as_secs(), 1 + 2 + 4, "it is tried four times");
    let said = said.into_inner();
    assert!(said.len() == 1 && said[0].starts_with("cannot be reached: "), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn at_the_end_what_waits_is_sent_at_once_and_what_is_left_has_failed() {
    let os = Os::with_seed(7);
    let listener = listen(&os).await;
    let to = collector_at(listener.local_addr().unwrap().ip().unwrap().port());
    let (exporter, mut export) = queue();
    let (span, got) = (exchange(&begin(&HeaderMap::new(), 1)), Got::default());
    exporter.offer(span.clone());
    exporter.close();
    let began = Instant::now();
    tokio::select! {
        biased;
        () = collector(listener, Rc::clone(&got), StatusCode::OK, "{}") => unreachable!("it has no end"),
        () = export.run(&os, &to, &|why| panic!("{why}")) => {}
    }
    assert!(began.elapsed() < Duration::from_secs(1), "nobody waits for more");
    assert_eq!((got.take().len(), exporter.give_up()), (1, 0));
    // Nobody is there to take these.
    let (exporter, _export) = queue();
    exporter.offer(span.clone());
    exporter.offer(span);
    assert_eq!((exporter.give_up(), exporter.give_up()), (2, 0));
    assert_eq!(exporter.counts().read(), Exported { exported: 0, dropped: 0, failed: 2 });
}

#[tokio::test]
async fn a_full_queue_drops_and_never_waits() {
    let (exporter, export) = queue();
    let span = exchange(&begin(&HeaderMap::new(), 1));
    for _ in 0..5_000 {
        exporter.offer(span.clone());
    }
    assert_eq!(
        exporter.counts().read(),
        Exported { exported: 0, dropped: 5_000 - 4_096, failed: 0 }
    );
    drop(export);
    exporter.offer(span);
    assert_eq!(exporter.counts().read().dropped, 5_001 - 4_096, "nobody is left to take it");
}
