//! Bodies stream, both ways, whole and in order, and nothing piles up.

use std::cell::Cell;
use std::rc::Rc;

use tokio::io::AsyncWriteExt;

use crate::support::{Backend, Client, Proxy, Script, run, until};

fn noise(size: u32) -> Vec<u8> {
    (0..size).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in body.chunks(size) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

#[test]
fn a_large_body_arrives_byte_for_byte_both_ways() {
    run(async {
        let body = Rc::new(noise(10_000_000));
        let sent = Rc::clone(&body);
        let backend = Backend::start(move |_, request| {
            assert!(request.body == *sent, "the upload has changed on its way");
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", sent.len());
            Script::Write([head.as_bytes(), &sent].concat())
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let answer = Client::post(proxy.addr, &body).await;
        assert!(answer.body == *body, "the download has changed on its way");
    });
}

#[test]
fn chunks_arrive_whole_both_ways() {
    run(async {
        let body = Rc::new(noise(300_000));
        let sent = Rc::clone(&body);
        let backend = Backend::start(move |_, request| {
            assert!(request.body == *sent, "the upload has changed on its way");
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            Script::Write([&head[..], &chunked(&sent, 777)].concat())
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        let mut client = Client::connect(proxy.addr).await;
        for _ in 0..2 {
            client.write([&head[..], &chunked(&body, 1_234)].concat()).await;
            assert!(client.answer().await.unwrap().body == *body);
        }
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    run(async {
        let backend =
            Backend::start(|_, request| Script::ok(request.head.split(' ').nth(1).unwrap())).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut client = Client::connect(proxy.addr).await;
        let all: String =
            (0..20).map(|n| format!("GET /{n} HTTP/1.1\r\nhost: a\r\n\r\n")).collect();
        client.write(all).await;
        for n in 0..20 {
            assert_eq!(client.answer().await.unwrap().text(), format!("/{n}"));
        }
    });
}

/// More than all buffers between a client and a backend hold.
const ENDLESS: usize = 256 * 1024 * 1024;

#[test]
fn a_client_that_does_not_read_stops_its_backend() {
    run(async {
        let written = Rc::new(Cell::new(0));
        let counting = Rc::clone(&written);
        let backend = Backend::start(move |_, _| {
            let written = Rc::clone(&counting);
            Script::Do(Box::new(|mut stream| {
                Box::pin(async move {
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {ENDLESS}\r\n\r\n");
                    stream.write_all(head.as_bytes()).await.unwrap();
                    while stream.write_all(&[0; 65_536]).await.is_ok() {
                        written.set(written.get() + 65_536);
                    }
                })
            }))
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        // It stands still when it has not moved for as many turns of everybody.
        let (mut seen, mut still) = (0, 0);
        while still < 10_000 {
            tokio::task::yield_now().await;
            still = if written.get() > seen { 0 } else { still + 1 };
            still = if written.get() == 0 { 0 } else { still };
            seen = written.get();
        }
        assert!(seen < ENDLESS / 4, "{seen} bytes were taken for a client that reads none");
        drop(client);
        until(|| proxy.in_flight() == 0).await;
        until(|| !proxy.log().is_empty()).await;
        assert_eq!(proxy.log()[0]["end"], "client_left");
    });
}

#[test]
fn a_client_that_leaves_before_an_answer_gives_its_lease_back() {
    run(async {
        let backend = Backend::start(|_, _| Script::WriteAndHang(Vec::new())).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        until(|| backend.requests().len() == 1).await;
        assert_eq!(proxy.in_flight(), 1);
        drop(client);
        until(|| proxy.in_flight() == 0).await;
        until(|| !proxy.log().is_empty()).await;
        assert_eq!(proxy.log()[0]["status"], 499);
        assert_eq!(proxy.log()[0]["attempts"][0]["outcome"], "abandoned");
    });
}

#[test]
fn half_an_answer_does_not_look_whole() {
    run(async {
        let half = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
        let backend = Backend::start(|_, _| Script::WriteAndClose(half.to_vec())).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let answer = Client::get(proxy.addr).await;
        assert!(!answer.whole);
        until(|| !proxy.log().is_empty()).await;
        assert_eq!(proxy.log()[0]["end"], "backend_broke");
    });
}
