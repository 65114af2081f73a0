//! What a message keeps of memory where nobody takes it.

use std::future::poll_fn;
use std::task::{Context, Waker};

use bytes::Bytes;
use http_body_util::Full;
use tokio::io::AsyncWriteExt;

use super::super::outbox::{Framing, Outbox};
use super::super::piece::{self, PIECE_BYTES_MAX};

/// A piece of so many bytes as it comes off a socket.
async fn piece(bytes: usize) -> Bytes {
    let (mut says, mut hears) = tokio::io::duplex(PIECE_BYTES_MAX);
    says.write_all(&vec![b'x'; bytes]).await.unwrap();
    poll_fn(|cx| piece::poll_read(&mut hears, cx, PIECE_BYTES_MAX)).await.unwrap()
}

#[tokio::test]
async fn a_piece_that_nobody_takes_gives_its_buffer_back() {
    for (bytes, takes, spare) in [(40_000, 1, 1), (200_000, 1, 0), (200_000, 150_000, 1)] {
        let piece = piece(bytes).await;
        assert_eq!((piece.len(), piece::spare()), (bytes, 0), "it is handed on as it lies");
        let (mut near, _far) = tokio::io::duplex(takes);
        let mut outbox = Outbox::new(Vec::new(), Framing::of(bytes as u64), Full::new(piece));
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(outbox.poll(cx, &mut near).is_pending());
        assert_eq!(piece::spare(), spare, "{bytes} bytes, of which {takes} are taken");
        drop(outbox);
        assert_eq!(piece::spare(), 1, "and in the end it is there for the next");
    }
}
