//! What is tried again, where, and what is not.

use std::rc::Rc;

use crate::support::{Backend, Client, Nobody, Proxy, Script, run};

/// A proxy that asks `first` and then `second`.
async fn two(
    policies: &str,
    first: impl Fn() -> Script + 'static,
    second: impl Fn() -> Script + 'static,
) -> (Backend, Backend, Proxy) {
    let first = Backend::start(move |_, _| first()).await;
    let second = Backend::start(move |_, _| second()).await;
    let proxy = Proxy::start(&[first.url(), second.url()], policies).await;
    (first, second, proxy)
}

#[test]
fn a_refused_connection_sends_any_request_elsewhere() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("here")).await;
        let nobody = Nobody::new();
        let proxy = Proxy::start(&[nobody.url(), backend.url()], "").await;
        assert_eq!(Client::get(proxy.addr).await.text(), "here");
        assert_eq!(Client::get(proxy.addr).await.text(), "here");
        assert_eq!(Client::post(proxy.addr, b"abc").await.text(), "here");
        assert_eq!(backend.requests().last().unwrap().body, b"abc");
        let log = proxy.log();
        assert_eq!(log[0]["attempts"][0]["outcome"], "connect_refused");
        assert_eq!(log[0]["attempts"][1]["outcome"], "answered");
    });
}

#[test]
fn an_origin_that_cannot_be_reached_sends_a_post_elsewhere() {
    run(async {
        let (first, second, proxy) =
            two("", || Script::status(523, "unreachable"), || Script::ok("here")).await;
        let answer = Client::post(proxy.addr, b"abc").await;
        assert_eq!((answer.status, answer.text()), (200, "here"));
        assert_eq!((first.requests().len(), second.request().body), (1, b"abc".to_vec()));
    });
}

#[test]
fn an_unavailable_backend_sends_a_get_elsewhere_and_a_post_nowhere() {
    run(async {
        let busy = || Script::status(503, "busy");
        let (_, second, proxy) = two("", busy, || Script::ok("here")).await;
        assert_eq!(Client::get(proxy.addr).await.text(), "here");
        assert_eq!(second.requests().len(), 1);
        // Round robin: a retry takes no turn, so the second is next and then the first.
        assert_eq!(Client::post(proxy.addr, b"abc").await.text(), "here");
        let answer = Client::post(proxy.addr, b"abc").await;
        assert_eq!((answer.status, answer.text()), (503, "busy"));
        assert_eq!(proxy.log()[2]["retry_withheld"], "not_idempotent");
        assert_eq!(second.requests().len(), 2);
    });
}

#[test]
fn a_post_whose_connection_broke_is_not_sent_again() {
    run(async {
        let (first, second, proxy) =
            two("", || Script::WriteAndClose(Vec::new()), || Script::ok("here")).await;
        let answer = Client::post(proxy.addr, b"abc").await;
        assert_eq!((answer.status, answer.error().as_str()), (502, "reset"));
        assert_eq!((first.requests().len(), second.requests().len()), (1, 0));
        // A GET may be carried out twice: after the second's turn it meets the first, and goes on.
        Client::get(proxy.addr).await;
        assert_eq!(Client::get(proxy.addr).await.text(), "here");
    });
}

#[test]
fn a_body_is_sent_again_byte_for_byte() {
    run(async {
        let body: Rc<Vec<u8>> = Rc::new((0..60_000_u32).map(|n| (n % 251) as u8).collect());
        let (first, second, proxy) =
            two("", || Script::status(523, ""), || Script::ok("here")).await;
        assert_eq!(Client::post(proxy.addr, &body).await.status, 200);
        assert_eq!(first.request().body, *body);
        assert_eq!(second.request().body, *body);
    });
}

#[test]
fn a_body_beyond_the_replay_buffer_is_sent_once() {
    run(async {
        let (first, second, proxy) = two(
            "[service.retry]\nreplay_buffer = \"1KiB\"",
            || Script::status(523, "unreachable"),
            || Script::ok("here"),
        )
        .await;
        let answer = Client::post(proxy.addr, &[b'x'; 2_000]).await;
        assert_eq!((answer.status, answer.text()), (523, "unreachable"));
        assert_eq!((first.requests().len(), second.requests().len()), (1, 0));
        assert_eq!(proxy.log()[0]["retry_withheld"], "body_spent");
    });
}

#[test]
fn the_last_answer_goes_out_when_attempts_are_spent() {
    run(async {
        let policies = "[service.retry]\nattempts_max = 2\n\
                        backoff = { base = \"1ms\", max = \"1ms\" }";
        let busy = || Script::status(503, "busy");
        let (first, second, proxy) = two(policies, busy, busy).await;
        let answer = Client::get(proxy.addr).await;
        assert_eq!((answer.status, answer.text()), (503, "busy"));
        assert_eq!((first.requests().len(), second.requests().len()), (1, 1));
        assert_eq!(proxy.log()[0]["retry_withheld"], "attempts_spent");
    });
}

#[test]
fn no_more_backends_are_asked_than_attempts_are_allowed() {
    run(async {
        let busy = || Backend::start(|_, _| Script::status(503, "busy"));
        let backends = [busy().await, busy().await, busy().await, busy().await];
        let policies = "[service.retry]\nattempts_max = 3\n\
                        backoff = { base = \"1ms\", max = \"1ms\" }";
        let proxy = Proxy::start(&backends.each_ref().map(Backend::url), policies).await;
        assert_eq!(Client::get(proxy.addr).await.status, 503);
        let mut asked = backends.each_ref().map(|it| it.requests().len());
        asked.sort_unstable();
        assert_eq!(asked, [0, 1, 1, 1]);
    });
}

#[test]
fn a_request_that_everybody_refuses_is_answered_by_us() {
    run(async {
        let nobodies = [Nobody::new(), Nobody::new()];
        let proxy = Proxy::start(&nobodies.each_ref().map(Nobody::url), "").await;
        for answer in [Client::get(proxy.addr).await, Client::post(proxy.addr, b"abc").await] {
            assert_eq!((answer.status, answer.error().as_str()), (502, "connect_refused"));
            assert_eq!(answer.one("x-request-id").map(str::len), Some(32));
        }
        for line in proxy.log() {
            let attempts = line["attempts"].as_array().unwrap();
            assert_ne!(attempts[0]["backend"], attempts[1]["backend"], "{line}");
        }
    });
}

#[test]
fn what_is_no_http_is_not_delivered() {
    run(async {
        let garbage = || Script::WriteAndClose(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec());
        let (_, second, proxy) = two("", garbage, || Script::ok("here")).await;
        let answer = Client::post(proxy.addr, b"abc").await;
        assert_eq!((answer.status, answer.error().as_str()), (502, "malformed"));
        assert!(second.requests().is_empty(), "it may have been carried out");
    });
}

#[test]
fn a_chunked_body_is_sent_again_byte_for_byte() {
    run(async {
        let (first, second, proxy) =
            two("", || Script::status(523, ""), || Script::ok("here")).await;
        let request = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
                       3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
        assert_eq!(Client::ask(proxy.addr, request).await.text(), "here");
        assert_eq!(
            (first.request().body, second.request().body.as_slice()),
            (b"abcdefg".to_vec(), &b"abcdefg"[..])
        );
    });
}

#[test]
fn an_idempotent_body_beyond_the_replay_buffer_gets_the_first_answer() {
    run(async {
        let policies = "[service.retry]\nreplay_buffer = \"1KiB\"";
        let busy = || Script::status(503, "busy");
        let (first, second, proxy) = two(policies, busy, || Script::ok("here")).await;
        let head = "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 2000\r\n\r\n";
        let request = [head.as_bytes(), &[b'x'; 2_000]].concat();
        let answer = Client::ask(proxy.addr, request).await;
        assert_eq!((answer.status, answer.text()), (503, "busy"));
        assert_eq!((first.request().body.len(), second.requests().len()), (2_000, 0));
        assert_eq!(proxy.log()[0]["retry_withheld"], "body_spent");
    });
}

#[test]
fn an_open_breaker_fails_fast_and_says_so() {
    run(async {
        let nobody = Nobody::new();
        let policies = "[service.breaker]\nconsecutive_failures = 1\nopen_for = \"1h\"\n\
                        open_for_max = \"1h\"\n[service.retry]\nattempts_max = 1";
        let proxy = Proxy::start(&[nobody.url()], policies).await;
        let refused = Client::get(proxy.addr).await;
        assert_eq!((refused.status, refused.error().as_str()), (502, "connect_refused"));
        let fast = Client::get(proxy.addr).await;
        assert_eq!((fast.status, fast.error().as_str()), (503, "no_fit_backend"));
        assert_eq!(fast.one("retry-after"), Some("1"));
        assert!(!fast.text().contains("127.0.0.1"), "{}", fast.text());
    });
}

#[test]
fn a_service_that_fails_open_asks_all_the_same() {
    run(async {
        let policies = "when_all_unfit = \"fail-open\"\n\
                        [service.breaker]\nconsecutive_failures = 1\nopen_for = \"1h\"\n\
                        open_for_max = \"1h\"\n[service.retry]\nattempts_max = 1";
        let backend = Backend::start(|before, _| match before {
            0 => Script::status(500, "ill"),
            _ => Script::ok("well"),
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], policies).await;
        assert_eq!(Client::get(proxy.addr).await.status, 500);
        assert_eq!(Client::get(proxy.addr).await.text(), "well");
        assert_eq!(proxy.log()[1]["attempts"][0]["why"]["role"], "panic");
    });
}

#[test]
fn people_get_words_and_machines_get_reasons() {
    run(async {
        let nobody = Nobody::new();
        let proxy = Proxy::start(&[nobody.url()], "[service.retry]\nattempts_max = 1").await;
        let request = "GET / HTTP/1.1\r\nhost: a\r\naccept: text/html,*/*\r\n\r\n";
        let answer = Client::ask(proxy.addr, request).await;
        assert_eq!(answer.one("content-type"), Some("text/plain; charset=utf-8"));
        assert!(answer.text().starts_with("no backend answered this request (connect_refused, "));
    });
}

#[test]
fn what_a_server_never_offers_says_nothing_against_it() {
    run(async {
        let policies = "[service.breaker]\nconsecutive_failures = 1";
        let backend = Backend::start(|_, _| Script::status(501, "no POST here")).await;
        let proxy = Proxy::start(&[backend.url()], policies).await;
        for _ in 0..3 {
            assert_eq!(Client::post(proxy.addr, b"abc").await.status, 501);
        }
        assert_eq!(backend.requests().len(), 3);
    });
}

#[test]
fn an_answer_worth_retrying_is_handed_on_when_there_is_nobody_to_retry_at() {
    run(async {
        let policies = "[service.breaker]\nconsecutive_failures = 1";
        let backend = Backend::start(|_, _| Script::status(503, "busy")).await;
        let proxy = Proxy::start(&[backend.url()], policies).await;
        let answer = Client::get(proxy.addr).await;
        assert_eq!((answer.status, answer.text()), (503, "busy"));
        assert_eq!(proxy.log()[0]["retry_withheld"], "no_fit_backend");
        assert_eq!(Client::get(proxy.addr).await.error(), "no_fit_backend");
    });
}

#[test]
fn a_backend_that_asks_to_be_left_alone_for_long_is_not_asked_again() {
    run(async {
        let later = || {
            Script::Write(
                b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 120\r\ncontent-length: 5\r\n\r\nlater"
                    .to_vec(),
            )
        };
        let (_, second, proxy) = two("", later, || Script::ok("here")).await;
        let answer = Client::get(proxy.addr).await;
        assert_eq!((answer.status, answer.text()), (503, "later"));
        assert_eq!(proxy.log()[0]["retry_withheld"], "retry_after_far");
        assert_eq!(second.requests().len(), 0);
    });
}

#[test]
fn the_last_answer_may_be_replaced_by_ours() {
    run(async {
        let policies = "[service.retry]\nwhen_spent = \"replace\"\nattempts_max = 2\n\
                        backoff = { base = \"1ms\", max = \"1ms\" }";
        let busy = || Script::status(503, "secrets of the backend");
        let (_, _, proxy) = two(policies, busy, busy).await;
        assert_eq!(Client::get(proxy.addr).await.error(), "backend_error");
        assert_eq!(proxy.log()[0]["retry_withheld"], "attempts_spent");
    });
}
