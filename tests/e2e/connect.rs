//! CONNECT: refused unless a service allows it, and then a tunnel that its backend grants.

use http::Request;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::support::h2::{self, whole};
use crate::support::{Backend, Client, Nobody, Proxy, Script, read_head, run, until};

const ALLOWED: &str = "allow_connect = true";

/// The destination is a name that nobody could resolve: only a backend can be who answers.
const ASK: &str = "CONNECT db.invalid:5432 HTTP/1.1\r\nhost: other.invalid\r\n\r\n";

const NEXT: &str = "GET /next HTTP/1.1\r\nhost: a\r\n\r\n";

/// A service of these backends that allows tunnels, with these lines besides.
async fn allowing(backends: &[String], lines: &str) -> Proxy {
    Proxy::start(backends, &format!("{ALLOWED}\n{lines}")).await
}

/// A backend that grants every tunnel with `granted`, and then says back what it hears.
async fn granting(granted: &'static str) -> Backend {
    Backend::start(move |_, _| {
        Script::Do(Box::new(move |mut stream| {
            Box::pin(async move {
                stream.write_all(granted.as_bytes()).await.unwrap();
                let mut piece = vec![0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut piece).await {
                    if stream.write_all(&piece[..count]).await.is_err() {
                        return;
                    }
                }
                let _gone = stream.write_all(b"bye").await;
            })
        }))
    })
    .await
}

const GRANT: &str = "HTTP/1.1 200 Connected\r\n\r\n";

/// Asks by `ask` on a connection of its own. Returns it and the head of the answer.
async fn asked(proxy: &Proxy, ask: impl AsRef<[u8]>) -> (BufReader<TcpStream>, String) {
    let mut stream = BufReader::new(TcpStream::connect(proxy.addr).await.unwrap());
    stream.write_all(ask.as_ref()).await.unwrap();
    let head = read_head(&mut stream).await.unwrap();
    (stream, head)
}

async fn hears(stream: &mut BufReader<TcpStream>, said: &str) {
    let mut heard = vec![0; said.len()];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(String::from_utf8(heard).unwrap(), said);
}

#[test]
fn a_service_that_allows_it_has_its_backend_open_the_tunnel() {
    run(async {
        let backend = granting(GRANT).await;
        let proxy = allowing(&[backend.url()], "host = \"backend\"").await;
        let ask = ASK.replace("\r\n\r\n", "\r\nproxy-authorization: Basic eDp5\r\nte: x\r\n\r\n");
        let (mut stream, head) = asked(&proxy, ask).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let got = backend.request();
        assert!(got.head.starts_with("CONNECT db.invalid:5432 HTTP/1.1\r\n"), "{}", got.head);
        // RFC 9112 §3.2: the same as the target, whatever the service says of Host.
        assert_eq!(got.one("host"), Some("db.invalid:5432"));
        assert_eq!(got.one("proxy-authorization"), Some("Basic eDp5"), "whom else would it be for");
        for name in ["content-length", "transfer-encoding", "connection", "upgrade", "te"] {
            assert_eq!(got.one(name), None, "{name}");
        }
        stream.write_all(b"hello").await.unwrap();
        hears(&mut stream, "hello").await;
        assert_eq!(proxy.in_flight(), 1, "a tunnel holds its place");
        stream.shutdown().await.unwrap();
        hears(&mut stream, "bye").await;
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        until(|| !proxy.log().is_empty()).await;
        let line = &proxy.log()[0];
        assert_eq!((&line["method"], &line["status"]), (&"CONNECT".into(), &200.into()), "{line}");
        assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&5.into(), &8.into()), "{line}");
        assert_eq!(line["end"], "complete", "{line}");
        assert_eq!(line["attempts"].as_array().unwrap().len(), 1, "{line}");
        assert_eq!(proxy.in_flight(), 0);
    });
}

#[test]
fn without_the_setting_nobody_is_asked_and_the_next_request_is_answered() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("next")).await;
        for lines in ["", "allow_connect = false"] {
            let proxy = Proxy::start(&[backend.url()], lines).await;
            let mut client = Client::connect(proxy.addr).await;
            client.write(format!("{ASK}{NEXT}")).await;
            let refused = client.answer().await.unwrap();
            assert_eq!((refused.status, refused.error().as_str()), (405, "connect_not_allowed"));
            assert!(!refused.one("allow").unwrap().contains("CONNECT"));
            assert_eq!(client.answer().await.unwrap().text(), "next");
        }
        assert!(backend.requests().iter().all(|got| got.head.starts_with("GET /next ")));
    });
}

#[test]
fn no_route_but_one_to_a_service_that_allows_it_takes_a_connect() {
    run(async {
        let (open, shut) = (granting(GRANT).await, Backend::start(|_, _| Script::ok("")).await);
        let service = |name: &str, backend: &Backend, allowed: bool| {
            format!(
                "[[service]]\nname = \"{name}\"\nallow_connect = {allowed}\n\
                 pool = [{{ backends = [{{ url = \"{}\" }}] }}]\n",
                backend.url()
            )
        };
        let proxy = Proxy::start_with(&format!(
            "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n{}{}\
             [[route]]\nname = \"tunnels\"\nhosts = [\"*.invalid\"]\nmethods = [\"CONNECT\"]\n\
             service = \"open\"\n\
             [[route]]\nname = \"root\"\nhosts = [\"root.test\"]\npath = \"/\"\nservice = \"open\"\n\
             [[route]]\nname = \"deep\"\nhosts = [\"deep.test\"]\npath_prefix = \"/deep\"\n\
             service = \"open\"\n\
             [[route]]\nname = \"fixed\"\nhosts = [\"fixed.test\"]\nrespond = {{ status = 200 }}\n\
             [[route]]\nname = \"rest\"\nhosts = [\"*\"]\nservice = \"shut\"\n",
            service("open", &open, true),
            service("shut", &shut, false),
        ))
        .await;
        for (host, status) in [
            ("db.invalid", "200"),
            ("root.test", "200"),
            ("deep.test", "405"),
            ("fixed.test", "405"),
            ("else.test", "405"),
        ] {
            let ask = format!("CONNECT {host}:1 HTTP/1.1\r\nhost: {host}:1\r\n\r\n");
            let (_, head) = asked(&proxy, ask).await;
            assert_eq!(&head[9..12], status, "{host}");
        }
        assert!(shut.requests().is_empty());
    });
}

#[test]
fn what_is_sent_ahead_of_the_answer_waits_for_a_backend_that_grants() {
    run(async {
        let backend = Backend::raw(|mut stream| {
            Box::pin(async move {
                read_head(&mut stream).await.unwrap();
                assert!(stream.buffer().is_empty(), "not before the tunnel stands");
                stream.write_all(GRANT.as_bytes()).await.unwrap();
                let mut heard = [0; 5];
                stream.read_exact(&mut heard).await.unwrap();
                assert_eq!(&heard, b"early");
                stream.write_all(b"late").await.unwrap();
            })
        })
        .await;
        let proxy = allowing(&[backend.url()], "").await;
        let (mut stream, _) = asked(&proxy, format!("{ASK}early")).await;
        hears(&mut stream, "late").await;
    });
}

#[test]
fn what_is_sent_ahead_of_a_refusal_is_the_next_request() {
    run(async {
        let backend = Backend::start(|_, got| match got.head.starts_with("CONNECT ") {
            true => Script::Write(
                b"HTTP/1.1 407 Who\r\nproxy-authenticate: Basic realm=\"x\"\r\n\
                  proxy-authenticate: Bearer\r\ncontent-length: 3\r\n\r\nwho"
                    .to_vec(),
            ),
            false => Script::ok("next"),
        })
        .await;
        let proxy = allowing(&[backend.url()], "").await;
        let mut client = Client::connect(proxy.addr).await;
        for _ in 0..2 {
            client.write(format!("{ASK}{NEXT}")).await;
            let refused = client.answer().await.unwrap();
            assert_eq!((refused.status, refused.text()), (407, "who"));
            assert_eq!(refused.all("proxy-authenticate"), ["Basic realm=\"x\"", "Bearer"]);
            assert_eq!(client.answer().await.unwrap().text(), "next");
        }
        // What is no request reaches nobody.
        client.write(format!("{ASK}\x01\x02\r\n\r\n")).await;
        assert_eq!(client.answer().await.unwrap().status, 407);
        assert_eq!(client.answer().await.unwrap().status, 400);
        assert_eq!(backend.requests().len(), 5);
        assert_eq!(proxy.in_flight(), 0);
    });
}

#[test]
fn a_grant_has_no_body_whatever_it_says() {
    run(async {
        for framing in [
            "content-length: 7",
            "content-length: x",
            "transfer-encoding: chunked",
            "transfer-encoding: gzip\r\ncontent-length: 1\r\ncontent-length: 2",
        ] {
            let granted = format!("HTTP/1.1 299 Connected\r\n{framing}\r\n\r\nfirst").leak();
            let backend = granting(granted).await;
            let proxy = allowing(&[backend.url()], "").await;
            let (mut stream, head) = asked(&proxy, ASK).await;
            assert!(head.starts_with("HTTP/1.1 299 "), "{head}");
            assert!(!head.contains("content-length") && !head.contains("encoding"), "{head}");
            hears(&mut stream, "first").await;
            stream.write_all(b"more").await.unwrap();
            hears(&mut stream, "more").await;
        }
    });
}

#[test]
fn what_is_neither_a_grant_nor_a_refusal_is_no_answer() {
    run(async {
        for (said, reason) in [
            ("HTTP/1.1 204 No Content\r\n\r\n", "no_tunnel"),
            ("HTTP/1.1 101 Here\r\nconnection: upgrade\r\nupgrade: ping/1\r\n\r\n", "malformed"),
        ] {
            let backend = Backend::start(|_, _| Script::WriteAndHang(said.into())).await;
            let proxy = allowing(&[backend.url()], "").await;
            let fields = "\r\nconnection: upgrade\r\nupgrade: ping/1\r\n\r\n";
            let answer = Client::ask(proxy.addr, ASK.replace("\r\n\r\n", fields)).await;
            assert_eq!((answer.status, answer.error().as_str()), (502, reason), "{said}");
            assert_eq!(backend.request().one("upgrade"), None);
        }
    });
}

#[test]
fn edits_change_neither_the_target_nor_what_the_backend_decided() {
    run(async {
        let edits = "[service.request]\npath = \"/elsewhere\"\nhost = \"elsewhere.test\"\n\
                     headers.set = { x-by = \"{path}\" }\n[service.response]\nstatus = 200";
        let grants = granting("HTTP/1.1 201 Connected\r\n\r\n").await;
        let proxy = allowing(&[grants.url()], edits).await;
        let (_, head) = asked(&proxy, ASK).await;
        assert!(head.starts_with("HTTP/1.1 201 "), "{head}");
        let got = grants.request();
        assert!(got.head.starts_with("CONNECT db.invalid:5432 "), "{}", got.head);
        assert_eq!((got.one("host"), got.one("x-by")), (Some("db.invalid:5432"), Some("/")));

        let refuses = Backend::start(|_, _| Script::status(403, "no")).await;
        let proxy = allowing(&[refuses.url()], edits).await;
        let answer = Client::ask(proxy.addr, ASK).await;
        assert_eq!((answer.status, answer.text()), (403, "no"));
    });
}

#[test]
fn a_tunnel_that_was_never_asked_for_is_tried_elsewhere_and_any_other_is_not() {
    run(async {
        let (nobody, good) = (Nobody::new(), granting(GRANT).await);
        let proxy = allowing(&[nobody.url(), good.url()], "").await;
        for _ in 0..2 {
            let (mut stream, _) = asked(&proxy, ASK).await;
            stream.write_all(b"here").await.unwrap();
            hears(&mut stream, "here").await;
        }
        let breaks_off = || Backend::start(|_, _| Script::WriteAndClose(Vec::new()));
        let (one, other) = (breaks_off().await, breaks_off().await);
        let proxy = allowing(&[one.url(), other.url()], "").await;
        assert_eq!(Client::ask(proxy.addr, ASK).await.status, 502);
        assert_eq!(one.requests().len() + other.requests().len(), 1, "it may have opened one");
    });
}

#[test]
fn a_tunnel_in_which_nobody_speaks_ends() {
    run(async {
        let backend = granting(GRANT).await;
        let timeouts = "[service.timeouts]\ntunnel_idle = \"50ms\"";
        let proxy = allowing(&[backend.url()], timeouts).await;
        let (mut stream, _) = asked(&proxy, ASK).await;
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
        until(|| !proxy.log().is_empty()).await;
        assert_eq!(proxy.log()[0]["end"], "deadline");
    });
}

#[test]
fn a_tunnel_is_asked_for_by_host_and_port_and_without_a_body() {
    run(async {
        let backend = granting(GRANT).await;
        let proxy = allowing(&[backend.url()], "").await;
        for (target, field, error) in [
            ("a.test", "x: y", "bad_request_line"),
            ("a.test:", "x: y", "bad_request_line"),
            ("a.test:99999", "x: y", "bad_request_line"),
            ("http://a.test:80/", "x: y", "bad_request_line"),
            ("/", "x: y", "bad_request_line"),
            ("a.test:80", "content-length: 1", "connect_with_body"),
            ("a.test:80", "transfer-encoding: chunked", "connect_with_body"),
        ] {
            let ask = format!("CONNECT {target} HTTP/1.1\r\nhost: a\r\n{field}\r\n\r\nx");
            let answer = Client::ask(proxy.addr, ask).await;
            assert_eq!((answer.status, answer.error().as_str()), (400, error), "{target} {field}");
        }
        assert!(backend.requests().is_empty());
        // Clients from before HTTP/1.1 ask in the same way.
        let old = "CONNECT [::1]:80 HTTP/1.0\r\ncontent-length: 0\r\n\r\n";
        let (mut stream, head) = asked(&proxy, old).await;
        assert!(head.starts_with("HTTP/1.0 200 "), "{head}");
        stream.write_all(b"hello").await.unwrap();
        hears(&mut stream, "hello").await;
        assert_eq!(backend.request().one("content-length"), None);
    });
}

#[test]
fn a_last_answer_that_opens_a_tunnel_does_not_say_goodbye() {
    run(async {
        let backend = granting(GRANT).await;
        let proxy = Proxy::start_with(&format!(
            "[server]\nrequests_per_connection_max = 1\n[[listener]]\nbind = \"127.0.0.1:0\"\n\
             [admin]\nbind = \"127.0.0.1:0\"\n[[service]]\nname = \"web\"\nhosts = [\"*\"]\n\
             {ALLOWED}\npool = [{{ backends = [{{ url = \"{}\" }}] }}]",
            backend.url()
        ))
        .await;
        let (mut stream, head) = asked(&proxy, ASK).await;
        assert!(!head.contains("connection:"), "{head}");
        stream.write_all(b"hello").await.unwrap();
        hears(&mut stream, "hello").await;
    });
}

#[test]
fn the_admin_listener_opens_nothing_and_goes_on() {
    run(async {
        let backend = granting(GRANT).await;
        let proxy = allowing(&[backend.url()], "").await;
        let mut client = Client::connect(proxy.admin).await;
        let ask = "CONNECT localhost:80 HTTP/1.1\r\nhost: localhost\r\n\r\n";
        client.write(format!("{ask}GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
        assert_eq!(client.answer().await.unwrap().status, 405);
        assert_eq!(client.answer().await.unwrap().status, 200);
        assert!(backend.requests().is_empty());
    });
}

fn connect(authority: &str) -> Request<h2::Sent> {
    Request::connect(authority).body(whole("")).unwrap()
}

#[test]
fn a_tunnel_over_http2_takes_one_stream() {
    run(async {
        let backend = granting("HTTP/1.1 200 Connected\r\ncontent-length: 9\r\n\r\n").await;
        let proxy = allowing(&[backend.url()], "").await;
        let mut client = h2::connect(proxy.addr).await;
        let answer = client.send_request(connect("db.invalid:5432")).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(!answer.headers().contains_key("content-length"));
        let got = backend.request();
        assert!(got.head.starts_with("CONNECT db.invalid:5432 HTTP/1.1\r\n"), "{}", got.head);
        assert_eq!(got.one("host"), Some("db.invalid:5432"));
        let mut stream = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
        let said = "z".repeat(300_000);
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut heard = vec![0; said.len()];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, said.as_bytes());
        stream.shutdown().await.unwrap();
        let mut last = Vec::new();
        stream.read_to_end(&mut last).await.unwrap();
        assert_eq!(last, b"bye");
        until(|| !proxy.log().is_empty()).await;
        let line = &proxy.log()[0];
        assert_eq!((&line["status"], &line["end"]), (&200.into(), &"complete".into()), "{line}");
    });
}

#[test]
fn over_http2_a_refusal_and_a_bad_target_leave_the_connection_as_it_was() {
    run(async {
        let backend = Backend::start(|_, _| Script::status(403, "no")).await;
        let refusing = Proxy::start(&[backend.url()], "").await;
        let allowing = allowing(&[backend.url()], "").await;
        for (proxy, authority, status) in [
            (&refusing, "a.test:80", 405),
            (&allowing, "a.test:80", 403),
            (&allowing, "a.test", 400),
        ] {
            let mut client = h2::connect(proxy.addr).await;
            for _ in 0..2 {
                let answer = client.send_request(connect(authority)).await.unwrap();
                assert_eq!(answer.status().as_u16(), status, "{authority}");
            }
        }
        assert_eq!(backend.requests().len(), 2);
    });
}
