//! Connections of HTTP/2 to a backend, which many exchanges share: what one of them does to the others.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};

use crate::http2::{H2, get, post};
use crate::support::h2::{Backend2, Sent, answers_heads, ask, connect, frame, next, read, whole};
use crate::support::{Backend, Proxy, run, until};

/// An answer without a body: 200.
fn ok(id: u32) -> Vec<u8> {
    frame(1, 5, id, &[0x88])
}

/// A body of what is sent to it, as it comes.
fn fed() -> (mpsc::Sender<Bytes>, Sent) {
    let (feed, fed) = mpsc::channel::<Bytes>(1);
    let frames = stream::unfold(fed, |mut fed| async {
        let piece = fed.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(piece)), fed))
    });
    (feed, StreamBody::new(frames).boxed())
}

#[test]
fn a_connection_that_says_nothing_for_too_long_is_used_no_more() {
    run(async {
        // Each connection answers once.
        let backend = answers_heads(|id| if id == 1 { ok(id) } else { Vec::new() }).await;
        let lines = "retry = { attempts_max = 1 }\n[service.timeouts]\nfirst_byte = \"50ms\"";
        let proxy = Proxy::start(&[backend.url()], &format!("{H2}\n{lines}")).await;
        let mut client = connect(proxy.addr).await;
        for status in [200, 504, 200, 504, 200] {
            assert_eq!(ask(&mut client, get("/")).await.unwrap().head.status, status);
        }
        assert_eq!(backend.connections(), 3);
    });
}

#[test]
fn a_stream_that_is_too_late_costs_its_connection_no_other() {
    run(async {
        let (feed, body) = fed();
        let slow = std::cell::RefCell::new(Some(body));
        let backend = Backend2::start(100, move |_, got| {
            let hangs = got.head.starts_with("GET http://a.example/h");
            let body = || slow.borrow_mut().take().unwrap_or_else(|| whole("small"));
            let answer = (!hangs).then(body);
            async move {
                match answer {
                    Some(body) => Response::new(body),
                    None => std::future::pending().await,
                }
            }
        })
        .await;
        let lines = "retry = { attempts_max = 1 }\n[service.timeouts]\nfirst_byte = \"50ms\"";
        let proxy = Proxy::start(&[backend.url()], &format!("{H2}\n{lines}")).await;
        let mut client = connect(proxy.addr).await;
        let slow = client.send_request(get("/slow")).await.unwrap();
        assert_eq!(ask(&mut client, get("/h")).await.unwrap().head.status, 504);
        assert_eq!(ask(&mut client, get("/")).await.unwrap().body, "small");
        assert_eq!(backend.connections(), 2, "it is doubted");
        feed.send("sl".into()).await.unwrap();
        feed.send("ow".into()).await.unwrap();
        drop(feed);
        assert_eq!(read(slow).await.unwrap().body, "slow");
        // It is alive, and the first of two again.
        for _ in 0..3 {
            assert_eq!(ask(&mut client, get("/")).await.unwrap().body, "small");
        }
        assert_eq!(backend.connections(), 2);
    });
}

#[test]
fn what_a_goaway_leaves_unseen_shares_the_next_connection_whatever_its_reason() {
    run(async {
        const MANY: usize = 20;
        // NO_ERROR and ENHANCE_YOUR_CALM, when all are there, of which it has looked at the first.
        for reason in [0, 11_u32] {
            let heads = Cell::new(0);
            let backend = answers_heads(move |id| match heads.replace(heads.get() + 1) {
                1..MANY => Vec::new(),
                MANY => frame(7, 0, 0, &[1_u32.to_be_bytes(), reason.to_be_bytes()].concat()),
                _ => ok(id),
            })
            .await;
            let lines = "retry = { attempts_max = 1 }";
            let proxy = Proxy::start(&[backend.url()], &format!("{H2}\n{lines}")).await;
            let mut client = connect(proxy.addr).await;
            assert_eq!(ask(&mut client, get("/")).await.unwrap().head.status, 200);
            let asking: Vec<_> = (0..MANY)
                .map(|_| {
                    let mut client = client.clone();
                    tokio::task::spawn_local(async move {
                        ask(&mut client, post(whole("abc"))).await.unwrap().head.status.as_u16()
                    })
                })
                .collect();
            for asked in asking {
                assert_eq!(asked.await.unwrap(), 200, "{reason}");
            }
            assert_eq!(backend.connections(), 2, "{reason}");
        }
    });
}

#[test]
fn a_burst_waits_until_its_backend_has_said_how_many_streams_it_takes() {
    run(async {
        // It refuses what is beyond, and answers when it may.
        let (backend, go) = Backend2::held(2, "ok").await;
        let lines = "retry = { attempts_max = 1 }\n[service.breaker]\nconsecutive_failures = 1";
        let proxy = Proxy::start(&[backend.url()], &format!("{H2}\n{lines}")).await;
        let client = connect(proxy.addr).await;
        let asking: Vec<_> = (0..60)
            .map(|_| {
                let mut client = client.clone();
                tokio::task::spawn_local(async move {
                    ask(&mut client, post(whole("abc"))).await.unwrap().head.status.as_u16()
                })
            })
            .collect();
        let failed = || asking.iter().any(|asked| asked.is_finished());
        until(|| backend.got.borrow().len() == 60 || failed()).await;
        assert!(!failed(), "nothing was answered yet");
        assert_eq!((backend.connections(), backend.most_at_once()), (30, 2));
        go.notify_waiters();
        for asked in asking {
            assert_eq!(asked.await.unwrap(), 200);
        }
    });
}

#[test]
fn who_finds_all_streams_taken_waits_for_one_and_in_vain_for_as_long_as_for_a_connection() {
    run(async {
        let (backend, go) = Backend2::held(2, "ok").await;
        let lines = |connect: &str| {
            format!(
                "{H2}\nkeep_alive = {{ connections_max = 1 }}\nretry = {{ attempts_max = 1 }}\n\
                 [service.timeouts]\nconnect = \"{connect}\"\n\
                 [service.breaker]\nconsecutive_failures = 1"
            )
        };
        let proxy = Proxy::start(&[backend.url()], &lines("15s")).await;
        let client = connect(proxy.addr).await;
        let ask_one = || {
            let mut client = client.clone();
            tokio::task::spawn_local(async move { ask(&mut client, get("/")).await.unwrap() })
        };
        let all: Vec<_> = (0..10).map(|_| ask_one()).collect();
        for come in [2, 4, 6, 8, 10] {
            let left = u32::try_from(12 - come).unwrap();
            until(|| backend.got.borrow().len() == come && proxy.in_flight() == left).await;
            go.notify_waiters();
        }
        for asked in all {
            assert_eq!(asked.await.unwrap().body, "ok");
        }
        assert_eq!((backend.connections(), backend.most_at_once()), (1, 2));

        let proxy = Proxy::start(&[backend.url()], &lines("50ms")).await;
        let mut client = connect(proxy.addr).await;
        let (mut first, mut second) = (client.clone(), client.clone());
        let held = tokio::task::spawn_local(async move {
            tokio::join!(ask(&mut first, get("/")), ask(&mut second, get("/")))
        });
        until(|| backend.got.borrow().len() == 12).await;
        for _ in 0..3 {
            let answer = ask(&mut client, get("/")).await.unwrap();
            assert_eq!(answer.head.status, 503);
            assert!(answer.body.contains(r#""error":"crowded""#), "{}", answer.body);
        }
        go.notify_waiters();
        let (first, second) = held.await.unwrap();
        assert_eq!((first.unwrap().body, second.unwrap().body), ("ok".into(), "ok".into()));
        assert_eq!(backend.connections(), 2);
    });
}

#[test]
fn a_backend_that_takes_no_streams_yet_is_waited_for() {
    run(async {
        let go = Rc::new(Notify::new());
        let held = Rc::clone(&go);
        let streams = |most: u8| frame(4, 0, 0, &[0, 3, 0, 0, 0, most]);
        let backend = Backend::raw(move |mut stream| {
            let held = Rc::clone(&held);
            Box::pin(async move {
                stream.write_all(&streams(0)).await.unwrap();
                held.notified().await;
                stream.write_all(&streams(9)).await.unwrap();
                let _preface = stream.read_exact(&mut [0; 24]).await.unwrap();
                while let Some(head) = next(&mut stream, &[1]).await {
                    stream.write_all(&ok(head.id)).await.unwrap();
                }
            })
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], H2).await;
        let client = connect(proxy.addr).await;
        let asking: Vec<_> = (0..9)
            .map(|_| {
                let mut client = client.clone();
                tokio::task::spawn_local(async move { ask(&mut client, get("/")).await.unwrap() })
            })
            .collect();
        until(|| backend.connections() == 1 && proxy.in_flight() == 9).await;
        go.notify_one();
        for asked in asking {
            assert_eq!(asked.await.unwrap().head.status, 200);
        }
        assert_eq!(backend.connections(), 1);
    });
}

#[test]
fn what_is_refused_because_a_backend_takes_fewer_by_now_counts_against_nobody() {
    run(async {
        // The first is left waiting; with the second it says that one is enough.
        let heads = Cell::new(0);
        let backend = answers_heads(move |id| match heads.replace(heads.get() + 1) {
            0 => Vec::new(),
            1 => {
                let one = frame(4, 0, 0, &[0, 3, 0, 0, 0, 1]);
                [one, frame(3, 0, id, &7_u32.to_be_bytes())].concat()
            }
            _ => ok(id),
        })
        .await;
        let lines = "retry = { attempts_max = 1 }\n[service.breaker]\nconsecutive_failures = 1";
        let proxy = Proxy::start(&[backend.url()], &format!("{H2}\n{lines}")).await;
        let mut client = connect(proxy.addr).await;
        let mut waits = client.clone();
        let waiting = tokio::task::spawn_local(async move { ask(&mut waits, get("/")).await });
        until(|| backend.connections() == 1).await;
        for _ in 0..3 {
            let answer = ask(&mut client, post(whole("abc"))).await.unwrap();
            assert_eq!(answer.head.status, 200);
        }
        assert_eq!(backend.connections(), 2);
        assert!(!waiting.is_finished());
    });
}

#[test]
fn clients_that_read_nothing_stop_nobody_else() {
    run(async {
        // More than clients, the proxy and sockets hold.
        let big = "x".repeat(12 << 20);
        let backend = Backend2::start(100, move |_, got| {
            let is_big = got.head.starts_with("GET http://a.example/big");
            let body = whole(if is_big { &big } else { "small" });
            async { Response::new(body) }
        })
        .await;
        let patient = "[service.timeouts]\nbody_idle = \"5m\"\nexchange = \"5m\"";
        let proxy = Proxy::start(&[backend.url()], &format!("{H2}\n{patient}")).await;
        let mut left = Vec::new();
        for _ in 0..9 {
            let mut client = connect(proxy.addr).await;
            left.push((client.send_request(get("/big")).await.unwrap(), client));
        }
        let mut client = connect(proxy.addr).await;
        for _ in 0..300 {
            assert_eq!(ask(&mut client, get("/")).await.unwrap().body, "small");
        }
        assert_eq!(backend.connections(), 1);
        drop(left);
    });
}

#[test]
fn a_client_that_reads_no_small_messages_ends_nobody_elses_connection() {
    run(async {
        // What one stream may bring, 24 bytes at a time.
        let backend = answers_heads(|id| match id {
            1 => [frame(1, 4, id, &[0x88]), frame(0, 0, id, &[b'x'; 24]).repeat(10_900)].concat(),
            _ => ok(id),
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], H2).await;
        let mut lazy = Raw::connect(proxy.addr).await;
        // A window of 0 bytes for each stream, and GET / of a.
        lazy.write(&[frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]), frame(1, 5, 1, &GET)]).await;
        while lazy.next().await.kind != 1 {}
        let mut client = connect(proxy.addr).await;
        for _ in 0..3 {
            assert_eq!(ask(&mut client, get("/")).await.unwrap().head.status, 200);
        }
        assert_eq!((backend.connections(), proxy.in_flight()), (1, 1));
    });
}

#[test]
fn small_messages_that_nobody_reads_count_with_what_they_cost() {
    run(async {
        // Fifteen kilobytes, which take a hundred times as much, beside a few.
        let backend = answers_heads(|id| {
            let messages =
                |count| [frame(1, 4, id, &[0x88]), frame(0, 0, id, b"hello").repeat(count)];
            match id {
                1 => messages(10).concat(),
                3 => messages(3_000).concat(),
                _ => ok(id),
            }
        })
        .await;
        let lines = "[server]\nunread_bytes_max = \"1MiB\"";
        let proxy = Proxy::start(&[backend.url()], &format!("{H2}\n{lines}")).await;
        let mut lazy = Raw::connect(proxy.addr).await;
        let windows = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
        lazy.write(&[windows, frame(1, 5, 1, &GET), frame(1, 5, 3, &GET)]).await;
        until(|| proxy.in_flight() == 2).await;
        until(|| proxy.in_flight() == 1).await;
        let mut client = connect(proxy.addr).await;
        assert_eq!(ask(&mut client, get("/")).await.unwrap().head.status, 200);
        assert_eq!((backend.connections(), proxy.in_flight()), (1, 1));
    });
}

#[test]
fn a_client_may_stream_small_messages_to_a_backend_that_takes_none() {
    run(async {
        let backend = answers_heads(|id| if id == 1 { Vec::new() } else { ok(id) }).await;
        let proxy = Proxy::start(&[backend.url()], H2).await;
        let mut client = Raw::connect(proxy.addr).await;
        client.write(&[frame(4, 0, 0, &[])]).await;
        // Its own settings, and what all streams may bring, come before it takes ours.
        while !matches!(client.next().await, Came { kind: 4, flags: 1, .. }) {}
        client.write(&[frame(4, 1, 0, &[])]).await;
        let post = frame(1, 4, 1, &[0x83, 0x86, 0x84, 0x41, 1, b'a']);
        client.write(&[post, frame(0, 0, 1, &[b'm'; 24]).repeat(10_900)]).await;
        client.write(&[frame(1, 5, 3, &GET)]).await;
        loop {
            let came = client.next().await;
            assert_ne!(came.kind, 7, "GOAWAY");
            if (came.kind, came.id) == (1, 3) {
                break;
            }
        }
        assert_eq!((backend.connections(), proxy.in_flight()), (1, 1));
    });
}

/// GET / of a.
const GET: [u8; 6] = [0x82, 0x86, 0x84, 0x41, 1, b'a'];

/// A client of HTTP/2 that does nothing by itself.
struct Raw(TcpStream);

/// The head of a frame that came.
struct Came {
    kind: u8,
    flags: u8,
    id: u32,
}

impl Raw {
    async fn connect(addr: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        Self(stream)
    }

    async fn write(&mut self, frames: &[Vec<u8>]) {
        self.0.write_all(&frames.concat()).await.unwrap();
    }

    async fn next(&mut self) -> Came {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        self.0.read_exact(&mut vec![0; length as usize]).await.unwrap();
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Came { kind: head[3], flags: head[4], id }
    }
}
