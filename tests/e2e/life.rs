//! The end of a process: what runs is finished, nothing new begins, and nothing lasts for ever.

use std::cell::RefCell;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::support::{Backend, Client, Proxy, Script, run, until};

/// A backend that answers when it is told to.
async fn patient() -> (Backend, oneshot::Sender<()>) {
    let (answer, told) = oneshot::channel();
    let told = RefCell::new(Some(told));
    let backend = Backend::start(move |_, _| {
        let told = told.borrow_mut().take().expect("one request is made");
        Script::Do(Box::new(|mut stream| {
            Box::pin(async move {
                told.await.expect("the test answers");
                let head = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone";
                stream.write_all(head).await.unwrap();
                std::future::pending().await
            })
        }))
    })
    .await;
    (backend, answer)
}

#[test]
fn draining_finishes_what_runs_and_takes_nothing_new() {
    run(async {
        let (backend, answer) = patient().await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut idle = Client::connect(proxy.addr).await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        until(|| backend.requests().len() == 1).await;
        assert_eq!(Client::ask(proxy.admin, READY).await.status, 200);
        proxy.trigger.drain();
        assert!(idle.is_closed().await);
        assert_eq!(Client::ask(proxy.admin, READY).await.status, 503);
        while TcpStream::connect(proxy.addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
        answer.send(()).unwrap();
        let last = client.answer().await.unwrap();
        assert_eq!((last.text(), last.one("connection")), ("done", Some("close")));
        proxy.serving.await.unwrap();
    });
}

const READY: &str = "GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

#[test]
fn draining_does_not_wait_for_ever() {
    run(async {
        let hung = Backend::start(|_, _| Script::WriteAndHang(Vec::new())).await;
        let proxy = Proxy::start(&[hung.url()], "[server]\ndrain_timeout = \"50ms\"").await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        until(|| hung.requests().len() == 1).await;
        proxy.trigger.drain();
        proxy.serving.await.unwrap();
        assert!(client.answer().await.is_none());
    });
}

#[test]
fn stopping_waits_for_nobody() {
    run(async {
        let hung = Backend::start(|_, _| Script::WriteAndHang(Vec::new())).await;
        let proxy = Proxy::start(&[hung.url()], "[server]\ndrain_timeout = \"1h\"").await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        until(|| hung.requests().len() == 1).await;
        proxy.trigger.drain();
        proxy.trigger.stop();
        proxy.serving.await.unwrap();
    });
}
