//! Tunnels that break off: what is cut on one side does not look like an end on the other.

use std::cell::RefCell;
use std::rc::Rc;

use lb_core::BreakerState;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::support::h2::{Framed, frame, next, raw};
use crate::support::{Backend, Proxy, read_head, run, until};

const ALLOWED: &str = "allow_connect = true";
const CONNECT: &str = "CONNECT db.test:1 HTTP/1.1\r\nhost: db.test:1\r\n\r\n";
const UPGRADE: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: ping/1\r\n\r\n";

/// What a backend says to begin a tunnel.
fn grant(asked: &str) -> &'static str {
    match asked.starts_with("CONNECT ") {
        true => "HTTP/1.1 200 Connected\r\n\r\n",
        false => "HTTP/1.1 101 Here\r\nconnection: upgrade\r\nupgrade: ping/1\r\n\r\n",
    }
}

/// A frame that asks for a tunnel in the first stream.
fn connects() -> Vec<u8> {
    frame(1, 4, 1, b"\x02\x07CONNECT\x01\x09db.test:1")
}

/// A backend that grants every tunnel, says half of something, and then resets the connection.
async fn breaking(go: Rc<Notify>) -> Backend {
    Backend::raw(move |mut stream| {
        let go = Rc::clone(&go);
        Box::pin(async move {
            let asked = read_head(&mut stream).await.unwrap();
            stream.write_all(format!("{}half", grant(&asked)).as_bytes()).await.unwrap();
            go.notified().await;
            stream.get_ref().set_zero_linger().unwrap();
        })
    })
    .await
}

#[test]
fn a_backend_that_breaks_off_does_not_look_like_one_that_has_ended() {
    run(async {
        for ask in [CONNECT, UPGRADE] {
            let go = Rc::new(Notify::new());
            let backend = breaking(Rc::clone(&go)).await;
            let proxy = Proxy::start(&[backend.url()], ALLOWED).await;
            let mut stream = BufReader::new(TcpStream::connect(proxy.addr).await.unwrap());
            stream.write_all(ask.as_bytes()).await.unwrap();
            read_head(&mut stream).await.unwrap();
            let mut half = [0; 4];
            stream.read_exact(&mut half).await.unwrap();
            assert_eq!(&half, b"half");
            go.notify_one();
            let broken = stream.read(&mut half).await.expect_err("a reset");
            assert_eq!(broken.kind(), std::io::ErrorKind::ConnectionReset);
            until(|| proxy.log().len() == 1).await;
            assert_eq!(proxy.log()[0]["end"], "backend_left");
        }
    });
}

#[test]
fn over_http2_a_backend_that_breaks_off_resets_the_stream() {
    run(async {
        let go = Rc::new(Notify::new());
        let backend = breaking(Rc::clone(&go)).await;
        let proxy = Proxy::start(&[backend.url()], ALLOWED).await;
        let mut client = raw(proxy.addr).await;
        client.write_all(&connects()).await.unwrap();
        let said = next(&mut client, &[0]).await.unwrap();
        assert_eq!((said.payload.as_slice(), said.flags), (&b"half"[..], 0));
        go.notify_one();
        let Framed { kind, id, payload, .. } = next(&mut client, &[0, 3]).await.unwrap();
        assert_eq!((kind, id, payload), (3, 1, vec![0, 0, 0, 8]), "RST_STREAM and CANCEL");
        until(|| proxy.log().len() == 1).await;
        assert_eq!(proxy.log()[0]["end"], "backend_left");
    });
}

/// As `conn.Close()` does after a frame that is none, the rest of what the client sent unread.
#[test]
fn a_client_that_has_a_backend_hang_up_takes_nobody_out() {
    run(async {
        for ask in [CONNECT, UPGRADE] {
            let go = Rc::new(Notify::new());
            let backend = breaking(Rc::clone(&go)).await;
            let policies = format!("{ALLOWED}\n[service.breaker]\nconsecutive_failures = 1");
            let proxy = Proxy::start(&[backend.url()], &policies).await;
            for ended in 1..=2 {
                let mut stream = BufReader::new(TcpStream::connect(proxy.addr).await.unwrap());
                stream.write_all(ask.as_bytes()).await.unwrap();
                read_head(&mut stream).await.unwrap();
                stream.write_all(&[0xff; 2_000]).await.unwrap();
                go.notify_one();
                while let Ok(1..) = stream.read(&mut [0; 4]).await {}
                until(|| proxy.log().len() == ended).await;
            }
            assert_eq!(proxy.service().backend(0).breaker().state(), BreakerState::Closed);
        }
    });
}

/// How a client ends its tunnel.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// It says that it is done, over HTTP/1.1.
    Fin,
    /// Its TCP connection is reset, over HTTP/1.1.
    Rst,
    /// It says that it is done with the stream.
    EndStream,
    /// It resets the stream.
    RstStream(u32),
    /// It closes the whole connection of HTTP/2.
    Leave,
}

#[test]
fn a_client_that_breaks_off_does_not_look_like_one_that_has_ended() {
    run(async {
        let resets = [0, 2, 8].map(Way::RstStream);
        for way in [Way::Fin, Way::Rst, Way::EndStream, Way::Leave].into_iter().chain(resets) {
            let ends = matches!(way, Way::Fin | Way::EndStream);
            breaks_off(way, CONNECT, ends).await;
            if matches!(way, Way::Fin | Way::Rst) {
                breaks_off(way, UPGRADE, ends).await;
            }
        }
    });
}

/// Says half of something in a tunnel and ends it in this way. The backend sees that it ends, or that it
/// does not.
async fn breaks_off(way: Way, ask: &str, ends: bool) {
    let (heard, seen) = (Rc::new(Notify::new()), Rc::new(RefCell::new(None)));
    let (told, saw) = (Rc::clone(&heard), Rc::clone(&seen));
    let backend = Backend::raw(move |mut stream| {
        let (told, saw) = (Rc::clone(&told), Rc::clone(&saw));
        Box::pin(async move {
            let asked = read_head(&mut stream).await.unwrap();
            stream.write_all(grant(&asked).as_bytes()).await.unwrap();
            stream.read_exact(&mut [0; 4]).await.unwrap();
            told.notify_one();
            let end = stream.read(&mut [0; 4]).await.map_err(|error| error.kind());
            *saw.borrow_mut() = Some(end);
        })
    })
    .await;
    let proxy = Proxy::start(&[backend.url()], ALLOWED).await;
    if matches!(way, Way::Fin | Way::Rst) {
        let mut stream = BufReader::new(TcpStream::connect(proxy.addr).await.unwrap());
        stream.write_all(ask.as_bytes()).await.unwrap();
        read_head(&mut stream).await.unwrap();
        stream.write_all(b"half").await.unwrap();
        heard.notified().await;
        if matches!(way, Way::Rst) {
            stream.get_ref().set_zero_linger().unwrap();
        }
    } else {
        let mut stream = raw(proxy.addr).await;
        stream.write_all(&connects()).await.unwrap();
        next(&mut stream, &[1]).await.unwrap();
        stream.write_all(&frame(0, 0, 1, b"half")).await.unwrap();
        heard.notified().await;
        let last = match way {
            Way::EndStream => frame(0, 1, 1, &[]),
            Way::RstStream(reason) => frame(3, 0, 1, &reason.to_be_bytes()),
            _ => Vec::new(),
        };
        stream.write_all(&last).await.unwrap();
        // But for one, it stays until the tunnel is over.
        if !matches!(way, Way::Leave) {
            until(|| proxy.log().len() == 1).await;
        }
    }
    until(|| seen.borrow().is_some() && proxy.log().len() == 1).await;
    let reset = Err(std::io::ErrorKind::ConnectionReset);
    assert_eq!(*seen.borrow(), Some(if ends { Ok(0) } else { reset }), "{way:?}");
    let end = if ends { "complete" } else { "client_left" };
    assert_eq!(proxy.log()[0]["end"], end, "{way:?}");
}
