//! Connections of HTTP/2 to a backend, which many exchanges share: what one of them does to the others.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;

use crate::http2::{H2, get};
use crate::support::h2::{Backend2, Sent, answers_heads, ask, connect, frame, read, whole};
use crate::support::{Proxy, run};

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
