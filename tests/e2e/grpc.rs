//! A gRPC client and a gRPC server that are not ours (tonic) on either side of the proxy.
//!
//! Messages are plain text: protobuf is between the two ends, and no proxy looks at it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut};
use futures_util::stream::{self, StreamExt};
use http::Uri;
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::Service;
use tonic::metadata::MetadataMap;
use tonic::server::{
    ClientStreamingService, ServerStreamingService, StreamingService, UnaryService,
};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::support::h2::{Backend2, answers_heads, frame};
use crate::support::{Nobody, Proxy, run, until};

const H2: &str = "protocol = \"h2\"";

#[test]
fn one_message_is_answered_by_one_with_what_was_said_beside_it() {
    run(async {
        let (proxy, _) = echo().await;
        let mut client = client(&proxy).await;
        let mut request = Request::new("hello".to_owned());
        request.metadata_mut().insert("x-said", "plain".parse().unwrap());
        request
            .metadata_mut()
            .insert_bin("x-raw-bin", tonic::metadata::MetadataValue::from_bytes(b"\0\xff"));
        let answer = ready(&mut client).await.unary(request, path("unary"), Text).await.unwrap();
        assert_eq!(answer.metadata().get("x-said").unwrap(), "plain");
        assert_eq!(
            answer.metadata().get_bin("x-raw-bin").unwrap().to_bytes().unwrap(),
            &b"\0\xff"[..]
        );
        assert_eq!(answer.into_inner(), "unary hello");
        // A message that takes many frames.
        let long = "0123456789".repeat(100_000);
        let answer = ready(&mut client)
            .await
            .unary(Request::new(long.clone()), path("unary"), Text)
            .await
            .unwrap();
        assert!(answer.into_inner() == format!("unary {long}"));
    });
}

#[test]
fn a_server_streams_to_its_end_and_its_trailers() {
    run(async {
        let (proxy, _) = echo().await;
        let mut client = client(&proxy).await;
        let request = Request::new("500".to_owned());
        let answer =
            ready(&mut client).await.server_streaming(request, path("many"), Text).await.unwrap();
        let mut messages = answer.into_inner();
        for n in 0..500 {
            assert_eq!(messages.message().await.unwrap(), Some(format!("message {n}")));
        }
        assert_eq!(messages.message().await.unwrap(), None);
        assert!(messages.trailers().await.is_ok());
    });
}

#[test]
fn a_client_streams_and_gets_one_answer() {
    run(async {
        let (proxy, _) = echo().await;
        let mut client = client(&proxy).await;
        let sent = stream::iter((0..500).map(|n| format!("{n},")));
        let answer = ready(&mut client)
            .await
            .client_streaming(Request::new(sent), path("join"), Text)
            .await
            .unwrap();
        let joined: String = (0..500).map(|n| format!("{n},")).collect();
        assert_eq!(answer.into_inner(), joined);
    });
}

#[test]
fn both_sides_stream_at_once_message_by_message() {
    run(async {
        let (proxy, _) = echo().await;
        let mut client = client(&proxy).await;
        let (say, said) = mpsc::channel(1);
        let sent = stream::unfold(said, async |mut said| said.recv().await.map(|it| (it, said)));
        let sent = Box::pin(sent);
        let answer = ready(&mut client)
            .await
            .streaming(Request::new(sent), path("talk"), Text)
            .await
            .unwrap();
        let mut answers = answer.into_inner();
        // Each message waits for the answer to the one before: nothing may be kept back on the way.
        for n in 0..50 {
            say.send(format!("{n}")).await.unwrap();
            assert_eq!(answers.message().await.unwrap(), Some(format!("talk {n}")));
        }
        drop(say);
        assert_eq!(answers.message().await.unwrap(), None);
        until(|| proxy.in_flight() == 0).await;
    });
}

#[test]
fn an_error_arrives_as_the_server_said_it() {
    run(async {
        let (proxy, calls) = echo().await;
        let mut client = client(&proxy).await;
        let request = Request::new("fail".to_owned());
        let status =
            ready(&mut client).await.unary(request, path("unary"), Text).await.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::FailedPrecondition, "no: 100 % naïve")
        );
        assert_eq!(status.details(), b"\0details");
        assert_eq!(status.metadata().get("x-why").unwrap(), "because");
        // And behind messages.
        let request = Request::new("3 and fail".to_owned());
        let answer =
            ready(&mut client).await.server_streaming(request, path("many"), Text).await.unwrap();
        let mut messages = answer.into_inner();
        for _ in 0..3 {
            assert!(messages.message().await.unwrap().is_some());
        }
        let status = messages.message().await.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::FailedPrecondition, "no: 100 % naïve")
        );
        assert_eq!(status.metadata().get("x-why").unwrap(), "because");
        assert_eq!(calls.made(), 2, "an answer is an answer, whatever it says");
    });
}

#[test]
fn a_dead_backend_is_unavailable() {
    run(async {
        let nobody = Nobody::new();
        let proxy = Proxy::start(&[nobody.url()], H2).await;
        let mut client = client(&proxy).await;
        // A client makes the same code of a bare 502: that these are our words says that it had to
        // guess nothing.
        let said = (Code::Unavailable, "no backend answered this request");
        let request = Request::new("hello".to_owned());
        let status =
            ready(&mut client).await.unary(request, path("unary"), Text).await.unwrap_err();
        assert_eq!((status.code(), status.message()), said);
        let request = Request::new("3".to_owned());
        let answer = ready(&mut client).await.server_streaming(request, path("many"), Text).await;
        let status = answer.unwrap_err();
        assert_eq!((status.code(), status.message()), said);
    });
}

#[test]
fn a_deadline_is_kept_where_neither_client_nor_server_looks_at_its_clock() {
    run(async {
        let hung = Backend2::start(100, |_, _| std::future::pending()).await;
        let proxy = Proxy::start(&[hung.url()], H2).await;
        // A channel of tonic would give up by itself, at the same time.
        let mut client = Grpc::with_origin(Patient::connect(&proxy).await, origin(&proxy));
        let mut request = Request::new("hello".to_owned());
        request.set_timeout(Duration::from_millis(50));
        let status = client.unary(request, path("unary"), Text).await.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::DeadlineExceeded, "no backend answered this request in time")
        );
        assert_eq!(hung.got.borrow().len(), 1, "there is no time for another try");
        until(|| proxy.in_flight() == 0).await;
    });
}

#[test]
fn a_call_that_its_client_gives_up_ends_at_the_server() {
    run(async {
        let (proxy, calls) = echo().await;
        let mut client = client(&proxy).await;
        let asking = tokio::spawn(async move {
            ready(&mut client)
                .await
                .unary(Request::new("hang".to_owned()), path("unary"), Text)
                .await
        });
        until(|| calls.made() == 1).await;
        assert_eq!(calls.running(), 1);
        asking.abort();
        until(|| calls.running() == 0).await;
        until(|| proxy.in_flight() == 0).await;
        assert_eq!(calls.made(), 1);
    });
}

#[test]
fn a_stream_that_its_server_breaks_off_does_not_end_well() {
    run(async {
        // NO_ERROR, INTERNAL_ERROR and CANCEL, before there are trailers.
        for reason in [0, 2, 8_u32] {
            let backend = answers_heads(move |id| {
                // 200, and content-type: application/grpc; then one message (RFC 7541 §6.1, §6.2.2).
                let fields = [&[0x88, 0x0f, 0x10, 16], &b"application/grpc"[..]].concat();
                let message = [&[0, 0, 0, 0, 5], &b"hello"[..]].concat();
                let reset = frame(3, 0, id, &reason.to_be_bytes());
                [frame(1, 4, id, &fields), frame(0, 0, id, &message), reset].concat()
            })
            .await;
            let proxy = Proxy::start(&[backend.url()], H2).await;
            let mut client = client(&proxy).await;
            let request = Request::new("3".to_owned());
            let answer =
                ready(&mut client).await.server_streaming(request, path("many"), Text).await;
            // The message may or may not get here before the reset.
            let status = match answer {
                Err(status) => status,
                Ok(answer) => {
                    let mut messages = answer.into_inner();
                    loop {
                        match messages.message().await {
                            Ok(message) => assert!(message.is_some(), "it ends well: {reason}"),
                            Err(status) => break status,
                        }
                    }
                }
            };
            // UNKNOWN would be an end without trailers.
            assert_eq!(status.code(), Code::Internal, "{reason}: {status}");
            until(|| proxy.log().len() == 1).await;
            assert_eq!(proxy.log()[0]["end"], "backend_broke", "{reason}");
        }
    });
}

#[test]
fn a_call_that_was_refused_unseen_is_made_elsewhere() {
    run(async {
        // RST_STREAM with REFUSED_STREAM: nothing was looked at (RFC 9113 §8.7).
        let refusing = answers_heads(|id| frame(3, 0, id, &7_u32.to_be_bytes())).await;
        let (good, calls) = server().await;
        let proxy = Proxy::start(&[refusing.url(), good], H2).await;
        let mut client = client(&proxy).await;
        for n in 1..=4 {
            let request = Request::new("hello".to_owned());
            let answer =
                ready(&mut client).await.unary(request, path("unary"), Text).await.unwrap();
            assert_eq!(answer.into_inner(), "unary hello");
            assert_eq!(calls.made(), n, "each call is made once");
        }
        until(|| proxy.log().len() == 4).await;
        let log = proxy.log();
        let attempts = log.iter().flat_map(|line| line["attempts"].as_array().unwrap());
        assert_eq!(attempts.filter(|it| it["outcome"] == "refused_stream").count(), 2);
    });
}

/// A proxy in front of a server, and the calls of that.
async fn echo() -> (Proxy, Calls) {
    let (url, calls) = server().await;
    (Proxy::start(&[url], H2).await, calls)
}

async fn client(proxy: &Proxy) -> Grpc<Channel> {
    Grpc::new(Endpoint::from(origin(proxy)).connect().await.unwrap())
}

/// A channel has so many places for calls, and each call wants one.
async fn ready(client: &mut Grpc<Channel>) -> &mut Grpc<Channel> {
    client.ready().await.unwrap();
    client
}

fn origin(proxy: &Proxy) -> Uri {
    format!("http://{}", proxy.addr).parse().unwrap()
}

fn path(method: &str) -> PathAndQuery {
    format!("/test.Echo/{method}").parse().unwrap()
}

/// A server's url, and its calls.
async fn server() -> (String, Calls) {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", incoming.local_addr().unwrap());
    let calls = Calls::default();
    let echo = Echo { calls: calls.clone() };
    tokio::spawn(Server::builder().serve_with_incoming(echo, incoming));
    (url, calls)
}

/// How many calls a server got, and how many of those it has done with.
#[derive(Clone, Default)]
struct Calls {
    made: Arc<AtomicUsize>,
    over: Arc<AtomicUsize>,
}

impl Calls {
    fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }

    /// Calls that wait for the head of their answer.
    fn running(&self) -> usize {
        self.made() - self.over.load(Ordering::Relaxed)
    }
}

/// Counts when it is dropped.
struct Over(Arc<AtomicUsize>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Clone)]
struct Echo {
    calls: Calls,
}

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Messages = Pin<Box<dyn futures_util::Stream<Item = Result<String, Status>> + Send>>;

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Later<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.calls.made.fetch_add(1, Ordering::Relaxed);
        let over = Over(Arc::clone(&self.calls.over));
        let mut grpc = tonic::server::Grpc::new(Text);
        Box::pin(async move {
            let _over = over;
            Ok(match request.uri().path() {
                "/test.Echo/unary" => grpc.unary(Unary, request).await,
                "/test.Echo/many" => grpc.server_streaming(Many, request).await,
                "/test.Echo/join" => grpc.client_streaming(Join, request).await,
                "/test.Echo/talk" => grpc.streaming(Talk, request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

fn failure() -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert("x-why", "because".parse().unwrap());
    let (code, details) = (Code::FailedPrecondition, "\0details".into());
    Status::with_details_and_metadata(code, "no: 100 % naïve", details, metadata)
}

struct Unary;

impl UnaryService<String> for Unary {
    type Response = String;
    type Future = Later<Result<Response<String>, Status>>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        Box::pin(async move {
            let said = request.metadata().clone();
            match &*request.into_inner() {
                "fail" => Err(failure()),
                "hang" => std::future::pending().await,
                text => {
                    let mut answer = Response::new(format!("unary {text}"));
                    *answer.metadata_mut() = said;
                    Ok(answer)
                }
            }
        })
    }
}

struct Many;

impl ServerStreamingService<String> for Many {
    type Response = String;
    type ResponseStream = Messages;
    type Future = Later<Result<Response<Messages>, Status>>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let text = request.into_inner();
        let count: usize = text.split(' ').next().unwrap().parse().unwrap();
        let messages = stream::iter((0..count).map(|n| Ok(format!("message {n}"))));
        let end = stream::iter(text.ends_with("fail").then(|| Err(failure())));
        let answer: Messages = Box::pin(messages.chain(end));
        Box::pin(async { Ok(Response::new(answer)) })
    }
}

struct Join;

impl ClientStreamingService<String> for Join {
    type Response = String;
    type Future = Later<Result<Response<String>, Status>>;

    fn call(&mut self, request: Request<Streaming<String>>) -> Self::Future {
        Box::pin(async {
            let mut messages = request.into_inner();
            let mut joined = String::new();
            while let Some(text) = messages.message().await? {
                joined += &text;
            }
            Ok(Response::new(joined))
        })
    }
}

struct Talk;

impl StreamingService<String> for Talk {
    type Response = String;
    type ResponseStream = Messages;
    type Future = Later<Result<Response<Messages>, Status>>;

    fn call(&mut self, request: Request<Streaming<String>>) -> Self::Future {
        let answers = request.into_inner().map(|text| text.map(|text| format!("talk {text}")));
        let answers: Messages = Box::pin(answers);
        Box::pin(async { Ok(Response::new(answers)) })
    }
}

/// A connection that waits for as long as it takes.
struct Patient(SendRequest<Body>);

impl Patient {
    async fn connect(proxy: &Proxy) -> Self {
        let stream = TokioIo::new(TcpStream::connect(proxy.addr).await.unwrap());
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }
}

impl Service<http::Request<Body>> for Patient {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Later<Result<Self::Response, hyper::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// Messages that are text.
#[derive(Clone, Copy)]
struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, text: String, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(text.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        String::from_utf8(bytes.into()).map(Some).map_err(|_| Status::internal("no text"))
    }
}
