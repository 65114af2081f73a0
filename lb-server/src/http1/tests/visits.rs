//! What becomes of requests whose bodies come late, and are read late, in part, elsewhere or never.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, Uri};
use http_body_util::BodyExt;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::{LocalSet, spawn_local, yield_now};

use super::super::{Farewell, Limits, Visit};
use crate::arriving::Arriving;
use crate::body::Broken;
use crate::client::Client;
use crate::dice;
use crate::framing::{self, Guard};
use crate::platform::Io;
use crate::pulse::Busy;
use crate::reply::{Outgoing, Reply, Whose};
use crate::whence::Whence;

/// A visit over a socket in memory that holds so many bytes, and who makes it.
pub(super) fn visit(socket: usize) -> (DuplexStream, Visit, Rc<Client>) {
    let (client, socket) = tokio::io::duplex(socket);
    let timeout = Duration::from_secs(10);
    let limits = framing::Limits { bytes_max: 4_096, lines_max: 32, http2: false, timeout };
    let (guard, watch) = Guard::new(Box::new(socket) as Box<dyn Io>, limits);
    let visit = Visit::new(guard, Bytes::new(), Limits { fields_max: 32, head_bytes_max: 4_096 });
    let whence = Whence { peer: None, local: None, secure: None };
    (client, visit, Client::of_http1(whence, watch))
}

pub(super) fn answered(busy: Busy) -> Reply {
    Response::new(Outgoing::new(Whose::nobodys(), busy)).into()
}

#[test]
fn a_body_is_whole_for_whoever_has_seen_its_end_and_nobody_else() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (mut client, visit, guest) = visit(1_024);
        let body = RefCell::new(None);
        let respond = async |_: &mut Parts, incoming: Arriving| {
            *body.borrow_mut() = Some(incoming);
            answered(guest.begin())
        };
        let head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n";
        client.write_all(head).await.unwrap();
        {
            let mut talk = std::pin::pin!(visit.talk(respond));
            // The answer has gone out; whoever has the body may still want the rest of it.
            let mut said = [0; 64];
            tokio::select! {
                biased;
                _ended = &mut talk => panic!("somebody wants the rest"),
                read = client.read(&mut said) => assert!(said[..read.unwrap()].starts_with(b"HTTP/1.1 200")),
            }
        }
        let mut body = body.take().unwrap();
        let first = body.frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "ab");
        drop(visit);
        assert!(matches!(body.frame().await, Some(Err(Broken::Client))), "cut, and not whole");
    });
}

#[tokio::test]
async fn a_head_has_nothing_of_the_request_before_it() {
    let (mut client, visit, guest) = visit(1_024);
    let respond = async |head: &mut Parts, _: Arriving| {
        let fields: Vec<_> = head.headers.keys().map(ToString::to_string).collect();
        assert_eq!(fields, ["host", "x"], "as it was sent");
        assert_eq!((&head.method, head.uri.path()), (&Method::GET, "/b"));
        assert!(head.extensions.is_empty());
        // Whoever answers may change it.
        head.method = Method::CONNECT;
        head.uri = Uri::from_static("http://c/d?e");
        head.headers.append("x", http::HeaderValue::from_static("y"));
        head.headers.remove("host");
        head.extensions.insert(1_u8);
        answered(guest.begin())
    };
    let asked = b"GET /b HTTP/1.1\r\nhost: a\r\nx: 1\r\n\r\n";
    client.write_all(&asked.repeat(3)).await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(visit.talk(respond).await, Farewell::Leave(None));
    let mut heard = String::new();
    drop(visit);
    client.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard.matches("HTTP/1.1 200").count(), 3);
}

/// What is done with a request's body before the answer goes out, or behind it.
#[derive(Clone, Copy, Debug)]
enum Reader {
    /// All of it is read before.
    Before,
    /// So many pieces are read before, and the rest is left.
    Part(usize),
    /// It is read by somebody else, who takes his time, while the answer goes out.
    Beside(usize),
}

/// A request as it is sent.
#[derive(Clone, Debug)]
struct Asked {
    body: Vec<u8>,
    /// In chunks of so many bytes; or with its length.
    chunk: Option<usize>,
    reader: Reader,
}

impl Asked {
    fn written(&self, number: usize) -> Vec<u8> {
        let mut out = format!("POST /{number} HTTP/1.1\r\nhost: a\r\n").into_bytes();
        match self.chunk {
            None => {
                out.extend_from_slice(
                    format!("content-length: {}\r\n\r\n", self.body.len()).as_bytes(),
                );
                out.extend_from_slice(&self.body);
            }
            Some(size) => {
                out.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
                for chunk in self.body.chunks(size) {
                    out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    out.extend_from_slice(chunk);
                    out.extend_from_slice(b"\r\n");
                }
                out.extend_from_slice(b"0\r\n\r\n");
            }
        }
        out
    }
}

/// What somebody found out about a request: its path, what he read of its body, and whether that was all.
#[derive(Clone, Debug)]
struct Found {
    path: String,
    body: Vec<u8>,
    is_whole: bool,
}

/// Reads so many pieces, and has `patience` before each.
async fn read(mut body: Arriving, pieces: usize, patience: usize) -> (Vec<u8>, bool) {
    let mut all = Vec::new();
    for _ in 0..pieces {
        for _ in 0..patience {
            yield_now().await;
        }
        match body.frame().await {
            Some(Ok(frame)) => all.extend_from_slice(&frame.into_data().unwrap_or(Bytes::new())),
            Some(Err(_)) => return (all, false),
            None => return (all, true),
        }
    }
    (all, hyper::body::Body::is_end_stream(&body))
}

/// How requests are sent.
#[derive(Clone, Copy, Debug)]
struct Sending {
    /// In pieces of so many bytes, so many turns one after the other.
    cut: usize,
    pause: usize,
    /// So many bytes at most.
    most: usize,
    /// Whether the client closes the connection then, or hears all of the answers.
    vanishes: bool,
}

/// Sends `asked`. What was found out about them, and how the visit ended.
async fn visited(asked: &[Asked], sending: Sending) -> (Vec<Found>, Farewell) {
    let (client, visit, guest) = visit(64);
    let (mut hears, mut says) = tokio::io::split(client);
    let numbered = (0..).zip(asked);
    let mut bytes: Vec<u8> = numbered.flat_map(|(number, asked)| asked.written(number)).collect();
    bytes.truncate(sending.most);
    let hearing = spawn_local(async move { hears.read_to_end(&mut Vec::new()).await });
    let hears = hearing.abort_handle();
    let said = spawn_local(async move {
        for piece in bytes.chunks(sending.cut) {
            if says.write_all(piece).await.is_err() {
                break; // whoever is told that it ends need not listen
            }
            for _ in 0..sending.pause {
                yield_now().await;
            }
        }
        if sending.vanishes {
            hears.abort();
        } else {
            let _gone = says.shutdown().await;
        }
    });
    let found = Rc::new(RefCell::new(Vec::new()));
    let beside = RefCell::new(Vec::new());
    let respond = async |head: &mut Parts, body: Arriving| {
        let (found, busy) = (Rc::clone(&found), guest.begin());
        guest.let_go();
        let path = head.uri.path().to_owned();
        let number: usize = path[1..].parse().expect("the path is a number");
        let place = found.borrow().len();
        found.borrow_mut().push(Found { path, body: Vec::new(), is_whole: false });
        let note = move |(body, is_whole): (Vec<u8>, bool), found: &RefCell<Vec<Found>>| {
            let found = &mut found.borrow_mut()[place];
            (found.body, found.is_whole) = (body, is_whole);
        };
        match asked[number].reader {
            Reader::Before => note(read(body, usize::MAX, 0).await, &found),
            Reader::Part(pieces) => note(read(body, pieces, 0).await, &found),
            Reader::Beside(patience) => {
                let reads = read(body, usize::MAX, patience);
                let reading = spawn_local(async move { note(reads.await, &found) });
                beside.borrow_mut().push(reading);
            }
        }
        answered(busy)
    };
    let farewell = visit.talk(respond).await;
    visit.close(None, true).await;
    said.abort();
    let _heard_or_not = hearing.await;
    // Whoever reads beside comes to his end as well.
    for reading in beside.take() {
        reading.await.expect("whoever reads does not panic");
    }
    let found = found.borrow().clone();
    (found, farewell)
}

fn asked() -> impl Strategy<Value = Asked> {
    let reader = prop_oneof![
        Just(Reader::Before),
        (0..4_usize).prop_map(Reader::Part),
        (0..5_usize).prop_map(Reader::Beside),
    ];
    let body = prop::collection::vec(any::<u8>(), 0..200);
    (body, prop::option::of(1..60_usize), reader).prop_map(|(body, chunk, reader)| Asked {
        body,
        chunk,
        reader,
    })
}

proptest! {
    #![proptest_config(dice::replayed())]

    #[test]
    fn every_request_is_its_own_and_a_body_is_whole_only_where_all_of_it_came(
        asked in prop::collection::vec(asked(), 1..5),
        cut in prop_oneof![1..9_usize, 9..400_usize],
        pause in 0..4_usize,
        most in prop_oneof![2 => Just(usize::MAX), 1 => 0..900_usize],
        vanishes in any::<bool>(),
    ) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        let sending = Sending { cut, pause, most, vanishes };
        let visited = LocalSet::new().block_on(&runtime, visited(&asked, sending));
        let (found, farewell) = visited;
        let mut sent = 0;
        for (number, found) in found.iter().enumerate() {
            let asked = &asked[number];
            prop_assert_eq!(&found.path, &format!("/{}", number), "a request out of nowhere");
            prop_assert!(asked.body.starts_with(&found.body), "bytes that nobody sent: {:?}", found);
            prop_assert!(!found.is_whole || found.body == asked.body, "not whole: {:?}", found);
            sent += asked.written(number).len();
            let waited_for = !matches!(asked.reader, Reader::Part(_));
            let is_there = !vanishes && most >= sent;
            prop_assert!(!waited_for || found.is_whole || !is_there, "{} was cut: {:?}", number, found);
        }
        // Where all bodies are read to their end, and nobody leaves, there is an answer for everybody.
        let all_read = asked.iter().all(|it| !matches!(it.reader, Reader::Part(_)));
        let is_there = !vanishes && most == usize::MAX;
        prop_assert!(!all_read || !is_there || found.len() == asked.len(), "{:?}", farewell);
    }
}
