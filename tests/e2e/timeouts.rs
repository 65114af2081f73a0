//! Every wait has an end.

use crate::support::{Backend, Client, Proxy, Script, run, until};

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
fn a_get_goes_elsewhere_when_its_time_is_up_and_a_post_does_not() {
    run(async {
        let hung = Backend::start(|_, _| Script::WriteAndHang(Vec::new())).await;
        let well = Backend::start(|_, _| Script::ok("here")).await;
        let policies = "[service.timeouts]\nfirst_byte = \"50ms\"\nconnect = \"50ms\"";
        let proxy = Proxy::start(&[hung.url(), well.url()], policies).await;
        assert_eq!(Client::get(proxy.addr).await.text(), "here");
        assert_eq!(Client::post(proxy.addr, b"x").await.error(), "first_byte_timeout");
        assert_eq!(well.requests().len(), 1);
    });
}

#[test]
fn a_body_that_stands_still_is_cut_off() {
    run(async {
        let start = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
        let backend = Backend::start(|_, _| Script::WriteAndHang(start.to_vec())).await;
        let proxy =
            Proxy::start(&[backend.url()], "[service.timeouts]\nbody_idle = \"50ms\"").await;
        assert!(!Client::get(proxy.addr).await.whole);
        until(|| !proxy.log().is_empty()).await;
        assert_eq!(proxy.log()[0]["end"], "backend_idle");
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
