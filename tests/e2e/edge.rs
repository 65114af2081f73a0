//! Who a request is from, told before HTTP and beside it: the PROXY protocol, and traces.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::support::{Backend, Client, Proxy, Script, read_head, read_request, run, until};

fn config(server: &str, listener: &str, service: &str, url: &str) -> String {
    format!(
        "[server]\n{server}\n[[listener]]\nbind = \"127.0.0.1:0\"\n{listener}\n\
         [admin]\nbind = \"127.0.0.1:0\"\n[[service]]\nname = \"web\"\nhosts = [\"*\"]\n{service}\n\
         [[service.pool]]\nbackends = [{{ url = \"{url}\" }}]\n"
    )
}

#[test]
fn a_trusted_proxys_header_says_who_the_client_is() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("hello")).await;
        let trust = "trusted_proxies = [\"127.0.0.1\"]";
        let text = config(trust, "proxy_protocol = true", "", &backend.url());
        let proxy = Proxy::start_with(&text).await;
        let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let header = "PROXY TCP4 192.0.2.9 198.51.100.1 4711 443\r\n";
        let answer = Client::ask(proxy.addr, format!("{header}{request}")).await;
        assert_eq!(answer.text(), "hello");
        assert_eq!(backend.request().one("x-forwarded-for"), Some("192.0.2.9"));
        until(|| !proxy.log().is_empty()).await;
        assert_eq!(proxy.log()[0]["client"], "192.0.2.9:4711");

        for wrong in [request.to_owned(), format!("PROXY TCP4 1 2 3 4\r\n{request}")] {
            let mut client = Client::connect(proxy.addr).await;
            client.write(wrong).await;
            assert!(client.is_closed().await);
        }
        let metrics = proxy.metrics().await;
        assert!(metrics.text().contains("lb_proxy_protocol_refused_total 2"), "{}", metrics.text());
        assert_eq!(backend.requests().len(), 1);
    });
}

#[test]
fn behind_a_proxy_each_client_has_connections_of_its_own() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("hello")).await;
        let server = "trusted_proxies = [\"127.0.0.1\"]\nconnections_per_client_max = 2";
        let text = config(server, "proxy_protocol = true", "", &backend.url());
        let proxy = Proxy::start_with(&text).await;
        let come = async |source: &str| {
            let mut client = Client::connect(proxy.addr).await;
            let header = format!("PROXY TCP4 {source} 198.51.100.1 4711 443\r\n");
            client.write(format!("{header}GET / HTTP/1.1\r\nhost: a\r\n\r\n")).await;
            let answer = client.answer().await;
            answer.map(|answer| (answer.status, client))
        };
        let first = come("192.0.2.9").await.unwrap();
        let second = come("192.0.2.9").await.unwrap();
        assert!(come("192.0.2.9").await.is_none(), "it has two");
        let other = come("192.0.2.10").await.unwrap();
        let metrics = proxy.metrics().await;
        assert!(metrics.text().contains("lb_connections_refused_total 1"), "{}", metrics.text());
        drop(first);
        let third = loop {
            if let Some(third) = come("192.0.2.9").await {
                break third;
            }
        };
        assert_eq!([second.0, other.0, third.0], [200; 3]);
    });
}

/// A backend that writes down the header that each connection begins with, and answers.
async fn hears_headers() -> (Backend, Rc<RefCell<Vec<Vec<u8>>>>) {
    let told = Rc::new(RefCell::new(Vec::new()));
    let heard = Rc::clone(&told);
    let backend = Backend::raw(move |mut stream| {
        let heard = Rc::clone(&heard);
        Box::pin(async move {
            let mut header = Vec::new();
            // Version 1 is a line; version 2 of TCP over IPv4 is 28 bytes.
            while header.len() < 28 && !header.ends_with(b"0\r\n") {
                let Ok(byte) = stream.read_u8().await else { return };
                header.push(byte);
                if header.starts_with(b"PROXY") && header.ends_with(b"\r\n") {
                    break;
                }
            }
            while header.starts_with(b"PROXY") && !header.ends_with(b"\r\n") {
                header.push(stream.read_u8().await.unwrap());
            }
            heard.borrow_mut().push(header);
            while read_request(&mut stream).await.is_some() {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                if stream.write_all(answer).await.is_err() {
                    return;
                }
            }
        })
    })
    .await;
    (backend, told)
}

#[test]
fn backends_are_told_who_each_connection_is_for() {
    run(async {
        for version in ["v1", "v2"] {
            let (backend, told) = hears_headers().await;
            let service = format!("proxy_protocol = \"{version}\"");
            let proxy = Proxy::start_with(&config("", "", &service, &backend.url())).await;
            let mut stream = BufReader::new(TcpStream::connect(proxy.addr).await.unwrap());
            let local = stream.get_ref().local_addr().unwrap();
            for _ in 0..2 {
                stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
                assert!(read_head(&mut stream).await.unwrap().starts_with("HTTP/1.1 200"));
                stream.read_exact(&mut [0; 2]).await.unwrap();
            }
            assert_eq!(told.borrow().len(), 2, "no connection is for two");
            let header = told.borrow()[0].clone();
            if version == "v1" {
                let line = String::from_utf8(header).unwrap();
                let (from, to) = (local.port(), proxy.addr.port());
                assert_eq!(line, format!("PROXY TCP4 127.0.0.1 127.0.0.1 {from} {to}\r\n"));
            } else {
                assert!(header.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"), "{header:?}");
                assert_eq!(header[24..26], local.port().to_be_bytes());
            }
        }
    });
}

#[test]
fn who_gets_a_copy_is_told_whose_request_it_is_of() {
    run(async {
        let web = Backend::start(|_, _| Script::ok("web")).await;
        let (shadow, told) = hears_headers().await;
        let mirror = "[[route]]\nname = \"all\"\nhosts = [\"*\"]\nservice = \"web\"\n\
                      mirror = { service = \"shadow\", percent = 100 }\n";
        let service = |name: &str, more: &str, url: &str| {
            format!(
                "[[service]]\nname = \"{name}\"\n{more}\npool = [{{ backends = [{{ url = \"{url}\" }}] }}]\n"
            )
        };
        let shadow = service("shadow", "proxy_protocol = \"v1\"", &shadow.url());
        let listener = "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n";
        let text = format!("{listener}{mirror}{}{shadow}", service("web", "", &web.url()));
        let proxy = Proxy::start_with(&text).await;
        let mut client = TcpStream::connect(proxy.addr).await.unwrap();
        let (from, to) = (client.local_addr().unwrap().port(), proxy.addr.port());
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        until(|| !told.borrow().is_empty()).await;
        let line = String::from_utf8(told.borrow()[0].clone()).unwrap();
        assert_eq!(line, format!("PROXY TCP4 127.0.0.1 127.0.0.1 {from} {to}\r\n"));
    });
}

#[test]
fn a_trace_goes_on_and_its_spans_reach_the_collector() {
    run(async {
        let backend = Backend::start(|nth, _| match nth {
            0 => Script::status(503, "no"),
            _ => Script::ok("hello"),
        })
        .await;
        let collector = Backend::start(|_, _| Script::ok("{}")).await;
        let tracing = format!(
            "[tracing]\nenabled = true\nendpoint = \"{}\"\nsample = 0\n{}",
            collector.url(),
            config("", "", "", &backend.url())
        );
        let proxy = Proxy::start_with(&tracing).await;
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let request = format!(
            "GET /x?secret HTTP/1.1\r\nhost: a\r\ntraceparent: {parent}\r\nconnection: close\r\n\r\n"
        );
        assert_eq!(Client::ask(proxy.addr, request).await.text(), "hello");
        let seen = backend.requests();
        let told: Vec<&str> = seen.iter().map(|it| it.one("traceparent").unwrap()).collect();
        assert!(told.iter().all(|it| it.starts_with("00-0af7651916cd43dd8448eb211c80319c-")));
        assert_ne!(told[0], told[1], "each attempt is a span of its own");

        // Nobody has decided about this one, and of those nothing is sampled.
        Client::get(proxy.addr).await;
        assert!(backend.requests()[2].one("traceparent").unwrap().ends_with("-00"));

        until(|| !collector.requests().is_empty()).await;
        let request = collector.requests().remove(0);
        assert!(request.head.starts_with("POST /v1/traces "), "{}", request.head);
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        let spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
        assert_eq!(spans.len(), 3, "one exchange, two attempts: {body}");
        assert_eq!(spans[0]["parentSpanId"], "b7ad6b7169203331");
        assert!(told[1].contains(spans[2]["spanId"].as_str().unwrap()));
        assert!(!body.to_string().contains("secret"));
    });
}
