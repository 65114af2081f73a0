//! Requests with bodies on connections of HTTP/2 that exchanges share.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::http2::{H2, get, post};
use crate::support::h2::{Framed, Sent, ask, connect, frame, next, whole};
use crate::support::{Backend, Proxy, run, until};

/// What a backend is told.
type Told = Rc<RefCell<Vec<Framed>>>;

/// A backend that gives no window and reads what it is told, after saying this. To each frame it says what
/// `answer` makes of it.
async fn unmoved(
    settings: Vec<u8>,
    answer: impl Fn(&Framed) -> Vec<u8> + 'static,
) -> (Backend, Told) {
    let told = Told::default();
    let (heard, answer) = (Rc::clone(&told), Rc::new(answer));
    let backend = Backend::raw(move |mut stream| {
        let (heard, answer, settings) = (Rc::clone(&heard), Rc::clone(&answer), settings.clone());
        Box::pin(async move {
            stream.read_exact(&mut [0; 24]).await.unwrap();
            stream.write_all(&frame(4, 0, 0, &settings)).await.unwrap();
            while let Some(came) = next(&mut stream, &[0, 1, 3]).await {
                stream.write_all(&answer(&came)).await.unwrap();
                heard.borrow_mut().push(came);
            }
        })
    });
    (backend.await, told)
}

/// A body that begins with these bytes and never ends.
fn endless(begun: &'static str) -> Sent {
    let begun =
        stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(begun.as_bytes())))]);
    BodyExt::boxed(StreamBody::new(begun.chain(stream::pending())))
}

/// All of an answer: 202.
fn accepted(id: u32) -> Vec<u8> {
    frame(1, 5, id, b"\x08\x03202")
}

/// What `answer` makes of a head, and nothing else.
fn to_heads(answer: impl Fn(u32) -> Vec<u8>) -> impl Fn(&Framed) -> Vec<u8> {
    move |came| if came.kind == 1 { answer(came.id) } else { Vec::new() }
}

#[test]
fn an_upload_behind_its_answer_has_its_place_and_an_end() {
    run(async {
        let many = "x".repeat(100_000);
        // One that is not sent, and one that nobody takes.
        for is_sent in [false, true] {
            let two = [0, 3, 0, 0, 0, 2].to_vec();
            let (backend, told) = unmoved(two, to_heads(accepted)).await;
            let policies = format!("{H2}\n[service.timeouts]\nexchange = \"700ms\"");
            let proxy = Proxy::start(&[backend.url()], &policies).await;
            let mut client = connect(proxy.addr).await;
            let mut waiting = Vec::new();
            for _ in 0..2 {
                let body = if is_sent { whole(&many) } else { endless("0123456789") };
                let answer = client.send_request(post(body)).await.unwrap();
                assert_eq!(answer.status(), 202);
                waiting.push(answer);
            }
            for _ in 0..3 {
                assert_eq!(ask(&mut client, get("/")).await.unwrap().head.status, 202);
            }
            assert_eq!(backend.connections(), 2, "two have all that there is of the first");
            let cancels = || {
                told.borrow().iter().filter(|it| it.kind == 3 && it.payload == [0, 0, 0, 8]).count()
            };
            until(|| cancels() == 2).await;
            assert!(told.borrow().iter().all(|it| it.kind != 0 || it.flags & 1 == 0), "no end");
            assert_eq!(ask(&mut client, get("/")).await.unwrap().head.status, 202);
            assert_eq!(backend.connections(), 2);
        }
    });
}

#[test]
fn an_upload_ends_with_an_answer_that_nobody_waits_for() {
    run(async {
        // A head, and nothing behind it.
        let (backend, told) = unmoved(Vec::new(), to_heads(|id| frame(1, 4, id, &[0x88]))).await;
        let proxy = Proxy::start(&[backend.url()], H2).await;
        let mut client = connect(proxy.addr).await;
        let body = whole(&"x".repeat(200_000));
        let answer = client.send_request(post(body)).await.unwrap();
        until(|| told.borrow().iter().map(|it| it.payload.len()).sum::<usize>() > 65_535).await;
        drop((answer, client));
        until(|| told.borrow().iter().any(|it| it.kind == 3)).await;
    });
}

#[test]
fn a_body_that_waits_for_others_says_nothing_of_its_backend_and_the_next_goes_elsewhere() {
    run(async {
        // It takes none of the first, and answers the others when it has all of them.
        let heads = Cell::new(0);
        let answer = move |came: &Framed| {
            let is_first = came.kind == 1 && heads.replace(heads.get() + 1) == 0;
            match came.flags & 1 {
                _ if is_first => frame(1, 4, came.id, &[0x88]),
                0 => Vec::new(),
                _ => accepted(came.id),
            }
        };
        let (backend, told) = unmoved(Vec::new(), answer).await;
        let policies = "retry = { attempts_max = 1 }\n[service.timeouts]\nfirst_byte = \"300ms\"\n\
                        [service.breaker]\nconsecutive_failures = 1";
        let proxy = Proxy::start(&[backend.url()], &format!("{H2}\n{policies}")).await;
        let mut client = connect(proxy.addr).await;
        let held = client.send_request(post(whole(&"x".repeat(100_000)))).await.unwrap();
        until(|| told.borrow().iter().map(|it| it.payload.len()).sum::<usize>() > 65_535).await;
        let answer = ask(&mut client, post(whole("small"))).await.unwrap();
        assert_eq!(answer.head.status, 504);
        assert!(answer.body.contains(r#""error":"out_of_time""#), "{}", answer.body);
        for _ in 0..3 {
            assert_eq!(ask(&mut client, post(whole("small"))).await.unwrap().head.status, 202);
        }
        assert_eq!(backend.connections(), 2);
        drop(held);
    });
}

#[test]
fn who_can_have_no_other_connection_shares_one_on_which_no_body_goes_out() {
    run(async {
        let (backend, told) = unmoved(Vec::new(), |came| match (came.kind, came.flags & 1) {
            (1, 0) => frame(1, 4, came.id, &[0x88]),
            (1, _) => accepted(came.id),
            _ => Vec::new(),
        })
        .await;
        let lines = "keep_alive = { connections_max = 1 }\nretry = { attempts_max = 1 }\n\
                     [service.timeouts]\nfirst_byte = \"300ms\"";
        let proxy = Proxy::start(&[backend.url()], &format!("{H2}\n{lines}")).await;
        let mut client = connect(proxy.addr).await;
        let held = client.send_request(post(whole(&"x".repeat(100_000)))).await.unwrap();
        until(|| told.borrow().iter().map(|it| it.payload.len()).sum::<usize>() > 65_535).await;
        let since = Instant::now();
        while since.elapsed() < Duration::from_millis(400) {
            assert_eq!(ask(&mut client, get("/")).await.unwrap().head.status, 202);
        }
        assert_eq!(backend.connections(), 1);
        drop(held);
    });
}
