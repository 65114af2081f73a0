//! Another protocol instead of HTTP: WebSocket, and any other, as a tunnel.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::{Request, Response};
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use crate::support::h2::{Backend2, ask, connect, whole};
use crate::support::{Backend, Client, Nobody, Proxy, Script, read_head, run, until};

/// Asks for a protocol that only these tests know.
const ASK: &str = "GET /p HTTP/1.1\r\nhost: a\r\nconnection: x, Upgrade\r\nupgrade: ping/1\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Here\r\nconnection: upgrade\r\nupgrade: ping/1\r\n\r\n";

/// A server of WebSocket that says everything back.
async fn echo() -> Backend {
    Backend::raw(|stream| {
        Box::pin(async move {
            // Some ask it for something else on purpose.
            let Ok(mut socket) = accept_async(stream.into_inner()).await else { return };
            while let Some(Ok(message)) = socket.next().await {
                if message.is_text() || message.is_binary() {
                    socket.send(message).await.unwrap();
                }
            }
        })
    })
    .await
}

/// A backend that switches, and then says back what it hears, until the end and a word beyond it.
async fn switching() -> Backend {
    Backend::raw(|mut stream| {
        Box::pin(async move {
            let head = read_head(&mut stream).await.unwrap();
            assert!(head.contains("connection: upgrade\r\n"), "{head}");
            assert!(head.contains("upgrade: ping/1\r\n"), "{head}");
            stream.write_all(SWITCH.as_bytes()).await.unwrap();
            let mut piece = vec![0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut piece).await {
                if stream.write_all(&piece[..count]).await.is_err() {
                    return;
                }
            }
            let _gone = stream.write_all(b"bye").await;
        })
    })
    .await
}

async fn switched(proxy: &Proxy) -> BufReader<TcpStream> {
    let mut stream = BufReader::new(TcpStream::connect(proxy.addr).await.unwrap());
    stream.write_all(ASK.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("connection: upgrade\r\nupgrade: ping/1\r\n"), "{head}");
    stream
}

async fn hears(stream: &mut BufReader<TcpStream>, said: &str) {
    let mut heard = vec![0; said.len()];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(String::from_utf8(heard).unwrap(), said);
}

#[test]
fn a_websocket_client_talks_to_a_websocket_server() {
    run(async {
        let backend = echo().await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let stream = TcpStream::connect(proxy.addr).await.unwrap();
        let (mut socket, answer) = client_async("ws://a.example/chat", stream).await.unwrap();
        assert!(answer.headers().contains_key("x-request-id"));
        for said in ["hello".to_owned(), "x".repeat(300_000)] {
            socket.send(Message::text(said.clone())).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(said));
        }
        assert_eq!(proxy.in_flight(), 1, "a tunnel holds its place");
        socket.close(None).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
        drop(socket);
        until(|| !proxy.log().is_empty()).await;
        let line = &proxy.log()[0];
        assert_eq!((&line["status"], &line["end"]), (&101.into(), &"complete".into()), "{line}");
        assert!(line["bytes_in"].as_u64() > Some(300_000), "{line}");
        assert!(line["bytes_out"].as_u64() > Some(300_000), "{line}");
        assert_eq!(proxy.in_flight(), 0);
    });
}

/// As clients of Docker and of Kubernetes do.
#[test]
fn a_request_for_another_protocol_may_have_a_body() {
    run(async {
        for body in ["content-length: 0\r\n\r\n", "content-length: 2\r\n\r\n{}"] {
            let length = body.split_once("\r\n\r\n").unwrap().1.len();
            let backend = Backend::raw(move |mut stream| {
                Box::pin(async move {
                    let head = read_head(&mut stream).await.unwrap();
                    assert!(head.contains("upgrade: ping/1\r\n"), "{head}");
                    let mut read = vec![0; length];
                    stream.read_exact(&mut read).await.unwrap();
                    // Nothing follows before there is an answer.
                    assert!(stream.buffer().is_empty());
                    stream.write_all(SWITCH.as_bytes()).await.unwrap();
                    let mut word = [0; 4];
                    stream.read_exact(&mut word).await.unwrap();
                    stream.write_all(&word).await.unwrap();
                })
            })
            .await;
            let proxy = Proxy::start(&[backend.url()], "").await;
            let mut stream = BufReader::new(TcpStream::connect(proxy.addr).await.unwrap());
            let head = ASK.replace("GET", "POST").replace("\r\n\r\n", "\r\n");
            stream.write_all(format!("{head}{body}word").as_bytes()).await.unwrap();
            let answer = read_head(&mut stream).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 101 "), "{body:?}: {answer}");
            hears(&mut stream, "word").await;
        }
    });
}

#[test]
fn any_protocol_is_a_tunnel_and_either_side_may_finish_first() {
    run(async {
        let backend = switching().await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut stream = switched(&proxy).await;
        stream.write_all(b"one").await.unwrap();
        hears(&mut stream, "one").await;
        stream.shutdown().await.unwrap();
        hears(&mut stream, "bye").await;
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        until(|| !proxy.log().is_empty()).await;
        let line = &proxy.log()[0];
        assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&3.into(), &6.into()), "{line}");
    });
}

#[test]
fn what_is_sent_ahead_of_the_answer_waits_for_a_backend_that_switches() {
    run(async {
        let backend = switching().await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut stream = BufReader::new(TcpStream::connect(proxy.addr).await.unwrap());
        stream.write_all(format!("{ASK}early").as_bytes()).await.unwrap();
        read_head(&mut stream).await.unwrap();
        hears(&mut stream, "early").await;
    });
}

#[test]
fn what_is_sent_ahead_of_another_answer_is_the_next_request() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("no")).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut client = Client::connect(proxy.addr).await;
        let behind = "GET /next HTTP/1.1\r\nhost: a\r\n\r\n";
        client.write(format!("{ASK}{behind}")).await;
        assert_eq!(client.answer().await.unwrap().text(), "no");
        assert_eq!(client.answer().await.unwrap().text(), "no");
        let paths: Vec<String> =
            backend.requests().iter().map(|it| it.head[..10].to_owned()).collect();
        assert_eq!(paths, ["GET /p HTT", "GET /next "]);
        assert_eq!(backend.requests()[1].one("upgrade"), None);

        // What is no request reaches nobody.
        let mut client = Client::connect(proxy.addr).await;
        client.write(format!("{ASK}\x01\x02\r\n\r\n")).await;
        assert_eq!(client.answer().await.unwrap().status, 200);
        assert_eq!(client.answer().await.unwrap().status, 400);
        assert_eq!(backend.requests().len(), 3);
    });
}

#[test]
fn the_admin_listener_speaks_nothing_else_and_goes_on() {
    run(async {
        let proxy = Proxy::start(&[switching().await.url()], "").await;
        let mut client = Client::connect(proxy.admin).await;
        let next = "GET /health HTTP/1.1\r\nhost: localhost\r\n";
        let fields = "connection: upgrade\r\nupgrade: ping/1\r\n";
        client.write(format!("{next}{fields}\r\n{next}\r\n")).await;
        assert_eq!(client.answer().await.unwrap().status, 200);
        assert_eq!(client.answer().await.unwrap().status, 200);
    });
}

#[test]
fn a_request_before_one_that_asks_for_a_protocol_is_a_request() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("no")).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut client = Client::connect(proxy.addr).await;
        client.write(format!("GET /a HTTP/1.1\r\nhost: a\r\n\r\n{ASK}")).await;
        assert_eq!(client.answer().await.unwrap().status, 200);
        assert_eq!(client.answer().await.unwrap().status, 200);
        let asked: Vec<bool> =
            backend.requests().iter().map(|it| it.one("upgrade").is_some()).collect();
        assert_eq!(asked, [false, true]);
    });
}

#[test]
fn a_switch_that_nobody_asked_for_is_no_answer() {
    run(async {
        for (asked, granted, reason) in [
            ("", "ping/1", "malformed"),
            ("h2c", "h2c", "malformed"),
            ("ping/1", "pong/1", "no_tunnel"),
            ("ping/1", "ping/1, pong/1", "no_tunnel"),
            ("ping/1", "", "no_tunnel"),
        ] {
            let backend = Backend::start(move |_, _| {
                let head = "HTTP/1.1 101 Here\r\nconnection: upgrade\r\nupgrade:";
                Script::WriteAndHang(format!("{head} {granted}\r\n\r\n").into())
            })
            .await;
            let proxy = Proxy::start(&[backend.url()], "").await;
            let mut client = Client::connect(proxy.addr).await;
            let fields = format!("connection: upgrade\r\nupgrade: {asked}\r\n");
            client.write(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n")).await;
            let answer = client.answer().await.unwrap();
            let told = (answer.status, answer.error());
            assert_eq!(told, (502, reason.to_owned()), "{asked:?} {granted:?}");
        }
    });
}

#[test]
fn over_http2_as_well_it_is_never_switched_to_and_its_settings_stay_behind() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("plain")).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut client = connect(proxy.addr).await;
        let settings = |mut request: Request<_>| {
            request.headers_mut().insert("http2-settings", "AAMAAABk".parse().unwrap());
            request
        };
        let page = Request::get("http://a.example/").body(whole("")).unwrap();
        assert_eq!(ask(&mut client, settings(page)).await.unwrap().body, "plain");
        for protocol in ["h2c", "H2C", " h2c", "h2c, websocket", "websocket, h2c", "a, b", ","] {
            let answer = ask(&mut client, settings(extended("/", protocol))).await.unwrap();
            let told = (answer.head.status.as_u16(), answer.body.contains("connect_not_allowed"));
            assert_eq!(told, (405, true), "{protocol:?}");
        }
        let answer = ask(&mut client, settings(extended("/", "websocket"))).await.unwrap();
        assert_eq!(answer.head.status, 502);
        let seen = backend.requests();
        let asked: Vec<_> = seen.iter().map(|it| it.one("upgrade")).collect();
        assert_eq!(asked, [None, Some("websocket")]);
        assert!(seen.iter().all(|it| it.one("http2-settings").is_none()));
    });
}

#[test]
fn http2_is_never_switched_to() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("plain")).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let ask = |upgrade: &str| {
            let fields = "connection: upgrade, http2-settings\r\nhttp2-settings: AAMAAABk\r\n";
            format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}upgrade: {upgrade}\r\n\r\n")
        };
        for upgrade in ["h2c", "H2C", "h2c, websocket"] {
            assert_eq!(Client::ask(proxy.addr, ask(upgrade)).await.text(), "plain");
        }
        let seen = backend.requests();
        let asked: Vec<_> = seen.iter().map(|it| it.one("upgrade")).collect();
        assert_eq!(asked, [None, None, Some("websocket")]);
        assert!(seen.iter().all(|it| it.one("http2-settings").is_none()));
    });
}

#[test]
fn a_backend_that_cannot_switch_is_retried_elsewhere() {
    run(async {
        let bad = Backend::start(|_, _| Script::status(523, "no")).await;
        let good = switching().await;
        let proxy = Proxy::start(&[bad.url(), good.url()], "").await;
        for _ in 0..2 {
            let mut stream = switched(&proxy).await;
            stream.write_all(b"here").await.unwrap();
            hears(&mut stream, "here").await;
        }
        assert!(!bad.requests().is_empty());
    });
}

#[test]
fn a_tunnel_in_which_nobody_speaks_ends() {
    run(async {
        let backend = switching().await;
        let timeouts = "[service.timeouts]\ntunnel_idle = \"50ms\"";
        let proxy = Proxy::start(&[backend.url()], timeouts).await;
        let mut stream = switched(&proxy).await;
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
        until(|| !proxy.log().is_empty()).await;
        assert_eq!(proxy.log()[0]["end"], "deadline");
    });
}

#[test]
fn whoever_hangs_up_does_not_leave_the_other_side_hanging() {
    run(async {
        let backend = Backend::raw(|mut stream| {
            Box::pin(async move {
                read_head(&mut stream).await.unwrap();
                stream.write_all(SWITCH.as_bytes()).await.unwrap();
            })
        })
        .await;
        let timeouts = "[service.timeouts]\nbody_idle = \"50ms\"";
        let proxy = Proxy::start(&[backend.url()], timeouts).await;
        let mut stream = switched(&proxy).await;
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "the backend has gone");
        until(|| !proxy.log().is_empty()).await;
        assert_eq!(proxy.in_flight(), 0);
    });
}

#[test]
fn the_time_of_an_exchange_does_not_end_a_tunnel() {
    run(async {
        let backend = switching().await;
        let timeouts = "[service.timeouts]\nexchange = \"60ms\"\nfirst_byte = \"50ms\"\n\
                        connect = \"50ms\"\nbody_idle = \"50ms\"";
        let proxy = Proxy::start(&[backend.url()], timeouts).await;
        let mut stream = switched(&proxy).await;
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(120) {
            stream.write_all(b"x").await.unwrap();
            hears(&mut stream, "x").await;
        }
    });
}

#[test]
fn a_tunnel_goes_on_through_a_reload_and_ends_with_the_process() {
    run(async {
        let config = |backend: &Backend, extra: &str| {
            format!(
                "[server]\ndrain_timeout = \"100ms\"\n[[listener]]\nbind = \"127.0.0.1:0\"\n\
                 [admin]\nbind = \"127.0.0.1:0\"\n[[service]]\nname = \"web\"\nhosts = [\"*\"]\n\
                 pool = [{{ backends = [{{ url = \"{}\" }}] }}]\n{extra}",
                backend.url()
            )
        };
        let (backend, other) = (switching().await, switching().await);
        let proxy = Proxy::start_with(&config(&backend, "")).await;
        let mut stream = switched(&proxy).await;
        proxy.reload(&config(&other, "[service.timeouts]\ntunnel_idle = \"1s\""));
        stream.write_all(b"still").await.unwrap();
        hears(&mut stream, "still").await;
        proxy.trigger.drain();
        stream.write_all(b"draining").await.unwrap();
        hears(&mut stream, "draining").await;
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0, "the drain is over");
        proxy.serving.await.unwrap();
        assert_eq!(proxy.gateway.snapshot().services().count(), 1);
    });
}

fn extended(path: &str, protocol: &'static str) -> Request<crate::support::h2::Sent> {
    Request::connect(format!("http://a.example{path}"))
        .header("sec-websocket-version", "13")
        .extension(Protocol::from_static(protocol))
        .body(whole(""))
        .unwrap()
}

#[test]
fn a_websocket_over_http2_reaches_a_server_of_http1() {
    a_websocket_over_http2_is_carried("");
}

#[test]
fn a_route_for_websockets_takes_those_over_http2() {
    a_websocket_over_http2_is_carried(
        "[[route]]\nname = \"rest\"\nhosts = [\"*\"]\npath = \"/chat\"\nrespond = { status = 404 }\n\
         [[route]]\nname = \"chat\"\nhosts = [\"*\"]\npath = \"/chat\"\nservice = \"web\"\n\
         headers = { upgrade = \"WebSocket\" }\n",
    );
}

fn a_websocket_over_http2_is_carried(routes: &str) {
    run(async {
        let backend = echo().await;
        let proxy = Proxy::start(&[backend.url()], routes).await;
        let mut client = connect(proxy.addr).await;
        // The first answer brings the settings that allow it.
        let refused = client.send_request(extended("/", "other")).await;
        assert!(refused.is_err() || refused.unwrap().status() == 502);
        let answer = client.send_request(extended("/chat", "websocket")).await.unwrap();
        assert_eq!(answer.status(), 200);
        for name in ["upgrade", "connection", "sec-websocket-accept"] {
            assert!(!answer.headers().contains_key(name), "{name}");
        }
        let stream = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
        for said in ["hello".to_owned(), "y".repeat(300_000)] {
            socket.send(Message::text(said.clone())).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(said));
        }
        assert_eq!(proxy.in_flight(), 1);
        socket.close(None).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
        drop(socket);
        until(|| proxy.log().iter().any(|line| line["path"] == "/chat")).await;
        let log = proxy.log();
        let line = log.iter().find(|line| line["path"] == "/chat").unwrap();
        assert_eq!((&line["status"], &line["end"]), (&101.into(), &"complete".into()), "{line}");
    });
}

#[test]
fn over_http2_no_answer_but_a_switch_opens_a_tunnel() {
    run(async {
        let backend = Backend::start(|_, got| match got.head.split(' ').nth(1) {
            Some("/no") => Script::status(403, "no"),
            Some("/plain") => Script::ok("a page"),
            _ => Script::WriteAndHang(
                b"HTTP/1.1 101 Here\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                  sec-websocket-accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n"
                    .to_vec(),
            ),
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut client = connect(proxy.addr).await;
        let first = Request::get("http://a.example/no").body(whole("")).unwrap();
        assert_eq!(client.send_request(first).await.unwrap().status(), 403);
        for (path, status) in [("/no", 403), ("/plain", 502), ("/wrong-key", 502)] {
            let answer = client.send_request(extended(path, "websocket")).await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{path}");
        }
        let keys: Vec<_> = backend.requests()[1..]
            .iter()
            .map(|it| it.one("sec-websocket-key").unwrap().to_owned())
            .collect();
        assert!(keys.iter().all(|key| key.len() == 24), "{keys:?}");
        assert_ne!(keys[0], keys[1]);
    });
}

#[test]
fn a_backend_that_opens_no_tunnel_is_asked_once_and_not_to_blame() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("a page")).await;
        let breaker = "[service.breaker]\nconsecutive_failures = 1";
        let proxy = Proxy::start(&[backend.url()], breaker).await;
        let mut client = connect(proxy.addr).await;
        let page = || Request::get("http://a.example/").body(whole("")).unwrap();
        assert_eq!(ask(&mut client, page()).await.unwrap().body, "a page");
        for _ in 0..3 {
            let answer = ask(&mut client, extended("/", "websocket")).await.unwrap();
            assert_eq!(answer.head.status, 502);
            assert!(answer.body.contains("\"no_tunnel\""), "{}", answer.body);
        }
        assert_eq!(ask(&mut client, page()).await.unwrap().body, "a page");
        assert_eq!(backend.requests().len(), 5);
    });
}

#[test]
fn a_backend_of_http2_that_is_asked_for_a_tunnel_is_asked_once_and_not_to_blame() {
    run(async {
        let page = async |_, _| Response::new(whole("a page"));
        let (one, other) = (Backend2::start(9, page).await, Backend2::start(9, page).await);
        let policies = "protocol = \"h2\"\n[service.breaker]\nconsecutive_failures = 1";
        let proxy = Proxy::start(&[one.url(), other.url()], policies).await;
        let mut client = connect(proxy.addr).await;
        for _ in 0..3 {
            let answer = ask(&mut client, extended("/", "websocket")).await.unwrap();
            assert!(answer.body.contains("\"no_tunnel\""), "{}", answer.body);
            let answer = Client::ask(proxy.addr, ASK).await;
            assert_eq!((answer.status, answer.error().as_str()), (502, "no_tunnel"));
        }
        assert!(proxy.log().iter().all(|line| line["attempts"].as_array().unwrap().len() == 1));
        for _ in 0..2 {
            assert_eq!(Client::get(proxy.addr).await.text(), "a page");
        }
        assert_eq!((one.got.borrow().len(), other.got.borrow().len()), (1, 1));
    });
}

#[test]
fn an_error_of_a_backend_of_http2_that_speaks_http1_as_well_opens_no_tunnel_either() {
    run(async {
        let backend = Backend::start(|_, _| Script::status(503, "no")).await;
        let policies = "protocol = \"h2\"\n[service.breaker]\nconsecutive_failures = 1";
        let proxy = Proxy::start(&[backend.url()], policies).await;
        for _ in 0..2 {
            assert_eq!(Client::ask(proxy.addr, ASK).await.error(), "no_tunnel");
        }
        assert_eq!(backend.requests().len(), 2);
    });
}

#[test]
fn a_backend_of_http2_that_cannot_be_reached_for_a_tunnel_is_to_blame() {
    run(async {
        let policies = "protocol = \"h2\"\n[service.breaker]\nconsecutive_failures = 1";
        let proxy = Proxy::start(&[Nobody::new().url()], policies).await;
        for reason in ["connect_refused", "no_fit_backend"] {
            assert_eq!(Client::ask(proxy.addr, ASK).await.error(), reason);
        }
    });
}
