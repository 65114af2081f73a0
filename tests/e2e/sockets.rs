//! Listeners and backends at Unix sockets and IPv6 addresses.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixListener, UnixSocket, UnixStream};

use crate::support::{Backend, Client, Proxy, Script, read_head, run, until};

/// A directory of one test, which goes with it.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lb-{test}-{}", std::process::id()));
        // What an earlier process of the same number left behind.
        let _absent = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

fn config(bind: &str, listener: &str, backend: &str, service: &str) -> String {
    format!(
        "[[listener]]\nbind = \"{bind}\"\n{listener}\n[admin]\nbind = \"127.0.0.1:0\"\n\
         [[service]]\nname = \"web\"\nhosts = [\"*\"]\n{service}\n\
         pool = [{{ backends = [{{ url = \"{backend}\" }}] }}]\n"
    )
}

fn at(path: &Path) -> String {
    format!("unix:{}", path.display())
}

/// All that is answered to one request over a Unix socket.
async fn ask(path: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

const LAST: &str =
    "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 6.6.6.6\r\nconnection: close\r\n\r\n";

/// A backend at a Unix socket that answers with the head that it read.
fn echo_at(path: &Path) {
    echo(UnixListener::bind(path).unwrap());
}

fn echo(listener: UnixListener) {
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn_local(async move {
                let mut stream = BufReader::new(stream);
                while let Some(head) = read_head(&mut stream).await {
                    let length = head.len();
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{head}");
                    stream.write_all(head.as_bytes()).await.unwrap();
                }
            });
        }
    });
}

#[test]
fn a_unix_listener_serves_whom_its_mode_lets_in_and_leaves_nothing_behind() {
    run(async {
        let directory = Directory::new("listener");
        let path = directory.file("lb.sock");
        let backend = Backend::start(|_, _| Script::ok("hello")).await;
        let proxy =
            Proxy::start_with(&config(&at(&path), "mode = \"0600\"", &backend.url(), "")).await;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let answer = ask(&path, LAST).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("hello"), "{answer}");
        // A client without an address is given none, and what it claims is not believed.
        let request = backend.request();
        assert_eq!((request.one("x-forwarded-for"), request.one("x-real-ip")), (None, None));
        assert_eq!(request.one("x-forwarded-proto"), Some("http"));
        assert!(proxy.log()[0]["client"].is_null(), "{}", proxy.log()[0]);
        proxy.trigger.drain();
        proxy.serving.await.unwrap();
        assert!(!path.exists());
    });
}

#[test]
fn a_policy_that_goes_by_address_takes_clients_without_one() {
    run(async {
        let directory = Directory::new("no-address");
        let path = directory.file("lb.sock");
        let backend = Backend::start(|_, _| Script::ok("hello")).await;
        let service = "balance = { policy = \"ring\" }\n\
                       rate_limit = { enabled = true, requests = 1, per = \"1h\", burst = 1 }";
        let proxy = Proxy::start_with(&config(&at(&path), "", &backend.url(), service)).await;
        assert!(ask(&path, LAST).await.starts_with("HTTP/1.1 200 "));
        // They share one limit.
        assert!(ask(&path, LAST).await.starts_with("HTTP/1.1 429 "));
        drop(proxy);
    });
}

#[test]
fn the_file_of_a_dead_listener_is_replaced_and_nothing_else_is() {
    run(async {
        let directory = Directory::new("stale");
        let path = directory.file("lb.sock");
        // A socket whose process was killed: the file is there, and nobody listens.
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let backend = Backend::start(|_, _| Script::ok("hello")).await;
        let config = config(&at(&path), "", &backend.url(), "");
        let proxy = Proxy::start_with(&config).await;
        assert!(ask(&path, LAST).await.ends_with("hello"));

        let taken = Proxy::refused(&config).await;
        assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse, "{taken}");
        assert!(ask(&path, LAST).await.ends_with("hello"), "the one that listens is left alone");
        proxy.trigger.drain();
        proxy.serving.await.unwrap();

        fs::write(&path, "precious").unwrap();
        let refused = Proxy::refused(&config).await.to_string();
        assert!(refused.contains("no socket"), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    });
}

#[test]
fn a_file_that_is_another_listeners_by_now_stays() {
    run(async {
        let directory = Directory::new("others");
        let path = directory.file("lb.sock");
        let backend = Backend::start(|_, _| Script::ok("hello")).await;
        let proxy = Proxy::start_with(&config(&at(&path), "", &backend.url(), "")).await;
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        proxy.trigger.drain();
        proxy.serving.await.unwrap();
        assert!(path.exists());
    });
}

#[test]
fn a_unix_backend_is_asked_like_any_other_and_is_called_localhost() {
    run(async {
        let directory = Directory::new("backend");
        let path = directory.file("app.sock");
        echo_at(&path);
        let proxy = Proxy::start_with(&config("127.0.0.1:0", "", &at(&path), "")).await;
        let answer = Client::get(proxy.addr).await;
        assert!(answer.text().contains("\r\nhost: a\r\n"), "{}", answer.text());
        assert!(answer.text().contains("\r\nx-forwarded-for: 127.0.0.1\r\n"), "{}", answer.text());
        assert_eq!(proxy.log()[0]["attempts"][0]["backend"], at(&path));
        proxy.reload(&config("127.0.0.1:0", "", &at(&path), "host = \"backend\""));
        let answer = Client::get(proxy.addr).await;
        assert!(answer.text().contains("\r\nhost: localhost\r\n"), "{}", answer.text());
    });
}

#[test]
fn a_unix_backend_that_is_not_there_is_a_failed_attempt() {
    run(async {
        let directory = Directory::new("nobody");
        let path = directory.file("app.sock");
        let proxy = Proxy::start_with(&config("127.0.0.1:0", "", &at(&path), "")).await;
        assert_eq!(Client::get(proxy.addr).await.error(), "connect_failed");
        drop(UnixListener::bind(&path).unwrap());
        assert_eq!(Client::get(proxy.addr).await.error(), "connect_refused");
    });
}

/// Listens with a queue that is full, of those that are returned.
async fn full_at(path: &Path) -> (UnixListener, Vec<UnixStream>) {
    let socket = UnixSocket::new_stream().unwrap();
    socket.bind(path).unwrap();
    let listener = socket.listen(1).unwrap();
    let mut queue = Vec::new();
    while let Ok(waits) = UnixStream::connect(path).await {
        queue.push(waits);
    }
    (listener, queue)
}

#[test]
fn a_unix_backend_whose_queue_is_full_is_waited_for_as_over_tcp() {
    run(async {
        let directory = Directory::new("full");
        let path = directory.file("app.sock");
        let (listener, _queue) = full_at(&path).await;
        let service = "breaker = { consecutive_failures = 1 }\n\
                       timeouts = { connect = \"200ms\" }\nretry = { attempts_max = 1 }";
        let lasting = service.replace("200ms", "1m");
        let proxy = Proxy::start_with(&config("127.0.0.1:0", "", &at(&path), &lasting)).await;
        let mut clients = Vec::new();
        for _ in 0..20 {
            let mut client = Client::connect(proxy.addr).await;
            client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            clients.push(client);
        }
        until(|| proxy.in_flight() == 20).await;
        echo(listener);
        for mut client in clients {
            assert_eq!(client.answer().await.unwrap().status, 200);
        }
        // Where nobody ever accepts, there is an end to it.
        let path = directory.file("hung.sock");
        let (_listener, _queue) = full_at(&path).await;
        proxy.reload(&config("127.0.0.1:0", "", &at(&path), service));
        assert_eq!(Client::get(proxy.addr).await.error(), "connect_timeout");
    });
}

#[test]
fn ipv6_is_spoken_on_both_sides() {
    run(async {
        let listener = TcpListener::bind("[::1]:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::task::spawn_local(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let head = read_head(&mut stream).await.unwrap();
            let length = head.len();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{head}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let proxy = Proxy::start_with(&config("[::1]:0", "", &url, "host = \"backend\"")).await;
        assert!(proxy.addr.is_ipv6());
        let answer = Client::get(proxy.addr).await;
        let authority = url.trim_start_matches("http://");
        for line in [format!("host: {authority}"), "x-forwarded-for: ::1".to_owned()] {
            assert!(answer.text().contains(&format!("\r\n{line}\r\n")), "{}", answer.text());
        }
    });
}

#[test]
fn an_ipv6_listener_takes_ipv4_unless_it_is_told_not_to() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("hello")).await;
        // 127.0.0.1 as an IPv6 socket knows it.
        let bind = "[::ffff:127.0.0.1]:0";
        let proxy = Proxy::start_with(&config(bind, "", &backend.url(), "")).await;
        let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, proxy.addr.port()));
        assert_eq!(Client::get(v4).await.text(), "hello");
        assert_eq!(backend.request().one("x-forwarded-for"), Some("127.0.0.1"));
        let only = config(bind, "ipv6_only = true", &backend.url(), "");
        let refused = Proxy::refused(&only).await.to_string();
        assert!(refused.contains("cannot listen at [::ffff:127.0.0.1]:0"), "{refused}");
    });
}
