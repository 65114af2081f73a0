//! Requests that could be read in two ways are refused, and no backend hears of them.

use crate::support::{Backend, Client, Proxy, Script, run, until};

const BAD: [(&str, &str); 17] = [
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
    ("GET / HTTP/1.1\r\nhost: a%2eb\r\n\r\n", "bad_host"),
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
        assert_eq!(backend.connections(), 0, "no backend hears of them");
    });
}

#[test]
fn each_is_logged_by_the_name_that_its_client_was_told() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("")).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        for (n, (request, reason)) in BAD.into_iter().enumerate() {
            let answer = Client::ask(proxy.addr, request).await;
            let said: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(said["request_id"].as_str(), answer.one("x-request-id"), "{request}");
            until(|| proxy.log().len() > n).await;
            let line = &proxy.log()[n];
            assert_eq!(line["request_id"], said["request_id"], "{request}");
            assert_eq!((&line["status"], &line["reason"]), (&400.into(), &reason.into()));
            assert_eq!(line["attempts"].as_array().map(Vec::len), Some(0), "{request}");
        }
    });
}

#[test]
fn a_kept_connection_is_no_excuse() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("good")).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        for (request, reason) in BAD {
            let mut client = Client::connect(proxy.addr).await;
            client.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc").await;
            assert_eq!(client.answer().await.unwrap().text(), "good", "{request}");
            client.write(request).await;
            assert_eq!(client.answer().await.unwrap().error(), reason, "{request}");
            assert!(client.is_closed().await, "{request}");
        }
        assert_eq!(backend.requests().len(), BAD.len());
    });
}

#[test]
fn a_refused_upload_does_not_keep_its_client_from_the_answer() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("")).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let head =
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\ncontent-length: 100000\r\n\r\n";
        let upload = [head.as_bytes(), &[b'x'; 100_000]].concat();
        for _ in 0..20 {
            let answer = Client::ask(proxy.addr, &upload).await;
            assert_eq!((answer.status, answer.error().as_str()), (400, "several_lengths"));
        }
        assert_eq!(backend.connections(), 0);
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
fn a_head_with_too_many_lines_is_refused() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("")).await;
        let proxy = Proxy::start(&[backend.url()], "[server]\nheaders_max = 10").await;
        let head = |lines| format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(lines));
        assert_eq!(Client::ask(proxy.addr, head(9)).await.status, 200);
        let answer = Client::ask(proxy.addr, head(10)).await;
        assert_eq!((answer.status, answer.error().as_str()), (431, "head_too_long"));
        assert_eq!(backend.requests().len(), 1);
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
