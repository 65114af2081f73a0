//! HTTP/2 on either side, on both, and what only it can do.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::h2::{Backend2, Sent, answers_heads, ask, connect, frame, pieces, whole};
use crate::support::{Backend, Client, Proxy, Script, run, until};

pub(crate) const H2: &str = "protocol = \"h2\"";

pub(crate) fn get(path: &str) -> Request<Sent> {
    Request::get(format!("http://a.example{path}")).body(whole("")).unwrap()
}

pub(crate) fn post(body: Sent) -> Request<Sent> {
    Request::post("http://a.example/in").body(body).unwrap()
}

pub(crate) async fn hello() -> Backend2 {
    Backend2::start(100, |_, got| async move {
        Response::new(whole(&format!("{} bytes", got.body.len())))
    })
    .await
}

#[test]
fn a_client_of_http2_is_answered_by_a_backend_of_http1() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("hello")).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut client = connect(proxy.addr).await;
        let request = Request::post("http://a.example/x?y=z")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(pieces(&["ab", "cd"], None))
            .unwrap();
        let answer = ask(&mut client, request).await.unwrap();
        assert_eq!((answer.head.status.as_u16(), &*answer.body), (200, "hello"));
        let seen = backend.requests().remove(0);
        assert!(seen.head.starts_with("POST /x?y=z HTTP/1.1\r\n"), "{}", seen.head);
        assert_eq!(seen.one("host"), Some("a.example"));
        assert_eq!(seen.one("cookie"), Some("a=1; b=2"));
        assert_eq!(seen.one("transfer-encoding"), Some("chunked"));
        assert_eq!(seen.body, b"abcd");
        assert_eq!(answer.head.headers.get("x-request-id").map(|_| ()), Some(()));
    });
}

#[test]
fn a_client_of_http1_is_answered_by_a_backend_of_http2() {
    run(async {
        let backend = hello().await;
        let proxy = Proxy::start(&[backend.url()], H2).await;
        let mut client = Client::connect(proxy.addr).await;
        for _ in 0..3 {
            client
                .write("POST /p?q HTTP/1.1\r\nhost: b.example\r\ncontent-length: 3\r\n\r\nabc")
                .await;
            let answer = client.answer().await.unwrap();
            assert_eq!((answer.status, answer.text()), (200, "3 bytes"));
        }
        let seen = backend.got.borrow()[0].head.clone();
        assert!(seen.starts_with("POST http://b.example/p?q\n"), "{seen}");
        assert!(!seen.contains("\nhost:") && !seen.contains("transfer-encoding"), "{seen}");
        assert_eq!(backend.connections(), 1);
    });
}

#[test]
fn what_is_sent_together_shares_a_connection_until_its_backend_allows_no_more() {
    run(async {
        let (backend, go) = Backend2::held(4, "done").await;
        let proxy = Proxy::start(&[backend.url()], H2).await;
        let client = connect(proxy.addr).await;
        // The first tells how many are allowed.
        let (mut first, warm) = (client.clone(), Rc::clone(&go));
        let warmed = tokio::task::spawn_local(async move { ask(&mut first, get("/")).await });
        until(|| backend.got.borrow().len() == 1).await;
        warm.notify_one();
        warmed.await.unwrap().unwrap();
        let asking: Vec<_> = (0..10)
            .map(|_| {
                let mut client = client.clone();
                tokio::task::spawn_local(async move { ask(&mut client, get("/")).await })
            })
            .collect();
        until(|| backend.got.borrow().len() == 11).await;
        assert_eq!((backend.connections(), backend.most_at_once()), (3, 4));
        for asked in asking {
            go.notify_one();
            until(|| asked.is_finished()).await;
            go.notify_waiters();
            assert_eq!(asked.await.unwrap().unwrap().body, "done");
        }
        assert_eq!(proxy.in_flight(), 0);
    });
}

#[test]
fn trailers_go_both_ways_as_grpc_needs_them() {
    run(async {
        let backend = Backend2::start(100, |_, _| async {
            Response::new(pieces(&["re", "ply"], Some(("grpc-status", "0"))))
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], H2).await;
        let mut client = connect(proxy.addr).await;
        let mut request = post(pieces(&["ask"], Some(("x-checksum", "42"))));
        request.headers_mut().insert("te", "trailers".parse().unwrap());
        let answer = ask(&mut client, request).await.unwrap();
        assert_eq!(answer.body, "reply");
        assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
        let got = backend.got.borrow()[0].clone();
        assert!(got.head.contains("te: trailers\n"), "{}", got.head);
        assert_eq!(
            (got.body.as_str(), &got.trailers.unwrap()["x-checksum"]),
            ("ask", &"42".parse().unwrap())
        );
    });
}

#[test]
fn trailers_of_a_request_are_sent_again_with_it() {
    run(async {
        let answers = |count: usize| async move {
            let status = if count == 0 { 503 } else { 200 };
            Response::builder().status(status).body(whole("")).unwrap()
        };
        let backend = Backend2::start(100, move |count, _| answers(count)).await;
        let other = Backend2::start(100, move |_, _| answers(1)).await;
        let policy = format!("{H2}\nretry = {{ methods = \"any\" }}");
        let proxy = Proxy::start(&[backend.url(), other.url()], &policy).await;
        let mut client = connect(proxy.addr).await;
        let request = post(pieces(&["a", "b"], Some(("x-checksum", "7"))));
        assert_eq!(ask(&mut client, request).await.unwrap().head.status, 200);
        for got in [&backend, &other].map(|it| it.got.borrow()[0].clone()) {
            assert_eq!(
                (&*got.body, &got.trailers.unwrap()["x-checksum"]),
                ("ab", &"7".parse().unwrap())
            );
        }
    });
}

#[test]
fn a_request_is_for_one_host() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("hello")).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut client = connect(proxy.addr).await;
        for (host, status) in [("A.Example", 200), ("b.example", 400)] {
            let mut request = get("/");
            request.headers_mut().insert("host", host.parse().unwrap());
            let answer = ask(&mut client, request).await.unwrap();
            assert_eq!(answer.head.status.as_u16(), status, "{host} beside a.example");
        }
        assert_eq!(backend.requests().len(), 1);
    });
}

#[test]
fn errors_of_ours_are_said_in_grpcs_words_to_whom_speaks_it() {
    run(async {
        let proxy = Proxy::start(&["http://127.0.0.1:1".to_owned()], H2).await;
        let mut client = connect(proxy.addr).await;
        let mut request = post(whole("x"));
        request.headers_mut().insert("content-type", "application/grpc+proto".parse().unwrap());
        let answer = ask(&mut client, request).await.unwrap();
        let headers = &answer.head.headers;
        assert_eq!(
            (answer.head.status.as_u16(), &headers["grpc-status"]),
            (200, &"14".parse().unwrap())
        );
        assert_eq!(headers["content-type"], "application/grpc");
        assert!(headers["grpc-message"].to_str().unwrap().contains("no backend"));
    });
}

#[test]
fn a_call_takes_no_longer_than_its_client_waits() {
    run(async {
        let hung = Backend2::start(100, |_, _| std::future::pending()).await;
        let proxy = Proxy::start(&[hung.url()], H2).await;
        let mut client = connect(proxy.addr).await;
        let mut request = post(whole("x"));
        request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        request.headers_mut().insert("grpc-timeout", "50m".parse().unwrap());
        let answer = ask(&mut client, request).await.unwrap();
        assert_eq!(answer.head.headers["grpc-status"], "4", "DEADLINE_EXCEEDED");
        assert_eq!(proxy.in_flight(), 0);
    });
}

#[test]
fn the_crumbs_of_a_cookie_are_one_line_and_weigh_what_they_weigh() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("ok")).await;
        let lines = "[server]\nheaders_max = 10\nheader_bytes_max = \"8KiB\"";
        let proxy = Proxy::start(&[backend.url()], lines).await;
        let mut client = connect(proxy.addr).await;
        for (crumbs, others, status) in [(40, 5, 200), (40, 15, 431), (400, 0, 431)] {
            let mut request = get("/");
            for n in 0..crumbs {
                request.headers_mut().append("cookie", format!("k{n}=v").parse().unwrap());
            }
            for n in 0..others {
                let name = http::HeaderName::try_from(format!("x-{n}")).unwrap();
                request.headers_mut().append(name, http::HeaderValue::from_static("1"));
            }
            let answer = ask(&mut client, request).await.unwrap();
            assert_eq!(answer.head.status, status, "{crumbs} {others}");
        }
        let cookie: Vec<_> = (0..40).map(|n| format!("k{n}=v")).collect();
        assert_eq!(backend.request().one("cookie"), Some(&*cookie.join("; ")));
    });
}

#[test]
fn an_answer_has_as_many_lines_as_over_http1() {
    run(async {
        let backend = Backend2::start(100, |nth, _| async move {
            let mut answer = Response::new(whole("ok"));
            // hyper adds the date and the length.
            for n in 0..8 + nth {
                let name = http::HeaderName::try_from(format!("x-{n}")).unwrap();
                answer.headers_mut().insert(name, http::HeaderValue::from_static("1"));
            }
            answer
        })
        .await;
        let lines = format!("{H2}\nretry = {{ attempts_max = 1 }}\n[server]\nheaders_max = 10");
        let proxy = Proxy::start(&[backend.url()], &lines).await;
        let mut client = connect(proxy.addr).await;
        for status in [200, 502] {
            assert_eq!(ask(&mut client, get("/")).await.unwrap().head.status, status);
        }
        until(|| proxy.log().len() == 2).await;
        assert_eq!(proxy.log()[1]["attempts"][0]["outcome"], "malformed");
    });
}

#[test]
fn a_backend_that_goes_away_loses_no_request() {
    run(async {
        let backend = Backend2::start(100, |_, _| async { Response::new(whole("ok")) }).await;
        let goaways = Rc::new(Cell::new(0));
        let told = Rc::clone(&goaways);
        // Says on each connection that it looks at nothing.
        let leaving = answers_heads(move |_| {
            told.set(told.get() + 1);
            frame(7, 0, 0, &[0; 8])
        })
        .await;
        let proxy = Proxy::start(&[leaving.url(), backend.url()], H2).await;
        let mut client = connect(proxy.addr).await;
        for _ in 0..6 {
            let answer = ask(&mut client, post(whole("abc"))).await.unwrap();
            assert_eq!(answer.head.status, 200);
        }
        assert_eq!(backend.got.borrow().len(), 6);
        assert!(goaways.get() >= 3);
    });
}

#[test]
fn draining_says_goodbye_and_finishes_what_runs() {
    run(async {
        let (backend, held) = Backend::held().await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let client = connect(proxy.addr).await;
        let mut asking = client.clone();
        let asked = tokio::task::spawn_local(async move { ask(&mut asking, get("/")).await });
        until(|| backend.requests().len() == 1).await;
        proxy.trigger.drain();
        until(|| proxy.gateway.is_draining()).await;
        held.borrow_mut().remove(0).send(()).unwrap();
        assert_eq!(asked.await.unwrap().unwrap().body, "ok");
        // The connection closes as soon as nothing runs on it.
        proxy.serving.await.unwrap();
        until(|| client.is_closed()).await;
    });
}

#[test]
fn http2_can_be_turned_off() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("")).await;
        let proxy = Proxy::start(&[backend.url()], "[server.http2]\nenabled = false").await;
        let mut stream = TcpStream::connect(proxy.addr).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
    });
}

#[test]
fn the_preface_may_come_in_pieces() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("")).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let mut stream = TcpStream::connect(proxy.addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for piece in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".chunks(5) {
            stream.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(head[3], 4, "SETTINGS");
    });
}

#[test]
fn streams_of_many_pieces_come_through_whole_both_ways() {
    run(async {
        let backend = Backend2::start(100, |_, got| async move {
            Response::new(pieces(&[&got.body, "|", &got.body], None))
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], H2).await;
        let results = Rc::new(RefCell::new(0));
        let client = connect(proxy.addr).await;
        let asking: Vec<_> = (0..20_usize)
            .map(|n| {
                let (mut client, results) = (client.clone(), Rc::clone(&results));
                tokio::task::spawn_local(async move {
                    let text = format!("{n}-").repeat(1 + n * 5_000);
                    let cut: Vec<&str> = text
                        .as_bytes()
                        .chunks(1_000 + n)
                        .map(|it| std::str::from_utf8(it).unwrap())
                        .collect();
                    let answer = ask(&mut client, post(pieces(&cut, None))).await.unwrap();
                    assert!(answer.body == format!("{text}|{text}"), "stream {n}");
                    *results.borrow_mut() += 1;
                })
            })
            .collect();
        for asked in asking {
            asked.await.unwrap();
        }
        assert_eq!(*results.borrow(), 20);
    });
}
