//! Streams of HTTP/2 that do not come to their end: refused, taken back, or left where they are.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;

use crate::http2::{H2, get, hello, post};
use crate::support::h2::{
    Backend2, Framed, answers_heads, ask, connect, frame, next, raw, read, whole,
};
use crate::support::{Backend, Client, Proxy, Script, run, run_within, until};

#[test]
fn a_refused_stream_goes_elsewhere_whatever_it_asks() {
    run(async {
        let refusing = answers_heads(|id| frame(3, 0, id, &7_u32.to_be_bytes())).await;
        let good = hello().await;
        let proxy = Proxy::start(&[refusing.url(), good.url()], H2).await;
        let mut client = connect(proxy.addr).await;
        for _ in 0..4 {
            let answer = ask(&mut client, post(whole("abc"))).await.unwrap();
            assert_eq!((answer.head.status.as_u16(), &*answer.body), (200, "3 bytes"));
        }
        until(|| proxy.log().len() == 4).await;
        let log = proxy.log();
        let refused = log.iter().flat_map(|line| line["attempts"].as_array().unwrap());
        assert_eq!(refused.filter(|it| it["outcome"] == "refused_stream").count(), 2);
    });
}

#[test]
fn an_answer_that_was_reset_is_not_taken_for_a_whole_one() {
    run(async {
        // NO_ERROR, INTERNAL_ERROR and CANCEL, instead of an end (RFC 9113 §8.1).
        for reason in [0, 2, 8_u32] {
            let backend = answers_heads(move |id| {
                let reset = frame(3, 0, id, &reason.to_be_bytes());
                [frame(1, 4, id, &[0x88]), frame(0, 0, id, b"half"), reset].concat()
            })
            .await;
            let proxy = Proxy::start(&[backend.url()], H2).await;
            let mut client = connect(proxy.addr).await;
            let answer = ask(&mut client, get("/")).await;
            assert!(answer.is_err(), "{reason}: {answer:?}");
            until(|| proxy.log().len() == 1).await;
            assert_eq!(proxy.log()[0]["end"], "backend_broke", "{reason}");
        }
    });
}

#[test]
fn a_request_that_was_reset_is_not_given_an_end() {
    run(async {
        for reason in [0, 2, 8] {
            half_a_request(reason, "", Vec::new()).await;
            half_a_request(reason, H2, Vec::new()).await;
            // Its answer has begun: 200.
            half_a_request(reason, H2, frame(1, 4, 1, &[0x88])).await;
        }
    });
}

/// Takes half a request back, when the backend has it and has said `answer`.
async fn half_a_request(reason: u32, protocol: &'static str, answer: Vec<u8>) {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let (all, begins) = (Rc::clone(&seen), !answer.is_empty());
    let backend = Backend::raw(move |mut stream| {
        let (all, answer) = (Rc::clone(&all), answer.clone());
        Box::pin(async move {
            if protocol == H2 {
                stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
            }
            while let Ok(byte) = stream.read_u8().await {
                all.borrow_mut().push(byte);
                if all.borrow().ends_with(b"half") {
                    stream.write_all(&answer).await.unwrap();
                }
            }
        })
    })
    .await;
    let has = |bytes: &[u8]| seen.borrow().windows(bytes.len()).any(|it| it == bytes);
    let proxy = Proxy::start(&[backend.url()], protocol).await;
    let mut stream = TcpStream::connect(proxy.addr).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    // POST / of a, and the first half of what it brings.
    let post = frame(1, 4, 1, &[0x83, 0x86, 0x84, 0x41, 1, b'a']);
    let begun = [frame(4, 0, 0, &[]), post, frame(0, 0, 1, b"half")].concat();
    stream.write_all(&begun).await.unwrap();
    until(|| has(b"half")).await;
    let mut head = [0; 9];
    while begins && head[3] != 1 {
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize]).await.unwrap();
    }
    stream.write_all(&frame(3, 0, 1, &reason.to_be_bytes())).await.unwrap();
    // The connection ends, or the stream does: with RST_STREAM, whatever its reason.
    let reset = &frame(3, 0, 1, &[0; 4])[..9];
    let end = frame(0, 1, 1, b"");
    until(|| backend.open() == 0 || has(reset) || has(&end)).await;
    assert!(!has(b"half\r\n0\r\n\r\n") && !has(&end), "{reason} {protocol} {begins}");
    until(|| proxy.in_flight() == 0).await;
}

#[test]
fn a_backend_hears_that_an_upload_is_not_needed_any_more() {
    run(async {
        let reasons = Rc::new(RefCell::new(Vec::new()));
        let (told, heard) = (Rc::clone(&reasons), Rc::new(Notify::new()));
        let has = Rc::clone(&heard);
        let backend = Backend::raw(move |mut stream| {
            let (told, has) = (Rc::clone(&told), Rc::clone(&has));
            Box::pin(async move {
                stream.read_exact(&mut [0; 24]).await.unwrap();
                stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
                while let Some(Framed { kind, payload, .. }) = next(&mut stream, &[0, 3]).await {
                    match kind {
                        0 => has.notify_one(),
                        _ => told.borrow_mut().push(payload),
                    }
                }
            })
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], H2).await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf").await;
        heard.notified().await;
        drop(client);
        until(|| !reasons.borrow().is_empty()).await;
        let mut stream = raw(proxy.addr).await;
        let post = frame(1, 4, 1, &[0x83, 0x86, 0x84, 0x41, 1, b'a']);
        stream.write_all(&[post, frame(0, 0, 1, b"half")].concat()).await.unwrap();
        heard.notified().await;
        stream.write_all(&frame(3, 0, 1, &8_u32.to_be_bytes())).await.unwrap();
        until(|| reasons.borrow().len() == 2).await;
        assert_eq!(*reasons.borrow(), [[0, 0, 0, 8], [0, 0, 0, 8]], "CANCEL");
    });
}

#[test]
fn who_takes_back_too_many_requests_loses_the_connection() {
    run(async {
        let hung = Backend::start(|_, _| Script::WriteAndHang(Vec::new())).await;
        let more = "[server.http2]\nresets_per_second_max = 10";
        let proxy = Proxy::start(&[hung.url()], more).await;
        let client = connect(proxy.addr).await;
        let mut sent = 0;
        while !client.is_closed() {
            let mut asking = client.clone();
            let asked = tokio::task::spawn_local(async move { ask(&mut asking, get("/")).await });
            sent += 1;
            until(|| hung.requests().len() == sent || client.is_closed()).await;
            asked.abort();
            let _aborted = asked.await;
            assert!(sent < 50, "nobody minds");
        }
        assert!(sent > 10, "{sent}");
        until(|| proxy.in_flight() == 0).await;
    });
}

#[test]
fn who_takes_back_too_many_requests_is_told_and_has_the_answers_it_waits_for() {
    run(async {
        let go = Rc::new(Notify::new());
        let told = Rc::clone(&go);
        let backend = Backend::start(move |count, _| {
            let go = Rc::clone(&told);
            match count {
                0 => Script::Do(Box::new(|mut stream| {
                    Box::pin(async move {
                        go.notified().await;
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow";
                        stream.write_all(answer).await.unwrap();
                    })
                })),
                _ => Script::WriteAndHang(Vec::new()),
            }
        })
        .await;
        let more = "[server.http2]\nresets_per_second_max = 10";
        let proxy = Proxy::start(&[backend.url()], more).await;
        let client = connect(proxy.addr).await;
        let mut waits = client.clone();
        let waiting = tokio::task::spawn_local(async move { ask(&mut waits, get("/slow")).await });
        until(|| backend.requests().len() == 1).await;
        let mut sent = 1;
        while !client.is_closed() {
            let mut asking = client.clone();
            let asked = tokio::task::spawn_local(async move { ask(&mut asking, get("/")).await });
            sent += 1;
            until(|| backend.requests().len() == sent || client.is_closed()).await;
            asked.abort();
            let _aborted = asked.await;
            assert!(sent < 50, "nobody minds");
        }
        go.notify_one();
        assert_eq!(waiting.await.unwrap().unwrap().body, "slow");
        let said = "lb_connections_flooded_total 1\n";
        assert!(proxy.metrics().await.text().contains(said));
    });
}

/// More at once than is looked at: h2 ends it before we could count.
#[test]
fn a_burst_of_requests_that_are_taken_back_is_counted_as_a_flood() {
    run(async {
        let hung = Backend::start(|_, _| Script::WriteAndHang(Vec::new())).await;
        let proxy = Proxy::start(&[hung.url()], "").await;
        let flooded = async |count: u32| {
            let said = format!("lb_connections_flooded_total {count}\n");
            proxy.metrics().await.text().contains(&said)
        };
        assert!(flooded(0).await);
        let mut stream = raw(proxy.addr).await;
        // GET / over http, for "a", by the static table (RFC 7541, appendix A).
        let both = |id| {
            let head = frame(1, 5, id, b"\x82\x84\x86\x41\x01a");
            [head, frame(3, 0, id, &8_u32.to_be_bytes())].concat()
        };
        let burst: Vec<u8> = (0..600).flat_map(|nth| both(2 * nth + 1)).collect();
        stream.write_all(&burst).await.unwrap();
        let goodbye = next(&mut stream, &[7]).await.unwrap();
        assert_eq!(goodbye.payload[4..8], 11_u32.to_be_bytes(), "ENHANCE_YOUR_CALM");
        while !flooded(1).await {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn who_takes_back_calls_that_have_begun_loses_the_connection_as_well() {
    run(async {
        let half = Rc::new(Notify::new());
        let told = Rc::clone(&half);
        let backend = Backend::raw(move |mut stream| {
            let told = Rc::clone(&told);
            Box::pin(async move {
                let mut said = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    said.push(byte);
                    if said.ends_with(b"half") {
                        told.notify_one();
                    }
                }
            })
        })
        .await;
        let more = "[server.http2]\nresets_per_second_max = 10";
        let proxy = Proxy::start(&[backend.url()], more).await;
        let mut stream = raw(proxy.addr).await;
        until(|| proxy.gateway.connections() == 1).await;
        // POST / of a, a call of gRPC: our own answer to it has no body.
        let head = b"\x83\x86\x84\x41\x01a\x0f\x10\x10application/grpc";
        let (mut sent, connections) = (0, || proxy.gateway.connections());
        while connections() == 1 && sent < 50 {
            let id = 1 + 2 * sent;
            let begun = [frame(1, 4, id, head), frame(0, 0, id, b"half")].concat();
            stream.write_all(&begun).await.unwrap();
            half.notified().await;
            stream.write_all(&frame(3, 0, id, &8_u32.to_be_bytes())).await.unwrap();
            until(|| backend.open() == 0).await;
            sent += 1;
        }
        assert!((11..50).contains(&sent), "{sent}");
    });
}

#[test]
fn answers_that_a_backend_breaks_off_are_not_taken_for_requests_that_a_client_takes_back() {
    run(async {
        let go = Rc::new(Notify::new());
        let told = Rc::clone(&go);
        let backend = Backend::start(move |count, _| {
            let go = Rc::clone(&told);
            if count >= 40 {
                return Script::ok("whole");
            }
            Script::Do(Box::new(move |mut stream| {
                Box::pin(async move {
                    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
                    stream.write_all(head).await.unwrap();
                    go.notified().await;
                })
            }))
        })
        .await;
        let more = "[service.breaker]\nenabled = false\n[server.http2]\nresets_per_second_max = 10";
        let proxy = Proxy::start(&[backend.url()], more).await;
        let mut client = connect(proxy.addr).await;
        let mut begun = Vec::new();
        for _ in 0..40 {
            begun.push(client.send_request(get("/")).await.unwrap());
        }
        go.notify_waiters();
        for answer in begun {
            assert!(read(answer).await.is_err(), "it is not whole");
        }
        assert_eq!(ask(&mut client, get("/")).await.unwrap().body, "whole");
        until(|| proxy.log().len() == 41).await;
        assert_eq!(proxy.log().iter().filter(|it| it["end"] == "backend_broke").count(), 40);
    });
}

#[test]
fn a_client_that_leaves_an_answer_where_it_is_loses_it_and_no_other() {
    run(async {
        let big = "x".repeat(4 << 20);
        let backend = Backend::start(move |count, _| match count {
            0 => Script::ok(&big),
            _ => Script::ok("small"),
        })
        .await;
        let timeouts = "[service.timeouts]\nbody_idle = \"100ms\"";
        let proxy = Proxy::start(&[backend.url()], timeouts).await;
        let mut client = connect(proxy.addr).await;
        let left = client.send_request(get("/big")).await.unwrap();
        until(|| proxy.in_flight() == 0).await;
        assert_eq!(ask(&mut client, get("/small")).await.unwrap().body, "small");
        assert!(read(left).await.is_err(), "it did not come to its end");
        until(|| proxy.log().len() == 2).await;
        assert!(proxy.log().iter().any(|line| line["end"] == "client_left"));
    });
}

#[test]
fn a_client_that_lets_no_byte_through_loses_its_connection() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("small")).await;
        let server = "[server]\nkeep_alive_timeout = \"100ms\"\nheader_timeout = \"100ms\"";
        let proxy = Proxy::start(&[backend.url()], server).await;
        let mut stream = TcpStream::connect(proxy.addr).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        // A window of 0 bytes for each stream, and GET / of a.
        stream.write_all(&frame(4, 0, 0, &[0, 4, 0, 0, 0, 0])).await.unwrap();
        let get = [0x82, 0x86, 0x84, 0x41, 1, b'a'];
        stream.write_all(&frame(1, 5, 1, &get)).await.unwrap();
        let mut said = Vec::new();
        let _reset = stream.read_to_end(&mut said).await;
        assert_eq!(backend.requests().len(), 1);
        until(|| proxy.gateway.connections() == 0).await;
    });
}

#[test]
fn a_client_that_waits_for_a_silent_backend_keeps_its_connection() {
    run(async {
        let told = Rc::new(Notify::new());
        let go_on = Rc::clone(&told);
        let backend = Backend::start(move |count, _| match count {
            0 => {
                let go_on = Rc::clone(&go_on);
                Script::Do(Box::new(move |mut stream| {
                    Box::pin(async move {
                        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\non";
                        stream.write_all(head).await.unwrap();
                        go_on.notified().await;
                        stream.write_all(b"ce").await.unwrap();
                    })
                }))
            }
            _ => Script::ok("small"),
        })
        .await;
        let server = "[server]\nkeep_alive_timeout = \"100ms\"\nheader_timeout = \"100ms\"";
        let proxy = Proxy::start(&[backend.url()], server).await;
        let mut client = connect(proxy.addr).await;
        let waiting = client.send_request(get("/")).await.unwrap();
        // Another one, which takes nothing, is looked at later and let go.
        let mut other = TcpStream::connect(proxy.addr).await.unwrap();
        other.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        other.write_all(&frame(4, 0, 0, &[0, 4, 0, 0, 0, 0])).await.unwrap();
        other.write_all(&frame(1, 5, 1, &[0x82, 0x86, 0x84, 0x41, 1, b'a'])).await.unwrap();
        until(|| proxy.gateway.connections() == 2).await;
        until(|| proxy.gateway.connections() == 1).await;
        told.notify_one();
        assert_eq!(read(waiting).await.unwrap().body, "once");
    });
}

#[test]
fn a_client_that_leaves_while_an_h2_backend_has_its_body_is_noticed() {
    run(async {
        let backend = Backend2::start(10, |_, _| std::future::pending()).await;
        let proxy = Proxy::start(&[backend.url()], H2).await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n").await;
        client.write("12345").await;
        until(|| !backend.got.borrow().is_empty()).await;
        drop(client);
        until(|| proxy.in_flight() == 0).await;
        assert_eq!(proxy.log()[0]["status"], 499);
    });
}

#[test]
fn a_request_that_crosses_a_goodbye_is_answered() {
    run(async {
        let (backend, held) = Backend::held().await;
        let server = "[server]\nkeep_alive_timeout = \"100ms\"\nheader_timeout = \"100ms\"";
        let proxy = Proxy::start(&[backend.url()], server).await;
        let mut client = raw(proxy.addr).await;
        let get = [0x82, 0x86, 0x84, 0x41, 1, b'a'];
        client.write_all(&frame(1, 5, 1, &get)).await.unwrap();
        until(|| backend.requests().len() == 1).await;
        held.borrow_mut().remove(0).send(()).unwrap();
        assert_eq!(next(&mut client, &[1]).await.unwrap().id, 1);
        // It hears GOAWAY when it has asked again, and does not answer the PING behind it.
        assert!(next(&mut client, &[7]).await.is_some());
        client.write_all(&frame(1, 5, 3, &get)).await.unwrap();
        until(|| backend.requests().len() == 2).await;
        // Another one that says nothing comes and goes meanwhile.
        let mut other = raw(proxy.addr).await;
        assert!(next(&mut other, &[7]).await.is_some());
        assert!(next(&mut other, &[7]).await.is_none());
        held.borrow_mut().remove(0).send(()).unwrap();
        let answer = next(&mut client, &[1]).await.expect("it is not cut off");
        assert_eq!((answer.id, answer.payload[0]), (3, 0x88), "200");
        // Then it is over, whether it was heard or not.
        assert!(next(&mut client, &[7]).await.is_none());
        until(|| proxy.log().len() == 2).await;
        assert!(proxy.log().iter().all(|line| line["status"] == 200));
    });
}

/// On a slow way, or beside many others, each piece that lb reads takes longer than a client may stand still.
#[test]
fn who_takes_an_answer_bit_by_bit_is_not_standing_still() {
    run(async {
        const BYTES: usize = 640 << 10;
        let backend = Backend::start(|_, _| {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BYTES}\r\n\r\n");
            Script::WriteAndHang([head.as_bytes(), &[b'x'; BYTES]].concat())
        })
        .await;
        let timeouts = "[service.timeouts]\nbody_idle = \"500ms\"";
        let proxy = Proxy::start(&[backend.url()], timeouts).await;
        let mut stream = raw(proxy.addr).await;
        let get = frame(1, 5, 1, &[0x82, 0x86, 0x84, 0x41, 1, b'a']);
        stream.write_all(&get).await.unwrap();
        let (began, mut taken) = (tokio::time::Instant::now(), 0);
        while taken < BYTES {
            let Framed { kind, payload, .. } = next(&mut stream, &[0, 3]).await.unwrap();
            assert_eq!(kind, 0, "{taken} bytes after {:?}", began.elapsed());
            taken += payload.len();
            // As fast as it may be: 16 KiB in 50 ms, and 256 KiB in 800.
            let due = Duration::from_millis(50).mul_f64(taken as f64 / f64::from(16 << 10));
            until(|| began.elapsed() >= due).await;
            let room = u32::try_from(payload.len()).unwrap().to_be_bytes();
            let windows = [0, 1].map(|id| frame(8, 0, id, &room)).concat();
            stream.write_all(&windows).await.unwrap();
        }
        until(|| proxy.log().len() == 1).await;
        assert_eq!(proxy.log()[0]["end"], "complete");
    });
}

/// Asks for an answer without an end, in windows that never close, and lets as much time go by as it takes to
/// have so many pieces of it at one in a second, without a word to whatever else is said. Returns the proxy
/// and the connection.
async fn takes_for(pieces: usize) -> (Proxy, TcpStream) {
    let backend = Backend::start(|_, _| {
        Script::Do(Box::new(|mut stream| {
            Box::pin(async move {
                let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n";
                stream.write_all(head).await.unwrap();
                let piece = vec![b'x'; 64 << 10];
                while stream.write_all(&piece).await.is_ok() {}
            })
        }))
    })
    .await;
    let patient = "[service.timeouts]\nexchange = \"1h\"\nbody_idle = \"1h\"";
    let proxy = Proxy::start(&[backend.url()], patient).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let mut stream = socket.connect(proxy.addr).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let wide = [frame(4, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]), frame(8, 0, 0, &[0x7f, 0, 0, 0])];
    let get = frame(1, 5, 1, &[0x82, 0x86, 0x84, 0x41, 1, b'a']);
    stream.write_all(&[wide.concat(), get].concat()).await.unwrap();
    next(&mut stream, &[0]).await.unwrap();
    tokio::time::pause();
    let mut piece = vec![0; 256 << 10];
    for second in 0..pieces {
        let mut taken = 0;
        while taken < piece.len() {
            match stream.try_read(&mut piece[taken..]) {
                Ok(0) => panic!("it ends after {second} s"),
                Ok(read) => taken += read,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error} after {second} s"),
            }
            // Whoever waits would have the clock go on.
            tokio::task::yield_now().await;
        }
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    (proxy, stream)
}

#[test]
fn who_takes_an_answer_slowly_is_there_whatever_becomes_of_a_ping() {
    run_within(Duration::from_secs(1_000), async {
        let (proxy, _stream) = takes_for(200).await;
        assert_eq!(proxy.gateway.connections(), 1);
    });
}

#[test]
fn who_takes_nothing_and_says_nothing_any_more_is_gone() {
    run_within(Duration::from_secs(1_000), async {
        let (proxy, _stream) = takes_for(1).await;
        let mut seconds = 0;
        while proxy.gateway.connections() == 1 {
            tokio::time::advance(Duration::from_secs(1)).await;
            seconds += 1;
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert!(seconds < 60, "nobody minds");
        }
        assert!(seconds >= 35, "{seconds}");
    });
}
