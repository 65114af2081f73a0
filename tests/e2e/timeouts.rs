//! Every wait has an end.

use lb_core::BreakerState;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{Backend, Client, Proxy, Script, read_head, run, until};

#[test]
fn a_backend_that_does_not_answer_is_given_up() {
    run(async {
        let hung = Backend::start(|_, _| Script::WriteAndHang(Vec::new())).await;
        let policies = "[service.timeouts]\nfirst_byte = \"50ms\"\nconnect = \"50ms\"\n\
                        [service.retry]\nattempts_max = 1";
        let proxy = Proxy::start(&[hung.url()], policies).await;
        let answer = Client::get(proxy.addr).await;
        assert_eq!((answer.status, answer.error().as_str()), (504, "first_byte_timeout"));
        until(|| hung.open() == 0).await;
    });
}

#[test]
fn nobody_takes_a_backend_out_by_being_in_a_hurry() {
    run(async {
        let backend = Backend::start(|_, request| match request.head.starts_with("POST") {
            true => Script::WriteAndHang(Vec::new()),
            false => Script::ok("here"),
        })
        .await;
        let policies = "[service.breaker]\nconsecutive_failures = 1";
        let proxy = Proxy::start(&[backend.url()], policies).await;
        for timeout in ["1n", "1m", "50m"] {
            let call = format!(
                "POST /a.B/C HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\n\
                 grpc-timeout: {timeout}\r\ncontent-length: 0\r\n\r\n"
            );
            let answer = Client::ask(proxy.addr, call).await;
            assert_eq!(answer.one("grpc-status"), Some("4"), "DEADLINE_EXCEEDED: {timeout}");
            assert_eq!(Client::get(proxy.addr).await.text(), "here", "{timeout}");
        }
        until(|| proxy.log().len() == 6).await;
        let attempt = &proxy.log()[4]["attempts"][0];
        assert_eq!(attempt["outcome"], "out_of_time", "{attempt}");
        // Who makes no call has the time that everybody has: one is a POST, and says what it is.
        for kind in ["text/plain", "application/grpc"] {
            let hurried = format!(
                "GET / HTTP/1.1\r\nhost: a\r\ngrpc-timeout: 1n\r\ncontent-type: {kind}\r\n\r\n"
            );
            assert_eq!(Client::ask(proxy.addr, hurried).await.text(), "here");
        }
    });
}

#[test]
fn a_get_goes_elsewhere_when_its_time_is_up_and_a_post_does_not() {
    run(async {
        let hung = Backend::start(|_, _| Script::WriteAndHang(Vec::new())).await;
        let well = Backend::start(|_, _| Script::ok("here")).await;
        let policies = "[service.timeouts]\nfirst_byte = \"50ms\"\nconnect = \"50ms\"";
        let proxy = Proxy::start(&[hung.url(), well.url()], policies).await;
        assert_eq!(Client::get(proxy.addr).await.text(), "here");
        // The well one's turn is next, since the retry took none.
        assert_eq!(Client::post(proxy.addr, b"x").await.text(), "here");
        assert_eq!(Client::post(proxy.addr, b"x").await.error(), "first_byte_timeout");
        assert_eq!(well.requests().len(), 2);
    });
}

#[test]
fn a_body_that_stands_still_is_cut_off() {
    run(async {
        let start = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
        let backend = Backend::start(|_, _| Script::WriteAndHang(start.to_vec())).await;
        let policies = "[service.breaker]\nconsecutive_failures = 1\n\
                        [service.timeouts]\nbody_idle = \"50ms\"";
        let proxy = Proxy::start(&[backend.url()], policies).await;
        assert!(!Client::get(proxy.addr).await.whole);
        until(|| !proxy.log().is_empty()).await;
        assert_eq!(proxy.log()[0]["end"], "backend_idle");
        // Six bytes were announced and are missing.
        assert_eq!(proxy.service().backend(0).breaker().state(), BreakerState::Open);
    });
}

#[test]
fn streams_with_nothing_to_say_open_no_breaker() {
    run(async {
        let heads = ["transfer-encoding: chunked\r\n\r\n2\r\n:\n\r\n", "\r\n:\n"];
        for (status, head) in [(200, heads[0]), (200, heads[1]), (503, heads[0])] {
            let start = format!("HTTP/1.1 {status} Fine\r\n{head}");
            let backend =
                Backend::start(move |_, request| match request.head.starts_with("GET /events") {
                    true => Script::WriteAndHang(start.clone().into_bytes()),
                    false => Script::ok("here"),
                })
                .await;
            let policies = "[service.breaker]\nconsecutive_failures = 1\n\
                            [service.timeouts]\nbody_idle = \"50ms\"";
            let proxy = Proxy::start(&[backend.url()], policies).await;
            let listens = "GET /events HTTP/1.1\r\nhost: a\r\n\r\n";
            assert!(!Client::ask(proxy.addr, listens).await.whole);
            until(|| !proxy.log().is_empty()).await;
            assert_eq!(proxy.log()[0]["end"], "backend_quiet");
            // What its head said counts as ever.
            let is_well = status == 200;
            assert_eq!(Client::get(proxy.addr).await.status == 200, is_well, "{head:?}");
        }
    });
}

#[test]
fn an_exchange_ends_at_its_deadline() {
    run(async {
        let start = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
        let backend = Backend::start(|_, _| Script::WriteAndHang(start.to_vec())).await;
        let timeouts = "[service.timeouts]\nconnect = \"50ms\"\nfirst_byte = \"50ms\"\n\
                        exchange = \"100ms\"";
        let proxy = Proxy::start(&[backend.url()], timeouts).await;
        assert!(!Client::get(proxy.addr).await.whole);
        until(|| !proxy.log().is_empty()).await;
        assert_eq!(proxy.log()[0]["end"], "deadline");
    });
}

#[test]
fn a_client_that_stops_sending_is_told_so() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("")).await;
        let proxy =
            Proxy::start(&[backend.url()], "[service.timeouts]\nbody_idle = \"50ms\"").await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf").await;
        let answer = client.answer().await.unwrap();
        assert_eq!((answer.status, answer.error().as_str()), (408, "request_timeout"));
        assert!(client.is_closed().await);
        assert_eq!(proxy.in_flight(), 0);
    });
}

#[test]
fn a_backend_that_accepts_no_connection_is_given_up() {
    run(async {
        // With its queue full, the kernel answers nobody who knocks.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = socket.listen(0).unwrap();
        let addr = full.local_addr().unwrap();
        let _queued = TcpStream::connect(addr).await.unwrap();
        let well = Backend::start(|_, _| Script::ok("here")).await;
        let policies = "[service.timeouts]\nconnect = \"50ms\"";
        let proxy = Proxy::start(&[format!("http://{addr}"), well.url()], policies).await;
        assert_eq!(Client::post(proxy.addr, b"abc").await.text(), "here");
        assert_eq!(proxy.log()[0]["attempts"][0]["outcome"], "connect_timeout");
    });
}

#[test]
fn a_backend_that_goes_silent_after_a_body_was_sent_is_given_up() {
    run(async {
        let silent = Backend::start(|_, _| Script::WriteAndHang(Vec::new())).await;
        let timeouts = "[service.timeouts]\nconnect = \"50ms\"\nfirst_byte = \"50ms\"";
        let proxy = Proxy::start(&[silent.url()], timeouts).await;
        let answer = Client::post(proxy.addr, &[b'x'; 100_000]).await;
        assert_eq!((answer.status, answer.error().as_str()), (504, "first_byte_timeout"));
        assert_eq!(silent.request().body.len(), 100_000);
        assert_eq!(proxy.in_flight(), 0);
    });
}

/// A backend whose answer is longer than all buffers on its way.
async fn endless() -> Backend {
    Backend::raw(|mut stream| {
        Box::pin(async move {
            read_head(&mut stream).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            while stream.write_all(&[b'x'; 65_536]).await.is_ok() {}
        })
    })
    .await
}

#[test]
fn an_answer_without_end_ends_at_the_exchanges_deadline() {
    run(async {
        let backend = endless().await;
        let timeouts = "[service.timeouts]\nconnect = \"50ms\"\nfirst_byte = \"50ms\"\n\
                        exchange = \"100ms\"";
        let proxy = Proxy::start(&[backend.url()], timeouts).await;
        assert!(!Client::get(proxy.addr).await.whole);
        until(|| backend.open() == 0 && !proxy.log().is_empty()).await;
        assert_eq!(proxy.log()[0]["end"], "deadline");
    });
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    run(async {
        let backend = endless().await;
        let timeouts = "[service.timeouts]\nconnect = \"50ms\"\nfirst_byte = \"50ms\"\n\
                        exchange = \"100ms\"";
        let proxy = Proxy::start(&[backend.url()], timeouts).await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        until(|| proxy.in_flight() == 1).await;
        until(|| proxy.gateway.connections() == 0 && backend.open() == 0).await;
        assert_eq!((proxy.in_flight(), &proxy.log()[0]["end"]), (0, &"deadline".into()));
    });
}

#[test]
fn a_client_that_takes_nothing_is_not_waited_for_until_the_deadline() {
    run(async {
        let backend = endless().await;
        let timeouts = "[service.timeouts]\nbody_idle = \"50ms\"\nexchange = \"1h\"";
        let proxy = Proxy::start(&[backend.url()], timeouts).await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        until(|| proxy.in_flight() == 1).await;
        until(|| proxy.gateway.connections() == 0 && backend.open() == 0).await;
        assert_eq!((proxy.in_flight(), &proxy.log()[0]["end"]), (0, &"client_left".into()));
    });
}
