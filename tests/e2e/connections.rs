//! Connections on both sides: kept, counted, and closed in time.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::support::{
    Backend, Client, Nobody, Proxy, Script, read_request, run, run_within, until,
};

#[test]
fn a_connection_to_a_backend_is_used_again() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("hello")).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut client = Client::connect(proxy.addr).await;
        for _ in 0..10 {
            client.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi").await;
            assert_eq!(client.answer().await.unwrap().text(), "hello");
        }
        assert_eq!((backend.requests().len(), backend.connections()), (10, 1));
    });
}

#[test]
fn a_backend_may_close_what_is_idle_and_nobody_notices() {
    run(async {
        let backend = Backend::start(|_, _| {
            Script::WriteAndClose(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi".to_vec())
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        for _ in 0..20 {
            assert_eq!(Client::post(proxy.addr, b"abc").await.text(), "hi");
        }
        assert_eq!(backend.requests().len(), 20);
        assert!(proxy.log().iter().all(|line| line["attempts"].as_array().unwrap().len() == 1));
    });
}

/// A backend of which each connection answers one request, and says this then.
async fn says_goodbye(goodbye: &'static str) -> Backend {
    Backend::raw(move |mut stream| {
        Box::pin(async move {
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
            read_request(&mut stream).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            // It is on its way when the next request is.
            if read_request(&mut stream).await.is_some() {
                stream.write_all(goodbye.as_bytes()).await.unwrap();
            }
        })
    })
    .await
}

/// RFC 9110 §15.5.9.
#[test]
fn a_408_that_was_meant_for_an_idle_connection_is_nobodys_answer() {
    const GOODBYE: &str =
        "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    run(async {
        let backend = says_goodbye(GOODBYE).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        for _ in 0..9 {
            assert_eq!(Client::get(proxy.addr).await.text(), "hi");
        }
        // Each but the first was asked on the one before its own.
        assert_eq!(backend.connections(), 9);
        until(|| proxy.log().len() == 9).await;
        assert!(proxy.log().iter().all(|line| line["attempts"].as_array().unwrap().len() == 1));
        // What may be carried out once is not risked.
        assert_eq!(Client::post(proxy.addr, b"abc").await.status, 408);
    });
}

#[test]
fn a_408_that_may_be_meant_is_an_answer() {
    run(async {
        // Its backend goes on, and would not if it were tired of waiting; or nothing came before.
        let goes_on = "HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n";
        let backend = says_goodbye(goes_on).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        assert_eq!(Client::get(proxy.addr).await.text(), "hi");
        assert_eq!(Client::get(proxy.addr).await.status, 408);
        let close =
            "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let backend = Backend::start(move |_, _| Script::WriteAndClose(close.into())).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        assert_eq!(Client::get(proxy.addr).await.status, 408);
        assert_eq!(backend.connections(), 1);
    });
}

#[test]
fn a_body_without_a_length_ends_with_its_connection() {
    run(async {
        let backend = Backend::start(|_, _| {
            Script::WriteAndClose(b"HTTP/1.0 200 OK\r\n\r\nuntil the end".to_vec())
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut client = Client::connect(proxy.addr).await;
        for _ in 0..3 {
            client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            let answer = client.answer().await.unwrap();
            assert_eq!((answer.text(), answer.whole), ("until the end", true));
        }
    });
}

#[test]
fn idle_connections_to_backends_are_closed_in_time() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("")).await;
        let keep = "[service.keep_alive]\nidle_timeout = \"50ms\"";
        let proxy = Proxy::start(&[backend.url()], keep).await;
        Client::get(proxy.addr).await;
        until(|| backend.open() == 0).await;
    });
}

#[test]
fn a_backend_that_says_close_is_believed() {
    run(async {
        let backend = Backend::start(|_, _| {
            let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n";
            Script::Write(format!("{head}hi").into())
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut client = Client::connect(proxy.addr).await;
        for _ in 0..3 {
            client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            let answer = client.answer().await.unwrap();
            assert_eq!((answer.text(), answer.one("connection")), ("hi", None));
        }
        assert_eq!(backend.connections(), 3);
        until(|| backend.open() == 0).await;
    });
}

#[test]
fn a_connection_that_was_closed_while_idle_is_not_used_again() {
    run(async {
        let (close, closing) = tokio::sync::watch::channel(false);
        let backend = Backend::raw(move |mut stream| {
            let mut closing = closing.clone();
            Box::pin(async move {
                if read_request(&mut stream).await.is_some() {
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
                        .await
                        .unwrap();
                    closing.wait_for(|told| *told).await.unwrap();
                }
            })
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        assert_eq!(Client::post(proxy.addr, b"abc").await.text(), "hi");
        assert_eq!(backend.open(), 1);
        close.send(true).unwrap();
        until(|| backend.open() == 0).await;
        assert_eq!(Client::post(proxy.addr, b"abc").await.text(), "hi");
        assert_eq!(backend.connections(), 2);
        assert_eq!(proxy.log()[1]["attempts"].as_array().unwrap().len(), 1);
    });
}

#[test]
fn clients_that_are_silent_between_requests_are_hung_up_on() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("")).await;
        let server = "[server]\nkeep_alive_timeout = \"50ms\"\nheader_timeout = \"1h\"";
        let proxy = Proxy::start(&[backend.url()], server).await;
        let mut silent = Client::connect(proxy.addr).await;
        let mut served = Client::connect(proxy.addr).await;
        served.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(served.answer().await.unwrap().status, 200);
        assert!(silent.is_closed().await && served.is_closed().await);
        until(|| proxy.gateway.connections() == 0).await;
    });
}

#[test]
fn a_head_that_takes_too_long_is_not_waited_for() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("")).await;
        let server = "[server]\nkeep_alive_timeout = \"1h\"\nheader_timeout = \"50ms\"";
        let proxy = Proxy::start(&[backend.url()], server).await;
        let mut slow = Client::connect(proxy.addr).await;
        slow.write("GET / HTTP/1.1\r\nhost:").await;
        let mut second = Client::connect(proxy.addr).await;
        second.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(second.answer().await.unwrap().status, 200);
        second.write("GET").await;
        for mut late in [slow, second] {
            let answer = late.answer().await.unwrap();
            assert_eq!((answer.status, answer.error().as_str()), (408, "head_timeout"));
            assert!(late.is_closed().await);
        }
        assert_eq!(proxy.log()[1]["reason"], "head_timeout");
        until(|| proxy.gateway.connections() == 0).await;
        assert_eq!(backend.requests().len(), 1);
    });
}

#[test]
fn clients_beyond_the_limit_wait_for_a_place() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("hello")).await;
        let proxy = Proxy::start(&[backend.url()], "[server]\nconnections_max = 1").await;
        let first = Client::connect(proxy.addr).await;
        until(|| proxy.gateway.connections() == 1).await;
        let mut second = Client::connect(proxy.addr).await;
        second.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(proxy.gateway.connections(), 1);
        assert!(backend.requests().is_empty());
        drop(first);
        assert_eq!(second.answer().await.unwrap().text(), "hello");
    });
}

#[test]
fn a_backend_that_wants_no_kept_connections_gets_none() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("hello")).await;
        let keep = "[service.keep_alive]\nidle_max = 0";
        let proxy = Proxy::start(&[backend.url()], keep).await;
        for n in 1..=3 {
            assert_eq!(Client::get(proxy.addr).await.text(), "hello");
            assert_eq!(backend.connections(), n);
        }
        until(|| backend.open() == 0).await;
    });
}

#[test]
fn silent_connections_do_not_shut_out_the_admin_listener() {
    run_within(Duration::from_secs(1_000), async {
        let proxy = Proxy::start(&[Nobody::new().url()], "").await;
        // One that waits for a place, and whoever asks behind it.
        let mut silent = Vec::new();
        for _ in 0..65 {
            silent.push(Client::connect(proxy.admin).await);
        }
        tokio::time::pause();
        let began = Instant::now();
        let metrics = proxy.metrics().await;
        assert!(began.elapsed() < Duration::from_secs(11), "{:?}", began.elapsed());
        assert!(!metrics.text().contains("lb_admin_waits_total 0\n"), "{}", metrics.text());
        for client in &mut silent {
            assert!(client.is_closed().await);
        }
    });
}

#[test]
fn the_limit_of_connections_is_one_for_all_workers() {
    run(async {
        let backend = Backend::start(|_, _| Script::WriteAndHang(Vec::new())).await;
        let proxy = Proxy::start(&[backend.url()], "[server]\nconnections_max = 3").await;
        let other = proxy.join(1).await;
        // That one worker gets fewer than two of them has odds of 17 in 32,768.
        let mut clients = Vec::new();
        for _ in 0..16 {
            let mut client = Client::connect(proxy.addr).await;
            client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            clients.push(client);
        }
        until(|| backend.requests().len() == 3).await;
        for _ in 0..20 {
            let health = "GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
            Client::ask(proxy.admin, health).await;
        }
        assert_eq!((proxy.gateway.connections(), backend.requests().len()), (3, 3));
        drop(clients);
        until(|| proxy.gateway.connections() == 0).await;
        proxy.trigger.stop();
        proxy.serving.await.unwrap();
        other.await.unwrap();
    });
}
