//! A backend that takes long is not waited for alone.

use tokio::task::yield_now;

use crate::support::{Backend, Client, Proxy, Script, run};

const HEDGE: &str = "[service.retry]\nhedge = { after = \"5ms\" }";

#[test]
fn a_backend_that_falls_silent_costs_the_client_nothing() {
    run(async {
        let silent = Backend::start(|_, _| Script::WriteAndHang(Vec::new())).await;
        let quick = Backend::start(|_, _| Script::ok("quick")).await;
        let proxy = Proxy::start(&[silent.url(), quick.url()], HEDGE).await;
        for _ in 0..4 {
            assert_eq!(Client::get(proxy.addr).await.text(), "quick");
        }
        // Those that began at the silent one were hedged; it lost, and keeps no lease.
        let lines = proxy.log();
        let hedged: Vec<_> =
            lines.iter().filter(|line| line["attempts"].as_array().unwrap().len() == 2).collect();
        assert_eq!(hedged.len(), 2);
        for line in hedged {
            assert_eq!(line["attempts"][0]["outcome"], "abandoned");
            assert_eq!(line["attempts"][1]["why"]["hedge"], true);
            assert_eq!(
                (&line["attempts"][1]["status"], &line["status"]),
                (&200.into(), &200.into())
            );
        }
        let service = proxy.service();
        assert!(service.backends().all(|backend| backend.in_flight() == 0));
        while silent.open() > 0 {
            yield_now().await; // what was given up is closed
        }
    });
}

/// A quick 503 is not the answer as long as the other may be a better one.
#[test]
fn the_worse_of_two_answers_is_not_handed_on() {
    run(async {
        let (slow, held) = Backend::held().await;
        let ill = Backend::start(|_, _| Script::status(503, "ill")).await;
        let proxy = Proxy::start(&[slow.url(), ill.url()], HEDGE).await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let concluded = || {
            let service = proxy.service();
            let ill = service.backends().nth(1).unwrap();
            ill.consecutive_failures() > 0
        };
        while !concluded() {
            yield_now().await;
        }
        held.borrow_mut().pop().unwrap().send(()).unwrap();
        let answer = client.answer().await.unwrap();
        assert_eq!((answer.status, answer.text()), (200, "ok"));
        assert_eq!(ill.requests().len(), 1);
    });
}
