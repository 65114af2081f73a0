//! Which route takes a request, and what is changed on the way.

use crate::support::h2::{ask, connect, whole};
use crate::support::{Backend, Client, Nobody, Proxy, Script, run, until};

fn config(rest: &str, services: &[(&str, &Backend)]) -> String {
    let services: String =
        services.iter().map(|(name, backend)| service(name, &backend.url())).collect();
    format!(
        "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n{rest}\n{services}"
    )
}

fn service(name: &str, url: &str) -> String {
    format!("[[service]]\nname = \"{name}\"\npool = [{{ backends = [{{ url = \"{url}\" }}] }}]\n")
}

/// All requests go to `web`, and a copy of each to `shadow`.
const MIRRORED: &str = "[[route]]\nname = \"all\"\nhosts = [\"*\"]\nservice = \"web\"\n\
                        mirror = { service = \"shadow\", percent = 100 }\n";

/// All requests go to `web`.
const WHOLE: &str = "[[route]]\nname = \"all\"\nhosts = [\"*\"]\nservice = \"web\"\n";

async fn said(name: &'static str) -> Backend {
    Backend::start(move |_, _| Script::ok(name)).await
}

async fn get(proxy: &Proxy, target: &str, fields: &str) -> crate::support::Answer {
    Client::ask(proxy.addr, format!("GET {target} HTTP/1.1\r\nhost: a.example\r\n{fields}\r\n"))
        .await
}

#[test]
fn a_request_goes_to_the_service_of_the_most_exact_route() {
    run(async {
        let (web, api, beta) = (said("web").await, said("api").await, said("beta").await);
        let routes = "[[route]]\nname = \"all\"\nhosts = [\"*\"]\nservice = \"web\"\n\
                      [[route]]\nname = \"api\"\nhosts = [\"*\"]\npath_prefix = \"/api\"\nservice = \"api\"\n\
                      [[route]]\nname = \"testers\"\nhosts = [\"*\"]\npath_prefix = \"/api\"\n\
                      headers = { x-beta = \"1\" }\nservice = \"beta\"\n";
        let proxy =
            Proxy::start_with(&config(routes, &[("web", &web), ("api", &api), ("beta", &beta)]))
                .await;
        for (target, fields, name) in [
            ("/", "", "web"),
            ("/api", "", "api"),
            ("/api/x?y", "", "api"),
            ("/apis", "", "web"),
            ("/%61pi/x", "", "api"),
            ("/api/x", "x-beta: 1\r\n", "beta"),
        ] {
            assert_eq!(get(&proxy, target, fields).await.text(), name, "{target} {fields}");
        }
        until(|| proxy.log().len() == 6).await;
        assert_eq!(proxy.log()[5]["route"], "testers");
    });
}

#[test]
fn no_other_spelling_of_a_path_walks_around_a_route() {
    const ADMIN: &str = "[[route]]\nname = \"admin\"\nhosts = [\"*\"]\npath_prefix = \"/admin\"\n\
                         respond = { status = 403 }\n[[route]]\nname = \"all\"\nhosts = [\"*\"]\n\
                         service = \"web\"\nrequest = { query = { remove = [\"debug\"] } }\n";
    run(async {
        let web = said("web").await;
        let proxy = Proxy::start_with(&config(ADMIN, &[("web", &web)])).await;
        for target in
            ["/admin%2fx", "/admin\\x", "//admin", "/admin;x", "/..%2fx", "/..;/x", "/x%00"]
        {
            let answer = get(&proxy, target, "").await;
            assert_eq!((answer.status, &*answer.error()), (400, "ambiguous_path"), "{target}");
        }
        assert_eq!(get(&proxy, "/x/../admin", "").await.status, 403);
        let pass = [
            ("/@scope%2fname?a=/..", "/@scope%2fname?a=/.."),
            ("/%61//b;c=1?debug", "/%61//b;c=1"),
            ("/admin/../x?debug&a", "/x?a"),
        ];
        for (target, goes_on) in pass {
            assert_eq!(get(&proxy, target, "").await.text(), "web", "{target}");
            let seen = web.requests().pop().expect("it came");
            assert!(seen.head.starts_with(&format!("GET {goes_on} HTTP/1.1\r\n")), "{}", seen.head);
        }
        assert_eq!(web.requests().len(), pass.len());
        let pass = format!("{ADMIN}[server]\nambiguous_paths = \"pass\"\n");
        let proxy = Proxy::start_with(&config(&pass, &[("web", &web)])).await;
        assert_eq!(get(&proxy, "/admin%2fx", "").await.text(), "web");
    });
}

#[test]
fn a_condition_sees_all_crumbs_of_a_cookie() {
    run(async {
        let (web, beta) = (said("web").await, said("beta").await);
        let routes = "[[route]]\nname = \"all\"\nhosts = [\"*\"]\nservice = \"web\"\n\
                      [[route]]\nname = \"testers\"\nhosts = [\"*\"]\nservice = \"beta\"\n\
                      headers = { cookie = { contains = \"id=7; canary=1\" } }\n";
        let proxy = Proxy::start_with(&config(routes, &[("web", &web), ("beta", &beta)])).await;
        let mut client = connect(proxy.addr).await;
        for (crumbs, name) in
            [(&["id=7", "canary=1"][..], "beta"), (&["id=7; canary=1"], "beta"), (&["id=7"], "web")]
        {
            let mut request = http::Request::get("http://a.example/");
            for crumb in crumbs {
                request = request.header("cookie", *crumb);
            }
            let answer = ask(&mut client, request.body(whole("")).unwrap()).await.unwrap();
            assert_eq!(answer.body, name, "{crumbs:?}");
        }
        let two = get(&proxy, "/", "cookie: id=7\r\ncookie: canary=1\r\n").await;
        assert_eq!(two.text(), "beta");
    });
}

#[test]
fn dots_are_followed_once_though_nothing_is_edited() {
    run(async {
        let web = said("web").await;
        let proxy = Proxy::start(&[web.url()], "").await;
        get(&proxy, "/admin/%2e%2E/%78?a=/..", "").await;
        let head = web.request().head;
        assert!(head.starts_with("GET /x?a=/.. HTTP/1.1\r\n"), "{head}");
    });
}

#[test]
fn requests_and_answers_are_changed_on_their_way() {
    run(async {
        let backend = Backend::start(|_, _| {
            Script::Write(
                b"HTTP/1.1 200 Fine\r\nserver: secret\r\nx-old: 1\r\ncontent-length: 2\r\n\r\nok"
                    .to_vec(),
            )
        })
        .await;
        let routes = r#"
            [[route]]
            name = "user"
            hosts = ["*"]
            path = "/users/{id}/{*rest}"
            service = "web"
            [route.request]
            path = "/u/{rest}"
            query = { set = { id = "{id}" }, remove = ["debug"] }
            host = "inner.example"
            headers = { set = { x-user = "{id}", x-from = "{client_ip}" }, remove = ["cookie"] }
            [route.response]
            status = 203
            headers = { remove = ["server"], set = { x-old = "{backend} {request_id}" } }
        "#;
        let proxy = Proxy::start_with(&config(routes, &[("web", &backend)])).await;
        let answer = get(&proxy, "/users/7/a/b?x=1&debug=1", "cookie: a=b\r\n").await;
        assert_eq!((answer.status, answer.text()), (203, "ok"));
        let line = answer.head.lines().next();
        assert_eq!(line, Some("HTTP/1.1 203 Non Authoritative Information"));
        let id = answer.one("x-request-id").unwrap();
        assert_eq!(answer.one("x-old"), Some(&*format!("{} {id}", backend.url())));
        assert_eq!(answer.one("server"), None);
        let seen = backend.request();
        assert!(seen.head.starts_with("GET /u/a/b?x=1&id=7 HTTP/1.1\r\n"), "{}", seen.head);
        assert_eq!(seen.one("host"), Some("inner.example"));
        assert_eq!(seen.one("x-user"), Some("7"));
        assert_eq!(seen.one("x-from"), Some("127.0.0.1"));
        assert_eq!(seen.one("cookie"), None);
        until(|| !proxy.log().is_empty()).await;
        assert_eq!(proxy.log()[0]["path"], "/users/7/a/b", "as the client sent it");
        assert_eq!(proxy.log()[0]["status"], 203, "as the client got it");
    });
}

#[test]
fn answers_of_our_own_are_changed_but_for_what_they_are() {
    run(async {
        let nobody = Nobody::new();
        let routes = format!(
            "{WHOLE}[route.response]\nstatus = 203\nheaders = {{ set = {{ access-control-allow-origin = \"*\", \
             cache-control = \"public\", content-type = \"text/html\" }}, append = {{ vary = \"a\" }} }}\n"
        );
        let service = service("web", &nobody.url())
            + "body_bytes_max = \"4B\"\nbreaker = { consecutive_failures = 1 }\n\
               [service.response.headers]\nremove = [\"x-request-id\", \"date\"]\n\
               set = { strict-transport-security = \"{service}\" }\nappend = { vary = \"b\", retry-after = \"9\" }\n";
        let proxy = Proxy::start_with(&(config(&routes, &[]) + &service)).await;
        for (body, status, after) in [("", 502, None), ("", 503, Some("1")), ("12345", 413, None)] {
            let answer = Client::post(proxy.addr, body.as_bytes()).await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.all("vary"), ["b", "a"], "{status}");
            assert_eq!(answer.one("retry-after"), after.or((status != 503).then_some("9")));
            for (name, value) in [
                ("access-control-allow-origin", "*"),
                ("strict-transport-security", "web"),
                ("cache-control", "no-store"),
                ("content-type", "application/json"),
            ] {
                assert_eq!(answer.one(name), Some(value), "{status} {name}");
            }
            assert!(answer.one("x-request-id").is_some() && answer.one("date").is_some());
        }
    });
}

#[test]
fn a_cookie_that_is_appended_is_one_with_the_others() {
    run(async {
        let web = said("web").await;
        let edits = "[service.request.headers]\nappend = { cookie = \"c=d\" }\n";
        let text = config(WHOLE, &[("web", &web)]) + edits;
        let proxy = Proxy::start_with(&text).await;
        get(&proxy, "/", "cookie: a=b\r\n").await;
        assert_eq!(web.request().one("cookie"), Some("a=b; c=d"));
    });
}

#[test]
fn a_client_hears_an_answer_of_ours_although_it_still_sends() {
    run(async {
        let web = said("web").await;
        let routes = "[https_redirect]\nenabled = true\nstatus = 307\n\
                      [[route]]\nname = \"all\"\nhosts = [\"*\"]\nservice = \"web\"\n";
        let proxy = Proxy::start_with(&config(routes, &[("web", &web)])).await;
        let answer = Client::post(proxy.addr, &vec![b'x'; 8_000_000]).await;
        assert_eq!(answer.one("location"), Some("https://a/"));
    });
}

#[test]
fn a_route_redirects_and_answers_by_itself() {
    run(async {
        let web = said("web").await;
        let routes = r#"
            [[route]]
            name = "old"
            hosts = ["*"]
            path_prefix = "/old"
            redirect = { to = "https://{host}/new{query}", status = 308 }
            [[route]]
            name = "robots"
            hosts = ["*"]
            path = "/robots.txt"
            respond = { status = 200, body = "User-agent: *\n", content_type = "text/plain" }
            [[route]]
            name = "rest"
            hosts = ["*"]
            service = "web"
        "#;
        let proxy = Proxy::start_with(&config(routes, &[("web", &web)])).await;
        let answer = get(&proxy, "/old/x?y=z", "").await;
        assert_eq!(answer.status, 308);
        assert_eq!(answer.one("location"), Some("https://a.example/new?y=z"));
        let answer = get(&proxy, "/robots.txt", "").await;
        assert_eq!((answer.status, answer.text()), (200, "User-agent: *\n"));
        assert_eq!(answer.one("content-type"), Some("text/plain"));
        let mut client = Client::connect(proxy.addr).await;
        client.write("HEAD /robots.txt HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let answer = client.answer_to_head().await.unwrap();
        assert_eq!(answer.one("content-length"), Some("14"));
        let nowhere = Client::ask(proxy.addr, "GET /old HTTP/1.0\r\n\r\n").await;
        assert_eq!((nowhere.status, &*nowhere.error()), (400, "no_host"));
        assert_eq!(web.requests().len(), 0);
        until(|| proxy.log().len() == 4).await;
        let reasons: Vec<_> = proxy.log().iter().map(|line| line["reason"].clone()).collect();
        assert_eq!(reasons, ["redirect", "respond", "respond", "no_host"]);
    });
}

#[test]
fn whoever_comes_without_tls_is_sent_there() {
    run(async {
        let web = said("web").await;
        let routes = "[https_redirect]\nenabled = true\nstatus = 301\nexcept = [\"/.well-known/acme-challenge\"]\n\
                      [[route]]\nname = \"all\"\nhosts = [\"*\"]\nservice = \"web\"\n";
        let proxy = Proxy::start_with(&config(routes, &[("web", &web)])).await;
        let answer = get(&proxy, "/a?b", "").await;
        assert_eq!((answer.status, answer.one("location")), (301, Some("https://a.example/a?b")));
        assert_eq!(get(&proxy, "/.well-known/acme-challenge/x", "").await.text(), "web");
    });
}

#[test]
fn a_share_of_requests_is_copied_and_nobody_waits_for_the_copy() {
    run(async {
        let web = said("web").await;
        let (shadow, held) = Backend::held().await;
        let proxy =
            Proxy::start_with(&config(MIRRORED, &[("web", &web), ("shadow", &shadow)])).await;
        let answer = Client::post(proxy.addr, b"body").await;
        assert_eq!(answer.text(), "web", "while the copy is held");
        until(|| shadow.requests().len() == 1).await;
        let (seen, copy) = (web.request(), shadow.request());
        assert_eq!((seen.body, copy.body), (b"body".to_vec(), b"body".to_vec()));
        held.borrow_mut().remove(0).send(()).unwrap();
        until(|| proxy.log().len() == 2).await;
        assert_eq!(
            (&proxy.log()[0]["service"], &proxy.log()[1]["service"]),
            (&"web".into(), &"shadow".into())
        );
        until(|| proxy.in_flight() == 0).await;

        // What was not kept cannot be copied.
        let large = vec![b'x'; 70_000];
        assert_eq!(Client::post(proxy.addr, &large).await.text(), "web");
        let metrics = proxy.metrics().await;
        let left_out = "lb_mirrors_left_out_total{service=\"shadow\"} 1";
        assert!(metrics.text().contains(left_out), "{}", metrics.text());
        assert_eq!(shadow.requests().len(), 1);
    });
}

#[test]
fn a_copy_is_changed_by_its_route_and_the_service_that_gets_it_alone() {
    run(async {
        let (web, shadow) = (said("web").await, said("shadow").await);
        let edited = |name: &str, backend: &Backend, host: &str| {
            let said = service(name, &backend.url());
            format!(
                "{said}[service.request]\nhost = \"{host}\"\n\
                 headers = {{ set = {{ authorization = \"{name}\" }}, append = {{ x-by = \"{{service}}\" }} }}\n"
            )
        };
        let route = format!(
            "{MIRRORED}[route.request]\nadd_prefix = \"/r\"\nheaders = {{ remove = [\"cookie\"] }}\n"
        );
        let services =
            edited("web", &web, "web.internal") + &edited("shadow", &shadow, "shadow.internal");
        let proxy = Proxy::start_with(&(config(&route, &[]) + &services)).await;
        assert_eq!(get(&proxy, "/x", "cookie: a=b\r\n").await.text(), "web");
        until(|| shadow.requests().len() == 1).await;
        for (backend, name) in [(&web, "web"), (&shadow, "shadow")] {
            let seen = backend.request();
            assert!(seen.head.starts_with("GET /r/x HTTP/1.1\r\n"), "{name}: {}", seen.head);
            assert_eq!(seen.one("host"), Some(&*format!("{name}.internal")));
            let said = ["authorization", "x-by", "cookie"].map(|field| seen.one(field));
            assert_eq!(said, [Some(name), Some(name), None]);
        }
    });
}

#[test]
fn only_what_a_backend_was_asked_is_copied_and_only_what_the_other_service_takes() {
    run(async {
        let (web, shadow) = (said("web").await, said("shadow").await);
        let services = service("web", &web.url())
            + "body_bytes_max = \"9B\"\nrate_limit = { enabled = true, requests = 1, per = \"1h\", burst = 3 }\n"
            + &service("shadow", &shadow.url())
            + "body_bytes_max = \"4B\"\n";
        let proxy = Proxy::start_with(&(config(MIRRORED, &[]) + &services)).await;
        for (body, status) in
            [("more than nine", 413), ("five5", 200), ("four", 200), ("1", 200), ("2", 429)]
        {
            assert_eq!(Client::post(proxy.addr, body.as_bytes()).await.status, status, "{body}");
        }
        until(|| shadow.requests().len() == 2).await;
        let copies: Vec<_> = shadow.requests().into_iter().map(|copy| copy.body).collect();
        assert_eq!(copies, [b"four".to_vec(), b"1".to_vec()]);
        let metrics = proxy.metrics().await;
        for said in [
            "lb_mirrored_total{service=\"shadow\"} 2",
            "lb_mirrors_left_out_total{service=\"shadow\"} 1",
        ] {
            assert!(metrics.text().contains(said), "{}", metrics.text());
        }
    });
}

#[test]
fn a_copy_is_logged_as_its_clients() {
    run(async {
        let (web, shadow) = (said("web").await, said("shadow").await);
        let routes = format!("[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n{MIRRORED}");
        let proxy =
            Proxy::start_with(&config(&routes, &[("web", &web), ("shadow", &shadow)])).await;
        let answer = get(&proxy, "/", "x-forwarded-for: 9.9.9.9\r\n").await;
        assert_eq!(answer.text(), "web");
        until(|| proxy.log().len() == 2).await;
        assert!(proxy.log().iter().all(|line| line["client"] == "9.9.9.9"), "{:?}", proxy.log());
    });
}

#[test]
fn a_copy_that_nobody_takes_is_no_client_that_left() {
    run(async {
        let (web, gone) = (said("web").await, Nobody::new());
        let text = config(MIRRORED, &[("web", &web)]) + &service("shadow", &gone.url());
        let proxy = Proxy::start_with(&text).await;
        assert_eq!(get(&proxy, "/", "").await.text(), "web");
        until(|| proxy.log().len() == 2).await;
        let is_told = |line: &serde_json::Value| {
            line["service"] == "shadow"
                && (&line["status"], &line["reason"]) == (&502.into(), &"connect_refused".into())
        };
        assert!(proxy.log().iter().any(is_told), "{:?}", proxy.log());
        let metrics = proxy.metrics().await;
        let left = "lb_clients_left_total{service=\"shadow\"} 0";
        assert!(metrics.text().contains(left), "{}", metrics.text());
    });
}

#[test]
fn a_trusted_proxy_says_who_the_client_is_and_nobody_else() {
    run(async {
        for (trusted, client, chain) in [
            ("127.0.0.0/8", "192.0.2.9", "203.0.113.1, 192.0.2.9, 127.0.0.1"),
            ("10.0.0.0/8", "127.0.0.1", "127.0.0.1"),
        ] {
            let web = said("web").await;
            let service = format!(
                "[server]\ntrusted_proxies = [\"{trusted}\"]\n\
                 [[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
                 [[route]]\nname = \"office\"\nhosts = [\"*\"]\nsources = [\"192.0.2.0/24\"]\n\
                 service = \"web\"\n[[route]]\nname = \"all\"\nhosts = [\"*\"]\nservice = \"web\"\n\
                 [[service]]\nname = \"web\"\npool = [{{ backends = [{{ url = \"{}\" }}] }}]\n",
                web.url()
            );
            let proxy = Proxy::start_with(&service).await;
            let fields = "x-forwarded-for: 203.0.113.1, 192.0.2.9\r\nx-forwarded-proto: https\r\n";
            get(&proxy, "/", fields).await;
            let seen = web.request();
            assert_eq!(seen.one("x-real-ip"), Some(client));
            assert_eq!(seen.one("x-forwarded-for"), Some(chain));
            until(|| !proxy.log().is_empty()).await;
            let line = &proxy.log()[0];
            let through = trusted.starts_with("127");
            assert_eq!(seen.one("x-forwarded-proto"), Some(if through { "https" } else { "http" }));
            assert_eq!(line["route"], if through { "office" } else { "all" });
            assert!(line["client"].as_str().unwrap().starts_with(client), "{line}");
            assert_eq!(line["peer"].is_string(), through);
        }
    });
}

#[test]
fn what_a_client_claims_of_itself_leads_nowhere_unless_somebody_vouches_for_it() {
    run(async {
        let conditions = [
            "x-forwarded-client-cert = { contains = \"CN=admin\" }",
            "x-forwarded-for = { contains = \"10.0.0.1\" }",
            "x-real-ip = \"10.0.0.1\"",
            "x-forwarded-proto = \"https\"",
            "forwarded = { contains = \"10.0.0.1\" }",
        ];
        let fields = "x-forwarded-client-cert: Subject=\"CN=admin\"\r\nx-forwarded-for: 10.0.0.1\r\n\
                      x-real-ip: 10.0.0.1\r\nx-forwarded-proto: https\r\nforwarded: for=10.0.0.1\r\n";
        // A proxy is believed what it is asked for, and what an address follows from.
        for (trusted, believed) in [("10.0.0.0/8", 0b0_0000_u32), ("127.0.0.0/8", 0b0_1110)] {
            for (nth, condition) in conditions.iter().enumerate() {
                let (web, inner) = (said("web").await, said("inner").await);
                let routes = format!(
                    "[server]\ntrusted_proxies = [\"{trusted}\"]\n[[route]]\nname = \"inner\"\n\
                     hosts = [\"*\"]\nheaders = {{ {condition} }}\nservice = \"inner\"\n\
                     [[route]]\nname = \"all\"\nhosts = [\"*\"]\nservice = \"web\"\n"
                );
                let services = [("web", &web), ("inner", &inner)];
                let proxy = Proxy::start_with(&config(&routes, &services)).await;
                let is_believed = believed & 1 << nth != 0;
                let answer = get(&proxy, "/", fields).await;
                let expected = if is_believed { "inner" } else { "web" };
                assert_eq!(answer.text(), expected, "{trusted}, {condition}");
            }
        }
    });
}
