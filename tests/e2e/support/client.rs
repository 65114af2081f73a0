//! A client that writes raw bytes and reads answers.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::backend::{read_chunks, read_head};

/// One connection to the proxy.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

/// An answer as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Whether the body came to its end.
    pub(crate) whole: bool,
}

impl Answer {
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

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The `error` of one of our own JSON bodies.
    pub(crate) fn error(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).expect("JSON");
        body["error"].as_str().expect("a reason").to_owned()
    }
}

impl Client {
    /// Connects.
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self { stream: BufReader::new(TcpStream::connect(addr).await.unwrap()) }
    }

    /// Connects, asks once, and hangs up.
    pub(crate) async fn ask(addr: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
        let mut client = Self::connect(addr).await;
        client.write(request).await;
        client.answer().await.expect("an answer")
    }

    /// A GET of `/` on a connection of its own.
    pub(crate) async fn get(addr: SocketAddr) -> Answer {
        Self::ask(addr, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await
    }

    /// A POST with this body on a connection of its own.
    pub(crate) async fn post(addr: SocketAddr, body: &[u8]) -> Answer {
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
        Self::ask(addr, [head.as_bytes(), body].concat()).await
    }

    /// Writes raw bytes.
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Writes for as long as it is read, counting what was taken.
    pub(crate) async fn pour(mut self, taken: Rc<Cell<usize>>) {
        static PIECE: [u8; 65_536] = [b'x'; 65_536];
        while let Ok(count @ 1..) = self.stream.write(&PIECE).await {
            taken.set(taken.get() + count);
        }
    }

    /// The next answer to a request that was not HEAD; `None` when the connection has ended.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        self.answer_to(false).await
    }

    /// The next answer to a HEAD.
    pub(crate) async fn answer_to_head(&mut self) -> Option<Answer> {
        self.answer_to(true).await
    }

    /// The head of the next answer, and no more of it.
    pub(crate) async fn head(&mut self) -> String {
        read_head(&mut self.stream).await.expect("a head")
    }

    /// So many bytes.
    pub(crate) async fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    /// Whether the proxy has closed the connection, after everything it said.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.stream.read_u8().await.is_err()
    }

    async fn answer_to(&mut self, was_head: bool) -> Option<Answer> {
        let head = read_head(&mut self.stream).await?;
        let status = head[9..12].parse().unwrap();
        let mut answer = Answer { status, head, body: Vec::new(), whole: true };
        if was_head || status < 200 || status == 204 || status == 304 {
            return Some(answer);
        }
        if answer.one("transfer-encoding") == Some("chunked") {
            let body = read_chunks(&mut self.stream).await;
            answer.whole = body.is_some();
            answer.body = body.unwrap_or_default();
        } else if let Some(length) = answer.one("content-length") {
            let length: usize = length.parse().unwrap();
            let mut body = Vec::new();
            let mut limited = (&mut self.stream).take(length as u64);
            let _reset = limited.read_to_end(&mut body).await;
            answer.whole = body.len() == length;
            answer.body = body;
        } else {
            answer.whole = self.stream.read_to_end(&mut answer.body).await.is_ok();
        }
        Some(answer)
    }
}
