//! What arrives is what was sent, byte for byte, whatever it is and however it is cut: at the backend,
//! and at the client, over HTTP/1.1 and HTTP/2 on either side.
//!
//! Chance makes a request and its answer, with bodies, fields and trailers, and cuts what is written into
//! pieces. What fails is made smaller until it fails no more, and printed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{RngSeed, TestCaseError, TestRunner};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::support::h2::{Here, Sent, connect};
use crate::support::{Backend, Proxy};

/// Cases for each pair of protocols: all of them take a few seconds in a debug build.
const CASES: u32 = 48;
/// A case that takes longer hangs.
const CASE_MAX: Duration = Duration::from_secs(20);
const BODY_BYTES_MAX: usize = 300 << 10;
/// Pieces that are cut. What is left then goes in one.
const CUTS_MAX: usize = 64;

/// Fields that the proxy adds or answers for (docs/configuration.md), and those that frame a message.
const OURS: [&str; 15] = [
    "connection",
    "content-length",
    "date",
    "host",
    "te",
    "trailer",
    "traceparent",
    "transfer-encoding",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
];

#[test]
fn http1_arrives_at_http1_as_it_was_sent() {
    check(Speaks::Http1, Speaks::Http1);
}

#[test]
fn http2_arrives_at_http1_as_it_was_sent() {
    check(Speaks::Http2, Speaks::Http1);
}

#[test]
fn http1_arrives_at_http2_as_it_was_sent() {
    check(Speaks::Http1, Speaks::Http2);
}

#[test]
fn http2_arrives_at_http2_as_it_was_sent() {
    check(Speaks::Http2, Speaks::Http2);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Http1,
    Http2,
}

/// What is sent behind a first line.
#[derive(Clone, PartialEq, Eq, Default)]
struct Message {
    fields: Fields,
    body: Vec<u8>,
    /// Whether its length is said before it.
    sized: bool,
    trailers: Fields,
    /// Lengths of the pieces in which it is written, over and over, and of its chunks.
    cuts: Vec<usize>,
}

/// The values of each name, in their order.
type Fields = BTreeMap<String, Vec<Vec<u8>>>;

#[derive(Clone, Debug)]
struct Case {
    method: String,
    target: String,
    request: Message,
    status: u16,
    answer: Message,
}

impl fmt::Debug for Message {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |fields: &Fields| {
            let said = fields.iter().flat_map(|(name, all)| all.iter().map(move |it| (name, it)));
            said.map(|(name, it)| format!("{name}: {}", it.escape_ascii())).collect::<Vec<_>>()
        };
        out.debug_struct("Message")
            .field("fields", &text(&self.fields))
            .field("body", &self.body.len())
            .field("sized", &self.sized)
            .field("trailers", &text(&self.trailers))
            .field("cuts", &self.cuts)
            .finish()
    }
}

fn some_fields(begin: &'static str) -> impl Strategy<Value = Fields> {
    let value = prop_oneof![
        8 => "([!-~]([ -~\t]{0,40}[!-~])?)?".prop_map(String::into_bytes),
        1 => prop::collection::vec(0x80..=0xff_u8, 1..9),
    ];
    prop::collection::btree_map(
        "[a-z0-9_]{1,12}".prop_map(move |name| format!("{begin}{name}")),
        prop::collection::vec(value, 1..3),
        0..6,
    )
}

fn some_message() -> impl Strategy<Value = Message> {
    let size = prop_oneof![2 => Just(0), 3 => 1..2_000_usize, 3 => 0..=BODY_BYTES_MAX];
    let cuts = prop::collection::vec(prop_oneof![1..20_usize, 20..70_000_usize], 1..6);
    let trailers = prop_oneof![Just(Fields::new()).boxed(), some_fields("t-").boxed()];
    (some_fields("x-"), size, any::<u32>(), any::<bool>(), trailers, cuts).prop_map(
        |(fields, size, seed, sized, trailers, cuts)| {
            let noise = |n: u32| (n ^ seed).wrapping_mul(2_654_435_761).to_be_bytes()[0];
            let body =
                (0..size).map(|n| noise(u32::try_from(n).expect("a body is short"))).collect();
            // What comes behind a body of known length is not looked at in HTTP/1.1.
            let trailers = if sized { Fields::new() } else { trailers };
            Message { fields, body, sized, trailers, cuts }
        },
    )
}

fn some_case() -> impl Strategy<Value = Case> {
    let method = select(vec!["POST", "PUT", "PATCH", "DELETE", "PURGE", "GET"]);
    let path = r"/([a-zA-Z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2}|\.\./){0,30}";
    let query = r"(\?([a-zA-Z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2}){0,30})?";
    let status = select(vec![200, 201, 299, 400, 404, 418, 500]);
    (method, path, query, some_message(), status, some_message()).prop_map(
        |(method, path, query, request, status, answer)| Case {
            method: method.into(),
            target: path + &query,
            request,
            status,
            answer,
        },
    )
}

/// Sends cases through one proxy, one by one.
fn check(client: Speaks, backend: Speaks) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    let stage = local.block_on(&runtime, Stage::start(backend));
    let config = ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    };
    let tried = TestRunner::new(config).run(&some_case(), |case| {
        local.block_on(&runtime, async {
            let tried = tokio::time::timeout(CASE_MAX, stage.try_case(client, case)).await;
            tried.unwrap_or_else(|_| Err(TestCaseError::fail("it hangs")))
        })
    });
    tried.unwrap_or_else(|error| panic!("{error}"));
}

/// A proxy, and a backend that is told what to answer.
struct Stage {
    proxy: Proxy,
    told: Rc<Told>,
}

/// What a backend is told, and what it got.
#[derive(Default)]
struct Told {
    answer: RefCell<(u16, Message)>,
    got: RefCell<Option<(String, Message)>>,
}

impl Stage {
    async fn start(backend: Speaks) -> Self {
        let told = Rc::new(Told::default());
        let (url, policies) = match backend {
            Speaks::Http1 => (backend1(Rc::clone(&told)).await, ""),
            Speaks::Http2 => (backend2(Rc::clone(&told)).await, "protocol = \"h2\""),
        };
        // However others would read a target, there is one place to go.
        let policies = format!("{policies}\n[server]\nambiguous_paths = \"pass\"");
        Self { proxy: Proxy::start(&[url], &policies).await, told }
    }

    async fn try_case(&self, client: Speaks, case: Case) -> Result<(), TestCaseError> {
        self.told.got.take();
        self.told.answer.replace((case.status, case.answer.clone()));
        let (status, answer) = match client {
            Speaks::Http1 => ask1(self.proxy.addr, &case).await,
            Speaks::Http2 => ask2(self.proxy.addr, &case).await,
        };
        let got = self.told.got.take();
        let (line, request) = got.ok_or_else(|| TestCaseError::fail("nothing arrived"))?;
        prop_assert_eq!(line, format!("{} {}", case.method, goes_on(&case.target)));
        is_same("request", &request, &case.request)?;
        prop_assert_eq!(status, case.status);
        is_same("answer", &answer, &case.answer)
    }
}

/// A target as it is asked for here: as it came, but for a path with dots, which are followed (RFC 3986
/// §5.2.4) behind what needs no encoding (§6.2.2).
fn goes_on(target: &str) -> String {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    let mut plain = String::new();
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let code = &rest[at..at + 3];
        plain += &rest[..at];
        match u8::from_str_radix(&code[1..], 16).map(char::from) {
            Ok(free) if free.is_ascii_alphanumeric() || "-._~".contains(free) => plain.push(free),
            _ => plain += &code.to_uppercase(),
        }
        rest = &rest[at + 3..];
    }
    plain += rest;
    if !plain.split('/').any(|segment| matches!(segment, "." | "..")) {
        return target.to_owned();
    }
    let mut kept = Vec::new();
    for segment in plain[1..].split('/') {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    if plain.ends_with("/.") || plain.ends_with("/..") {
        kept.push("");
    }
    format!("/{}{query}", kept.join("/"))
}

fn is_same(what: &str, got: &Message, sent: &Message) -> Result<(), TestCaseError> {
    let theirs = |fields: &Fields| -> Fields {
        let theirs = fields.iter().filter(|(name, _)| !OURS.contains(&&***name));
        theirs.map(|(name, all)| (name.clone(), all.clone())).collect()
    };
    prop_assert_eq!(theirs(&got.fields), theirs(&sent.fields), "fields of the {}", what);
    let differs = got.body.iter().zip(&sent.body).position(|(got, sent)| got != sent);
    prop_assert_eq!(
        (got.body.len(), differs),
        (sent.body.len(), None),
        "body of the {}, its length and where it differs",
        what
    );
    prop_assert_eq!(&got.trailers, &sent.trailers, "trailers of the {}", what);
    Ok(())
}

/// A message as HTTP/1.1 writes it, and where it is cut.
fn written(line: &str, message: &Message) -> Vec<Vec<u8>> {
    let mut out = format!("{line}\r\n").into_bytes();
    put(&mut out, &message.fields);
    if message.sized {
        out.extend_from_slice(format!("content-length: {}\r\n\r\n", message.body.len()).as_bytes());
        out.extend_from_slice(&message.body);
    } else {
        for name in message.trailers.keys() {
            out.extend_from_slice(format!("trailer: {name}\r\n").as_bytes());
        }
        out.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
        for chunk in cut(&message.body, &message.cuts) {
            out.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
            out.extend_from_slice(&chunk);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"0\r\n");
        put(&mut out, &message.trailers);
        out.extend_from_slice(b"\r\n");
    }
    // Not where the chunks are cut.
    let mut cuts = message.cuts.clone();
    cuts.reverse();
    cut(&out, &cuts)
}

fn put(out: &mut Vec<u8>, fields: &Fields) {
    for (name, values) in fields {
        for value in values {
            out.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
    }
}

fn cut(bytes: &[u8], lengths: &[usize]) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    for length in lengths.iter().cycle().take(CUTS_MAX) {
        let (piece, behind) = rest.split_at(rest.len().min(*length));
        pieces.push(piece.to_vec());
        rest = behind;
    }
    pieces.push(rest.to_vec());
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

async fn write(stream: &mut BufReader<TcpStream>, pieces: &[Vec<u8>]) {
    stream.get_ref().set_nodelay(true).unwrap();
    for piece in pieces {
        stream.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
}

/// The next message, and its first line; `None` if the connection ends first.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<(String, Message)> {
    let (line, fields) = read_fields(stream, true).await?;
    let mut message = Message { fields, ..Message::default() };
    if message.fields.contains_key("transfer-encoding") {
        loop {
            let mut size = String::new();
            stream.read_line(&mut size).await.ok()?;
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            if size == 0 {
                break;
            }
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).await.ok()?;
            message.body.extend_from_slice(&chunk[..size]);
        }
        message.trailers = read_fields(stream, false).await?.1;
    } else if let Some(length) = message.fields.get("content-length") {
        message.sized = true;
        message.body = vec![0; std::str::from_utf8(&length[0]).unwrap().parse().unwrap()];
        stream.read_exact(&mut message.body).await.ok()?;
    }
    Some((line, message))
}

/// A first line, if there is one, and the fields that follow up to an empty line.
async fn read_fields(
    stream: &mut BufReader<TcpStream>,
    has_line: bool,
) -> Option<(String, Fields)> {
    let mut fields = Fields::new();
    let mut first = String::new();
    if has_line && stream.read_line(&mut first).await.ok()? == 0 {
        return None;
    }
    loop {
        let mut line = Vec::new();
        stream.read_until(b'\n', &mut line).await.ok()?;
        let line = line.strip_suffix(b"\r\n")?;
        if line.is_empty() {
            return Some((first.trim_end().to_owned(), fields));
        }
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = String::from_utf8(line[..colon].to_ascii_lowercase()).unwrap();
        fields.entry(name).or_default().push(line[colon + 1..].trim_ascii().to_vec());
    }
}

async fn ask1(proxy: SocketAddr, case: &Case) -> (u16, Message) {
    let mut stream = BufReader::new(TcpStream::connect(proxy).await.unwrap());
    let line =
        format!("{} {} HTTP/1.1\r\nhost: a.example\r\nte: trailers", case.method, case.target);
    write(&mut stream, &written(&line, &case.request)).await;
    let (line, answer) = read(&mut stream).await.expect("an answer");
    (line[9..12].parse().unwrap(), answer)
}

async fn backend1(told: Rc<Told>) -> String {
    let backend = Backend::raw(move |mut stream| {
        let told = Rc::clone(&told);
        Box::pin(async move {
            while let Some((line, message)) = read(&mut stream).await {
                let line = line.strip_suffix(" HTTP/1.1").expect("the version is ours").to_owned();
                told.got.replace(Some((line, message)));
                let (status, answer) = told.answer.borrow().clone();
                write(&mut stream, &written(&format!("HTTP/1.1 {status} Said"), &answer)).await;
            }
        })
    })
    .await;
    backend.url()
}

fn map_of(fields: &Fields) -> HeaderMap {
    let each = fields.iter().flat_map(|(name, all)| all.iter().map(move |value| (name, value)));
    let field = |(name, value): (&String, &Vec<u8>)| {
        (HeaderName::try_from(name).unwrap(), HeaderValue::from_bytes(value).unwrap())
    };
    each.map(field).collect()
}

fn fields_of(map: &HeaderMap) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in map {
        fields.entry(name.to_string()).or_default().push(value.as_bytes().to_vec());
    }
    fields
}

/// The fields of a message in HTTP/2, and its body in frames.
fn framed(message: &Message) -> (HeaderMap, Sent) {
    let mut map = map_of(&message.fields);
    if message.sized {
        map.insert("content-length", message.body.len().into());
    }
    for name in message.trailers.keys() {
        map.append("trailer", name.parse().unwrap());
    }
    let mut frames: Vec<_> = cut(&message.body, &message.cuts)
        .into_iter()
        .map(|it| Ok(Frame::data(Bytes::from(it))))
        .collect();
    if !message.trailers.is_empty() {
        frames.push(Ok(Frame::trailers(map_of(&message.trailers))));
    }
    (map, StreamBody::new(stream::iter(frames)).boxed())
}

async fn collected(map: &HeaderMap, body: Incoming) -> Result<Message, hyper::Error> {
    let collected = body.collect().await?;
    let trailers = collected.trailers().map(fields_of).unwrap_or_default();
    let body = collected.to_bytes().to_vec();
    Ok(Message { fields: fields_of(map), body, trailers, ..Message::default() })
}

async fn ask2(proxy: SocketAddr, case: &Case) -> (u16, Message) {
    let (map, body) = framed(&case.request);
    let uri = format!("http://a.example{}", case.target);
    let mut request = Request::builder().method(&*case.method).uri(uri).body(body).unwrap();
    request.headers_mut().extend(map);
    request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    let answer = connect(proxy).await.send_request(request).await.unwrap();
    let (head, body) = answer.into_parts();
    (head.status.as_u16(), collected(&head.headers, body).await.unwrap())
}

async fn backend2(told: Rc<Told>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let told = Rc::clone(&told);
            let service = service_fn(move |request: Request<Incoming>| {
                let told = Rc::clone(&told);
                async move {
                    let (head, body) = request.into_parts();
                    let target = head.uri.path_and_query().expect("a path").to_string();
                    let message = collected(&head.headers, body).await?;
                    told.got.replace(Some((format!("{} {target}", head.method), message)));
                    let (status, answer) = told.answer.borrow().clone();
                    let (map, body) = framed(&answer);
                    let mut response = Response::builder().status(status).body(body).unwrap();
                    response.headers_mut().extend(map);
                    Ok::<_, hyper::Error>(response)
                }
            });
            tokio::task::spawn_local(async move {
                let _ended = hyper::server::conn::http2::Builder::new(Here)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    url
}
