//! What passes, what is refused, and that it does not matter how the bytes are cut.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Waker;

use bytes::Bytes;
use expect_test::{Expect, expect};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

const LIMITS: Limits = Limits {
    bytes_max: 200,
    lines_max: 6,
    http2: true,
    timeout: std::time::Duration::from_secs(10),
};

/// A socket whose bytes arrive in pieces; the client then hangs up.
struct Pieces<'b> {
    pieces: Vec<&'b [u8]>,
    next: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let next = self.next;
        if let Some(piece) = self.pieces.get_mut(next) {
            let (here, rest) = piece.split_at(piece.len().min(buf.remaining()));
            buf.put_slice(here);
            *piece = rest;
            if rest.is_empty() {
                self.next += 1;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// What became of a connection.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// What hyper reads.
    bytes: Vec<u8>,
    /// How many heads of it are real ones.
    heads: u64,
    refused: Option<Refusal>,
    /// Whether reading failed at the end of it.
    failed: bool,
}

/// Reads everything through a guard, `room` bytes at a time.
fn read(bytes: &[u8], cuts: &[usize], room: usize) -> Seen {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.dedup();
    let pieces = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
    let (mut guard, watch) = Guard::new(Pieces { pieces, next: 0 }, LIMITS);
    let mut seen = Seen { bytes: Vec::new(), heads: 0, refused: None, failed: false };
    let mut space = vec![0; room];
    loop {
        let mut buf = ReadBuf::new(&mut space);
        let reading = pin!(poll_fn(|cx| Pin::new(&mut guard).poll_read(cx, &mut buf)));
        match reading.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) if buf.filled().is_empty() => break,
            Poll::Ready(Ok(())) => seen.bytes.extend_from_slice(buf.filled()),
            Poll::Ready(Err(_)) => seen.failed = true,
            Poll::Pending => break,
        }
        if seen.failed {
            break;
        }
    }
    seen.heads = watch.0.passed.get();
    seen.refused = watch.refusal(seen.heads);
    assert_eq!(watch.is_malformed(), seen.failed, "reading fails at malformed bodies alone");
    assert!((0..seen.heads).all(|n| watch.refusal(n).is_none()), "what passed is not refused");
    seen
}

/// Reads `text`, in which each line stands for one that ends in CR LF. `\` at its end joins lines,
/// so that other line ends can be written.
fn check(text: &str, expected: &Expect) {
    let text = text.replace("\\\n", "").replace('\n', "\r\n");
    let Seen { bytes, heads, refused, failed } = read(text.as_bytes(), &[], 4096);
    let verdict = match refused {
        _ if failed => "broken".to_owned(),
        Some(refusal) => {
            let kept = bytes.strip_suffix(STAND_IN).expect("a refused head has a stand-in");
            assert!(text.as_bytes().starts_with(kept), "what came before passed as it was");
            refusal.as_str().to_owned()
        }
        None => {
            assert_eq!(bytes.escape_ascii().to_string(), text.escape_default().to_string());
            "passed".to_owned()
        }
    };
    expected.assert_eq(&format!("{heads} good, {verdict}"));
}

#[test]
fn requests_that_can_be_read_in_one_way_pass() {
    check("GET / HTTP/1.1\nhost: a\n\n", &expect!["1 good, passed"]);
    check("GET / HTTP/1.0\n\n", &expect!["1 good, passed"]);
    check("POST / HTTP/1.1\nHost: a\nContent-Length: 2\n\nhi", &expect!["1 good, passed"]);
    check("GET / HTTP/1.1\nhost:a\nx:\ny: \t \nz: \"a b\"\t\n\n", &expect!["1 good, passed"]);
    check(
        "POST / HTTP/1.1\nhost: a\ntransfer-encoding: Chunked\n\n2\nhi\n0\n\n",
        &expect!["1 good, passed"],
    );
}

#[test]
fn several_requests_follow_each_other_behind_their_bodies() {
    check(
        "POST / HTTP/1.1\nhost: a\ncontent-length: 19\n\nGET / HTTP/1.1\nx y\nGET /2 HTTP/1.1\nhost: a\n\n",
        &expect!["2 good, passed"],
    );
    check(
        "POST / HTTP/1.1\nhost: a\ntransfer-encoding: chunked\n\n6;x=y\na\n\nb\n00\nt: 1\n\nGET /2 HTTP/1.1\nhost: a\n\n",
        &expect!["2 good, passed"],
    );
}

#[test]
fn one_empty_line_before_a_request_is_passed_over() {
    check(
        "POST / HTTP/1.1\nhost: a\ncontent-length: 1\n\nx\nGET / HTTP/1.1\nhost: a\n\n",
        &expect!["2 good, passed"],
    );
    check("\n\nGET / HTTP/1.1\nhost: a\n\n", &expect!["0 good, bad_request_line"]);
}

#[test]
fn two_ways_to_find_a_bodys_end_are_refused() {
    let post = "POST / HTTP/1.1\nhost: a\n";
    for (fields, expected) in [
        ("content-length: 3\ntransfer-encoding: chunked", "length_and_transfer_encoding"),
        ("transfer-encoding: chunked\ncontent-length: 3", "length_and_transfer_encoding"),
        ("content-length: 3\nContent-Length: 3", "several_lengths"),
        ("content-length: 3, 3", "several_lengths"),
        ("content-length: +3", "bad_length"),
        ("content-length: 0x3", "bad_length"),
        ("content-length:", "bad_length"),
        ("content-length: -0", "bad_length"),
        ("content-length: 3 3", "bad_length"),
        ("content-length: 18446744073709551614", "bad_length"),
        ("content-length: 18446744073709551616", "bad_length"),
        ("transfer-encoding: gzip, chunked", "bad_transfer_encoding"),
        ("transfer-encoding: chunked\ntransfer-encoding: chunked", "bad_transfer_encoding"),
        ("transfer-encoding: identity", "bad_transfer_encoding"),
        ("transfer-encoding: \"chunked\"", "bad_transfer_encoding"),
        ("transfer-encoding : chunked", "bad_field_name"),
        ("transfer-encoding: chunked\n x", "folded_line"),
        ("transfer-encoding: \x0bchunked", "bad_field_value"),
        ("transfer-encoding: chunked\x0c", "bad_field_value"),
    ] {
        let text = format!("{post}{fields}\n\n").replace('\n', "\r\n");
        let seen = read(text.as_bytes(), &[], 4096);
        assert_eq!(seen.refused.map(Refusal::as_str), Some(expected), "{fields:?}");
        assert_eq!(seen.bytes, STAND_IN, "{fields:?}");
    }
    check(
        "POST / HTTP/1.0\nhost: a\ntransfer-encoding: chunked\n\n",
        &expect!["0 good, bad_transfer_encoding"],
    );
}

#[test]
fn lines_end_in_cr_lf_and_nothing_else() {
    for text in ["GET / HTTP/1.1\nhost: a\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\n\r\n"] {
        assert_eq!(read(text.as_bytes(), &[], 4096).refused, Some(Refusal::BareLineFeed));
    }
    let bare_cr = "GET / HTTP/1.1\r\nhost: a\rx: y\r\n\r\n";
    assert_eq!(read(bare_cr.as_bytes(), &[], 4096).refused, Some(Refusal::FieldValue));
    let two_crs = "GET / HTTP/1.1\r\nhost: a\r\r\n\r\n";
    assert_eq!(read(two_crs.as_bytes(), &[], 4096).refused, Some(Refusal::FieldValue));
    let cr_in_target = "GET /\r HTTP/1.1\r\nhost: a\r\n\r\n";
    assert_eq!(read(cr_in_target.as_bytes(), &[], 4096).refused, Some(Refusal::RequestLine));
}

#[test]
fn a_request_line_has_three_parts_that_are_known() {
    for (line, expected) in [
        ("GET /", Refusal::RequestLine),
        ("GET  / HTTP/1.1", Refusal::RequestLine),
        ("GET / HTTP/1.1 ", Refusal::RequestLine),
        ("GET\t/\tHTTP/1.1", Refusal::RequestLine),
        ("G(T / HTTP/1.1", Refusal::RequestLine),
        ("GET a HTTP/1.1", Refusal::RequestLine),
        ("GET /a#b HTTP/1.1", Refusal::RequestLine),
        ("GET / http/1.1", Refusal::RequestLine),
        ("GET / HTTP/1.2", Refusal::Version),
        ("GET / HTTP/1.01", Refusal::Version),
        ("GET / HTTP/2.0", Refusal::Version),
        ("PRI * HTTP/2.0", Refusal::RequestLine), // `*` is for OPTIONS
        (" GET / HTTP/1.1", Refusal::RequestLine),
        ("\u{16}\u{3}\u{1}", Refusal::RequestLine),
    ] {
        let text = format!("{line}\r\nhost: a\r\n\r\n");
        assert_eq!(read(text.as_bytes(), &[], 4096).refused, Some(expected), "{line:?}");
    }
}

#[test]
fn there_is_one_host_and_it_is_a_host() {
    check("GET / HTTP/1.1\n\n", &expect!["0 good, bad_host"]);
    check("GET / HTTP/1.1\nhost: a\nhost: a\n\n", &expect!["0 good, bad_host"]);
    check("GET / HTTP/1.0\nhost: a\nhost: a\n\n", &expect!["0 good, bad_host"]);
    check("GET / HTTP/1.1\nhost:\n\n", &expect!["0 good, bad_host"]);
    check("GET / HTTP/1.1\nhost: a b\n\n", &expect!["0 good, bad_host"]);
    check("GET / HTTP/1.1\nhost: user@a\n\n", &expect!["0 good, bad_host"]);
    check("GET http://a/ HTTP/1.1\n\n", &expect!["0 good, bad_host"]);
}

#[test]
fn a_head_has_bounds() {
    let head =
        |padding: usize| format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(padding));
    let fits = LIMITS.bytes_max - head(0).len();
    assert_eq!(read(head(fits).as_bytes(), &[], 4096).refused, None);
    assert_eq!(read(head(fits + 1).as_bytes(), &[], 4096).refused, Some(Refusal::TooLong));
    let endless = "GET / HTTP/1.1\r\nx: ".to_owned() + &"y".repeat(1000);
    assert_eq!(read(endless.as_bytes(), &[], 4096).refused, Some(Refusal::TooLong));
    check("GET / HTTP/1.1\nhost: a\nb:\nc:\nd:\ne:\nf:\n\n", &expect!["1 good, passed"]);
    check("GET / HTTP/1.1\nhost: a\nb:\nc:\nd:\ne:\nf:\ng:\n\n", &expect!["0 good, head_too_long"]);
}

#[test]
fn what_follows_a_refused_head_reaches_nobody() {
    let smuggled = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n\
        xGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    let first = "GET /first HTTP/1.1\r\nhost: a\r\n\r\n";
    let seen = read(format!("{first}{smuggled}").as_bytes(), &[], 4096);
    assert_eq!(seen.bytes, [first.as_bytes(), STAND_IN].concat());
    assert_eq!((seen.heads, seen.refused), (1, Some(Refusal::TwoLengths)));
}

#[test]
fn malformed_chunks_pass_up_to_where_they_are() {
    for bad in
        ["x", "\r\n", "-1\r\n", "1\n", "1\r\nab", "1\r\na\n", "0\r\nt: 1\n", "1000000000000000\r\n"]
    {
        let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        let seen = read(format!("{head}{bad}").as_bytes(), &[], 4096);
        assert!(seen.failed && seen.refused.is_none(), "{bad:?}");
        assert!(seen.bytes.starts_with(head.as_bytes()), "{bad:?}");
        assert!(seen.bytes.len() < head.len() + bad.len(), "{bad:?}");
    }
}

#[test]
fn a_head_is_late_from_its_first_byte_to_its_last() {
    let (mut guard, watch) = Guard::new(io::empty(), LIMITS);
    assert_eq!(guard.follow(b"GET / HTTP/1.1\r\nhost"), 0);
    let since = watch.head_since().expect("a head is incomplete");
    assert_eq!(guard.follow(b"GET / HTTP/1.1\r\nhost: a"), 0);
    assert_eq!(watch.head_since(), Some(since), "another byte buys no time");
    assert_eq!(guard.follow(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"), 27);
    assert_eq!(watch.head_since(), None);
}

#[test]
fn a_client_is_stuck_from_the_first_byte_it_does_not_take_to_the_next_it_does() {
    let (client, socket) = tokio::io::duplex(4);
    let (guard, watch) = Guard::new(socket, LIMITS);
    let (mut guard, mut client) = (pin!(guard), pin!(client));
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(guard.as_mut().poll_write(cx, b"1234").is_ready());
    assert_eq!(watch.stuck_since(), None);
    assert!(guard.as_mut().poll_write(cx, b"5").is_pending());
    let since = watch.stuck_since().expect("nothing is taken");
    assert!(pin!(watch.stuck()).poll(cx).is_ready());
    assert!(guard.as_mut().poll_write_vectored(cx, &[io::IoSlice::new(b"5")]).is_pending());
    assert_eq!(watch.stuck_since(), Some(since), "asking again is no progress");
    assert!(client.as_mut().poll_read(cx, &mut ReadBuf::new(&mut [0; 4])).is_ready());
    assert!(guard.as_mut().poll_write(cx, b"5").is_ready());
    assert_eq!(watch.stuck_since(), None);
}

/// Pieces of which connections are made, good and bad.
const VOCABULARY: [&str; 23] = [
    "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
    "GET / HTTP/1.1\r\n",
    "host: a\r\n",
    "content-length: 3\r\n",
    "transfer-encoding: chunked\r\n",
    "x:",
    " ",
    "\r\n",
    "\r\n\r\n",
    "\r",
    "\n",
    "hello",
    "abc",
    "3\r\nabc\r\n",
    "3;a=b\r\nabc\r\n",
    "0\r\n\r\n",
    "0\r\nt: 1\r\n\r\n",
    "\0",
    "GET",
    "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
    ":",
];

/// Connections that are mostly right: with arbitrary pieces alone, hardly one would get far.
fn connections() -> impl Strategy<Value = Vec<u8>> {
    let good = prop_oneof![
        Just("GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
        Just("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"),
        Just(
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        ),
        Just("\r\nGET /2 HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"),
    ];
    let any = prop::sample::select(&VOCABULARY[..]);
    let goods = prop::collection::vec(good, 0..4);
    (goods, prop::collection::vec(any, 0..8))
        .prop_map(|(goods, rest)| goods.into_iter().chain(rest).flat_map(str::bytes).collect())
}

/// Serves a connection by hyper through a guard. Returns for each request that hyper saw whether it
/// is to be refused, and whether hyper had a complaint of its own about a head.
fn serve(bytes: &[u8]) -> (Vec<Option<Refusal>>, bool) {
    let (guard, watch) = Guard::new(Pieces { pieces: vec![bytes], next: 0 }, LIMITS);
    let verdicts = RefCell::new(Vec::new());
    let service = service_fn(async |request: Request<Incoming>| {
        let next = verdicts.borrow().len() as u64;
        verdicts.borrow_mut().push(watch.refusal(next));
        // Nothing follows on a connection whose body was broken off.
        request.into_body().collect().await.map(|_| Response::new(Empty::<Bytes>::new()))
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    // Its bytes end at once, and it is answered nevertheless.
    builder.half_close(true).max_headers(LIMITS.lines_max).max_buf_size(8192);
    let io = TokioIo::new(tokio::io::join(guard, tokio::io::sink()));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let served = runtime.block_on(builder.serve_connection(io, service));
    let complained = served.is_err_and(|error| error.is_parse());
    (verdicts.take(), complained)
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        ..ProptestConfig::default()
    })]

    #[test]
    fn hyper_sees_every_good_head_and_one_refused_and_has_no_complaints(bytes in connections()) {
        let seen = read(&bytes, &[], 4096);
        let (verdicts, complained) = serve(&bytes);
        prop_assert!(!complained);
        prop_assert!(verdicts.iter().rev().skip(1).all(Option::is_none));
        if !seen.failed {
            prop_assert_eq!(verdicts.len() as u64, seen.heads + u64::from(seen.refused.is_some()));
            prop_assert_eq!(verdicts.last().copied().flatten(), seen.refused);
        }
    }

    #[test]
    fn how_the_bytes_are_cut_does_not_matter(
        bytes in connections(),
        cuts in prop::collection::vec(any::<usize>(), 0..40),
        room in 1..64_usize,
    ) {
        let whole = read(&bytes, &[], 4096);
        prop_assert_eq!(&read(&bytes, &cuts, 4096), &whole);
        prop_assert_eq!(&read(&bytes, &cuts, room), &whole);
        let single: Vec<usize> = (0..bytes.len()).collect();
        prop_assert_eq!(&read(&bytes, &single, room), &whole);
    }

    #[test]
    fn bytes_pass_as_they_are_or_not_at_all(bytes in connections()) {
        let seen = read(&bytes, &[], 4096);
        let passed = match seen.refused {
            Some(_) => seen.bytes.strip_suffix(STAND_IN).expect("a refused head has a stand-in"),
            None => &seen.bytes,
        };
        prop_assert!(bytes.starts_with(passed));
    }
}
