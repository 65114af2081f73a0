//! Which bodies are moved on unseen.

use std::borrow::Cow;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use hyper::body::{Body, Frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::super::outbox::{Framing, Outbox, Source};
use super::super::spare::Flat;
use super::super::{Asked, Http1, Limits};
use crate::body::{Broken, Upload};
use crate::platform::Pipe;
use crate::pulse::Patience;
use crate::slots::Slots;

fn line(near: UnixStream) -> Http1 {
    let slot = Slots::new(1).take().expect("nobody has taken it");
    let limits = Limits { fields_max: 32, head_bytes_max: 8_192 };
    Http1::new(Box::new(near), slot, limits)
}

/// Asks for something, and waits for the head of the answer.
async fn ask(line: &mut Http1, may_splice: bool) {
    let (method, uri) = (Method::GET, Uri::from_static("/"));
    let fields = Cow::Owned(HeaderMap::new());
    let patience = Patience { idle: Duration::ZERO, until: Instant::now() };
    let (uri, added, herald) = (&uri, None, None);
    let asked = Asked { method: &method, uri, fields, added, herald, patience, may_splice };
    line.ask(&asked, Upload::EMPTY).await.unwrap();
}

/// Waits for the end of what is asked.
async fn asked_for(far: &mut UnixStream) {
    while far.read_u8().await.unwrap() != b'\n' || far.read_u16().await.unwrap() != 0x0d0a {}
}

/// How many bytes of the bodies of answers came in pipes, and how many were read.
async fn came(may_splice: bool, answers: &[(&str, &[u8])]) -> Vec<(usize, usize)> {
    let (near, mut far) = UnixStream::pair().unwrap();
    let mut line = line(near);
    let says = async {
        for (framing, body) in answers {
            asked_for(&mut far).await;
            let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n");
            far.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
        }
    };
    let hears = async {
        let mut came = Vec::new();
        for _ in answers {
            ask(&mut line, may_splice).await;
            came.push(body(&mut line).await);
            assert!(line.is_free(), "another may follow");
        }
        came
    };
    tokio::join!(says, hears).1
}

/// How many bytes of a body come in pipes, and how many are read.
async fn body(line: &mut Http1) -> (usize, usize) {
    let (mut spliced, mut read) = (0, 0);
    while !line.is_ended() {
        let frame = poll_fn(|cx| match line.poll_splice(cx) {
            Some(pipe) => pipe.map(|pipe| {
                spliced += pipe.unwrap().held();
                None
            }),
            None => line.poll_frame(cx).map(|frame| frame.transpose().unwrap()),
        });
        let data = frame.await.and_then(|frame| frame.into_data().ok());
        read += data.map_or(0, |data| data.len());
    }
    (spliced, read)
}

#[tokio::test]
async fn what_is_left_of_a_large_body_of_known_length_may_splice() {
    const LARGE: usize = 150_000;
    let body = [b'x'; LARGE];
    let large = ("content-length: 150000", &body[..]);
    let middling = ("content-length: 40000", &body[..40_000]);
    let small = ("content-length: 10000", &body[..10_000]);
    let chunk = [b"10000\r\n", &body[..0x1_0000], b"\r\n0\r\n\r\n"].concat();
    let chunked = ("transfer-encoding: chunked", &chunk[..]);

    let copied = came(false, &[large, large]).await;
    assert_eq!(copied, [(0, LARGE); 2], "a client over TLS has to have it copied");
    let all = [large, large, small, large, middling, middling, large, large, chunked, large];
    let came = came(true, &all).await;
    for ((spliced, read), (framing, body)) in came.iter().zip(all) {
        let data = if framing == chunked.0 { 0x1_0000 } else { body.len() };
        assert_eq!(spliced + read, data);
    }
    let little = |&(spliced, read): &(usize, usize)| spliced > 0 && read < 20_000;
    assert!(little(&came[1]) && little(&came[3]) && little(&came[7]), "{came:?}");
    assert!([2, 4, 5, 8].iter().all(|at| came[*at].0 == 0), "{came:?}");
}

#[tokio::test]
async fn what_comes_little_by_little_is_read() {
    const LENGTH: usize = 200_000;
    const LITTLE: usize = 1_000;
    let (near, mut far) = UnixStream::pair().unwrap();
    let mut line = line(near);
    let says = async {
        asked_for(&mut far).await;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n");
        far.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..LENGTH / LITTLE {
            far.write_all(&[b'x'; LITTLE]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let hears = async {
        ask(&mut line, true).await;
        body(&mut line).await
    };
    let ((), (spliced, read)) = tokio::join!(says, hears);
    assert_eq!(spliced + read, LENGTH);
    assert!(spliced > 0 && spliced < 40 * LITTLE, "{spliced} bytes in pipes");
}

/// The rest of an answer, as it comes on a connection.
struct Rest(Http1);

impl Body for Rest {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_frame(cx)
    }
}

impl Source for Rest {
    fn poll_splice(&mut self, cx: &mut Context<'_>) -> Option<Poll<Result<Pipe, Broken>>> {
        self.0.poll_splice(cx).map(|spliced| spliced.map_err(|_| Broken::Backend))
    }
}

#[tokio::test]
async fn what_a_connection_does_not_take_in_a_pipe_is_copied_and_no_more_is_put_there() {
    const LENGTH: usize = 150_000;
    let sent: Vec<u8> = (0..=250).cycle().take(LENGTH).collect();
    let (near, mut far) = UnixStream::pair().unwrap();
    // What is in memory takes no pipes, and is not asked.
    let (mut client, mut out) = tokio::io::duplex(1_000);
    let mut line = line(near);
    let says = async {
        for _ in 0..2 {
            asked_for(&mut far).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n");
            far.write_all(&[head.as_bytes(), &sent].concat()).await.unwrap();
        }
    };
    let hears = async {
        ask(&mut line, true).await;
        body(&mut line).await;
        ask(&mut line, true).await;
        let mut outbox = Outbox::new(Flat::new(), Framing::of(LENGTH as u64), Rest(line));
        poll_fn(|cx| outbox.poll(cx, &mut out)).await.unwrap();
        assert_eq!(outbox.written(), LENGTH as u64);
    };
    let takes = async {
        let mut got = vec![0; LENGTH];
        client.read_exact(&mut got).await.unwrap();
        assert!(got == sent);
    };
    tokio::join!(says, hears, takes);
}
