//! Whose fault it is when a request's body fails after its answer has begun: the client's.

use lb_core::BreakerState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Backend, Client, Proxy, Script, read_head, run, until};

const POLICIES: &str = "[service.breaker]\nconsecutive_failures = 1\n\
                        [service.timeouts]\nbody_idle = \"50ms\"";
const POST: &str = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n";

/// A backend that begins to answer as soon as it has the head, and then reads what comes.
async fn eager() -> Backend {
    Backend::raw(|mut stream| {
        Box::pin(async move {
            read_head(&mut stream).await.unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n";
            stream.write_all(answer).await.unwrap();
            let _the_rest = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        })
    })
    .await
}

async fn check(fail: impl AsyncFnOnce(Client) -> Option<Client>) {
    let backend = eager().await;
    let proxy = Proxy::start(&[backend.url()], POLICIES).await;
    let mut client = Client::connect(proxy.addr).await;
    client.write(POST).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
    let _still_there = fail(client).await;
    until(|| !proxy.log().is_empty()).await;
    assert_eq!(proxy.log()[0]["end"], "client_left");
    let service = proxy.service();
    assert_eq!(service.backend(0).breaker().state(), BreakerState::Closed);
    assert_eq!(proxy.in_flight(), 0);
}

#[test]
fn a_client_that_sends_nonsense_is_to_blame() {
    run(check(async |mut client| {
        client.write("zz\r\n").await;
        Some(client)
    }));
}

#[test]
fn a_client_that_stalls_is_to_blame() {
    run(check(async |client| Some(client)));
}

#[test]
fn a_client_that_hangs_up_is_to_blame() {
    run(check(async |_client| None));
}

#[test]
fn a_backend_that_breaks_off_beside_an_unfinished_request_is_to_blame() {
    run(async {
        let backend = Backend::raw(|mut stream| {
            Box::pin(async move {
                read_head(&mut stream).await.unwrap();
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
                stream.write_all(answer).await.unwrap();
            })
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], POLICIES).await;
        let mut client = Client::connect(proxy.addr).await;
        client.write(POST).await;
        until(|| !proxy.log().is_empty()).await;
        assert_eq!(proxy.log()[0]["end"], "backend_broke");
        let service = proxy.service();
        assert_eq!(service.backend(0).breaker().state(), BreakerState::Open);
    });
}

#[test]
fn a_body_in_many_small_pieces_is_sent_again_whole() {
    run(async {
        let first = Backend::start(|_, _| Script::status(503, "busy")).await;
        let second = Backend::start(|_, _| Script::ok("here")).await;
        let proxy = Proxy::start(&[first.url(), second.url()], "").await;
        let body: Vec<u8> = (b'a'..=b'z').cycle().take(3_000).collect();
        let mut request =
            b"PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for byte in &body {
            request.extend_from_slice(&[b'1', b'\r', b'\n', *byte, b'\r', b'\n']);
        }
        request.extend_from_slice(b"0\r\n\r\n");
        assert_eq!(Client::ask(proxy.addr, request).await.text(), "here");
        assert_eq!(first.request().body, body);
        assert_eq!(second.request().body, body);
    });
}

/// A backend that reads the head of a request and `count` bytes of its body, and closes without a word.
async fn impatient(count: usize) -> Backend {
    Backend::raw(move |mut stream| {
        Box::pin(async move {
            read_head(&mut stream).await.unwrap();
            stream.read_exact(&mut vec![0; count]).await.unwrap();
        })
    })
    .await
}

#[test]
fn a_backend_that_does_not_wait_for_a_client_is_not_to_blame() {
    run(async {
        let (one, other) = (impatient(3).await, impatient(3).await);
        let proxy = Proxy::start(&[one.url(), other.url()], POLICIES).await;
        for (method, length) in [("POST", 1_000), ("PUT", 1_000), ("PUT", 1_000_000)] {
            let mut client = Client::connect(proxy.addr).await;
            let head =
                format!("{method} / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
            client.write(head + "abc").await;
            let answer = client.answer().await.unwrap();
            assert_eq!((answer.status, answer.error().as_str()), (502, "body_awaited"), "{method}");
        }
        assert!(one.connections() + other.connections() >= 3);
        let service = proxy.service();
        let states = service.backends().map(|backend| backend.breaker().state());
        assert!(states.into_iter().all(|state| state == BreakerState::Closed));
    });
}

/// As in a rolling deploy: one goes away while a client sends, and another takes all of it.
#[test]
fn what_one_backend_leaves_unread_another_takes_if_it_may_be_sent_twice() {
    run(async {
        let (one, other) = (impatient(3).await, Backend::start(|_, _| Script::ok("here")).await);
        let proxy = Proxy::start(&[one.url(), other.url()], POLICIES).await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc").await;
        until(|| other.connections() > 0).await;
        client.write("def").await;
        assert_eq!(client.answer().await.unwrap().text(), "here");
        assert_eq!(other.request().body, b"abcdef");
    });
}

#[test]
fn a_backend_that_closes_when_it_has_all_of_a_request_is_to_blame() {
    run(async {
        let backend = impatient(3).await;
        let proxy = Proxy::start(&[backend.url()], POLICIES).await;
        assert_eq!(Client::post(proxy.addr, b"abc").await.error(), "reset");
        assert_eq!(proxy.service().backend(0).breaker().state(), BreakerState::Open);
    });
}
