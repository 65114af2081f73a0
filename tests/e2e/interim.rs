//! What comes before an answer: a backend's 103 (Early Hints) goes on to clients that understand it.

use tokio::io::AsyncWriteExt;

use crate::http2::get;
use crate::support::h2::{ask, connect};
use crate::support::{Backend, Client, Proxy, read_request, run, until};

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\
                     connection: x-own\r\nx-own: 1\r\ncontent-length: 5\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

/// A backend that says `before`, and its answer when it is told to.
async fn hinting(before: String) -> (Backend, tokio::sync::watch::Sender<bool>) {
    let (answer, told) = tokio::sync::watch::channel(false);
    let backend = Backend::raw(move |mut stream| {
        let (mut told, before) = (told.clone(), before.clone());
        Box::pin(async move {
            while read_request(&mut stream).await.is_some() {
                stream.write_all(before.as_bytes()).await.unwrap();
                told.wait_for(|told| *told).await.unwrap();
                stream.write_all(ANSWER.as_bytes()).await.unwrap();
            }
        })
    })
    .await;
    (backend, answer)
}

#[test]
fn hints_go_on_before_there_is_an_answer_without_what_was_for_us_alone() {
    run(async {
        let ours = "HTTP/1.1 100 Continue\r\n\r\n";
        let processing = "HTTP/1.1 102 Going On\r\n\r\n";
        let (backend, answer) = hinting(format!("{ours}{HINTS}{processing}")).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut client = Client::connect(proxy.addr).await;
        for round in 0..2 {
            client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            let hints = client.head().await;
            assert_eq!(
                hints,
                "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nvia: 1.1 lb\r\n\r\n",
                "in round {round}"
            );
            assert_eq!(client.head().await, "HTTP/1.1 102 Going On\r\nvia: 1.1 lb\r\n\r\n");
            answer.send_replace(true);
            assert_eq!(client.answer().await.unwrap().text(), "hi");
            answer.send_replace(false);
        }
        assert_eq!(proxy.log().len(), 2);
    });
}

#[test]
fn hints_beside_a_body_go_on_and_who_waited_for_100_gets_it_first() {
    run(async {
        let (backend, answer) = hinting(HINTS.to_owned()).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut client = Client::connect(proxy.addr).await;
        client
            .write(
                "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n",
            )
            .await;
        assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
        client.write("ab").await;
        assert!(client.head().await.starts_with("HTTP/1.1 103 Early Hints\r\n"));
        answer.send_replace(true);
        assert_eq!(client.answer().await.unwrap().text(), "hi");
    });
}

#[test]
fn hints_do_not_say_what_is_removed_from_the_answer_or_set_in_it() {
    run(async {
        let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\nx-internal: db7\r\n\
                     x-level: debug\r\n\r\n";
        let (backend, answer) = hinting(hints.to_owned()).await;
        let edits =
            "response = { headers = { remove = [\"x-internal\"], set = { x-level = \"info\" } } }";
        let proxy = Proxy::start(&[backend.url()], edits).await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let hints = client.head().await;
        assert_eq!(hints, "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\nvia: 1.1 lb\r\n\r\n");
        answer.send_replace(true);
        assert_eq!(client.answer().await.unwrap().one("x-level"), Some("info"));
    });
}

#[test]
fn hints_without_end_are_no_answer() {
    run(async {
        let backend = Backend::raw(|mut stream| {
            Box::pin(async move {
                read_request(&mut stream).await.unwrap();
                let hints = "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n".repeat(100);
                while stream.write_all(hints.as_bytes()).await.is_ok() {}
            })
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], "[service.retry]\nattempts_max = 1").await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
        let answer = client.answer().await.unwrap();
        assert_eq!(answer.status, 502, "{}", answer.head);
        until(|| !proxy.log().is_empty()).await;
        assert_eq!(proxy.log()[0]["attempts"][0]["outcome"], "malformed", "{:?}", proxy.log());
    });
}

#[test]
fn a_client_of_http_1_0_gets_the_answer_alone() {
    run(async {
        let (backend, answer) = hinting(HINTS.to_owned()).await;
        answer.send_replace(true);
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
        assert!(client.head().await.starts_with("HTTP/1.0 200 OK\r\n"));
    });
}

#[test]
fn a_client_of_http2_gets_the_answer_alone() {
    run(async {
        let (backend, answer) = hinting(HINTS.to_owned()).await;
        answer.send_replace(true);
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut client = connect(proxy.addr).await;
        let answer = ask(&mut client, get("/")).await.unwrap();
        assert_eq!((answer.head.status.as_u16(), &*answer.body), (200, "hi"));
    });
}

#[test]
fn hints_are_kept_within_bounds_for_who_does_not_listen() {
    run(async {
        // Sixteen megabytes: more than waits for a client here, and in its socket.
        let hint = format!("HTTP/1.1 103 Early Hints\r\nx: {}\r\n\r\n", "x".repeat(8_000));
        let (wrote, mut written) = tokio::sync::watch::channel(false);
        let backend = Backend::raw(move |mut stream| {
            let (hint, wrote) = (hint.clone(), wrote.clone());
            Box::pin(async move {
                read_request(&mut stream).await.unwrap();
                for _ in 0..2_000 {
                    stream.write_all(hint.as_bytes()).await.unwrap();
                }
                wrote.send_replace(true);
                stream.write_all(ANSWER.as_bytes()).await.unwrap();
            })
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        written.wait_for(|written| *written).await.unwrap();
        let (mut head, mut told) = (client.head().await, 0);
        while head.starts_with("HTTP/1.1 103 ") {
            told += 1;
            head = client.head().await;
        }
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!((1..2_000).contains(&told), "{told} of 2,000 were told");
    });
}
