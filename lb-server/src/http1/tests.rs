//! What a backend may answer, and what is none; and what becomes of a body.

mod lying;
mod spliced;
mod turns;
mod visits;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::dice;
use crate::fuzzing::{Told, answer, told, told_before_it_closed};

/// What a GET is told by `said`, and whether the connection is free afterwards.
fn check(said: &str, told_is: &Expect) {
    let said = said.replace('\n', "\r\n");
    for cut in [1, 2, 3, 7, said.len()] {
        let told = told(said.as_bytes(), cut);
        told_is.assert_eq(&told.map_or_else(|failure| format!("{failure:?}"), |told| tell(&told)));
    }
}

fn tell(Told { status, fields, body, trailers, whole, free }: &Told) -> String {
    let body = String::from_utf8_lossy(body);
    let end = match (whole, free) {
        (false, _) => "cut",
        (true, false) => "whole, closed",
        (true, true) => "whole, free",
    };
    format!("{status} {fields:?} {body:?} {trailers:?} {end}")
}

#[test]
fn a_body_ends_where_its_head_says() {
    check(
        "HTTP/1.1 200 OK\ncontent-length: 5\n\nhello",
        &expect![[r#"200 ["content-length: 5"] "hello" [] whole, free"#]],
    );
    check(
        "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n3;x=y\nhel\n2 \nlo\n0\n\n",
        &expect![[r#"200 ["transfer-encoding: chunked"] "hello" [] whole, free"#]],
    );
    check("HTTP/1.1 200 OK\n\nhello", &expect![[r#"200 [] "hello" [] whole, closed"#]]);
    check(
        "HTTP/1.1 304 Not Modified\ncontent-length: 5\n\n",
        &expect![[r#"304 ["content-length: 5"] "" [] whole, free"#]],
    );
}

#[test]
fn what_a_backend_said_before_it_closed_is_heard() {
    let said = "HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig";
    let told = told_before_it_closed(said.as_bytes()).unwrap();
    expect![[r#"413 ["content-length: 3"] "big" [] whole, closed"#]].assert_eq(&tell(&told));
    let silent = told_before_it_closed(b"");
    assert_eq!(silent, Err(lb_core::Failure::Reset), "it has seen a part of it");
}

#[test]
fn a_body_that_ends_early_is_cut() {
    check(
        "HTTP/1.1 200 OK\ncontent-length: 6\n\nhello",
        &expect![[r#"200 ["content-length: 6"] "hello" [] cut"#]],
    );
    check(
        "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n5\nhello\n",
        &expect![[r#"200 ["transfer-encoding: chunked"] "hello" [] cut"#]],
    );
    check(
        "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n5\nhello\n5 5\n",
        &expect![[r#"200 ["transfer-encoding: chunked"] "hello" [] cut"#]],
    );
}

#[test]
fn trailers_follow_chunks() {
    check(
        "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n5\nhello\n0\na: b\n\n",
        &expect![[r#"200 ["transfer-encoding: chunked"] "hello" ["a: b"] whole, free"#]],
    );
}

#[test]
fn an_answer_may_be_announced() {
    check(
        "HTTP/1.1 100 Continue\n\nHTTP/1.1 103 Early Hints\nlink: a\n\nHTTP/1.1 204 None\n\n",
        &expect![[r#"204 [] "" [] whole, free"#]],
    );
}

#[test]
fn what_asks_for_the_end_ends_the_connection() {
    check(
        "HTTP/1.1 200 OK\nconnection: a, Close\ncontent-length: 0\n\n",
        &expect![[r#"200 ["connection: a, Close", "content-length: 0"] "" [] whole, closed"#]],
    );
    check(
        "HTTP/1.0 200 OK\ncontent-length: 0\n\n",
        &expect![[r#"200 ["content-length: 0"] "" [] whole, closed"#]],
    );
    // Something that nobody asked for.
    check(
        "HTTP/1.1 200 OK\ncontent-length: 0\n\nHTTP/1.1 200 OK\n\n",
        &expect![[r#"200 ["content-length: 0"] "" [] whole, closed"#]],
    );
}

#[test]
fn what_can_be_read_in_two_ways_is_no_answer() {
    let malformed = expect!["Malformed"];
    for head in [
        "content-length: 1\ncontent-length: 2",
        "content-length: 1, 2",
        "content-length: +1",
        "content-length:",
        "content-length: 99999999999999999999",
        "transfer-encoding: gzip",
        "transfer-encoding: chunked, gzip",
        "a b: c",
        "a : b",
        "a: b\n c",
    ] {
        check(&format!("HTTP/1.1 200 OK\n{head}\n\n"), &malformed);
    }
    check("HTTP/1.0 200 OK\ntransfer-encoding: chunked\n\n0\n\n", &malformed);
    check("HTTP/2 200 OK\n\n", &malformed);
    check("HTTP/1.1 200 OK\na: b", &expect!["Reset"]);
    check(&format!("HTTP/1.1 200 OK\na: {}", "b".repeat(9_000)), &malformed);
}

fn pieces() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6)
}

proptest! {
    #![proptest_config(dice::replayed())]

    #[test]
    fn an_answer_is_what_hyper_would_make_of_it_however_it_is_cut(
        head in "HTTP/1\\.[01] [1-5]0[0-4]( [a-z]{0,3})?\r\n",
        fields in prop::collection::vec(
            prop::sample::select(vec![
                "a: b\r\n", "a:\r\n", "content-length: 12\r\n", "content-length: 7, 7\r\n",
                "transfer-encoding: chunked\r\n", "connection: close\r\n", "x: \u{e9}\r\n",
                "connection: keep-alive\r\n", "a: b\n", " c\r\n", "\r",
            ]), 0..5),
        pieces in pieces(),
        is_chunked in any::<bool>(),
        trailer in prop::option::of("[a-z]{1,5}: [a-z]{0,5}\r\n"),
        rest in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        let mut said = [&head, &fields.concat()[..]].concat();
        if is_chunked && !said.contains("chunked") {
            said += "transfer-encoding: chunked\r\n";
        }
        said += "\r\n";
        let mut said = said.into_bytes();
        for piece in &pieces {
            if is_chunked {
                said.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                said.extend_from_slice(piece);
                said.extend_from_slice(b"\r\n");
            } else {
                said.extend_from_slice(piece);
            }
        }
        if is_chunked {
            said.extend_from_slice(b"0\r\n");
            said.extend_from_slice(trailer.unwrap_or_default().as_bytes());
            said.extend_from_slice(b"\r\n");
        }
        said.extend_from_slice(&rest);
        answer(&said);
    }
}
