//! Who asks too often is told so, and when to come again.

use tokio::sync::oneshot;
use tokio::task::yield_now;

use crate::support::{Backend, Client, Nobody, Proxy, Script, run, until};

#[test]
fn one_request_too_many_is_answered_429_and_reaches_no_backend() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("hello")).await;
        let policies = "[service.rate_limit]\nenabled = true\nrequests = 1\nper = \"1h\"\n\
                        burst = 3\nkey = [\"header:x-api-key\", \"client-ip\"]";
        let proxy = Proxy::start(&[backend.url()], policies).await;
        let with_key = |key: &str| format!("GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\n\r\n");
        for left in [2, 1, 0] {
            let answer = Client::ask(proxy.addr, with_key("ann")).await;
            assert_eq!(answer.status, 200);
            let said = answer.one("ratelimit").unwrap();
            assert!(said.starts_with(&format!("\"client\";r={left};t=")), "{said}");
        }
        let limited = Client::ask(proxy.addr, with_key("ann")).await;
        assert_eq!((limited.status, limited.error().as_str()), (429, "rate_limited"));
        let wait: u64 = limited.one("retry-after").unwrap().parse().unwrap();
        assert!((3_590..=3_600).contains(&wait), "{wait}");
        assert!(limited.one("ratelimit").unwrap().starts_with("\"client\";r=0;t=3"));
        assert_eq!(Client::ask(proxy.addr, with_key("bob")).await.status, 200);
        assert_eq!(Client::get(proxy.addr).await.status, 200, "by its address");
        assert_eq!(backend.requests().len(), 5);
        assert_eq!(proxy.log()[3]["reason"], "rate_limited");
    });
}

#[test]
fn every_answer_says_what_is_left_beside_what_the_backend_says() {
    run(async {
        let policies = "[service.rate_limit]\nenabled = true\nrequests = 1\nper = \"1h\"\nburst = 3\n\
                        [service.breaker]\nconsecutive_failures = 1";
        let own = "HTTP/1.1 200 OK\r\nratelimit: \"theirs\";r=9;t=1\r\ncontent-length: 0\r\n\r\n";
        let backend = Backend::start(|_, _| Script::Write(own.into())).await;
        let proxy = Proxy::start(&[backend.url()], policies).await;
        let answer = Client::get(proxy.addr).await;
        let said = answer.all("ratelimit");
        assert_eq!((said.len(), said[0]), (2, "\"theirs\";r=9;t=1"));
        assert!(said[1].starts_with("\"client\";r=2;t="), "{said:?}");

        let proxy = Proxy::start(&[Nobody::new().url()], policies).await;
        for (reason, left) in [("connect_refused", 2), ("no_fit_backend", 1), ("no_fit_backend", 0)]
        {
            let answer = Client::get(proxy.addr).await;
            assert_eq!(answer.error(), reason);
            let said = answer.one("ratelimit").unwrap();
            assert!(said.starts_with(&format!("\"client\";r={left};t=")), "{said}");
        }
    });
}

#[test]
fn who_finds_no_place_waits_in_line_by_urgency_and_then_in_order() {
    run(async {
        let (backend, held) = Backend::held().await;
        let policies = "[service.limits]\nper_backend = 1\nqueue_max = 4\nurgency = true\n\
                        queue_timeout = \"1h\"";
        let proxy = Proxy::start(&[backend.url()], policies).await;
        let service = || proxy.service();
        let ask = |name: &str, priority: &str| {
            format!("GET /{name} HTTP/1.1\r\nhost: a\r\npriority: {priority}\r\n\r\n")
        };
        let mut clients = Vec::new();
        for (name, priority) in
            [("a", "u=3"), ("b", "u=5"), ("c", "u=3"), ("d", "u=1"), ("e", "u=3")]
        {
            let mut client = Client::connect(proxy.addr).await;
            client.write(ask(name, priority)).await;
            clients.push(client);
            // Each is where it is to be before the next one comes.
            let expected = clients.len() - 1;
            while held.borrow().is_empty() || (service().waiting() as usize) < expected {
                yield_now().await;
            }
        }
        let refused = Client::ask(proxy.addr, ask("f", "u=0")).await;
        assert_eq!((refused.status, refused.error().as_str()), (503, "overloaded"));
        assert_eq!(refused.one("retry-after"), Some("1"));
        // One who waits hangs up: it is passed over.
        drop(clients.pop());
        while service().waiting() > 3 {
            yield_now().await;
        }
        for served in 1..=4 {
            while held.borrow().len() < served {
                yield_now().await;
            }
            let (spent, _) = oneshot::channel();
            let released = std::mem::replace(&mut held.borrow_mut()[served - 1], spent);
            released.send(()).unwrap();
        }
        for client in &mut clients {
            assert_eq!(client.answer().await.unwrap().status, 200);
        }
        let order: Vec<_> = backend.requests().iter().map(|it| it.head[5..6].to_owned()).collect();
        assert_eq!(order, ["a", "d", "c", "b"]);
        assert_eq!((service().waiting(), service().running()), (0, 0));
    });
}

#[test]
fn a_client_that_leaves_the_line_is_missed_whatever_it_sent() {
    run(async {
        let (backend, held) = Backend::held().await;
        let policies = "[service.limits]\nper_service = 1\nqueue_max = 4\nqueue_timeout = \"1h\"";
        let proxy = Proxy::start(&[backend.url()], policies).await;
        let mut first = Client::connect(proxy.addr).await;
        first.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        until(|| held.borrow().len() == 1).await;
        for length in [5, 50_000] {
            let mut client = Client::connect(proxy.addr).await;
            let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
            client.write(format!("{head}{}", "x".repeat(length))).await;
            until(|| proxy.service().waiting() == 1).await;
            drop(client);
            until(|| proxy.service().waiting() == 0).await;
        }
        held.take().into_iter().for_each(|answers| answers.send(()).unwrap());
        assert_eq!(first.answer().await.unwrap().status, 200);
        until(|| proxy.log().len() == 3).await;
        assert_eq!(backend.requests().len(), 1, "nobody waits for the others");
        assert!(proxy.log()[..2].iter().all(|line| line["status"] == 499), "{:?}", proxy.log());
    });
}

#[test]
fn a_client_with_too_much_in_flight_is_told_so() {
    run(async {
        let (backend, held) = Backend::held().await;
        let policies = "[service.limits]\nper_client = 1\nclient = [\"header:x-user\"]";
        let proxy = Proxy::start(&[backend.url()], policies).await;
        let ask = |user: &str| format!("GET / HTTP/1.1\r\nhost: a\r\nx-user: {user}\r\n\r\n");
        let mut first = Client::connect(proxy.addr).await;
        first.write(ask("ann")).await;
        while held.borrow().is_empty() {
            yield_now().await;
        }
        let second = Client::ask(proxy.addr, ask("ann")).await;
        assert_eq!((second.status, second.error().as_str()), (429, "client_busy"));
        held.borrow_mut().pop().unwrap().send(()).unwrap();
        assert_eq!(first.answer().await.unwrap().status, 200);
    });
}

#[test]
fn who_waits_too_long_is_answered_503() {
    run(async {
        let (backend, held) = Backend::held().await;
        let policies = "[service.limits]\nper_service = 1\nqueue_max = 1\nqueue_timeout = \"20ms\"";
        let proxy = Proxy::start(&[backend.url()], policies).await;
        let mut first = Client::connect(proxy.addr).await;
        first.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        while held.borrow().is_empty() {
            yield_now().await;
        }
        let late = Client::get(proxy.addr).await;
        assert_eq!((late.status, late.error().as_str()), (503, "queue_timeout"));
        held.borrow_mut().pop().unwrap().send(()).unwrap();
        assert_eq!(first.answer().await.unwrap().status, 200);
        assert_eq!(proxy.log()[0]["queued"], true);
    });
}

/// A request that runs on and on holds the only place, and another waits when the limit is raised or taken
/// away: nothing ends, and it is served all the same, and so is whoever comes then.
#[test]
fn a_reload_that_gives_more_room_lets_in_whoever_waits_and_whoever_comes() {
    run(async {
        let (backend, held) = Backend::held().await;
        let full = "queue_max = 4\nqueue_timeout = \"1h\"\nper_service = 1";
        for roomy in ["queue_max = 1\nper_service = 4", "per_service = 4", "per_backend = 4", ""] {
            let config = |limits: &str| {
                format!(
                    "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
                     [[service]]\nname = \"web\"\nhosts = [\"*\"]\n\
                     pool = [{{ backends = [{{ url = \"{}\" }}] }}]\n\
                     [service.limits]\n{limits}\n",
                    backend.url()
                )
            };
            let proxy = Proxy::start_with(&config(full)).await;
            let mut clients = Vec::new();
            let ask = async || {
                let mut client = Client::connect(proxy.addr).await;
                client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
                client
            };
            clients.push(ask().await);
            until(|| held.borrow().len() == 1).await;
            clients.push(ask().await);
            until(|| proxy.service().waiting() == 1).await;
            proxy.reload(&config(roomy));
            until(|| held.borrow().len() == 2).await;
            clients.push(ask().await);
            until(|| held.borrow().len() == 3).await;
            held.take().into_iter().for_each(|answers| answers.send(()).unwrap());
            for client in &mut clients {
                assert_eq!(client.answer().await.unwrap().status, 200, "{roomy}");
            }
            assert_eq!((proxy.service().waiting(), proxy.service().running()), (0, 0));
        }
    });
}
