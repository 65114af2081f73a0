//! A scripted backend: reads requests as raw bytes, and answers them as told.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// Every value of a header, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    /// The only value of a header.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "several {name}: {all:?}");
        all.first().copied()
    }
}

/// What a backend does with a request.
pub(crate) enum Script {
    /// Writes this, and keeps the connection.
    Write(Vec<u8>),
    /// Writes this, and closes.
    WriteAndClose(Vec<u8>),
    /// Writes this, and says no more while the client waits.
    WriteAndHang(Vec<u8>),
    /// Does what it likes with the connection.
    Do(Box<Act>),
}

/// Whatever can be done with a connection.
type Act = dyn FnOnce(BufReader<TcpStream>) -> Acting;

/// Something being done.
pub(crate) type Acting = Pin<Box<dyn Future<Output = ()>>>;

impl Script {
    /// 200 with this body.
    pub(crate) fn ok(body: &str) -> Self {
        Self::status(200, body)
    }

    /// This status with this body.
    pub(crate) fn status(status: u16, body: &str) -> Self {
        let length = body.len();
        Self::Write(
            format!("HTTP/1.1 {status} Said\r\ncontent-length: {length}\r\n\r\n{body}").into(),
        )
    }
}

/// Requests that wait for their answers.
pub(crate) type Held = Rc<RefCell<Vec<oneshot::Sender<()>>>>;

/// A backend that listens on a port of its own.
#[derive(Clone)]
pub(crate) struct Backend {
    pub(crate) addr: SocketAddr,
    requests: Rc<RefCell<Vec<Request>>>,
    connections: Rc<Cell<usize>>,
    open: Rc<Cell<usize>>,
}

impl Backend {
    /// Answers every request by `script`, which is told how many came before it.
    pub(crate) async fn start(script: impl Fn(usize, &Request) -> Script + 'static) -> Self {
        let script = Rc::new(script);
        Self::listen(move |this, stream| {
            let script = Rc::clone(&script);
            Box::pin(async move { this.serve(stream, &*script).await })
        })
        .await
    }

    /// Answers every request by `script` at an address that was chosen; `None` if somebody has it.
    pub(crate) async fn start_at(addr: SocketAddr, script: fn() -> Script) -> Option<Self> {
        let listener = TcpListener::bind(addr).await.ok()?;
        Some(Self::accept(listener, move |this, stream| {
            Box::pin(async move { this.serve(stream, &move |_, _: &Request| script()).await })
        }))
    }

    /// Answers a request when the test says so, in the order in which they came.
    pub(crate) async fn held() -> (Self, Held) {
        let held = Held::default();
        let senders = Rc::clone(&held);
        let backend = Self::start(move |_, _| {
            let (sender, receiver) = oneshot::channel();
            senders.borrow_mut().push(sender);
            Script::Do(Box::new(|mut stream| {
                Box::pin(async move {
                    let _dropped = receiver.await;
                    let answer =
                        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
                    let _gone = stream.write_all(answer).await;
                })
            }))
        })
        .await;
        (backend, held)
    }

    /// Leaves every connection to `act`, from its first byte.
    pub(crate) async fn raw(act: impl Fn(BufReader<TcpStream>) -> Acting + 'static) -> Self {
        Self::listen(move |_, stream| act(BufReader::new(stream))).await
    }

    async fn listen(act: impl Fn(Self, TcpStream) -> Acting + 'static) -> Self {
        Self::accept(TcpListener::bind("127.0.0.1:0").await.unwrap(), act)
    }

    fn accept(listener: TcpListener, act: impl Fn(Self, TcpStream) -> Acting + 'static) -> Self {
        let backend = Self {
            addr: listener.local_addr().unwrap(),
            requests: Rc::default(),
            connections: Rc::default(),
            open: Rc::default(),
        };
        let this = backend.clone();
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                this.connections.set(this.connections.get() + 1);
                let (this, acting) = (this.clone(), act(this.clone(), stream));
                tokio::task::spawn_local(async move {
                    this.open.set(this.open.get() + 1);
                    acting.await;
                    this.open.set(this.open.get() - 1);
                });
            }
        });
        backend
    }

    /// Its url.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The requests that arrived whole.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.borrow().clone()
    }

    /// The only request that arrived.
    pub(crate) fn request(&self) -> Request {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests[0].clone()
    }

    /// Connections that were made.
    pub(crate) fn connections(&self) -> usize {
        self.connections.get()
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.open.get()
    }

    async fn serve(
        &self,
        stream: TcpStream,
        script: &(impl Fn(usize, &Request) -> Script + 'static),
    ) {
        let mut stream = BufReader::new(stream);
        while let Some(request) = read_request(&mut stream).await {
            let before = self.requests.borrow().len();
            let told = script(before, &request);
            self.requests.borrow_mut().push(request);
            match told {
                Script::Write(bytes) => {
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                Script::WriteAndClose(bytes) => {
                    let _closed_already = stream.write_all(&bytes).await;
                    return;
                }
                Script::WriteAndHang(bytes) => {
                    let _closed_already = stream.write_all(&bytes).await;
                    let _until_closed = stream.read_u8().await;
                    return;
                }
                Script::Do(act) => return act(stream).await,
            }
        }
    }
}

/// An address that is taken, and at which nobody listens: whoever knocks is refused.
pub(crate) struct Nobody {
    socket: TcpSocket,
}

impl Nobody {
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // It is held: a port that was free a moment ago may be another test's by now.
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self { socket }
    }

    /// Its url.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.socket.local_addr().unwrap())
    }
}

/// One request, head and body; `None` when the connection ends first.
pub(crate) async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let request = Request { head: read_head(stream).await?, body: Vec::new() };
    let body = match (request.one("content-length"), request.one("transfer-encoding")) {
        (Some(length), None) => {
            let mut body = vec![0; length.parse().unwrap()];
            stream.read_exact(&mut body).await.ok()?;
            body
        }
        (None, Some("chunked")) => read_chunks(stream).await?,
        (None, None) => Vec::new(),
        both => panic!("ambiguous framing towards a backend: {both:?}"),
    };
    Some(Request { body, ..request })
}

/// A head, up to the empty line; `None` when the connection ends first.
pub(crate) async fn read_head<R: AsyncBufReadExt + Unpin>(stream: &mut R) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

/// A chunked body, trailers left out.
pub(crate) async fn read_chunks<R: AsyncBufReadExt + Unpin>(stream: &mut R) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let size = usize::from_str_radix(line.trim().split(';').next()?, 16).ok()?;
        if size == 0 {
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                if stream.read_line(&mut line).await.ok()? == 0 {
                    return None;
                }
            }
            return Some(body);
        }
        let mut chunk = vec![0; size + 2];
        stream.read_exact(&mut chunk).await.ok()?;
        body.extend_from_slice(&chunk[..size]);
    }
}
