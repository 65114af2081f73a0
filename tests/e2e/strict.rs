//! Requests that could be read in two ways are refused, and no backend hears of them.

use crate::support::{Backend, Client, Proxy, Script, run};

const BAD: [(&str, &str); 16] = [
    (
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        "length_and_transfer_encoding",
    ),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n",
        "length_and_transfer_encoding",
    ),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n",
        "several_lengths",
    ),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1, 1\r\n\r\n", "several_lengths"),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\n", "bad_length"),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        "bad_transfer_encoding",
    ),
    ("POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n", "bad_transfer_encoding"),
    ("GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\n 2\r\n\r\n", "folded_line"),
    ("GET / HTTP/1.1\r\nhost: a\nx: 1\r\n\r\n", "bare_line_feed"),
    ("GET / HTTP/1.1\r\nhost : a\r\n\r\n", "bad_field_name"),
    ("GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n", "bad_field_value"),
    ("GET / HTTP/1.1\r\n\r\n", "bad_host"),
    ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", "bad_host"),
    ("GET / HTTP/1.1\r\nhost: a b/c\r\n\r\n", "bad_host"),
    ("GET  / HTTP/1.1\r\nhost: a\r\n\r\n", "bad_request_line"),
    ("GET / HTTP/3.0\r\nhost: a\r\n\r\n", "bad_version"),
];

#[test]
fn each_is_told_why_and_its_connection_closed() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("")).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        for (request, reason) in BAD {
            let mut client = Client::connect(proxy.addr).await;
            client.write(request).await;
            let answer = client.answer().await.unwrap_or_else(|| panic!("no answer: {request}"));
            assert_eq!((answer.status, answer.error().as_str()), (400, reason), "{request}");
            assert_eq!(answer.one("connection"), Some("close"), "{request}");
            assert!(client.is_closed().await, "{request}");
        }
        assert!(backend.requests().is_empty());
    });
}

#[test]
fn good_requests_before_one_are_answered_first() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("good")).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        for (request, reason) in BAD {
            let mut client = Client::connect(proxy.addr).await;
            client.write(format!("GET / HTTP/1.1\r\nhost: a\r\n\r\n{request}")).await;
            assert_eq!(client.answer().await.unwrap().text(), "good", "{request}");
            assert_eq!(client.answer().await.unwrap().error(), reason, "{request}");
            assert!(client.is_closed().await, "{request}");
        }
        assert_eq!(backend.requests().len(), BAD.len());
    });
}

#[test]
fn what_follows_one_is_never_read_as_a_request() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("")).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let smuggled = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\
                        transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /secret HTTP/1.1\r\nhost: a\r\n\r\n";
        let mut client = Client::connect(proxy.addr).await;
        client.write(smuggled).await;
        assert_eq!(client.answer().await.unwrap().status, 400);
        assert!(client.is_closed().await);
        assert!(backend.requests().is_empty());
    });
}

#[test]
fn a_head_that_is_too_long_is_refused() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("")).await;
        let proxy = Proxy::start(&[backend.url()], "[server]\nheader_bytes_max = \"8KiB\"").await;
        let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(9_000));
        let answer = Client::ask(proxy.addr, long).await;
        assert_eq!((answer.status, answer.error().as_str()), (431, "head_too_long"));
    });
}

#[test]
fn what_is_not_http_at_all_is_refused_at_its_first_byte() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("")).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let answer = Client::ask(proxy.addr, b"\x16\x03\x01\x02\x00\x01\x00").await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "bad_request_line"));
    });
}
