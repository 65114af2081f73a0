//! Whose what comes on a connection is.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::unread::Unread;

/// What has come on the streams of a connection.
#[derive(Default)]
pub(super) struct Inflow {
    begun: Cell<u32>,
    streams: RefCell<BTreeMap<u32, Rc<Unread>>>,
}

impl Inflow {
    /// The next stream begins, and this is its number: they are odd, and none is left out (RFC 9113 §5.1.1).
    pub(super) fn begins(&self, unread: &Rc<Unread>) -> u32 {
        let stream = 1 + 2 * self.begun.replace(self.begun.get() + 1);
        self.streams.borrow_mut().insert(stream, Rc::clone(unread));
        stream
    }

    /// So much has come on a stream.
    pub(super) fn came(&self, stream: u32, bytes: u32) {
        if bytes > 0
            && let Some(unread) = self.streams.borrow().get(&stream)
        {
            unread.came(bytes);
        }
    }

    /// Nobody takes any more of what comes on this stream.
    pub(super) fn ends(&self, stream: u32) {
        if let Some(unread) = self.streams.borrow_mut().remove(&stream) {
            unread.is_left();
        }
    }
}
