//! The end of a connection of HTTP/2 to a backend, and what it comes to for those that were on it.

use std::cell::Cell;
use std::rc::Rc;

use futures_util::future::join_all;
use http::Request;
use hyper::client::conn::http2::SendRequest;
use lb_core::BreakerState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::http2::{H2, get, post};
use crate::support::h2::{Sent, answers_heads, ask, connect, frame, next, read, whole};
use crate::support::{Backend, Proxy, run, until};

/// An answer without a body: 200.
fn ok(id: u32) -> Vec<u8> {
    frame(1, 5, id, &[0x88])
}

/// One whose body is still to come.
fn begun(id: u32) -> Vec<u8> {
    [frame(1, 4, id, &[0x88]), frame(0, 0, id, b"half")].concat()
}

/// Requests on a connection that ends under all of them.
const MANY: usize = 10;

/// A backend whose first connection ends with these words when it has many requests, and whose others answer.
/// To each of the many it has begun to say this.
async fn dies(begun: fn(u32) -> Vec<u8>, words: Vec<u8>) -> Backend {
    let words = Rc::new(Cell::new(Some(words)));
    Backend::raw(move |mut stream| {
        let words = words.take();
        Box::pin(async move {
            stream.read_exact(&mut [0; 24]).await.unwrap();
            stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
            let mut count = 0;
            while let Some(head) = next(&mut stream, &[1]).await {
                let said = if words.is_some() { begun(head.id) } else { ok(head.id) };
                stream.write_all(&said).await.unwrap();
                count += 1;
                if let (Some(words), MANY) = (&words, count) {
                    stream.write_all(words).await.unwrap();
                    stream.shutdown().await.unwrap();
                }
            }
        })
    })
    .await
}

/// How a connection ends: it is closed, or with what HTTP/2 does not allow (DATA on no stream).
fn endings() -> [Vec<u8>; 2] {
    [Vec::new(), frame(0, 0, 0, b"")]
}

#[test]
fn the_end_of_a_connection_counts_once_however_many_wait_on_it_for_an_answer() {
    run(async {
        for (words, first) in endings().into_iter().zip(["reset", "malformed"]) {
            let backend = dies(|_| Vec::new(), words).await;
            let lines = "retry = { attempts_max = 1 }\n[service.breaker]\nconsecutive_failures = 2";
            let proxy = Proxy::start(&[backend.url()], &format!("{H2}\n{lines}")).await;
            let mut client = connect(proxy.addr).await;
            for asked in all_at_once(&client, || post(whole("abc"))) {
                assert_eq!(asked.await.unwrap(), 502);
            }
            assert_eq!(ask(&mut client, get("/")).await.unwrap().head.status, 200, "{first}");
            until(|| proxy.log().len() == MANY + 1).await;
            let log = proxy.log();
            let came_to = |what: &str| {
                log.iter().filter(|line| line["attempts"][0]["outcome"] == what).count()
            };
            assert_eq!((came_to(first), came_to("connection_lost")), (1, MANY - 1));
            assert_eq!(backend.connections(), 2);
        }
    });
}

#[test]
fn the_end_of_a_connection_counts_once_however_many_bodies_it_breaks_off() {
    run(async {
        for words in endings() {
            let backend = dies(begun, words).await;
            let lines = "[service.breaker]\nconsecutive_failures = 2";
            let proxy = Proxy::start(&[backend.url()], &format!("{H2}\n{lines}")).await;
            let mut client = connect(proxy.addr).await;
            let cut = || async {
                let mut client = client.clone();
                assert!(ask(&mut client, get("/")).await.is_err(), "it is not whole");
            };
            join_all((0..MANY).map(|_| cut())).await;
            assert_eq!(ask(&mut client, get("/")).await.unwrap().head.status, 200);
            until(|| proxy.log().len() == MANY + 1).await;
            let log = proxy.log();
            let ended = |how: &str| log.iter().filter(|line| line["end"] == how).count();
            assert_eq!((ended("backend_broke"), ended("connection_broke")), (1, MANY - 1));
        }
    });
}

#[test]
fn who_waits_on_a_connection_that_ends_is_tried_again_like_any_other() {
    run(async {
        for words in endings() {
            let backend = dies(|_| Vec::new(), words).await;
            let proxy = Proxy::start(&[backend.url()], H2).await;
            let client = connect(proxy.addr).await;
            for asked in all_at_once(&client, || get("/")) {
                assert_eq!(asked.await.unwrap(), 200);
            }
        }
    });
}

/// As many as a connection ends under, and their statuses.
fn all_at_once(client: &SendRequest<Sent>, request: fn() -> Request<Sent>) -> Vec<JoinHandle<u16>> {
    let one = |_| {
        let mut client = client.clone();
        tokio::task::spawn_local(async move {
            ask(&mut client, request()).await.unwrap().head.status.as_u16()
        })
    };
    (0..MANY).map(one).collect()
}

#[test]
fn whoever_a_connection_may_have_ended_for_is_tried_again_on_one_of_its_own() {
    run(async {
        let heads = Cell::new(0);
        let backend = answers_heads(move |id| match heads.replace(heads.get() + 1) {
            // Half an answer, and again for somebody else when the first connection has ended.
            0 | 2 => begun(id),
            1 | 3 | 4 => frame(0, 0, 0, b""),
            _ => ok(id),
        })
        .await;
        let backoff = "[service.retry.backoff]\nbase = \"300ms\"\njitter = \"none\"";
        let proxy = Proxy::start(&[backend.url()], &format!("{H2}\n{backoff}")).await;
        let mut client = connect(proxy.addr).await;
        let first = client.send_request(get("/first")).await.unwrap();
        let mut other = client.clone();
        let harmful = tokio::task::spawn_local(async move {
            ask(&mut other, get("/harmful")).await.unwrap().head.status.as_u16()
        });
        assert!(read(first).await.is_err(), "it is cut");
        let second = client.send_request(get("/second")).await.unwrap();
        assert_eq!(harmful.await.unwrap(), 502, "it has had three attempts");
        assert_eq!(backend.connections(), 4);
        assert_eq!(ask(&mut client, get("/")).await.unwrap().head.status, 200);
        assert_eq!((backend.connections(), proxy.in_flight()), (4, 1), "the second goes on");
        drop(second);
        assert_eq!(proxy.service().backend(0).breaker().state(), BreakerState::Closed);
    });
}

#[test]
fn answers_that_clients_take_back_end_nobody_elses_connection() {
    run(async {
        const TAKEN_BACK: usize = 1_500;
        let go = Rc::new(Notify::new());
        let told = Rc::clone(&go);
        let backend = Backend::raw(move |mut stream| {
            let go = Rc::clone(&told);
            Box::pin(async move {
                stream.read_exact(&mut [0; 24]).await.unwrap();
                stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
                let mut resets = 0;
                while resets < TAKEN_BACK {
                    let Some(came) = next(&mut stream, &[1, 3]).await else { return };
                    // The next piece of what is taken back crosses with that.
                    let said = match came.kind {
                        1 => begun(came.id),
                        _ => frame(0, 0, came.id, b"more"),
                    };
                    resets += usize::from(came.kind == 3);
                    stream.write_all(&said).await.unwrap();
                }
                go.notified().await;
                stream.write_all(&frame(0, 1, 1, b"whole")).await.unwrap();
                let _end = next(&mut stream, &[]).await;
            })
        })
        .await;
        let lines = "[server.http2]\nresets_per_second_max = 100_000";
        let proxy = Proxy::start(&[backend.url()], &format!("{H2}\n{lines}")).await;
        let mut client = connect(proxy.addr).await;
        let stays = client.send_request(get("/stays")).await.unwrap();
        for _ in 0..TAKEN_BACK / 50 {
            let taken_back = || async {
                let mut client = client.clone();
                drop(client.send_request(get("/")).await.unwrap());
            };
            join_all((0..50).map(|_| taken_back())).await;
        }
        until(|| proxy.in_flight() == 1).await;
        go.notify_one();
        assert_eq!(read(stays).await.unwrap().body, "halfwhole");
        assert_eq!(backend.connections(), 1);
    });
}
