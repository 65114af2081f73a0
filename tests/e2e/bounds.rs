//! What a client may not exceed: connections, requests on one of them, a target, a body.

use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::h2::{ask, connect, frame, pieces, whole};
use crate::support::{Backend, Client, Proxy, Script, run, until};

async fn hello() -> Backend {
    Backend::start(|_, _| Script::ok("hello")).await
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

#[test]
fn a_client_has_no_more_connections_than_it_may() {
    run(async {
        let backend = hello().await;
        let config = "[server]\nconnections_per_client_max = 2";
        let proxy = Proxy::start(&[backend.url()], config).await;
        let mut clients = [Client::connect(proxy.addr).await, Client::connect(proxy.addr).await];
        for client in &mut clients {
            client.write(GET).await;
            assert_eq!(client.answer().await.unwrap().text(), "hello");
        }
        assert!(Client::connect(proxy.addr).await.is_closed().await);
        let metrics = proxy.metrics().await;
        assert!(
            metrics.text().contains("\nlb_connections_refused_total 1\n"),
            "{}",
            metrics.text()
        );
        drop(clients);
        until(|| proxy.gateway.connections() == 0).await;
        assert_eq!(Client::get(proxy.addr).await.text(), "hello");
    });
}

#[test]
fn a_connection_carries_no_more_requests_than_it_may_and_says_so() {
    run(async {
        let backend = hello().await;
        let config = "[server]\nrequests_per_connection_max = 3";
        let proxy = Proxy::start(&[backend.url()], config).await;
        let mut client = Client::connect(proxy.addr).await;
        for close in [None, None, Some("close")] {
            client.write(GET).await;
            let answer = client.answer().await.unwrap();
            assert_eq!((answer.text(), answer.one("connection")), ("hello", close));
        }
        assert!(client.is_closed().await);

        let mut client = connect(proxy.addr).await;
        let get = || Request::get("http://a.example/").body(whole("")).unwrap();
        for _ in 0..3 {
            assert_eq!(ask(&mut client, get()).await.unwrap().body, "hello");
        }
        until(|| client.is_closed()).await;
    });
}

#[test]
fn a_target_that_is_too_long_gets_414_in_either_version() {
    run(async {
        let backend = hello().await;
        let config = "[server]\ntarget_bytes_max = \"256B\"";
        let proxy = Proxy::start(&[backend.url()], config).await;
        let path = |length: usize| format!("/{}", "a".repeat(length - 1));
        let get = |length| format!("GET {} HTTP/1.1\r\nhost: a\r\n\r\n", path(length));
        assert_eq!(Client::ask(proxy.addr, get(256)).await.text(), "hello");
        let refused = Client::ask(proxy.addr, get(257)).await;
        assert_eq!((refused.status, &*refused.error()), (414, "target_too_long"));
        let mut client = connect(proxy.addr).await;
        let uri = format!("http://a.example{}", path(257));
        let refused = ask(&mut client, Request::get(uri).body(whole("")).unwrap()).await.unwrap();
        assert_eq!(refused.head.status.as_u16(), 414);
        assert_eq!(backend.requests().len(), 1);
    });
}

#[test]
fn a_target_that_no_setting_allows_gets_414_as_well() {
    run(async {
        let config = "[server]\nheader_bytes_max = \"128KiB\"";
        let proxy = Proxy::start(&[hello().await.url()], config).await;
        let request = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(0x1_0000));
        assert_eq!(Client::ask(proxy.addr, request).await.status, 414);
    });
}

#[test]
fn a_body_that_says_it_is_too_large_gets_413_and_no_backend_hears_of_it() {
    run(async {
        let backend = hello().await;
        let proxy = Proxy::start(&[backend.url()], "body_bytes_max = \"4B\"").await;
        assert_eq!(Client::post(proxy.addr, b"four").await.text(), "hello");
        let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n";
        let refused = Client::ask(proxy.addr, head).await;
        assert_eq!((refused.status, &*refused.error()), (413, "body_too_large"));
        assert_eq!(refused.one("connection"), Some("close"));
        assert_eq!(backend.requests().len(), 1);
        assert_eq!(proxy.log()[1]["reason"], "body_too_large");
    });
}

#[test]
fn whoever_still_sends_what_is_too_large_can_read_why_it_is_refused() {
    run(async {
        let backend = hello().await;
        let proxy = Proxy::start(&[backend.url()], "body_bytes_max = \"4B\"").await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 700000\r\n\r\n").await;
        // More than waits in sockets: it is written only if somebody reads it.
        client.write("x".repeat(600_000)).await;
        let refused = client.answer().await.unwrap();
        assert_eq!((refused.status, &*refused.error()), (413, "body_too_large"));
        assert!(client.is_closed().await);
    });
}

#[test]
fn a_body_that_turns_out_to_be_too_large_gets_413() {
    run(async {
        let backend = hello().await;
        let proxy = Proxy::start(&[backend.url()], "body_bytes_max = \"4B\"").await;
        let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        let chunks = |chunks: &str| format!("{head}{chunks}");
        let fits = Client::ask(proxy.addr, chunks("2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n")).await;
        assert_eq!(fits.text(), "hello");
        let refused = Client::ask(proxy.addr, chunks("2\r\nab\r\n3\r\ncde\r\n")).await;
        assert_eq!((refused.status, &*refused.error()), (413, "body_too_large"));
        let mut client = connect(proxy.addr).await;
        let request =
            Request::post("http://a.example/").body(pieces(&["ab", "cde"], None)).unwrap();
        let refused = ask(&mut client, request).await.unwrap();
        assert_eq!(refused.head.status.as_u16(), 413);
        assert_eq!(backend.requests().len(), 1, "what is too large arrives nowhere");
        until(|| proxy.in_flight() == 0).await;
        // It is the client's fault, and nobody else's.
        let service = proxy.service();
        assert!(service.backends().all(|it| it.is_fit() && it.consecutive_failures() == 0));
    });
}

#[test]
fn a_client_of_http2_that_does_not_hear_goodbye_is_cut_off() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("")).await;
        let config = "[server]\nrequests_per_connection_max = 3";
        let proxy = Proxy::start(&[backend.url()], config).await;
        let mut client = TcpStream::connect(proxy.addr).await.unwrap();
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        client.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        let mut answered = 0;
        // It answers no PING, and asks on whatever it is told.
        'asking: for stream in (1..).step_by(2) {
            // GET / over http, for "a", by the static table (RFC 7541, appendix A).
            let head = frame(HEADERS, END_STREAM | END_HEADERS, stream, b"\x82\x84\x86\x41\x01a");
            if client.write_all(&head).await.is_err() {
                break;
            }
            loop {
                let mut said = [0; 9];
                if client.read_exact(&mut said).await.is_err() {
                    break 'asking;
                }
                let length = u32::from_be_bytes([0, said[0], said[1], said[2]]) as usize;
                client.read_exact(&mut vec![0; length]).await.unwrap();
                let of = u32::from_be_bytes([said[5], said[6], said[7], said[8]]);
                if of == stream && said[4] & END_STREAM != 0 {
                    answered += 1;
                    break;
                }
            }
        }
        assert!((1_000..1_010).contains(&answered), "3 and 1,000 more: {answered}");
    });
}

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
