//! Answers that come before their request has gone out: what becomes of the rest of it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Backend, Client, Proxy, Script, read_head, run, until};

const HEAD: &str = "PUT /f HTTP/1.1\r\nhost: a\r\n";

/// More than is kept to be sent again.
const MUCH: usize = 150_000;

/// A backend that says `answer` as soon as it has a head, and goes on reading.
async fn hasty(answer: &'static str) -> (Backend, Rc<Cell<u32>>) {
    let answered = Rc::new(Cell::new(0));
    let counted = Rc::clone(&answered);
    let backend = Backend::raw(move |mut stream| {
        let counted = Rc::clone(&counted);
        Box::pin(async move {
            read_head(&mut stream).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            counted.set(counted.get() + 1);
            let _all = stream.read_to_end(&mut Vec::new()).await;
        })
    })
    .await;
    (backend, answered)
}

/// A backend that keeps the body of each request, which must be framed as a whole one.
async fn patient() -> (Backend, Rc<RefCell<Vec<Vec<u8>>>>) {
    let bodies = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&bodies);
    let backend = Backend::start(move |_, request| {
        kept.borrow_mut().push(request.body.clone());
        Script::ok("all of it")
    })
    .await;
    (backend, bodies)
}

#[test]
fn half_a_body_is_not_sent_again_as_a_whole_one() {
    run(async {
        for answer in [
            "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 503 No\r\ncontent-length: 5\r\n\r\nhello",
            "HTTP/1.1 503 No\r\ncontent-length: 5\r\n\r\nhe",
        ] {
            for chunked in [true, false] {
                let (first, answered) = hasty(answer).await;
                let (second, bodies) = patient().await;
                let proxy = Proxy::start(&[first.url(), second.url()], "").await;
                let mut client = Client::connect(proxy.addr).await;
                let framing = match chunked {
                    true => "transfer-encoding: chunked\r\n\r\n".to_owned(),
                    false => format!("content-length: {}\r\n\r\n", 10 + MUCH),
                };
                client.write(format!("{HEAD}{framing}")).await;
                if chunked {
                    client.write("a\r\n0123456789\r\n").await;
                }
                // The first has answered, and what comes now is much.
                until(|| answered.get() == 1).await;
                match chunked {
                    true => {
                        let much = "x".repeat(MUCH);
                        client.write(format!("{MUCH:x}\r\n{much}\r\n0\r\n\r\n")).await;
                    }
                    false => client.write(format!("0123456789{}", "x".repeat(MUCH))).await,
                }
                let status = client.answer().await.unwrap().status;
                let bodies = bodies.take();
                let whole =
                    |body: &Vec<u8>| body.len() == 10 + MUCH && body.starts_with(b"0123456789x");
                assert!(bodies.iter().all(whole), "{answer} {chunked}: a part looks whole");
                assert_eq!((status, bodies.len()), (200, 1), "{answer} {chunked}");
                // The first has no part in it any more.
                until(|| first.open() == 0).await;
            }
        }
    });
}

#[test]
fn an_upload_that_nobody_takes_ends() {
    run(async {
        let connections = Rc::new(Cell::new(0));
        let counted = Rc::clone(&connections);
        let backend = Backend::raw(move |mut stream| {
            let is_first = counted.replace(counted.get() + 1) == 0;
            Box::pin(async move {
                read_head(&mut stream).await.unwrap();
                let status = if is_first { "403 No" } else { "200 OK" };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
                std::future::pending().await
            })
        })
        .await;
        let policies = "[service.keep_alive]\nconnections_max = 1\n\
                        [service.timeouts]\nbody_idle = \"100ms\"\nconnect = \"15s\"";
        let proxy = Proxy::start(&[backend.url()], policies).await;
        let mut client = Client::connect(proxy.addr).await;
        client.write(format!("{HEAD}content-length: 50000000\r\n\r\n")).await;
        assert_eq!(client.answer().await.unwrap().status, 403);
        tokio::task::spawn_local(client.pour(Rc::default()));
        // There is one place for a connection, and it is given back.
        assert_eq!(Client::get(proxy.addr).await.status, 200);
    });
}

#[test]
fn an_upload_goes_on_when_its_answer_goes_out_after_all() {
    run(async {
        let (second, held) = Backend::held().await;
        let read = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&read);
        let first = Backend::raw(move |mut stream| {
            let kept = Rc::clone(&kept);
            Box::pin(async move {
                read_head(&mut stream).await.unwrap();
                let answer = b"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno";
                stream.write_all(answer).await.unwrap();
                let mut body = vec![0; MUCH];
                stream.read_exact(&mut body).await.unwrap();
                kept.replace(body);
            })
        })
        .await;
        let policies = "[service.limits]\nper_backend = 1\n\
                        [service.retry]\nbudget = { percent = 0, min_per_second = 0, burst = 1 }\n\
                        backoff = { base = \"1s\", max = \"1s\", jitter = \"none\" }";
        let proxy = Proxy::start(&[first.url(), second.url()], policies).await;
        let mut client = Client::connect(proxy.addr).await;
        client.write(format!("{HEAD}content-length: {MUCH}\r\n\r\n")).await;
        while !proxy.metrics().await.text().contains("lb_retries_left{service=\"web\"} 0.0\n") {}
        // The retry waits for its time. Whoever it would ask has its hands full by then.
        let other = tokio::task::spawn_local(Client::get(proxy.addr));
        until(|| !held.borrow().is_empty()).await;
        let answer = client.answer().await.unwrap();
        assert_eq!((answer.status, answer.text()), (503, "no"));
        client.write("x".repeat(MUCH)).await;
        until(|| read.borrow().len() == MUCH).await;
        assert!(read.borrow().iter().all(|byte| *byte == b'x'), "as it was sent");
        held.take().into_iter().for_each(|answers| answers.send(()).unwrap());
        assert_eq!(other.await.unwrap().status, 200);
        until(|| proxy.log().len() == 2).await;
        let log = proxy.log();
        let line = log.iter().find(|line| line["method"] == "PUT").unwrap();
        assert_eq!(line["retry_withheld"], "no_fit_backend");
    });
}
