//! What passes, what is refused, and that it does not matter how the bytes are cut.

use std::future::Future;
use std::pin::pin;
use std::task::Waker;

use expect_test::{Expect, expect};
use tokio::io::AsyncWrite;

use super::*;

mod properties;

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
    read_after(bytes, cuts, room, |_, _| Bytes::new())
}

/// The same, with something done before each time that lets this pass.
fn read_after(
    bytes: &[u8],
    cuts: &[usize],
    room: usize,
    first: impl Fn(&mut Guard<Pieces<'_>>, &mut Context<'_>) -> Bytes,
) -> Seen {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.dedup();
    let pieces = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
    let (mut guard, watch) = Guard::new(Pieces { pieces, next: 0 }, LIMITS);
    let mut seen = Seen { bytes: Vec::new(), heads: 0, refused: None, failed: false };
    let mut space = vec![0; room];
    let cx = &mut Context::from_waker(Waker::noop());
    loop {
        seen.bytes.extend_from_slice(&first(&mut guard, cx));
        let mut buf = ReadBuf::new(&mut space);
        let read = Pin::new(&mut guard).poll_read(cx, &mut buf);
        if watch.0.held.get().is_some() {
            watch.let_go();
            seen.bytes.extend_from_slice(buf.filled());
            continue;
        }
        match read {
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
    let is_malformed = matches!(guard.next, Next::Broken);
    assert_eq!(is_malformed, seen.failed, "reading fails at malformed bodies alone");
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
fn a_connect_has_no_body_to_find_the_end_of() {
    check("CONNECT a:80 HTTP/1.1\nhost: a\ncontent-length: 0\n\n", &expect!["1 good, passed"]);
    for fields in ["content-length: 1", "transfer-encoding: chunked"] {
        let text = format!("CONNECT a:80 HTTP/1.1\nhost: a\n{fields}\n\n");
        check(&text, &expect!["0 good, connect_with_body"]);
    }
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
    check("GET / HTTP/1.1\nhost: a%2eb\n\n", &expect!["0 good, bad_host"]);
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
    assert!(guard.as_mut().poll_write_vectored(cx, &[io::IoSlice::new(b"5")]).is_pending());
    assert_eq!(watch.stuck_since(), Some(since), "asking again is no progress");
    assert!(client.as_mut().poll_read(cx, &mut ReadBuf::new(&mut [0; 4])).is_ready());
    assert!(guard.as_mut().poll_write(cx, b"5").is_ready());
    assert_eq!(watch.stuck_since(), None);
}

#[test]
fn what_follows_a_request_for_another_protocol_is_held_until_there_is_an_answer() {
    let ask = |fields: &str| format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
    let mut space = [0; 256];
    let mut read = |guard: &mut Guard<Pieces<'_>>| {
        let mut buf = ReadBuf::new(&mut space);
        let reading = Pin::new(guard).poll_read(&mut Context::from_waker(Waker::noop()), &mut buf);
        reading.map(|read| read.map(|()| buf.filled().to_vec()).unwrap())
    };
    let held = [
        ask("connection: a, Upgrade\r\nupgrade: h2c, x\r\n"),
        "CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
        "CONNECT a:80 HTTP/1.0\r\ncontent-length: 0\r\n\r\n".to_owned(),
        ask("connection: upgrade\r\nupgrade: x\r\ncontent-length: 0\r\n"),
        // A message comes to its end before anything is switched.
        ask("connection: upgrade\r\nupgrade: x\r\ncontent-length: 2\r\n") + "ab",
        ask("connection: upgrade\r\nupgrade: x\r\ntransfer-encoding: chunked\r\n")
            + "2\r\nab\r\n0\r\n\r\n",
    ];
    for head in held {
        let bytes = [head.as_bytes(), b"more"].concat();
        let (mut guard, watch) = Guard::new(Pieces { pieces: vec![&bytes], next: 0 }, LIMITS);
        assert_eq!(read(&mut guard), Poll::Ready(head.clone().into_bytes()));
        assert!(watch.is_held(0) && !watch.is_held(1), "{head}");
        assert_eq!(read(&mut guard), Poll::Ready(Vec::new()), "the client's end, and no byte");
        let (_, begun) = guard.into_parts();
        assert_eq!(begun, b"more");
    }

    let not_held = [
        ask("connection: upgrade\r\n"),
        ask("upgrade: x\r\n"),
        ask("connection: upgrade\r\nupgrade: h2c\r\n"),
        ask("connection: upgrade\r\nupgrade: x\r\n").replace("1.1", "1.0"),
    ];
    for head in not_held {
        let pieces = Pieces { pieces: vec![head.as_bytes()], next: 0 };
        let (mut guard, watch) = Guard::new(pieces, LIMITS);
        assert_eq!(read(&mut guard), Poll::Ready(head.clone().into_bytes()));
        assert!(!watch.is_held(0), "{head}");
    }
}

#[test]
fn an_empty_line_begins_no_request() {
    let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx\r\n";
    let pieces = vec![post.as_bytes(), b"GET / HT"];
    let (mut guard, watch) = Guard::new(Pieces { pieces, next: 0 }, LIMITS);
    let mut space = [0; 256];
    let mut read = || {
        let mut buf = ReadBuf::new(&mut space);
        let cx = &mut Context::from_waker(Waker::noop());
        Pin::new(&mut guard).poll_read(cx, &mut buf).map(|read| read.map(|()| buf.filled().len()))
    };
    assert!(matches!(read(), Poll::Ready(Ok(length)) if length == post.len() - 2));
    assert_eq!(watch.head_since(), None, "it may be all that comes");
    assert!(matches!(read(), Poll::Ready(Ok(0))), "that is incomplete");
    assert!(watch.head_since().is_some(), "it has begun");
}
