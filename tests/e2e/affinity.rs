//! Clients stick to the backend that their cookie names, and find another one when they must.

use crate::support::{Backend, Client, Proxy, Script, run};

const POLICIES: &str =
    "[service.affinity]\nby = \"cookie\"\ncookie = \"lb\"\nsecret = \"sixteen bytes, or more\"";

/// Two backends that set a cookie of their own.
async fn two() -> [Backend; 2] {
    let own = |name: &str| {
        let head = "HTTP/1.1 200 OK\r\nset-cookie: own=1; Path=/\r\ncontent-length: 1\r\n\r\n";
        Script::Write([head.as_bytes(), name.as_bytes()].concat())
    };
    [Backend::start(move |_, _| own("a")).await, Backend::start(move |_, _| own("b")).await]
}

fn asking_with(cookie: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: a\r\ncookie: {cookie}\r\n\r\n")
}

#[test]
fn a_client_sticks_to_its_backend_and_the_application_keeps_its_cookies() {
    run(async {
        let backends = two().await;
        let proxy = Proxy::start(&backends.each_ref().map(Backend::url), POLICIES).await;
        let first = Client::get(proxy.addr).await;
        let set = first.all("set-cookie");
        assert_eq!(set[0], "own=1; Path=/");
        assert!(set[1].starts_with("lb=") && set[1].ends_with("; Path=/; HttpOnly; SameSite=Lax"));
        let cookie = set[1].split(';').next().unwrap();
        for _ in 0..5 {
            let again = Client::ask(proxy.addr, &asking_with(&format!("x=1; {cookie}"))).await;
            assert_eq!(again.text(), first.text());
            assert_eq!(again.all("set-cookie"), ["own=1; Path=/"], "nothing new to tell");
        }
        assert_eq!(proxy.log()[1]["attempts"][0]["why"]["how"], "session");
    });
}

#[test]
fn a_client_whose_backend_fails_finds_another_one_and_is_told() {
    run(async {
        let well = Backend::start(|_, _| Script::ok("well")).await;
        let ill = Backend::start(|_, _| Script::status(503, "ill")).await;
        let policies = format!("{POLICIES}\nvalue = \"backend\"\nalways = true");
        let proxy = Proxy::start(&[well.url(), ill.url()], &policies).await;
        let answer = Client::ask(proxy.addr, &asking_with(&format!("lb={}", ill.url()))).await;
        assert_eq!(answer.text(), "well");
        assert!(answer.one("set-cookie").unwrap().starts_with(&format!("lb={};", well.url())));
        let attempts = &proxy.log()[0]["attempts"];
        assert_eq!([&attempts[0]["backend"], &attempts[1]["backend"]], [&ill.url(), &well.url()]);
        // Always: even a client that has the right one is told again.
        let answer = Client::ask(proxy.addr, &asking_with(&format!("lb={}", well.url()))).await;
        assert!(answer.one("set-cookie").is_some());
    });
}

#[test]
fn a_strict_client_goes_nowhere_else() {
    run(async {
        let well = Backend::start(|_, _| Script::ok("well")).await;
        let ill = Backend::start(|_, _| Script::status(503, "ill")).await;
        let policies = format!(
            "{POLICIES}\nvalue = \"backend\"\nstrict = true\n[service.breaker]\nconsecutive_failures = 1"
        );
        let proxy = Proxy::start(&[well.url(), ill.url()], &policies).await;
        let bound = asking_with(&format!("lb={}", ill.url()));
        let answer = Client::ask(proxy.addr, &bound).await;
        assert_eq!((answer.status, answer.text()), (503, "ill"));
        assert_eq!(proxy.log()[0]["retry_withheld"], "no_fit_backend");
        assert_eq!(Client::ask(proxy.addr, &bound).await.error(), "no_fit_backend");
        assert_eq!(Client::get(proxy.addr).await.text(), "well", "others are not concerned");
    });
}

#[test]
fn a_draining_backend_keeps_its_clients_and_gets_no_other() {
    run(async {
        let [a, b] = two().await;
        let policies = format!("{POLICIES}\nvalue = \"backend\"");
        let proxy = Proxy::start(&[a.url(), b.url()], &policies).await;
        proxy.service().drain(0, true);
        for _ in 0..4 {
            assert_eq!(Client::get(proxy.addr).await.text(), "b");
        }
        let known = Client::ask(proxy.addr, &asking_with(&format!("lb={}", a.url()))).await;
        assert_eq!(known.text(), "a");
        // A cookie that names nobody is no cookie.
        let stranger = Client::ask(proxy.addr, &asking_with("lb=http://169.254.169.254")).await;
        assert_eq!(stranger.text(), "b");
    });
}
