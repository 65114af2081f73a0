//! Backends are asked how they are, and what they answer has consequences.

use std::cell::Cell;
use std::rc::Rc;

use tokio::net::TcpListener;

use crate::support::{Backend, Client, Nobody, Proxy, Script, run, until};

const CHECKS: &str = "[service.health]\nenabled = true\ninterval = \"100ms\"\ntimeout = \"1s\"\n\
                      rise = 2\nfall = 2\n[service.breaker]\nenabled = false";

fn unhealthy(proxy: &Proxy, place: u16) -> bool {
    let service = proxy.service();
    service.backend(place).standing().unhealthy
}

/// A backend that answers checks as `well` says, and everybody else with its name.
async fn backend(name: &'static str, well: Rc<Cell<bool>>) -> Backend {
    Backend::start(move |_, request| {
        let is_check = request.head.contains("user-agent: lb-health/");
        match (is_check, well.get()) {
            (true, false) => Script::status(503, "ill"),
            _ => Script::ok(name),
        }
    })
    .await
}

#[test]
fn a_backend_that_says_it_is_ill_is_left_alone_until_it_is_well() {
    run(async {
        let well = Rc::new(Cell::new(true));
        let first = backend("first", Rc::clone(&well)).await;
        let second = backend("second", Rc::new(Cell::new(true))).await;
        let proxy = Proxy::start(&[first.url(), second.url()], CHECKS).await;
        until(|| first.requests().len() >= 2).await;
        assert!(first.requests()[0].head.starts_with("GET /health HTTP/1.1\r\n"));
        assert!(!unhealthy(&proxy, 0));
        well.set(false);
        until(|| unhealthy(&proxy, 0)).await;
        for _ in 0..4 {
            assert_eq!(Client::get(proxy.addr).await.text(), "second");
        }
        let metrics = "GET /metrics.json HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let learned = Client::ask(proxy.admin, metrics).await;
        let learned: serde_json::Value = serde_json::from_slice(&learned.body).unwrap();
        assert_eq!(learned["web"][first.url()]["isHealthy"], false);
        well.set(true);
        until(|| !unhealthy(&proxy, 0)).await;
        let answers = [Client::get(proxy.addr).await, Client::get(proxy.addr).await];
        assert!(answers.iter().any(|answer| answer.text() == "first"));
    });
}

#[test]
fn the_path_that_answers_is_found() {
    run(async {
        let backend = Backend::start(|_, request| match request.head.split(' ').nth(1) {
            Some("/ping") => Script::ok("pong"),
            _ => Script::status(404, "no such page"),
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], CHECKS).await;
        let paths = || -> Vec<String> {
            let heads = backend.requests();
            heads.iter().map(|it| it.head.split(' ').nth(1).unwrap().to_owned()).collect()
        };
        until(|| paths().len() >= 7).await;
        let expected =
            ["/health", "/healthz", "/health-check", "/status", "/ping", "/ping", "/ping"];
        assert_eq!(paths()[..7], expected);
        assert!(!unhealthy(&proxy, 0));
    });
}

#[test]
fn a_text_is_looked_for_and_a_connection_may_be_enough() {
    run(async {
        let says = Backend::start(|_, _| Script::ok("all is well here")).await;
        let nobody = Nobody::new();
        let with =
            |more: &str| CHECKS.replace("enabled = true\n", &format!("enabled = true\n{more}\n"));
        let backends = [says.url(), nobody.url()];
        let good = Proxy::start(&backends, &with("path = \"/\"\nexpect_body = \"is well\"")).await;
        until(|| unhealthy(&good, 1)).await;
        assert!(!unhealthy(&good, 0));
        let bad = Proxy::start(&backends, &with("path = \"/\"\nexpect_body = \"is fine\"")).await;
        until(|| unhealthy(&bad, 0)).await;
        let tcp = Proxy::start(&backends, &with("type = \"tcp\"")).await;
        until(|| unhealthy(&tcp, 1)).await;
        assert!(!unhealthy(&tcp, 0));
    });
}

#[test]
fn a_backend_that_nobody_knows_yet_waits_for_its_first_checks_which_say_what_they_are_told_to() {
    run(async {
        let backend = Backend::start(|_, request| {
            let good = request.one("x-check") == Some("let me in");
            let is_check = request.one("user-agent") == Some("checker");
            if good || !is_check { Script::ok("here") } else { Script::status(401, "who?") }
        })
        .await;
        let policies = "[service.health]\nenabled = true\ninterval = \"100ms\"\ntimeout = \"1s\"\n\
                        rise = 2\ninitial = \"unhealthy\"\n\
                        headers = { X-Check = \"let me in\", user-agent = \"checker\" }";
        let proxy = Proxy::start(&[backend.url()], policies).await;
        assert_eq!(Client::get(proxy.addr).await.error(), "no_fit_backend");
        until(|| !unhealthy(&proxy, 0)).await;
        assert_eq!(Client::get(proxy.addr).await.text(), "here");
        assert!(backend.requests().len() >= 2);
    });
}

/// A check is under way while the configuration changes and changes again.
#[test]
fn a_check_goes_on_while_the_configuration_changes_beside_it() {
    run(async {
        let (backend, held) = Backend::held().await;
        let others = [backend_that_is("one").await, backend_that_is("two").await];
        let config = |path: &str, other: &Backend| {
            format!(
                "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
                 [[service]]\nname = \"web\"\nhosts = [\"*\"]\n\
                 pool = [{{ backends = [{{ url = \"{}\" }}] }}]\n\
                 [service.health]\nenabled = true\npath = \"{path}\"\ninterval = \"1h\"\n\
                 timeout = \"59s\"\nrise = 1\ninitial = \"unhealthy\"\n\
                 [[service]]\nname = \"other\"\nhosts = [\"other.test\"]\n\
                 pool = [{{ backends = [{{ url = \"{}\" }}] }}]\n",
                backend.url(),
                other.url()
            )
        };
        let other = "GET / HTTP/1.1\r\nhost: other.test\r\nconnection: close\r\n\r\n";
        let proxy = Proxy::start_with(&config("/health", &others[0])).await;
        until(|| held.borrow().len() == 1).await;
        for (name, backend) in [("two", &others[1]), ("one", &others[0])] {
            proxy.reload(&config("/health", backend));
            assert_eq!(Client::ask(proxy.addr, other).await.text(), name, "it is in force");
        }
        // Somebody else is to be asked: that is another check.
        proxy.reload(&config("/well", &others[0]));
        until(|| held.borrow().len() == 2).await;
        proxy.reload(&config("/well", &others[1]));
        assert_eq!(Client::ask(proxy.addr, other).await.text(), "two", "it is in force");
        for answers in held.take() {
            let _begun_anew = answers.send(());
        }
        until(|| !unhealthy(&proxy, 0)).await;
        let paths: Vec<_> = backend.requests().iter().map(|it| it.head[5..8].to_owned()).collect();
        assert_eq!(paths, ["hea", "wel"], "none began again");
    });
}

/// A zone that swallows all connections must not keep others from being checked.
#[test]
fn hundreds_of_checks_that_nobody_answers_keep_no_other_service_waiting() {
    run(async {
        // Whoever connects waits to be accepted.
        let mute = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = mute.local_addr().unwrap().port();
        let hosts = (0..2).flat_map(|high| (2..152).map(move |low| format!("127.0.{high}.{low}")));
        let backends = hosts.map(|host| format!("{{ url = \"http://{host}:{port}\" }}"));
        let backends: Vec<_> = backends.collect();
        let well = backend_that_is("well").await;
        let health = "[service.health]\nenabled = true\ninterval = \"1h\"\ntimeout = \"59m\"\nrise = 1\n\
                      initial = \"unhealthy\"";
        let config = format!(
            "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
             [[service]]\nname = \"mute\"\nhosts = [\"mute.test\"]\npool = [{{ backends = [{}] }}]\n{health}\n\
             [[service]]\nname = \"web\"\nhosts = [\"*\"]\npool = [{{ backends = [{{ url = \"{}\" }}] }}]\n\
             {health}\n",
            backends.join(", "),
            well.url()
        );
        let proxy = Proxy::start_with(&config).await;
        let serves = async || Client::get(proxy.addr).await.text() == "well";
        while !serves().await {}
    });
}

async fn backend_that_is(name: &'static str) -> Backend {
    Backend::start(move |_, _| Script::ok(name)).await
}
