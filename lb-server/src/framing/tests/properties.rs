//! What holds for any connection: nothing is lost, and hyper has nothing to complain about.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::fuzzing::served;

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
        Just("CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n"),
    ];
    let any = prop::sample::select(&VOCABULARY[..]);
    let goods = prop::collection::vec(good, 0..4);
    (goods, prop::collection::vec(any, 0..8))
        .prop_map(|(goods, rest)| goods.into_iter().chain(rest).flat_map(str::bytes).collect())
}

/// What is wrong with the first line of a head, found part by part.
fn wrong_with_request(line: &[u8]) -> Option<Refusal> {
    let parts: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = parts[..] else { return Some(Refusal::RequestLine) };
    let is_method = !method.is_empty() && method.iter().all(|byte| is_token(*byte));
    match version {
        _ if !is_method || !target::is_target(method, target) => Some(Refusal::RequestLine),
        b"HTTP/1.1" | b"HTTP/1.0" => None,
        _ if version.starts_with(b"HTTP/") => Some(Refusal::Version),
        _ => Some(Refusal::RequestLine),
    }
}

/// And with one of the others, found byte by byte.
fn wrong_with_field(line: &[u8]) -> Option<Refusal> {
    if matches!(line[0], b' ' | b'\t') {
        return Some(Refusal::FoldedLine);
    }
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return Some(Refusal::FieldName);
    };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.len() > 0xffff {
        return Some(Refusal::TooLong);
    }
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
        return Some(Refusal::FieldName);
    }
    let is_bad = value.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f);
    is_bad.then_some(Refusal::FieldValue)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
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
        let (verdicts, complained) = served(&bytes, LIMITS);
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
            match pin!(guard.begins()).poll(cx) {
                Poll::Ready(Ok(Begun::Spoken(passed))) => passed,
                _ => Bytes::new(),
            }
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

    #[test]
    fn a_head_is_judged_as_by_whoever_looks_at_one_byte_after_the_other(
        request in prop_oneof![
            Just("GET / HTTP/1.1".to_owned()),
            "(GET|G\u{7f}|) {0,2}(/|/a`b|/\u{e9}|\\*|x)? {0,2}(HTTP/1\\.[01]|HTTP/2|x)? ?",
        ],
        repeated in prop::option::weighted(0.1, 0xfff0..0x1_0010_usize),
        field in prop::collection::vec(
            prop_oneof![prop::sample::select(b"x-_(:: \t\0\x7f\x80".to_vec()), b' '..0x7f], 1..24,
        ),
    ) {
        let field = [&vec![b'x'; repeated.unwrap_or(0)], &field[..]].concat();
        let head = [request.as_bytes(), b"\r\n", &field, b"\r\nhost: a\r\n\r\n"].concat();
        let limits = Limits { bytes_max: usize::MAX, ..LIMITS };
        let wrong = wrong_with_request(request.as_bytes()).or_else(|| wrong_with_field(&field));
        // Of names that mean something a dozen random bytes are none.
        prop_assert_eq!(head::inspect(&head, &limits).err(), wrong, "{:?}", head.escape_ascii().to_string());
    }
}
