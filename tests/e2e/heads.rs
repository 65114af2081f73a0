//! Heads on their way to a backend and back.

use crate::support::{Backend, Client, Proxy, Script, run};

async fn pair(policies: &str, script: impl Fn() -> Script + 'static) -> (Backend, Proxy) {
    let backend = Backend::start(move |_, _| script()).await;
    let proxy = Proxy::start(&[backend.url()], policies).await;
    (backend, proxy)
}

#[test]
fn a_backend_learns_of_the_client_and_of_nothing_for_one_connection() {
    run(async {
        let (backend, proxy) = pair("", || Script::ok("hello")).await;
        let request = "GET /a?b=c HTTP/1.1\r\nhost: example.com\r\nconnection: x-secret, keep-alive, host\r\n\
                       x-secret: 1\r\nkeep-alive: timeout=5\r\nte: gzip\r\nupgrade: foo\r\n\
                       x-forwarded-for: 10.0.0.1\r\nforwarded: for=10.0.0.1\r\naccept: */*\r\n\r\n";
        let answer = Client::ask(proxy.addr, request).await;
        assert_eq!((answer.status, answer.text()), (200, "hello"));
        let seen = backend.request();
        assert!(seen.head.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{}", seen.head);
        assert_eq!(seen.one("host"), Some("example.com"));
        assert_eq!(seen.one("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(seen.one("x-forwarded-proto"), Some("http"));
        assert_eq!(seen.one("x-forwarded-host"), Some("example.com"));
        assert_eq!(seen.all("via"), ["1.1 lb"]);
        assert_eq!(seen.one("accept"), Some("*/*"));
        for gone in ["x-secret", "keep-alive", "te", "upgrade", "forwarded", "connection"] {
            assert_eq!(seen.one(gone), None, "{gone}");
        }
    });
}

#[test]
fn an_underscore_lets_nobody_say_what_is_ours_to_say() {
    run(async {
        // To CGI and WSGI these are the same names.
        let request = "GET / HTTP/1.1\r\nhost: a\r\nx_forwarded_for: 6.6.6.6\r\nX_Real-IP: 6.6.6.6\r\n\
                       x-forwarded_client_cert: Subject=\"CN=admin\"\r\nx_request_id: mine\r\n\
                       content_length: 7\r\nx_user: root\r\nx-user: root\r\nx_trace: 1\r\n\
                       x_custom: kept\r\n\r\n";
        for trusted in ["10.0.0.0/8", "127.0.0.0/8"] {
            let edits = format!(
                "request = {{ headers = {{ set = {{ x-user = \"nobody\" }}, remove = [\"x-trace\"] }} }}\n\
                 [server]\ntrusted_proxies = [\"{trusted}\"]"
            );
            let (backend, proxy) = pair(&edits, || Script::ok("hello")).await;
            assert_eq!(Client::ask(proxy.addr, request).await.status, 200);
            let seen = backend.request();
            assert_eq!(seen.one("x_custom"), Some("kept"));
            assert_eq!(seen.one("x-user"), Some("nobody"));
            let names = seen.head.lines().skip(1).filter_map(|line| line.split_once(':'));
            let like: Vec<_> = names.map(|(name, _)| name).filter(|it| it.contains('_')).collect();
            assert_eq!(like, ["x_custom"]);
        }
    });
}

#[test]
fn a_client_gets_the_backends_head_without_what_was_for_one_connection() {
    run(async {
        let (_, proxy) = pair("", || {
            Script::Write(
                b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\nconnection: x-internal\r\n\
                  x-internal: 1\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nserver: mine\r\n\r\n"
                    .to_vec(),
            )
        })
        .await;
        let answer = Client::get(proxy.addr).await;
        assert_eq!(answer.status, 201);
        assert_eq!(answer.all("set-cookie"), ["a=1", "b=2"]);
        assert_eq!(answer.one("server"), Some("mine"));
        assert_eq!(answer.one("x-internal"), None);
        assert_eq!(answer.all("via"), ["1.1 lb"]);
        assert!(answer.one("date").is_some_and(|date| date.ends_with(" GMT")));
    });
}

#[test]
fn a_backends_date_is_kept() {
    run(async {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let (_, proxy) = pair("", move || {
            Script::Write(
                format!("HTTP/1.1 200 OK\r\ndate: {date}\r\ncontent-length: 0\r\n\r\n").into(),
            )
        })
        .await;
        assert_eq!(Client::get(proxy.addr).await.one("date"), Some(date));
    });
}

#[test]
fn client_backend_and_log_know_a_request_by_the_same_name() {
    run(async {
        let (backend, proxy) = pair("", || Script::ok("")).await;
        let request = "GET / HTTP/1.1\r\nhost: a\r\nx-request-id: mine\r\n\r\n";
        let answer = Client::ask(proxy.addr, request).await;
        let id = answer.one("x-request-id").unwrap().to_owned();
        assert_eq!(backend.request().one("x-request-id"), Some(id.as_str()));
        let line = &proxy.log()[0];
        assert_eq!(line["request_id"], id);
        assert_eq!(line["client_request_id"], "mine");
    });
}

#[test]
fn a_backend_sees_its_own_host_where_asked_for() {
    run(async {
        let (backend, proxy) = pair("host = \"backend\"", || Script::ok("")).await;
        Client::ask(proxy.addr, "GET / HTTP/1.1\r\nhost: example.com\r\n\r\n").await;
        let seen = backend.request();
        assert_eq!(seen.one("host"), Some(backend.addr.to_string().as_str()));
        assert_eq!(seen.one("x-forwarded-host"), Some("example.com"));
    });
}

#[test]
fn an_absolute_target_is_sent_in_origin_form() {
    run(async {
        let (backend, proxy) = pair("", || Script::ok("")).await;
        let request = "GET http://right.example/x?y HTTP/1.1\r\nhost: wrong.example\r\n\r\n";
        assert_eq!(Client::ask(proxy.addr, request).await.status, 200);
        let seen = backend.request();
        assert!(seen.head.starts_with("GET /x?y HTTP/1.1\r\n"), "{}", seen.head);
        assert_eq!(seen.one("host"), Some("right.example"));
    });
}

#[test]
fn hosts_lead_to_their_services() {
    run(async {
        let a = Backend::start(|_, _| Script::ok("a")).await;
        let b = Backend::start(|_, _| Script::ok("b")).await;
        let service = |name: &str, hosts: &str, url: String| {
            format!(
                "[[service]]\nname = \"{name}\"\nhosts = [{hosts}]\n\
                 pool = [{{ backends = [{{ url = \"{url}\" }}] }}]\n"
            )
        };
        let proxy = Proxy::start_with(&format!(
            "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n{}{}",
            service("a", "\"a.example\"", a.url()),
            service("b", "\"*.example\"", b.url()),
        ))
        .await;
        let ask = async |host: &str| {
            Client::ask(proxy.addr, format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n")).await
        };
        assert_eq!(ask("A.example:80").await.text(), "a");
        assert_eq!(ask("x.example").await.text(), "b");
        let nowhere = ask("elsewhere.test").await;
        assert_eq!((nowhere.status, nowhere.error().as_str()), (404, "no_service"));
    });
}

#[test]
fn no_tunnel_is_opened() {
    run(async {
        let (backend, proxy) = pair("", || Script::ok("")).await;
        let request = "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n";
        let answer = Client::ask(proxy.addr, request).await;
        assert_eq!((answer.status, answer.error().as_str()), (405, "connect_not_allowed"));
        assert!(backend.requests().is_empty());
    });
}

#[test]
fn answers_without_a_body_keep_the_connection() {
    run(async {
        let (_, proxy) = pair("", || {
            Script::Write(b"HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\n\r\n".to_vec())
        })
        .await;
        let mut client = Client::connect(proxy.addr).await;
        for _ in 0..3 {
            client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            let answer = client.answer().await.unwrap();
            assert_eq!((answer.status, answer.one("etag")), (304, Some("\"x\"")));
        }
    });
}

#[test]
fn an_answer_to_head_says_how_long_it_would_be() {
    run(async {
        let (_, proxy) =
            pair("", || Script::Write(b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n".to_vec()))
                .await;
        let mut client = Client::connect(proxy.addr).await;
        for _ in 0..2 {
            client.write("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            let answer = client.answer_to_head().await.unwrap();
            assert_eq!((answer.status, answer.one("content-length")), (200, Some("1234")));
        }
    });
}

#[test]
fn a_client_that_waits_for_100_is_answered_by_us() {
    run(async {
        let (backend, proxy) = pair("", || Script::ok("thanks")).await;
        let mut client = Client::connect(proxy.addr).await;
        let head =
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n";
        client.write(head).await;
        assert_eq!(client.answer().await.unwrap().status, 100);
        client.write("body").await;
        assert_eq!(client.answer().await.unwrap().text(), "thanks");
        let seen = backend.request();
        assert_eq!((seen.body.as_slice(), seen.one("expect")), (&b"body"[..], None));
    });
}

#[test]
fn what_a_message_cannot_do_without_is_not_named_away() {
    run(async {
        let (backend, proxy) = pair("", || Script::ok("hello")).await;
        let request = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\
                       connection: host, content-length\r\n\r\nabc";
        assert_eq!(Client::ask(proxy.addr, request).await.text(), "hello");
        let seen = backend.request();
        assert_eq!((seen.one("host"), seen.body.as_slice()), (Some("a"), &b"abc"[..]));
    });
}

#[test]
fn every_proxy_on_the_way_is_named_in_via() {
    run(async {
        let (backend, proxy) = pair("", || {
            Script::Write(
                b"HTTP/1.1 200 OK\r\nvia: 1.1 behind\r\ncontent-length: 0\r\n\r\n".to_vec(),
            )
        })
        .await;
        let request = "GET / HTTP/1.1\r\nhost: a\r\nvia: 1.0 before\r\n\r\n";
        let answer = Client::ask(proxy.addr, request).await;
        assert_eq!(answer.all("via"), ["1.1 behind", "1.1 lb"]);
        assert_eq!(backend.request().all("via"), ["1.0 before", "1.1 lb"]);
    });
}

#[test]
fn a_target_without_a_path_gets_one() {
    run(async {
        let (backend, proxy) = pair("", || Script::ok("")).await;
        let answer = Client::ask(proxy.addr, "GET http://a?x HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(answer.status, 200);
        let seen = backend.request();
        assert!(seen.head.starts_with("GET /?x HTTP/1.1\r\n"), "{}", seen.head);
    });
}

#[test]
fn a_server_may_be_asked_as_a_whole() {
    run(async {
        let (backend, proxy) = pair("", || Script::ok("")).await;
        let answer = Client::ask(proxy.addr, "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(answer.status, 200);
        let seen = backend.request();
        assert!(seen.head.starts_with("OPTIONS * HTTP/1.1\r\n"), "{}", seen.head);
    });
}

#[test]
fn an_answer_without_content_keeps_the_connection() {
    run(async {
        let (_, proxy) =
            pair("", || Script::Write(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())).await;
        let mut client = Client::connect(proxy.addr).await;
        for _ in 0..3 {
            client.write("DELETE / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            let answer = client.answer().await.unwrap();
            assert_eq!((answer.status, answer.one("content-length")), (204, None));
            assert_eq!(answer.one("transfer-encoding"), None);
        }
    });
}

#[test]
fn a_backend_is_always_told_a_host() {
    run(async {
        let (backend, proxy) = pair("", || Script::ok("hello")).await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("GET / HTTP/1.0\r\n\r\n").await;
        assert_eq!(client.answer().await.unwrap().text(), "hello");
        assert!(client.is_closed().await);
        let seen = backend.request();
        assert!(seen.head.starts_with("GET / HTTP/1.1\r\n"), "{}", seen.head);
        assert_eq!(seen.one("host"), Some(backend.addr.to_string().as_str()));
        assert_eq!(seen.one("x-forwarded-host"), None);
    });
}

#[test]
fn a_client_of_http_1_0_may_ask_for_a_connection_that_stays() {
    run(async {
        let (_, proxy) = pair("", || Script::ok("hello")).await;
        let mut client = Client::connect(proxy.addr).await;
        for _ in 0..2 {
            client.write("GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n").await;
            let answer = client.answer().await.unwrap();
            assert_eq!((answer.text(), answer.one("connection")), ("hello", Some("keep-alive")));
        }
        client.write("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert_eq!(client.answer().await.unwrap().one("connection"), Some("close"));
        assert!(client.is_closed().await);
    });
}

#[test]
fn a_client_of_http_1_0_gets_no_chunks() {
    run(async {
        let (_, proxy) = pair("", || {
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            Script::Write(format!("{head}5\r\nhello\r\n0\r\n\r\n").into())
        })
        .await;
        let answer = Client::ask(proxy.addr, "GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
        assert_eq!((answer.text(), answer.one("transfer-encoding")), ("hello", None));
    });
}

#[test]
fn a_backend_that_changes_protocols_unasked_is_not_believed() {
    run(async {
        let (_, proxy) = pair("", || {
            let head = "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade";
            Script::WriteAndHang(format!("{head}\r\n\r\nHTTP/1.1 200 OK\r\n\r\n").into())
        })
        .await;
        let answer = Client::get(proxy.addr).await;
        assert_eq!((answer.status, answer.error().as_str()), (502, "malformed"));
    });
}

#[test]
fn an_answer_that_could_be_read_in_two_ways_is_read_in_one() {
    run(async {
        let (_, proxy) = pair("", || {
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked";
            Script::Write(format!("{head}\r\n\r\n5\r\nhello\r\n0\r\n\r\n").into())
        })
        .await;
        let mut client = Client::connect(proxy.addr).await;
        for _ in 0..2 {
            client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            let answer = client.answer().await.unwrap();
            assert_eq!((answer.status, answer.text()), (200, "hello"));
        }
    });
}
