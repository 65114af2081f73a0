//! The end of a process: what runs is finished, nothing new begins, and nothing lasts for ever.

use std::cell::RefCell;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::support::{Backend, Client, Proxy, Request, Script, run, until};

/// A backend that answers when it is told to.
async fn patient() -> (Backend, oneshot::Sender<()>) {
    let (answer, told) = oneshot::channel();
    let told = RefCell::new(Some(told));
    let backend = Backend::start(move |_, _| {
        let told = told.borrow_mut().take().expect("one request is made");
        Script::Do(Box::new(|mut stream| {
            Box::pin(async move {
                told.await.expect("the test answers");
                let head = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone";
                stream.write_all(head).await.unwrap();
                std::future::pending().await
            })
        }))
    })
    .await;
    (backend, answer)
}

#[test]
fn draining_finishes_what_runs_and_takes_nothing_new() {
    run(async {
        let (backend, answer) = patient().await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut idle = Client::connect(proxy.addr).await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        until(|| backend.requests().len() == 1).await;
        assert_eq!(Client::ask(proxy.admin, READY).await.status, 200);
        proxy.trigger.drain();
        assert!(idle.is_closed().await);
        assert_eq!(Client::ask(proxy.admin, READY).await.status, 503);
        while TcpStream::connect(proxy.addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
        answer.send(()).unwrap();
        let last = client.answer().await.unwrap();
        assert_eq!((last.text(), last.one("connection")), ("done", Some("close")));
        proxy.serving.await.unwrap();
    });
}

const READY: &str = "GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

#[test]
fn the_first_worker_does_its_duties_until_the_last_has_drained() {
    run(async {
        let backend = Backend::start(|_, request| match request.head.starts_with("GET /check ") {
            true => Script::ok("well"),
            false => Script::WriteAndHang(Vec::new()),
        })
        .await;
        let checks = "[service.health]\nenabled = true\npath = \"/check\"\ninterval = \"100ms\"\n";
        let proxy = Proxy::start(&[backend.url()], checks).await;
        let other = proxy.join(1).await;
        let is_check = |request: &Request| request.head.starts_with("GET /check ");
        let asked =
            || backend.requests().into_iter().filter(|it| !is_check(it)).collect::<Vec<_>>();
        // The kernel spreads connections by chance: that the other worker gets none has odds of 2⁻⁶⁴.
        let mut nth = 0;
        let client = loop {
            let mut client = Client::connect(proxy.addr).await;
            client.write("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
            until(|| asked().len() > nth).await;
            if asked()[nth].one("x-request-id").unwrap()[16..20] == *"0001" {
                break client;
            }
            nth += 1;
            assert!(nth < 64, "the other worker gets one");
        };
        until(|| proxy.gateway.connections() == 1).await;
        proxy.trigger.drain();
        let checks = || backend.requests().iter().filter(|it| is_check(it)).count();
        let before = checks();
        until(|| checks() > before + 3).await;
        assert_eq!(Client::ask(proxy.admin, READY).await.status, 503);
        assert!(!proxy.serving.is_finished() && !other.is_finished());
        drop(client);
        other.await.unwrap();
        proxy.serving.await.unwrap();
    });
}

#[test]
fn spans_that_wait_are_exported_before_the_end_or_said_to_be_lost() {
    run(async {
        for answers in [true, false] {
            let backend = Backend::start(|_, _| Script::ok("hello")).await;
            let collector = Backend::start(move |_, _| match answers {
                true => Script::ok("{}"),
                false => Script::WriteAndHang(Vec::new()),
            })
            .await;
            let tracing = format!(
                "[tracing]\nenabled = true\nsample = 1.0\nendpoint = \"{}\"\n",
                collector.url()
            );
            let proxy = Proxy::start(&[backend.url()], &tracing).await;
            Client::get(proxy.addr).await;
            proxy.trigger.drain();
            until(|| collector.requests().len() == 1).await;
            if !answers {
                proxy.trigger.stop();
            }
            until(|| proxy.serving.is_finished()).await;
            let notices = proxy.notices().concat();
            assert_eq!(notices.contains("the last 2 spans are lost"), !answers, "{notices}");
        }
    });
}

#[test]
fn draining_does_not_wait_for_ever() {
    run(async {
        let hung = Backend::start(|_, _| Script::WriteAndHang(Vec::new())).await;
        let proxy = Proxy::start(&[hung.url()], "[server]\ndrain_timeout = \"50ms\"").await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        until(|| hung.requests().len() == 1).await;
        proxy.trigger.drain();
        proxy.serving.await.unwrap();
        assert!(client.answer().await.is_none());
        until(|| proxy.gateway.connections() == 0).await;
    });
}

#[test]
fn what_is_cut_short_is_logged() {
    run(async {
        let hung = Backend::start(|_, _| Script::WriteAndHang(Vec::new())).await;
        let proxy = Proxy::start(&[hung.url()], "[server]\ndrain_timeout = \"1ms\"").await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        until(|| hung.requests().len() == 1).await;
        proxy.trigger.drain();
        until(|| !proxy.log().is_empty()).await;
        let line = &proxy.log()[0];
        assert_eq!(
            (&line["status"], &line["reason"], &line["attempts"][0]["outcome"]),
            (&503.into(), &"drained".into(), &"abandoned".into())
        );
        assert_eq!(proxy.in_flight(), 0);
    });
}

#[test]
fn stopping_waits_for_nobody() {
    run(async {
        let hung = Backend::start(|_, _| Script::WriteAndHang(Vec::new())).await;
        let proxy = Proxy::start(&[hung.url()], "[server]\ndrain_timeout = \"1h\"").await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        until(|| hung.requests().len() == 1).await;
        proxy.trigger.drain();
        proxy.trigger.stop();
        proxy.serving.await.unwrap();
    });
}

#[test]
fn a_request_on_its_way_when_draining_begins_is_answered() {
    run(async {
        let (backend, answer) = patient().await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nha").await;
        until(|| proxy.in_flight() == 1).await;
        proxy.trigger.drain();
        client.write("lf").await;
        answer.send(()).unwrap();
        assert_eq!(client.answer().await.unwrap().text(), "done");
        proxy.serving.await.unwrap();
        assert_eq!(backend.request().body, b"half");
    });
}

#[test]
fn workers_share_a_port_and_what_they_learned() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("hello")).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let other = proxy.join(1).await;
        // The kernel spreads connections by chance: that one worker gets all has odds of 2⁻⁶³.
        for _ in 0..64 {
            assert_eq!(Client::get(proxy.addr).await.text(), "hello");
        }
        let log = proxy.log();
        let worker =
            |line: &serde_json::Value| line["request_id"].as_str().unwrap()[16..20].to_owned();
        let of_first = log.iter().filter(|line| worker(line) == "0000").count();
        let of_other = log.iter().filter(|line| worker(line) == "0001").count();
        assert!(of_first > 0 && of_other > 0 && of_first + of_other == 64, "{of_first} {of_other}");
        let ids: std::collections::BTreeSet<_> =
            log.iter().map(|it| it["request_id"].as_str()).collect();
        assert_eq!(ids.len(), 64, "a request's name is its own");
        let text = proxy.metrics().await;
        let exchanges = "lb_exchanges_total{service=\"web\"} 64\n";
        assert!(text.text().contains(exchanges), "{}", text.text());
        proxy.trigger.drain();
        proxy.serving.await.unwrap();
        other.await.unwrap();
    });
}
