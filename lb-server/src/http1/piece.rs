//! What is read at once, through buffers that all connections of a thread share.
//!
//! A connection that waits has no buffer, and whoever reads finds one that is still in the processor's
//! cache. What came is copied out of it where it fills little of it. A large piece is handed on as it
//! lies, and the buffer comes back when its last byte has gone out: so whoever is slow to take a piece
//! keeps no more than eight times its bytes.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::ReadBuf;

use crate::platform::Io;

/// Bytes that are read at once. With 32 KiB, a body of 100 KiB takes three times as many system calls.
pub(super) const PIECE_BYTES_MAX: usize = 256 * 1024;
/// Bytes that are read at once where no more are expected: a request, of which most have little body.
pub(super) const LITTLE_BYTES_MAX: usize = 32 * 1024;
/// A piece is handed on, and not copied, if it fills more than this part of its buffer.
const FILLED_MIN: usize = 8;
/// Buffers of each size that a thread keeps while nobody uses them.
const SPARE_MAX: usize = 8;

/// Buffers that nobody uses, of one size.
type Spare = RefCell<Vec<Box<[u8]>>>;

thread_local! {
    static LARGE: Spare = const { RefCell::new(Vec::new()) };
    static LITTLE: Spare = const { RefCell::new(Vec::new()) };
}

/// A buffer in use, of which the first bytes are filled.
struct Piece {
    room: Box<[u8]>,
    filled: usize,
}

impl Piece {
    /// Where so many bytes have room.
    fn of(most: usize) -> Self {
        let (spare, size) = match most <= LITTLE_BYTES_MAX {
            true => (&LITTLE, LITTLE_BYTES_MAX),
            false => (&LARGE, PIECE_BYTES_MAX),
        };
        let room = spare.with_borrow_mut(Vec::pop);
        Self { room: room.unwrap_or_else(|| vec![0; size].into_boxed_slice()), filled: 0 }
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.room[..self.filled]
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let room = std::mem::take(&mut self.room);
        let spare = if room.len() == LITTLE_BYTES_MAX { &LITTLE } else { &LARGE };
        // A thread that ends keeps nothing.
        let _ended = spare.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < SPARE_MAX {
                spare.push(room);
            }
        });
    }
}

/// Reads what there is, and so much at most. Nothing, if nothing will ever be.
pub(super) fn poll_read(
    io: &mut dyn Io,
    cx: &mut Context<'_>,
    most: usize,
) -> Poll<io::Result<Bytes>> {
    let mut piece = Piece::of(most);
    let mut buf = ReadBuf::new(&mut piece.room[..most]);
    ready!(Pin::new(io).poll_read(cx, &mut buf))?;
    piece.filled = buf.filled().len();
    Poll::Ready(Ok(if piece.filled <= piece.room.len() / FILLED_MIN {
        Bytes::copy_from_slice(piece.as_ref())
    } else {
        Bytes::from_owner(piece)
    }))
}
