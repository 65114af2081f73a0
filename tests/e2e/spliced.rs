//! Large bodies that go from socket to socket unseen are those that were sent, and end as they end.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

use lb_core::BreakerState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::support::{Backend, Client, Proxy, Script, noise, read_head, run, until};

const ASK: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
/// From too little to be worth it up to several pipes full.
const SIZES: [u32; 9] = [1, 16_000, 17_000, 49_151, 49_152, 100_000, 262_144, 3_000_000, 70_000];

/// An answer with this body.
fn answer(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// The same, with this much less of the body.
fn cut(body: &[u8], missing: usize) -> Vec<u8> {
    let mut said = answer(body);
    said.truncate(said.len() - missing);
    said
}

#[test]
fn it_makes_no_difference_to_a_body_whether_it_is_copied() {
    run(async {
        for server in ["", "[server]\nsplice = false"] {
            let backend =
                Backend::start(|index, _| Script::Write(answer(&noise(SIZES[index])))).await;
            let proxy = Proxy::start(&[backend.url()], server).await;
            let mut client = Client::connect(proxy.addr).await;
            for size in SIZES {
                client.write(ASK).await;
                let answer = client.answer().await.unwrap();
                assert!(answer.body == noise(size), "{size} bytes have changed on their way");
            }
            assert_eq!(backend.connections(), 1, "nothing is left on the connection");
            let metrics = proxy.metrics().await;
            let is_none = metrics.text().contains("lb_spliced_bytes_total 0\n");
            assert_eq!(is_none, !server.is_empty(), "{}", metrics.text());
            until(|| proxy.log().len() == SIZES.len()).await;
            for (line, size) in proxy.log().iter().zip(SIZES) {
                assert_eq!((&line["end"], &line["bytes_out"]), (&"complete".into(), &size.into()));
            }
        }
    });
}

#[test]
fn a_client_that_reads_late_gets_all_of_it() {
    run(async {
        const MANY: u32 = 16_000_000;
        let written = Rc::new(Cell::new(false));
        let noting = Rc::clone(&written);
        let backend = Backend::start(move |_, _| {
            let written = Rc::clone(&noting);
            Script::Do(Box::new(move |mut stream| {
                Box::pin(async move {
                    stream.write_all(&answer(&noise(MANY))).await.unwrap();
                    written.set(true);
                    let _until_closed = stream.read_u8().await;
                })
            }))
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut clients = Vec::new();
        for _ in 0..3 {
            let mut client = Client::connect(proxy.addr).await;
            client.write(ASK).await;
            clients.push(client);
        }
        until(|| backend.requests().len() == 3).await;
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
        assert!(!written.get(), "it was taken for clients that read none");
        for mut client in clients {
            assert!(client.answer().await.unwrap().body == noise(MANY));
        }
    });
}

#[test]
fn a_backend_that_breaks_off_in_the_middle_is_to_blame() {
    run(async {
        let body = noise(200_000);
        let half = cut(&body, 50_000);
        let backend = Backend::start(move |_, _| Script::WriteAndClose(half.clone())).await;
        let breaker = "[service.breaker]\nconsecutive_failures = 1";
        let proxy = Proxy::start(&[backend.url()], breaker).await;
        let got = Client::get(proxy.addr).await;
        assert!(!got.whole);
        assert!(body.starts_with(&got.body), "what came before is what was sent");
        until(|| !proxy.log().is_empty()).await;
        assert_eq!(proxy.log()[0]["end"], "backend_broke");
        assert_eq!(proxy.service().backend(0).breaker().state(), BreakerState::Open);
    });
}

#[test]
fn a_backend_that_falls_silent_in_the_middle_is_to_blame() {
    run(async {
        let body = noise(200_000);
        let half = cut(&body, 50_000);
        let backend = Backend::start(move |_, _| Script::WriteAndHang(half.clone())).await;
        let policies = "[service.breaker]\nconsecutive_failures = 1\n\
                        [service.timeouts]\nbody_idle = \"50ms\"";
        let proxy = Proxy::start(&[backend.url()], policies).await;
        let got = Client::get(proxy.addr).await;
        assert!(!got.whole);
        assert_eq!(got.body, body[..150_000], "all that came has gone out");
        until(|| !proxy.log().is_empty()).await;
        assert_eq!(proxy.log()[0]["end"], "backend_idle");
        assert_eq!(proxy.service().backend(0).breaker().state(), BreakerState::Open);
    });
}

#[test]
fn what_a_backend_says_behind_a_body_is_nobodys_answer() {
    run(async {
        let body = noise(200_000);
        let sent = body.clone();
        let backend = Backend::start(move |index, _| match index {
            0 => Script::Write(answer(&sent)),
            // Of this one little is read with its head.
            1 => Script::Write([answer(&sent), answer(b"a lie")].concat()),
            _ => Script::ok("the truth"),
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut client = Client::connect(proxy.addr).await;
        for _ in 0..2 {
            client.write(ASK).await;
            assert!(client.answer().await.unwrap().body == body);
        }
        assert!(!proxy.metrics().await.text().contains("lb_spliced_bytes_total 0\n"));
        until(|| backend.open() == 0).await;
        client.write(ASK).await;
        assert_eq!(client.answer().await.unwrap().text(), "the truth");
        assert_eq!(backend.connections(), 2, "nobody asks on a connection that says too much");
    });
}

#[test]
fn a_client_that_leaves_in_the_middle_frees_its_backend() {
    run(async {
        let backend = Backend::start(|_, _| Script::Write(answer(&noise(16_000_000)))).await;
        let breaker = "[service.breaker]\nconsecutive_failures = 1";
        let proxy = Proxy::start(&[backend.url()], breaker).await;
        let mut client = Client::connect(proxy.addr).await;
        client.write(ASK).await;
        client.read(100_000).await;
        drop(client);
        until(|| proxy.in_flight() == 0 && backend.open() == 0).await;
        until(|| !proxy.log().is_empty()).await;
        assert_eq!(proxy.log()[0]["end"], "client_left");
        assert_eq!(proxy.service().backend(0).breaker().state(), BreakerState::Closed);
    });
}

#[test]
fn unix_sockets_on_either_side_carry_large_bodies() {
    run(async {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (near, far) = (folder.join("spliced-near"), folder.join("spliced-far"));
        let _none = (std::fs::remove_file(&near), std::fs::remove_file(&far));
        let listener = UnixListener::bind(&far).unwrap();
        tokio::task::spawn_local(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = tokio::io::BufReader::new(stream);
            while read_head(&mut stream).await.is_some() {
                stream.write_all(&answer(&noise(3_000_000))).await.unwrap();
            }
        });
        let proxy = Proxy::start_with(&format!(
            "[[listener]]\nbind = \"unix:{}\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
             [[service]]\nname = \"web\"\nhosts = [\"*\"]\n\
             pool = [{{ backends = [{{ url = \"unix:{}\" }}] }}]",
            near.display(),
            far.display(),
        ))
        .await;
        let mut client = tokio::io::BufReader::new(UnixStream::connect(&near).await.unwrap());
        for _ in 0..2 {
            client.write_all(ASK.as_bytes()).await.unwrap();
            assert!(read_head(&mut client).await.unwrap().starts_with("HTTP/1.1 200"));
            let mut body = vec![0; 3_000_000];
            client.read_exact(&mut body).await.unwrap();
            assert!(body == noise(3_000_000));
        }
        drop(proxy);
    });
}
