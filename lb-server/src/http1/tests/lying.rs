//! What a message keeps of memory where nobody takes it.

use std::future::poll_fn;
use std::task::{Context, Waker};

use bytes::Bytes;
use http_body_util::Full;
use tokio::io::AsyncWriteExt;

use super::super::outbox::{Framing, Outbox, Source};
use super::super::piece::{self, LARGE_BYTES, Reader, SMALL_BYTES};
use super::super::spare::Flat;

impl Source for Full<Bytes> {}

/// A piece of so many bytes as it comes off a socket.
async fn piece(bytes: usize) -> Bytes {
    let (mut says, mut hears) = tokio::io::duplex(LARGE_BYTES);
    says.write_all(&vec![b'x'; bytes]).await.unwrap();
    poll_fn(|cx| piece::poll_read(&mut hears, cx, LARGE_BYTES)).await.unwrap()
}

#[tokio::test]
async fn a_piece_that_nobody_takes_gives_its_buffer_back() {
    for (bytes, takes, spare) in [(40_000, 1, 1), (200_000, 1, 0), (200_000, 150_000, 1)] {
        let piece = piece(bytes).await;
        assert_eq!((piece.len(), piece::spare()), (bytes, 0), "it is handed on as it lies");
        let (mut near, _far) = tokio::io::duplex(takes);
        let mut outbox = Outbox::new(Flat::new(), Framing::of(bytes as u64), Full::new(piece));
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(outbox.poll(cx, &mut near).is_pending());
        assert_eq!(piece::spare(), spare, "{bytes} bytes, of which {takes} are taken");
        drop(outbox);
        assert_eq!(piece::spare(), 1, "and in the end it is there for the next");
    }
}

#[tokio::test]
async fn who_sends_pieces_of_a_middling_size_is_read_into_buffers_of_that_size() {
    let (mut says, mut hears) = tokio::io::duplex(LARGE_BYTES);
    let reader = Reader::default();
    // What is sent, and in which pieces it is read.
    let sent: [(usize, &[usize]); 8] = [
        (100_000, &[100_000]),
        (16_000, &[16_000]),
        (16_000, &[16_000]),
        (100, &[100]),
        (16_000, &[16_000]),
        (16_000, &[16_000]),
        (100_000, &[SMALL_BYTES, 100_000 - SMALL_BYTES]),
        (100_000, &[100_000]),
    ];
    for (nth, (bytes, pieces)) in sent.into_iter().enumerate() {
        says.write_all(&vec![b'x'; bytes]).await.unwrap();
        for piece in pieces {
            let read = poll_fn(|cx| reader.poll_read(&mut hears, cx)).await.unwrap();
            assert_eq!(read.len(), *piece, "the send of number {nth}");
        }
    }
}

#[tokio::test]
async fn after_a_few_pieces_of_a_middling_size_they_are_handed_on_as_they_lie() {
    let (mut says, mut hears) = tokio::io::duplex(LARGE_BYTES);
    let reader = Reader::default();
    let copied = std::iter::repeat_n((0, false), 4);
    for (spare, is_handed) in copied.chain([(0, true), (1, true)]) {
        assert_eq!(piece::spare_small(), spare);
        says.write_all(&[b'x'; 16_000]).await.unwrap();
        let read = poll_fn(|cx| reader.poll_read(&mut hears, cx)).await.unwrap();
        // What was copied is alone in its buffer, and can be written in.
        assert_eq!(read.try_into_mut().is_err(), is_handed);
    }
}
