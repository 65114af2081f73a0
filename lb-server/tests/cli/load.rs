//! A backend, and clients that ask for as long as they are told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// Starts a backend that answers every request with its path. It ends with the test's process.
pub(crate) fn backend() -> SocketAddr {
    #[expect(clippy::disallowed_methods, reason = "a backend is outside of the proxy")]
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut writer = stream;
                while let Some(head) = head(&mut reader) {
                    let path = head.split(' ').nth(1).unwrap();
                    let length = path.len();
                    let answer =
                        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{path}");
                    if writer.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    addr
}

/// How a client uses its connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// For as many requests as the proxy likes.
    KeepAlive,
    /// For one.
    NewEachTime,
}

/// Where a client connects.
#[derive(Clone)]
pub(crate) enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Clients at work.
pub(crate) struct Load {
    clients: Vec<JoinHandle<Result<(), String>>>,
    answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Load {
    /// Sets a client to work for each of these.
    pub(crate) fn start(clients: &[(Target, Manner)]) -> Self {
        let (answered, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let client = |(target, manner): &(Target, Manner)| {
            let (target, manner) = (target.clone(), *manner);
            let (answered, stop) = (Arc::clone(&answered), Arc::clone(&stop));
            spawn(move || ask(&target, manner, &answered, &stop))
        };
        let clients = clients.iter().map(client).collect();
        Self { clients, answered, stop }
    }

    /// Waits until so many more requests were answered, or a client gave up.
    pub(crate) fn go_on(&self, requests: u64) {
        let until = self.answered.load(Ordering::Relaxed) + requests;
        while self.answered.load(Ordering::Relaxed) < until {
            if self.clients.iter().any(JoinHandle::is_finished) {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// Ends it: how many requests were answered, and what went wrong.
    pub(crate) fn stop(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.clients.into_iter().map(|client| client.join().unwrap());
        let wrong = ended.filter_map(Result::err).collect();
        (self.answered.load(Ordering::Relaxed), wrong)
    }
}

fn ask(
    target: &Target,
    manner: Manner,
    answered: &AtomicU64,
    stop: &AtomicBool,
) -> Result<(), String> {
    let mut kept: Option<Connection> = None;
    for count in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let reused = kept.is_some();
        let failed = |error: &dyn ToString| {
            format!("request {count} (reused: {reused}): {}", error.to_string())
        };
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => Connection::open(target).map_err(|error| failed(&error))?,
        };
        let close = if manner == Manner::NewEachTime { "connection: close\r\n" } else { "" };
        let path = format!("/{count}");
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n{close}\r\n");
        connection.0.get_mut().write_all(request.as_bytes()).map_err(|error| failed(&error))?;
        let head = head(&mut connection.0).ok_or_else(|| failed(&"no answer"))?.to_lowercase();
        if !head.starts_with("http/1.1 200 ") {
            return Err(failed(&head));
        }
        let mut body = vec![0; path.len()];
        connection.0.read_exact(&mut body).map_err(|error| failed(&error))?;
        assert_eq!(body, path.as_bytes());
        answered.fetch_add(1, Ordering::Relaxed);
        let goes_on = manner == Manner::KeepAlive && !head.contains("\r\nconnection: close\r\n");
        kept = goes_on.then_some(connection);
    }
    Ok(())
}

trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

struct Connection(BufReader<Box<dyn Stream>>);

impl Connection {
    #[expect(clippy::disallowed_methods, reason = "a client is outside of the proxy")]
    fn open(target: &Target) -> std::io::Result<Self> {
        let stream: Box<dyn Stream> = match target {
            Target::Tcp(addr) => Box::new(TcpStream::connect(addr)?),
            Target::Unix(path) => Box::new(UnixStream::connect(path)?),
        };
        Ok(Self(BufReader::new(stream)))
    }
}

/// One head; `None` when the connection ends first.
fn head(stream: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

#[expect(clippy::disallowed_methods, reason = "clients and backends are outside of the proxy")]
pub(crate) fn spawn<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::spawn(act)
}
