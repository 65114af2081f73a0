//! What has come of an answer over HTTP/2 and nobody has taken.
//!
//! It lies in memory for as long as its client likes, and a client may have many of them. Windows bound its
//! bytes, and not what they cost: each frame is kept as it came, and most of a small message is its frame.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::pulse::Pulse;

/// What h2 needs for a frame beside its bytes: a place of 264 bytes in a table that doubles when it is full.
const FRAME_BYTES: u64 = 512;

/// What has come of an answer and nobody has taken.
#[derive(Default)]
pub(crate) struct Unread {
    frames: Cell<u64>,
    bytes: Cell<u64>,
    /// Whose connection it is for, once that is known.
    reader: RefCell<Option<Rc<Pulse>>>,
}

impl Unread {
    /// Bytes of memory that it takes.
    pub(crate) fn cost(&self) -> u64 {
        self.bytes.get() + self.frames.get() * FRAME_BYTES
    }

    /// A frame with so many bytes has come.
    pub(crate) fn came(&self, bytes: u32) {
        self.becomes(self.frames.get() + 1, self.bytes.get() + u64::from(bytes));
    }

    /// The next frame was taken. How much of what has come is in it nobody knows, as some may be padding.
    pub(crate) fn taken(&self) {
        let (frames, bytes) = (self.frames.get(), self.bytes.get());
        if frames > 0 {
            self.becomes(frames - 1, bytes - bytes / frames);
        }
    }

    /// Nobody takes any of it any more.
    pub(crate) fn is_left(&self) {
        self.becomes(0, 0);
        self.reader.take();
    }

    /// It is for this client.
    pub(crate) fn is_for(&self, reader: &Rc<Pulse>) {
        reader.holds(0, self.cost());
        self.reader.replace(Some(Rc::clone(reader)));
    }

    fn becomes(&self, frames: u64, bytes: u64) {
        let before = self.cost();
        self.frames.set(frames);
        self.bytes.set(bytes);
        if let Some(reader) = &*self.reader.borrow() {
            reader.holds(before, self.cost());
        }
    }
}
