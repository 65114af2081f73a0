//! Another configuration while requests run: nothing is dropped, and nothing learned is lost.

use tokio::net::{TcpListener, TcpStream};

use crate::support::{Backend, Client, Proxy, Script, run, until};

/// A service over `backends` with more `policies`, beside one that stays.
fn config(backends: &[&Backend], policies: &str) -> String {
    let backends: Vec<String> =
        backends.iter().map(|it| format!("{{ url = \"{}\" }}", it.url())).collect();
    let backends = backends.join(", ");
    format!(
        "[[listener]]\nbind = \"127.0.0.1:0\"\n\
         [admin]\nbind = \"127.0.0.1:0\"\n\
         [[service]]\nname = \"web\"\nhosts = [\"*\"]\n\
         balance = {{ policy = \"round-robin\" }}\n\
         pool = [{{ backends = [{backends}] }}]\n\
         {policies}"
    )
}

async fn named(name: &'static str) -> Backend {
    Backend::start(move |_, _| Script::ok(name)).await
}

#[test]
fn a_clients_connection_goes_on_with_the_new_backends() {
    run(async {
        let (old, new) = (named("old").await, named("new").await);
        let proxy = Proxy::start_with(&config(&[&old], "")).await;
        let mut client = Client::connect(proxy.addr).await;
        let mut ask = async || {
            client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            client.answer().await.unwrap().text().to_owned()
        };
        assert_eq!(ask().await, "old");
        proxy.reload(&config(&[&new], ""));
        assert_eq!(ask().await, "new");
        // Nobody asks the old one any more, and its connection is closed.
        until(|| old.open() == 0).await;
    });
}

#[test]
fn what_clients_may_still_ask_outlives_a_reload() {
    run(async {
        let backend = named("web").await;
        let limit = |burst| {
            format!(
                "[service.rate_limit]\nenabled = true\nrequests = 1\nper = \"1h\"\nburst = {burst}\n"
            )
        };
        let proxy = Proxy::start_with(&config(&[&backend], &limit(2))).await;
        let ask = async || Client::get(proxy.addr).await.status;
        assert_eq!([ask().await, ask().await, ask().await], [200, 200, 429]);
        proxy.reload(&config(&[&backend], &limit(2)));
        assert_eq!(ask().await, 429);
        proxy.reload(&config(&[&backend], &limit(3)));
        assert_eq!([ask().await, ask().await], [200, 429], "one more than before");
    });
}

#[test]
fn an_exchange_that_runs_ends_as_it_began() {
    run(async {
        let ((old, held), new) = (Backend::held().await, named("new").await);
        let proxy = Proxy::start_with(&config(&[&old], "")).await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        until(|| old.requests().len() == 1).await;
        proxy.reload(&config(&[&new], ""));
        assert_eq!(Client::get(proxy.addr).await.text(), "new");
        held.borrow_mut().remove(0).send(()).unwrap();
        assert_eq!(client.answer().await.unwrap().text(), "ok");
        until(|| proxy.log().len() == 2).await;
        let backends: Vec<String> = proxy
            .log()
            .iter()
            .map(|line| line["attempts"][0]["backend"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(backends, [new.url(), old.url()]);
    });
}

#[test]
fn connections_to_a_backend_that_stays_are_kept() {
    run(async {
        let (stays, comes) = (named("stays").await, named("comes").await);
        let proxy = Proxy::start_with(&config(&[&stays], "")).await;
        Client::get(proxy.addr).await;
        for _ in 0..5 {
            proxy.reload(&config(&[&comes, &stays], ""));
            proxy.reload(&config(&[&stays], ""));
            assert_eq!(Client::get(proxy.addr).await.text(), "stays");
        }
        assert_eq!((stays.requests().len(), stays.connections()), (6, 1));
    });
}

#[test]
fn what_was_learned_and_counted_lives_on_under_a_backends_name() {
    run(async {
        let bad = Backend::start(|_, _| Script::status(503, "")).await;
        let good = named("good").await;
        let breaker = "[service.breaker]\nconsecutive_failures = 2\nopen_for = \"5m\"";
        let proxy = Proxy::start_with(&config(&[&bad, &good], breaker)).await;
        for _ in 0..6 {
            assert_eq!(Client::get(proxy.addr).await.text(), "good");
        }
        assert_eq!(bad.requests().len(), 2);
        let new = named("good").await;
        proxy.reload(&config(&[&new, &bad], breaker));
        for _ in 0..6 {
            assert_eq!(Client::get(proxy.addr).await.text(), "good");
        }
        assert_eq!(bad.requests().len(), 2, "its breaker is still open");
        let metrics = proxy.metrics().await;
        let count = |line: String| metrics.text().lines().any(|it| it == line);
        let name = bad.url();
        assert!(count("lb_exchanges_total{service=\"web\"} 12".to_owned()), "{}", metrics.text());
        assert!(count(format!(
            "lb_backend_attempts_total{{service=\"web\",backend=\"{name}\",outcome=\"5xx\"}} 2"
        )));
        assert!(count("lb_reloads_total 1".to_owned()));
    });
}

#[test]
fn whoever_waits_for_a_place_is_called_by_what_began_before_the_reload() {
    run(async {
        let (backend, held) = Backend::held().await;
        let limits = "[service.limits]\nper_service = 1\nqueue_max = 10\nqueue_timeout = \"1h\"\n\
                      [service.timeouts]\nexchange = \"2h\"\nfirst_byte = \"1h\"";
        let proxy = Proxy::start_with(&config(&[&backend], limits)).await;
        let mut clients = Vec::new();
        for _ in 0..3 {
            let mut client = Client::connect(proxy.addr).await;
            client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            clients.push(client);
        }
        until(|| proxy.service().waiting() == 2).await;
        proxy.reload(&config(&[&backend], limits));
        for (served, client) in clients.iter_mut().enumerate() {
            until(|| backend.requests().len() == served + 1).await;
            held.borrow_mut().remove(0).send(()).unwrap();
            assert_eq!(client.answer().await.unwrap().status, 200);
        }
    });
}

#[test]
fn listeners_come_and_go_and_those_that_stay_are_not_touched() {
    run(async {
        let backend = named("hello").await;
        let proxy = Proxy::start_with(&config(&[&backend], "")).await;
        let other = proxy.join(1).await;
        let mut stays = Client::connect(proxy.addr).await;
        // A port that is free, for all that can be known.
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let more = format!("[[listener]]\nbind = \"{free}\"");
        proxy.reload(&config(&[&backend], &more));
        let mut comes = loop {
            match TcpStream::connect(free).await {
                Ok(_) => break Client::connect(free).await,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        comes.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(comes.answer().await.unwrap().text(), "hello");
        proxy.reload(&config(&[&backend], ""));
        assert!(comes.is_closed().await, "whoever came in by it goes");
        while TcpStream::connect(free).await.is_ok() {
            tokio::task::yield_now().await;
        }
        stays.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(stays.answer().await.unwrap().text(), "hello");
        proxy.trigger.drain();
        proxy.serving.await.unwrap();
        other.await.unwrap();
    });
}

#[test]
fn a_listener_that_cannot_be_opened_is_told_of_and_tried_again() {
    run(async {
        let backend = named("hello").await;
        let proxy = Proxy::start_with(&config(&[&backend], "")).await;
        let before_us = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = before_us.local_addr().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let more = format!("[[listener]]\nbind = \"{addr}\"\n[[listener]]\nbind = \"{free}\"");
        proxy.reload(&config(&[&backend], &more));
        until(|| !proxy.notices().is_empty()).await;
        let said = proxy.notices().remove(0);
        assert!(said.contains(&format!("worker 0: cannot listen at {addr}")), "{said}");
        assert_eq!(Client::get(free).await.text(), "hello", "the others are open");
        let metrics = proxy.metrics().await;
        assert!(!metrics.text().contains("lb_listen_failures_total 0\n"), "{}", metrics.text());
        drop(before_us);
        until(|| proxy.notices().len() == 2).await;
        assert_eq!(proxy.notices()[1], "worker 0 listens wherever it has to");
        assert_eq!(Client::get(addr).await.text(), "hello");
    });
}

#[test]
fn a_process_that_is_about_to_leave_serves_by_what_is_put_in_force() {
    run(async {
        let (old, new) = (named("old").await, named("new").await);
        let delay = "[server]\nshutdown_delay = \"1h\"";
        let proxy = Proxy::start_with(&config(&[&old], delay)).await;
        proxy.trigger.leave();
        until(|| proxy.gateway.is_draining()).await;
        assert_eq!(Client::get(proxy.addr).await.text(), "old");
        proxy.reload(&config(&[&new], delay));
        assert_eq!(Client::get(proxy.addr).await.text(), "new");
        proxy.trigger.drain();
        proxy.serving.await.unwrap();
        assert!(proxy.gateway.takes_nothing_new());
    });
}

#[test]
fn checks_go_on_and_whoever_is_new_is_checked() {
    run(async {
        let stays = named("stays").await;
        let comes = Backend::start(|_, request| match request.head.contains("lb-health") {
            true => Script::status(500, ""),
            false => Script::ok("ill"),
        })
        .await;
        let health =
            "[service.health]\nenabled = true\npath = \"/\"\ninterval = \"100ms\"\nfall = 1";
        let proxy = Proxy::start_with(&config(&[&stays], health)).await;
        until(|| !stays.requests().is_empty()).await;
        proxy.reload(&config(&[&stays, &comes], health));
        until(|| proxy.service().backends().nth(1).unwrap().standing().unhealthy).await;
        let so_far = stays.requests().len();
        until(|| stays.requests().len() > so_far).await;
        for _ in 0..4 {
            assert_eq!(Client::get(proxy.addr).await.text(), "stays");
        }
    });
}

#[test]
fn fewer_connections_are_allowed_as_soon_as_there_are_fewer() {
    run(async {
        let backend = named("hello").await;
        let most = |most: u32| config(&[&backend], &format!("[server]\nconnections_max = {most}"));
        let proxy = Proxy::start_with(&most(3)).await;
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(Client::connect(proxy.addr).await);
        }
        until(|| proxy.gateway.connections() == 3).await;
        proxy.reload(&most(1));
        for client in &mut clients {
            client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            assert_eq!(client.answer().await.unwrap().text(), "hello");
        }
        let mut late = Client::connect(proxy.addr).await;
        late.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        clients.truncate(1);
        until(|| proxy.gateway.connections() == 1).await;
        drop(clients);
        assert_eq!(late.answer().await.unwrap().text(), "hello");
        assert_eq!(proxy.gateway.connections(), 1);
    });
}

/// Two spans of each request make a batch of 512, which goes out at once.
#[test]
fn spans_that_are_on_their_way_stay_so_while_the_configuration_changes() {
    run(async {
        let (collector, held) = Backend::held().await;
        let (old, new) = (named("old").await, named("new").await);
        let config = |backend: &Backend| {
            let tracing = format!(
                "[tracing]\nenabled = true\nsample = 1.0\nendpoint = \"{}\"\n",
                collector.url()
            );
            tracing + &config(&[backend], "")
        };
        let proxy = Proxy::start_with(&config(&old)).await;
        let mut client = Client::connect(proxy.addr).await;
        for _ in 0..256 {
            client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            assert_eq!(client.answer().await.unwrap().text(), "old");
        }
        until(|| held.borrow().len() == 1).await;
        proxy.reload(&config(&new));
        assert_eq!(Client::get(proxy.addr).await.text(), "new");
        held.take().into_iter().for_each(|answers| answers.send(()).unwrap());
        let exported = "lb_spans_total{what=\"exported\"} 512\n";
        while !proxy.metrics().await.text().contains(exported) {
            tokio::task::yield_now().await;
        }
        assert_eq!(collector.requests().len(), 1, "the batch was sent once");
    });
}
