//! A backend has as many connections as it may have: what is idle makes room, and who comes waits.

use crate::support::{Backend, Client, Proxy, Script, run, until};

const HANG: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nh";

async fn asks(proxy: &Proxy, path: &str) -> Client {
    let mut client = Client::connect(proxy.addr).await;
    client.write(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
    client
}

#[test]
fn who_waits_gets_the_connection_of_whoever_is_done() {
    run(async {
        let (go, gone) = tokio::sync::watch::channel(false);
        let backend = Backend::raw(move |mut stream| {
            let mut gone = gone.clone();
            Box::pin(async move {
                while crate::support::read_request(&mut stream).await.is_some() {
                    gone.wait_for(|gone| *gone).await.unwrap();
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
                    tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.unwrap();
                }
            })
        })
        .await;
        let keep = "[service.keep_alive]\nconnections_max = 2\n[service.timeouts]\nconnect = '15s'";
        let proxy = Proxy::start(&[backend.url()], keep).await;
        let mut clients = Vec::new();
        for _ in 0..10 {
            clients.push(asks(&proxy, "/").await);
        }
        until(|| proxy.in_flight() == 10 && backend.open() == 2).await;
        go.send(true).unwrap();
        for client in &mut clients {
            assert_eq!(client.answer().await.unwrap().text(), "hi");
        }
        assert_eq!(backend.connections(), 2, "nobody had to connect anew");
    });
}

#[test]
fn who_waits_in_vain_is_told_so_and_nobody_is_blamed() {
    run(async {
        let backend = Backend::start(|_, _| Script::WriteAndHang(HANG.into())).await;
        let policies = "[service.keep_alive]\nconnections_max = 2\n\
                        [service.timeouts]\nconnect = '50ms'\n\
                        [service.retry]\nattempts_max = 1\n\
                        [service.breaker]\nconsecutive_failures = 1";
        let proxy = Proxy::start(&[backend.url()], policies).await;
        let held = [asks(&proxy, "/").await, asks(&proxy, "/").await];
        until(|| backend.requests().len() == 2).await;
        for _ in 0..3 {
            let refused = Client::get(proxy.addr).await;
            assert_eq!((refused.status, refused.error().as_str()), (503, "crowded"));
        }
        assert_eq!(backend.connections(), 2);
        drop(held);
        until(|| backend.open() == 0).await;
        let _third = asks(&proxy, "/").await;
        until(|| backend.requests().len() == 3).await;
    });
}

#[test]
fn a_reload_raises_and_lowers_the_bound() {
    run(async {
        let backend = Backend::start(|_, _| Script::WriteAndHang(HANG.into())).await;
        let config = |most: usize| {
            format!(
                "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
                 [[service]]\nname = \"web\"\nhosts = [\"*\"]\n\
                 keep_alive = {{ connections_max = {most} }}\n\
                 timeouts = {{ connect = \"50ms\" }}\nretry = {{ attempts_max = 1 }}\n\
                 pool = [{{ backends = [{{ url = \"{}\" }}] }}]",
                backend.url()
            )
        };
        let proxy = Proxy::start_with(&config(1)).await;
        let first = asks(&proxy, "/").await;
        until(|| backend.requests().len() == 1).await;
        assert_eq!(Client::get(proxy.addr).await.error(), "crowded");
        proxy.reload(&config(2));
        let second = asks(&proxy, "/").await;
        until(|| backend.requests().len() == 2).await;
        proxy.reload(&config(1));
        drop(first);
        until(|| backend.open() == 1).await;
        assert_eq!(Client::get(proxy.addr).await.error(), "crowded", "one is open still");
        drop(second);
        until(|| backend.open() == 0).await;
        let _third = asks(&proxy, "/").await;
        until(|| backend.requests().len() == 3).await;
    });
}

#[test]
fn idle_connections_make_room_at_whichever_worker_they_are() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("hello")).await;
        let keep = "[service.keep_alive]\nconnections_max = 1\nidle_timeout = '1h'\n\
                    [service.timeouts]\nconnect = '15s'";
        let proxy = Proxy::start(&[backend.url()], keep).await;
        let other = proxy.join(1).await;
        // That all of them come to one worker has odds of 1 in 2^31.
        for _ in 0..32 {
            assert_eq!(Client::get(proxy.addr).await.text(), "hello");
        }
        assert!(backend.connections() > 1 && backend.open() <= 2);
        proxy.trigger.stop();
        proxy.serving.await.unwrap();
        other.await.unwrap();
    });
}
