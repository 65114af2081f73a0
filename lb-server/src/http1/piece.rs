//! What is read at once, through buffers that all connections of a thread share.
//!
//! A connection that waits has no buffer, and whoever reads finds one that is still in the processor's
//! cache. What came is copied out of it where that is little. A large piece is handed on as it lies, and
//! the buffer comes back when its last byte has gone out.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::ReadBuf;

use crate::platform::Io;

/// Bytes that are read at once. With 32 KiB, a body of 100 KiB takes three times as many system calls.
pub(super) const LARGE_BYTES: usize = 256 * 1024;
/// Bytes that are read at once where pieces are of a middling size: these are handed on as well.
pub(super) const SMALL_BYTES: usize = 32 * 1024;

/// How large a buffer is.
#[derive(Clone, Copy)]
enum Size {
    Small,
    Large,
}

impl Size {
    const fn bytes(self) -> usize {
        match self {
            Self::Small => SMALL_BYTES,
            Self::Large => LARGE_BYTES,
        }
    }

    /// From here on a piece is handed on and not copied: so it fills a good part of its buffer.
    const fn handed_min(self) -> usize {
        match self {
            Self::Small => SMALL_BYTES / 4,
            Self::Large => LARGE_BYTES / 8,
        }
    }

    /// Buffers that a thread keeps while nobody uses them.
    const fn spare_max(self) -> usize {
        match self {
            Self::Small => 64,
            Self::Large => 8,
        }
    }

    /// What suits a piece of so many bytes, if it is worth a thought.
    fn fit_for(bytes: usize) -> Option<Self> {
        [Self::Large, Self::Small].into_iter().find(|size| bytes >= size.handed_min())
    }
}

/// The buffers of one size that nobody uses.
struct Spare(RefCell<Vec<Box<[u8]>>>);

thread_local! {
    static SPARE: [Spare; 2] = const { [const { Spare(RefCell::new(Vec::new())) }; 2] };
}

impl Spare {
    fn take(&self, size: Size) -> Box<[u8]> {
        let spare = self.0.borrow_mut().pop();
        spare.unwrap_or_else(|| vec![0; size.bytes()].into_boxed_slice())
    }

    fn put(&self, size: Size, room: Box<[u8]>) {
        let mut spare = self.0.borrow_mut();
        if spare.len() < size.spare_max() {
            spare.push(room);
        }
    }
}

/// A piece that was handed on in its buffer, of which the first bytes are filled.
struct Piece {
    room: Box<[u8]>,
    size: Size,
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
        let _ended = SPARE.try_with(|spare| spare[self.size as usize].put(self.size, room));
    }
}

/// How many large buffers of this thread nobody uses.
#[cfg(test)]
pub(super) fn spare() -> usize {
    SPARE.with(|spare| spare[Size::Large as usize].0.borrow().len())
}

/// And how many small ones.
#[cfg(test)]
pub(super) fn spare_small() -> usize {
    SPARE.with(|spare| spare[Size::Small as usize].0.borrow().len())
}

/// Pieces from here to there keep a large buffer that is too large for them, if they were handed on and lie
/// somewhere.
const LOOSE_BYTES_MIN: usize = Size::Large.handed_min();
const LOOSE_BYTES_MAX: usize = LARGE_BYTES / 2;

/// Gives what is left of a piece, and lies where it is, a buffer of its own size.
pub(super) fn settle(piece: &mut Bytes) {
    if piece.len() <= LOOSE_BYTES_MAX {
        *piece = Bytes::copy_from_slice(piece);
    }
}

/// A piece as it was read, to be kept for nobody knows how long.
pub(crate) fn settled(piece: &Bytes) -> Bytes {
    match piece.len() {
        LOOSE_BYTES_MIN..=LOOSE_BYTES_MAX => Bytes::copy_from_slice(piece),
        _ => piece.clone(),
    }
}

/// Reads what there is on a connection, into buffers of the size that its pieces have had.
#[derive(Default)]
pub(super) struct Reader {
    /// How many middling pieces came since the last large one.
    middling: Cell<u8>,
}

/// So many middling pieces in a row, and buffers are small: the end of a large body alone is none.
const MIDDLING_MIN: u8 = 4;

impl Reader {
    /// Nothing, if nothing will ever be.
    pub(super) fn poll_read(
        &self,
        io: &mut dyn Io,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Bytes>> {
        let size = if self.middling.get() < MIDDLING_MIN { Size::Large } else { Size::Small };
        let read = ready!(poll_into(size, io, cx, size.bytes()))?;
        // Heads and small answers in between say nothing about the next body.
        match Size::fit_for(read.len()) {
            Some(Size::Large) => self.middling.set(0),
            Some(Size::Small) => self.middling.set(self.middling.get().saturating_add(1)),
            None => {}
        }
        Poll::Ready(Ok(read))
    }
}

/// Bytes that are read with a head whose body may be moved on unseen: small answers whole, and little of large ones.
pub(super) const HEAD_BYTES: usize = SMALL_BYTES / 2;

/// Reads a head, and of its body little. Nothing, if nothing will ever be.
pub(super) fn poll_read_head(io: &mut dyn Io, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
    poll_into(Size::Small, io, cx, HEAD_BYTES)
}

/// Reads what there is, and so much at most. Nothing, if nothing will ever be.
pub(super) fn poll_read(
    io: &mut dyn Io,
    cx: &mut Context<'_>,
    most: usize,
) -> Poll<io::Result<Bytes>> {
    poll_into(Size::Large, io, cx, most)
}

fn poll_into(
    size: Size,
    io: &mut dyn Io,
    cx: &mut Context<'_>,
    most: usize,
) -> Poll<io::Result<Bytes>> {
    SPARE.with(|spare| {
        let spare = &spare[size as usize];
        let mut room = spare.take(size);
        let mut buf = ReadBuf::new(&mut room[..most]);
        let polled = Pin::new(io).poll_read(cx, &mut buf);
        let filled = buf.filled().len();
        if matches!(polled, Poll::Ready(Ok(()))) && filled >= size.handed_min() {
            return Poll::Ready(Ok(Bytes::from_owner(Piece { room, size, filled })));
        }
        let copied = polled.map_ok(|()| Bytes::copy_from_slice(&room[..filled]));
        spare.put(size, room);
        copied
    })
}
