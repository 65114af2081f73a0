//! What is read at once, through a buffer that all connections of a thread share.
//!
//! A connection that waits has no buffer, and whoever reads finds one that is still in the processor's
//! cache. What came is copied out of it where that is little. A large piece is handed on as it lies, and
//! the buffer comes back when its last byte has gone out.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::ReadBuf;

use crate::platform::Io;

/// Bytes that are read at once. With 32 KiB, a body of 100 KiB takes three times as many system calls.
pub(super) const PIECE_BYTES_MAX: usize = 256 * 1024;
/// From here on a piece is handed on and not copied: so it fills at least an eighth of its buffer.
const HANDED_BYTES_MIN: usize = 32 * 1024;
/// Buffers that a thread keeps while nobody uses them.
const SPARE_MAX: usize = 8;

thread_local! {
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer in use, of which the first bytes are filled.
struct Piece {
    room: Box<[u8]>,
    filled: usize,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.room[..self.filled]
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let room = std::mem::take(&mut self.room);
        // A thread that ends keeps nothing.
        let _ended = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < SPARE_MAX {
                spare.push(room);
            }
        });
    }
}

/// How many buffers of this thread nobody uses.
#[cfg(test)]
pub(super) fn spare() -> usize {
    SPARE.with_borrow(Vec::len)
}

/// Pieces up to here keep a buffer that is too large for them, if they were handed on and lie somewhere.
const LOOSE_BYTES_MAX: usize = PIECE_BYTES_MAX / 2;

/// Gives what is left of a piece, and lies where it is, a buffer of its own size.
pub(super) fn settle(piece: &mut Bytes) {
    if piece.len() <= LOOSE_BYTES_MAX {
        *piece = Bytes::copy_from_slice(piece);
    }
}

/// A piece as it was read, to be kept for nobody knows how long.
pub(crate) fn settled(piece: &Bytes) -> Bytes {
    match piece.len() {
        HANDED_BYTES_MIN..=LOOSE_BYTES_MAX => Bytes::copy_from_slice(piece),
        _ => piece.clone(),
    }
}

/// Reads what there is, and so much at most. Nothing, if nothing will ever be.
pub(super) fn poll_read(
    io: &mut dyn Io,
    cx: &mut Context<'_>,
    most: usize,
) -> Poll<io::Result<Bytes>> {
    let spare = SPARE.with_borrow_mut(Vec::pop);
    let room = spare.unwrap_or_else(|| vec![0; PIECE_BYTES_MAX].into_boxed_slice());
    let mut piece = Piece { room, filled: 0 };
    let mut buf = ReadBuf::new(&mut piece.room[..most]);
    ready!(Pin::new(io).poll_read(cx, &mut buf))?;
    piece.filled = buf.filled().len();
    Poll::Ready(Ok(if piece.filled < HANDED_BYTES_MIN {
        Bytes::copy_from_slice(piece.as_ref())
    } else {
        Bytes::from_owner(piece)
    }))
}
