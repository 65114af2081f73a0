//! How much is done at once for one connection, while the others of its worker wait.

use std::borrow::Cow;
use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Uri};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};
use lb_core::Failure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::super::outbox::{Framing, Outbox, Source};
use super::super::spare::Flat;
use super::super::{Asked, Http1, INTERIM_MAX, Limits};
use super::visits::{answered, visit};
use crate::arriving::Arriving;
use crate::body::Upload;
use crate::pulse::Patience;
use crate::slots::Slots;

/// What tokio lets a task do before others have their turn.
const TURN: usize = 128;
/// Bytes that lie in a socket.
const SOCKET: usize = 1 << 20;

/// Does `work`, and says how much it counted at most in one turn.
async fn most_in_a_turn<T>(counted: &Cell<usize>, work: impl Future<Output = T>) -> (T, usize) {
    let (mut work, mut most) = (pin!(work), 0);
    poll_fn(|cx| {
        let before = counted.get();
        let worked = work.as_mut().poll(cx);
        most = most.max(counted.get() - before);
        worked.map(|done| (done, most))
    })
    .await
}

#[tokio::test]
async fn an_upload_in_chunks_of_one_byte_is_carried_in_turns_and_not_by_the_byte() {
    const CHUNKS: usize = 150_000;
    let (mut client, visit, guest) = visit(SOCKET);
    let head =
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let body = "1\r\na\r\n".repeat(CHUNKS) + "0\r\n\r\n";
    client.write_all([head, &body].concat().as_bytes()).await.unwrap();
    let (frames, bytes) = (Cell::new(0), Cell::new(0));
    let talk = visit.talk(async |_: &mut Parts, mut body: Arriving| {
        let busy = guest.begin();
        while let Some(frame) = body.frame().await {
            bytes.set(bytes.get() + frame.unwrap().into_data().unwrap().len());
            frames.set(frames.get() + 1);
        }
        answered(busy)
    });
    let (_left, most) = most_in_a_turn(&frames, talk).await;
    assert_eq!(bytes.get(), CHUNKS, "all of it has come");
    assert!(frames.get() < CHUNKS / 500, "{} frames", frames.get());
    assert!(most <= TURN, "{most} of {} frames in one turn", frames.get());
    assert!(frames.get() > TURN, "there are more than one turn can carry");
}

/// What a GET is told by a backend that says all of this at once, and in how many turns.
async fn told(said: &str) -> (Result<u16, Failure>, usize) {
    let (near, mut far) = tokio::io::duplex(SOCKET);
    let slot = Slots::new(1).take().expect("nobody has taken it");
    let limits = Limits { fields_max: 32, head_bytes_max: 8_192 };
    let mut line = Http1::new(Box::new(near), slot, limits);
    let (method, uri) = (Method::GET, Uri::from_static("/"));
    let fields = Cow::Owned(HeaderMap::new());
    let patience = Patience { idle: Duration::ZERO, until: Instant::now() };
    let (uri, added, herald, may_splice) = (&uri, None, None, false);
    let asked = Asked { method: &method, uri, fields, added, herald, patience, may_splice };
    let says = async {
        far.read_exact(&mut [0; 4]).await.unwrap();
        far.write_all(said.as_bytes()).await.unwrap();
    };
    let mut telling = pin!(async { tokio::join!(line.ask(&asked, Upload::EMPTY), says) });
    let mut turns = 0;
    let (told, ()) = poll_fn(|cx| {
        turns += 1;
        telling.as_mut().poll(cx)
    })
    .await;
    (told.map(|head| head.status.as_u16()), turns)
}

#[tokio::test]
async fn interim_answers_are_read_in_turns_and_have_an_end() {
    let hints = |count| "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n".repeat(count as usize);
    let answer = "HTTP/1.1 204 No Content\r\n\r\n";
    let (status, turns) = told(&(hints(INTERIM_MAX) + answer)).await;
    assert_eq!(status, Ok(204));
    assert!(turns >= INTERIM_MAX as usize / TURN, "{turns} turns");
    let (endless, _) = told(&(hints(INTERIM_MAX + 1) + answer)).await;
    assert_eq!(endless, Err(Failure::Malformed), "who says so much says nothing");
    let long = format!("HTTP/1.1 103 Early Hints\r\nlink: {}\r\n\r\n", "a".repeat(8_192));
    let (long, _) = told(&(long + answer)).await;
    assert_eq!(long, Err(Failure::Malformed), "it is a head like any other");
}

/// A body that has always another byte.
struct Endless(Rc<Cell<usize>>);

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.set(self.0.get() + 1);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"a")))))
    }
}

impl Source for Endless {}

#[tokio::test]
async fn what_comes_a_byte_at_a_time_goes_out_before_much_of_it_has_come() {
    let (mut near, _far) = tokio::io::duplex(1);
    let taken = Rc::new(Cell::new(0));
    let mut outbox = Outbox::new(Flat::new(), Framing::ToEnd, Endless(Rc::clone(&taken)));
    let waits = poll_fn(|cx| Poll::Ready(outbox.poll(cx, &mut near).is_pending())).await;
    assert!(waits, "there is always more");
    assert!(outbox.written() > 0, "the socket takes a byte");
    assert!(taken.get() <= TURN, "{} frames for one byte that goes out", taken.get());
}
