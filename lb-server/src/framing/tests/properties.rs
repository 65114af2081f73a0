//! What holds for any connection: nothing is lost, and hyper has nothing to complain about.

use std::cell::RefCell;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

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
        Just("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"),
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
        if watch.is_held(next) {
            watch.let_go();
        }
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
    fn waiting_for_a_head_changes_nothing_of_it(
        bytes in connections(),
        cuts in prop::collection::vec(any::<usize>(), 0..40),
        room in 1..64_usize,
    ) {
        let waited = read_after(&bytes, &cuts, room, |guard, cx| {
            let _begun_or_not = pin!(guard.begins()).poll(cx);
        });
        prop_assert_eq!(waited, read(&bytes, &[], 4096));
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
