//! Bodies stream, both ways, whole and in order, and nothing piles up.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{
    Backend, Client, Nobody, Proxy, Request, Script, noise, read_head, run, until,
};

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in body.chunks(size) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

#[test]
fn a_large_body_arrives_byte_for_byte_both_ways() {
    run(async {
        let body = Rc::new(noise(10_000_000));
        let sent = Rc::clone(&body);
        let backend = Backend::start(move |_, request| {
            assert!(request.body == *sent, "the upload has changed on its way");
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", sent.len());
            Script::Write([head.as_bytes(), &sent].concat())
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let answer = Client::post(proxy.addr, &body).await;
        assert!(answer.body == *body, "the download has changed on its way");
    });
}

#[test]
fn chunks_arrive_whole_both_ways() {
    run(async {
        let body = Rc::new(noise(300_000));
        let sent = Rc::clone(&body);
        let backend = Backend::start(move |_, request| {
            assert!(request.body == *sent, "the upload has changed on its way");
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            Script::Write([&head[..], &chunked(&sent, 777)].concat())
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        let mut client = Client::connect(proxy.addr).await;
        for _ in 0..2 {
            client.write([&head[..], &chunked(&body, 1_234)].concat()).await;
            assert!(client.answer().await.unwrap().body == *body);
        }
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    run(async {
        let backend =
            Backend::start(|_, request| Script::ok(request.head.split(' ').nth(1).unwrap())).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut client = Client::connect(proxy.addr).await;
        let all: String =
            (0..20).map(|n| format!("GET /{n} HTTP/1.1\r\nhost: a\r\n\r\n")).collect();
        client.write(all).await;
        for n in 0..20 {
            assert_eq!(client.answer().await.unwrap().text(), format!("/{n}"));
        }
    });
}

/// More than all buffers between a client and a backend hold.
const ENDLESS: usize = 256 * 1024 * 1024;

/// What a count has come to when it has moved, and then not for many turns of everybody.
async fn stands_still(count: &Cell<usize>) -> usize {
    let (mut seen, mut still) = (0, 0);
    while still < 10_000 {
        tokio::task::yield_now().await;
        still = if count.get() > seen || count.get() == 0 { 0 } else { still + 1 };
        seen = count.get();
    }
    seen
}

#[test]
fn a_client_that_does_not_read_stops_its_backend() {
    run(async {
        let written = Rc::new(Cell::new(0));
        let counting = Rc::clone(&written);
        let backend = Backend::start(move |_, _| {
            let written = Rc::clone(&counting);
            Script::Do(Box::new(|mut stream| {
                Box::pin(async move {
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {ENDLESS}\r\n\r\n");
                    stream.write_all(head.as_bytes()).await.unwrap();
                    while stream.write_all(&[0; 65_536]).await.is_ok() {
                        written.set(written.get() + 65_536);
                    }
                })
            }))
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let seen = stands_still(&written).await;
        assert!(seen < ENDLESS / 4, "{seen} bytes were taken for a client that reads none");
        drop(client);
        until(|| proxy.in_flight() == 0).await;
        until(|| !proxy.log().is_empty()).await;
        assert_eq!(proxy.log()[0]["end"], "client_left");
    });
}

#[test]
fn a_client_that_leaves_before_an_answer_gives_its_lease_back() {
    run(async {
        let backend = Backend::start(|_, _| Script::WriteAndHang(Vec::new())).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        until(|| backend.requests().len() == 1).await;
        assert_eq!(proxy.in_flight(), 1);
        drop(client);
        until(|| proxy.in_flight() == 0).await;
        until(|| !proxy.log().is_empty()).await;
        assert_eq!(proxy.log()[0]["status"], 499);
        assert_eq!(proxy.log()[0]["attempts"][0]["outcome"], "abandoned");
    });
}

#[test]
fn half_an_answer_does_not_look_whole() {
    run(async {
        let half = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
        let backend = Backend::start(|_, _| Script::WriteAndClose(half.to_vec())).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let answer = Client::get(proxy.addr).await;
        assert!(!answer.whole);
        until(|| !proxy.log().is_empty()).await;
        assert_eq!(proxy.log()[0]["end"], "backend_broke");
    });
}

#[test]
fn a_backend_that_does_not_read_stops_its_client() {
    run(async {
        // It takes the head, and nothing behind it.
        let backend = Backend::raw(|mut stream| {
            Box::pin(async move {
                stream.get_mut().read_u8().await.unwrap();
                std::future::pending().await
            })
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut client = Client::connect(proxy.addr).await;
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {ENDLESS}\r\n\r\n");
        client.write(head).await;
        let taken = Rc::new(Cell::new(0));
        tokio::task::spawn_local(client.pour(Rc::clone(&taken)));
        let seen = stands_still(&taken).await;
        assert!(seen < ENDLESS / 4, "{seen} bytes were taken for a backend that reads none");
        assert_eq!(proxy.in_flight(), 1);
        assert!(proxy.log().is_empty());
    });
}

#[test]
fn a_client_that_leaves_within_its_body_gives_its_lease_back() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("")).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf").await;
        until(|| proxy.in_flight() == 1).await;
        drop(client);
        until(|| !proxy.log().is_empty()).await;
        assert_eq!((proxy.in_flight(), &proxy.log()[0]["status"]), (0, &499.into()));
        until(|| backend.open() == 0).await;
        assert!(backend.requests().is_empty(), "half a body is no request");
    });
}

#[test]
fn a_get_keeps_its_body() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("found")).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        for framed in [
            "content-length: 3\r\n\r\nabc",
            "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ] {
            let request = format!("GET / HTTP/1.1\r\nhost: a\r\n{framed}");
            assert_eq!(Client::ask(proxy.addr, request).await.text(), "found");
            assert_eq!(backend.requests().last().unwrap().body, b"abc", "{framed:?}");
        }
    });
}

#[test]
fn an_empty_body_stays_empty() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("")).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        for framed in
            ["content-length: 0\r\n\r\n", "transfer-encoding: chunked\r\n\r\n0\r\n\r\n", "\r\n"]
        {
            let request = format!("POST / HTTP/1.1\r\nhost: a\r\n{framed}");
            assert_eq!(Client::ask(proxy.addr, request).await.status, 200, "{framed:?}");
            assert!(backend.requests().last().unwrap().body.is_empty(), "{framed:?}");
        }
    });
}

#[test]
fn what_is_removed_or_set_is_not_said_behind_a_body_either() {
    run(async {
        let backend = Backend::raw(|mut stream| {
            Box::pin(async move {
                while let Some(head) = read_head(&mut stream).await {
                    assert!(head.contains("\r\nx-auth-user: nobody\r\n"), "{head}");
                    let mut body = [0; 21];
                    stream.read_exact(&mut body).await.unwrap();
                    assert_eq!(body, *b"3\r\nabc\r\n0\r\nsum: 2\r\n\r\n");
                    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n\
                                  0\r\nx-internal: me\r\nsum: 1\r\nx-level: debug\r\n\r\n";
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            })
        })
        .await;
        // Each in the service and in the route, as either decides.
        let service = "request = { headers = { set = { x-auth-user = \"nobody\" } } }\n\
                       response = { headers = { remove = [\"x-internal\"] } }";
        let route = "[[route]]\nname = \"all\"\nhosts = [\"*\"]\nservice = \"web\"\n\
                     request = { headers = { remove = [\"x-admin\"] } }\n\
                     response = { headers = { set = { x-level = \"info\" } } }";
        let url = backend.url();
        let proxy = Proxy::start_with(&format!(
            "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n{route}\n\
             [[service]]\nname = \"web\"\n{service}\npool = [{{ backends = [{{ url = \"{url}\" }}] }}]"
        ))
        .await;
        let mut client = Client::connect(proxy.addr).await;
        let head =
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nte: trailers\r\n\r\n";
        let body = "3\r\nabc\r\n0\r\nX-Auth-User: root\r\nx_auth_user: root\r\nsum: 2\r\n\
                    X-Admin: 1\r\nX_Admin: 1\r\n\r\n";
        for _ in 0..2 {
            client.write([head, body].concat()).await;
            let told = client.head().await;
            assert!(told.contains("\r\nx-level: info\r\n"), "{told}");
            let rest = "2\r\nhi\r\n0\r\nsum: 1\r\n\r\n";
            assert_eq!(client.read(rest.len()).await, rest.as_bytes());
        }
    });
}

/// To whoever says that it takes them (RFC 9110 §6.5.1), announced or not.
#[test]
fn trailers_follow_their_body() {
    run(async {
        for announced in ["", "trailer: sum\r\n"] {
            let backend = Backend::raw(move |mut stream| {
                Box::pin(async move {
                    while let Some(head) = read_head(&mut stream).await {
                        assert_eq!(head.contains("trailer: sum"), !announced.is_empty(), "{head}");
                        let mut body = [0; 21];
                        stream.read_exact(&mut body).await.unwrap();
                        assert_eq!(body, *b"3\r\nabc\r\n0\r\nsum: 2\r\n\r\n");
                        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n";
                        // The rest of its trailers is about its own connection.
                        let rest = "\r\n2\r\nhi\r\n0\r\nsum: 1\r\nkeep-alive: 5\r\n\
                                    content-length: 9\r\nset-cookie: a=b\r\n\r\n";
                        let answer = format!("{head}{announced}{rest}");
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                })
            })
            .await;
            let proxy = Proxy::start(&[backend.url()], "").await;
            let mut client = Client::connect(proxy.addr).await;
            for takes in ["te: trailers\r\n", ""] {
                let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n";
                // Where it comes from is for the proxy to say, behind the body as before it.
                let body = "3\r\nabc\r\n0\r\nsum: 2\r\nx-forwarded-for: 192.0.2.6\r\n\
                            proxy-authorization: me\r\nx-request-id: 7\r\n\r\n";
                client.write(format!("{head}{takes}{announced}\r\n{body}")).await;
                assert!(!client.head().await.contains("\nsum:"), "not among the headers");
                let last = if takes.is_empty() { "0\r\n\r\n" } else { "0\r\nsum: 1\r\n\r\n" };
                let rest = format!("2\r\nhi\r\n{last}");
                assert_eq!(client.read(rest.len()).await, rest.as_bytes(), "{takes}");
            }
            until(|| proxy.log().len() == 2).await;
            assert!(proxy.log().iter().all(|line| line["end"] == "complete"), "{:?}", proxy.log());
            assert_eq!(backend.connections(), 1);
        }
    });
}

#[test]
fn malformed_chunks_reach_no_backend_as_a_whole_body() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("")).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let trailer = "3\r\nabc\r\n0\r\nno colon\r\n\r\n";
        let rest = ["3\r\nabcX", "zz\r\n", "3\nabc\r\n0\r\n\r\n", "3\r\nabc\r\n0\r\n\n", trailer];
        for chunks in rest {
            let mut client = Client::connect(proxy.addr).await;
            let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
            client.write(format!("{head}{chunks}GET /secret HTTP/1.1\r\nhost: a\r\n\r\n")).await;
            let answer = client.answer().await.unwrap_or_else(|| panic!("no answer: {chunks:?}"));
            assert_eq!((answer.status, answer.error().as_str()), (400, "broken_request"));
            assert!(client.is_closed().await, "{chunks:?}");
        }
        until(|| proxy.log().len() == rest.len()).await;
        assert!(proxy.log().iter().all(|line| line["reason"] == "broken_request"));
        assert_eq!(proxy.in_flight(), 0);
        assert!(backend.requests().is_empty());
        let metrics = proxy.metrics().await;
        let (ours, theirs) =
            ("outcome=\"rejected\"} 5", "lb_clients_left_total{service=\"web\"} 0");
        assert!(metrics.text().contains(ours) && metrics.text().contains(theirs));
    });
}

/// What a counter comes to over all its labels.
fn total(metrics: &str, name: &str) -> u64 {
    let of = |line: &&str| line.starts_with(&format!("{name}_total{{"));
    let value = |line: &str| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap();
    metrics.lines().filter(of).map(value).sum()
}

#[test]
fn every_exchange_is_delivered_rejected_or_left() {
    run(async {
        let backend = Backend::start(|_, request| match request.head.starts_with("GET /hangs ") {
            true => Script::WriteAndHang(Vec::new()),
            false => Script::ok(""),
        })
        .await;
        let proxy = Proxy::start_with(&format!(
            "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
             [[service]]\nname = \"no\"\nhosts = [\"no\"]\n\
             pool = [{{ backends = [{{ url = \"{}\" }}] }}]\n\
             [[service]]\nname = \"web\"\nhosts = [\"*\"]\nbody_bytes_max = \"8B\"\n\
             timeouts = {{ body_idle = \"50ms\" }}\n\
             pool = [{{ backends = [{{ url = \"{}\" }}] }}]\n",
            Nobody::new().url(),
            backend.url()
        ))
        .await;
        let head = "POST / HTTP/1.1\r\nhost: a\r\n";
        let chunks = format!("{head}transfer-encoding: chunked\r\n\r\n");
        let asked = [
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 200),
            ("GET / HTTP/1.1\r\nhost: no\r\n\r\n".to_owned(), 502),
            // This one is no exchange yet.
            (format!("{head}content-length: 9\r\n\r\n"), 413),
            (format!("{chunks}9\r\n123456789\r\n0\r\n\r\n"), 413),
            (format!("{chunks}zz\r\n"), 400),
            (format!("{head}content-length: 8\r\n\r\n1234"), 408),
        ];
        for (request, status) in &asked {
            assert_eq!(Client::ask(proxy.addr, request).await.status, *status, "{request:?}");
        }
        let mut client = Client::connect(proxy.addr).await;
        client.write("GET /hangs HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let hangs = |request: &Request| request.head.starts_with("GET /hangs ");
        until(|| backend.requests().iter().any(hangs)).await;
        drop(client);
        until(|| proxy.log().len() == asked.len() + 1).await;
        let metrics = proxy.metrics().await;
        let text = metrics.text();
        let parts = ["lb_delivered", "lb_rejections", "lb_clients_left"];
        assert_eq!(parts.map(|name| total(text, name)), [1, 4, 1], "{text}");
        assert_eq!(total(text, "lb_exchanges"), 6);
        for reason in ["body_too_large", "broken_request", "request_timeout"] {
            let said = format!("lb_rejections_total{{service=\"web\",reason=\"{reason}\"}} 1\n");
            assert!(text.contains(&said), "{said}{text}");
        }
    });
}

#[test]
fn an_answer_that_comes_early_reaches_a_client_that_still_sends() {
    run(async {
        // It answers when it has the head, and reads no more.
        let backend = Backend::raw(|mut stream| {
            Box::pin(async move {
                read_head(&mut stream).await.unwrap();
                let answer = b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig";
                stream.write_all(answer).await.unwrap();
                std::future::pending().await
            })
        })
        .await;
        let timeouts = "[service.timeouts]\nbody_idle = \"50ms\"";
        let proxy = Proxy::start(&[backend.url()], timeouts).await;
        let mut client = Client::connect(proxy.addr).await;
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {ENDLESS}\r\n\r\n");
        client.write(head).await;
        client.write([b'x'; 1_000]).await;
        let answer = client.answer().await.unwrap();
        assert_eq!((answer.status, answer.text()), (413, "big"));
        until(|| proxy.in_flight() == 0).await;
        assert!(client.is_closed().await, "the rest of the body is not a request");
    });
}

#[test]
fn a_body_that_comes_behind_an_early_answer_reaches_the_backend_whole() {
    run(async {
        // It answers when it has the head, and goes on reading.
        let read = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&read);
        let backend = Backend::raw(move |mut stream| {
            let seen = Rc::clone(&seen);
            Box::pin(async move {
                while let Some(head) = read_head(&mut stream).await {
                    let answer = b"HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno";
                    stream.write_all(answer).await.unwrap();
                    let mut body = vec![0; if head.starts_with("POST") { 10 } else { 0 }];
                    stream.read_exact(&mut body).await.unwrap();
                    seen.borrow_mut().push(body);
                }
            })
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut client = Client::connect(proxy.addr).await;
        for _ in 0..2 {
            client.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n").await;
            assert_eq!(client.answer().await.unwrap().text(), "no");
            client.write("0123456789").await;
        }
        until(|| read.borrow().len() == 2).await;
        assert!(read.borrow().iter().all(|body| body == b"0123456789"), "{read:?}");
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(client.answer().await.unwrap().text(), "no");
    });
}

#[test]
fn a_client_that_is_not_asked_for_its_body_is_told_that_the_connection_ends() {
    run(async {
        let (_, proxy) = pair_with_route().await;
        let mut client = Client::connect(proxy.addr).await;
        let head =
            "POST /fixed HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
        client.write(head).await;
        let answer = client.answer().await.unwrap();
        assert_eq!((answer.status, answer.one("connection")), (403, Some("close")));
        assert!(client.is_closed().await);
    });
}

#[test]
fn a_little_body_that_nobody_wants_is_passed_over() {
    run(async {
        let (_, proxy) = pair_with_route().await;
        let mut client = Client::connect(proxy.addr).await;
        for _ in 0..2 {
            client.write("POST /fixed HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n").await;
            let answer = client.answer().await.unwrap();
            assert_eq!((answer.status, answer.one("connection")), (403, None));
            client.write("0123456789").await;
        }
        // A large one is not waited for.
        client.write("POST /fixed HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\nx").await;
        assert_eq!(client.answer().await.unwrap().one("connection"), Some("close"));
        assert!(client.is_closed().await);
    });
}

/// A backend, and a route beside it that answers by itself.
async fn pair_with_route() -> (Backend, Proxy) {
    let backend = Backend::start(|_, _| Script::ok("hello")).await;
    let config = format!(
        "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
         [[route]]\nname = \"fixed\"\nhosts = [\"*\"]\npath = \"/fixed\"\n\
         respond = {{ status = 403, body = \"no\" }}\n\
         [[route]]\nname = \"all\"\nhosts = [\"*\"]\nservice = \"web\"\n\
         [[service]]\nname = \"web\"\npool = [{{ backends = [{{ url = \"{}\" }}] }}]\n",
        backend.url()
    );
    let proxy = Proxy::start_with(&config).await;
    (backend, proxy)
}

#[test]
fn bytes_behind_an_answer_answer_nobody() {
    run(async {
        let backend = Backend::start(|_, request| {
            let body = request.head.split(' ').nth(1).unwrap();
            let answer = |body: &str| {
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
            };
            Script::Write([answer(body), answer("poison")].concat().into())
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        for n in 0..10 {
            let request = format!("GET /{n} HTTP/1.1\r\nhost: a\r\n\r\n");
            assert_eq!(Client::ask(proxy.addr, request).await.text(), format!("/{n}"));
        }
    });
}

#[test]
fn a_client_that_still_sends_can_read_our_own_answer() {
    run(async {
        let nobody = Nobody::new();
        let proxy = Proxy::start(&[nobody.url()], "[service.breaker]\nenabled = false").await;
        for _ in 0..5 {
            let body = vec![b'x'; 3_000_000];
            let answer = Client::post(proxy.addr, &body).await;
            assert_eq!((answer.status, answer.error().as_str()), (502, "connect_refused"));
        }
    });
}
