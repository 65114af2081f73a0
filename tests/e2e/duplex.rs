//! Bodies that go both ways at once: neither side is idle while the other one speaks.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::support::{Backend, Client, Proxy, read_head, run, until};

/// How long nothing may move.
const IDLE: Duration = Duration::from_millis(100);
const HEAD: &str = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
const END: &[u8] = b"0\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n:\r\n";

fn policies() -> String {
    format!("[service.timeouts]\nbody_idle = \"{}ms\"", IDLE.as_millis())
}

/// A backend that says `first` at once and `last` behind the request, and how often it has read of that.
async fn counting(first: &'static [u8], last: &'static [u8]) -> (Backend, Rc<Cell<u32>>) {
    let read = Rc::new(Cell::new(0));
    let counted = Rc::clone(&read);
    let backend = Backend::raw(move |mut stream| {
        let counted = Rc::clone(&counted);
        Box::pin(async move {
            read_head(&mut stream).await.unwrap();
            stream.write_all(first).await.unwrap();
            let mut body = Vec::new();
            while !body.ends_with(END) && stream.read_buf(&mut body).await.unwrap() > 0 {
                counted.set(counted.get() + 1);
            }
            stream.write_all(last).await.unwrap();
            let _next = stream.read_to_end(&mut body).await;
        })
    })
    .await;
    (backend, read)
}

/// Sends a piece as soon as the one before was read, for several times as long as nothing may move, and the end.
async fn upload(client: &mut Client, read: &Cell<u32>) {
    let began = Instant::now();
    while began.elapsed() < 4 * IDLE {
        let before = read.get();
        client.write("1\r\nx\r\n").await;
        until(|| read.get() > before).await;
    }
    client.write(END).await;
}

#[test]
fn a_backend_that_waits_for_the_request_is_not_idle() {
    run(async {
        let (backend, read) = counting(ANSWER, b"3\r\nall\r\n0\r\n\r\n").await;
        let proxy = Proxy::start(&[backend.url()], &policies()).await;
        let mut client = Client::connect(proxy.addr).await;
        client.write(HEAD).await;
        upload(&mut client, &read).await;
        assert_eq!(client.answer().await.unwrap().text(), ":all");
        until(|| proxy.log().len() == 1).await;
        assert_eq!(proxy.log()[0]["end"], "complete");
    });
}

#[test]
fn a_connection_with_an_upload_behind_its_answer_is_not_idle() {
    run(async {
        let (backend, read) = counting(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"").await;
        let server = format!("[server]\nkeep_alive_timeout = \"{}ms\"", IDLE.as_millis());
        let proxy = Proxy::start(&[backend.url()], &server).await;
        let mut client = Client::connect(proxy.addr).await;
        client.write(HEAD).await;
        assert_eq!(client.answer().await.unwrap().status, 200);
        upload(&mut client, &read).await;
        // The connection goes on behind it: what makes no sense there is answered too.
        client.write("GET / HTTP/1.1\r\n\r\n").await;
        assert_eq!(client.answer().await.unwrap().status, 400);
    });
}

#[test]
fn a_client_that_hears_the_answer_is_not_idle() {
    run(async {
        let (says, said) = mpsc::channel::<&'static str>(1);
        let said = RefCell::new(Some(said));
        let backend = Backend::raw(move |mut stream| {
            let mut said = said.take().unwrap();
            Box::pin(async move {
                read_head(&mut stream).await.unwrap();
                stream.write_all(ANSWER).await.unwrap();
                while let Some(said) = said.recv().await {
                    stream.write_all(said.as_bytes()).await.unwrap();
                }
                let mut body = vec![0; 11];
                stream.read_exact(&mut body).await.unwrap();
                assert_eq!(body, b"1\r\nx\r\n0\r\n\r\n");
                stream.write_all(b"0\r\n\r\n").await.unwrap();
            })
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], &policies()).await;
        let mut client = Client::connect(proxy.addr).await;
        client.write(HEAD).await;
        client.head().await;
        assert_eq!(client.read(6).await, b"1\r\n:\r\n");
        let began = Instant::now();
        while began.elapsed() < 4 * IDLE {
            says.send("1\r\ny\r\n").await.unwrap();
            assert_eq!(client.read(6).await, b"1\r\ny\r\n");
        }
        drop(says);
        client.write("1\r\nx\r\n0\r\n\r\n").await;
        assert_eq!(client.read(5).await, b"0\r\n\r\n");
        until(|| proxy.log().len() == 1).await;
        assert_eq!(proxy.log()[0]["end"], "complete");
    });
}
