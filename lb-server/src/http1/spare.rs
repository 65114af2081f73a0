//! Room for heads, which all connections of a thread share: where one was, the next goes.
//!
//! An answer's head is read, changed and written within a moment, and then emptied and kept for the next. So is
//! the room that heads are written in, which is the first part of a message on its way. Of either a thread keeps
//! one, which has no more room than most need.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

use http::response::Parts;
use http::{HeaderMap, Response, StatusCode, Version};

/// Bytes for which there is room from the beginning: a head and a small body.
const FLAT_BYTES: usize = 2 * 1024;
/// Room for more than that, and for more fields, is not kept.
const FLAT_BYTES_MAX: usize = 4 * FLAT_BYTES;
const FIELDS_MAX: usize = 64;

thread_local! {
    static HEAD: Cell<Option<Box<Parts>>> = const { Cell::new(None) };
    static FLAT: Cell<Option<Vec<u8>>> = const { Cell::new(None) };
}

/// An empty head.
pub(super) fn head() -> Box<Parts> {
    HEAD.take().unwrap_or_else(|| Box::new(Response::new(()).into_parts().0))
}

/// Keeps a head for the next one. Nothing is left of what it said.
pub(super) fn keep(mut head: Box<Parts>) {
    head.status = StatusCode::OK;
    head.version = Version::HTTP_11;
    clear(&mut head.headers);
    head.extensions.clear();
    HEAD.set(Some(head));
}

/// Empties a map of fields, and leaves it as much room as most need.
pub(super) fn clear(fields: &mut HeaderMap) {
    if fields.capacity() <= FIELDS_MAX {
        fields.clear();
    } else {
        *fields = HeaderMap::new();
    }
}

/// Where a head is written, and what follows it in one run.
pub(super) struct Flat(Vec<u8>);

impl Flat {
    pub(super) fn new() -> Self {
        Self(FLAT.take().unwrap_or_else(|| Vec::with_capacity(FLAT_BYTES)))
    }
}

impl Deref for Flat {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Flat {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Flat {
    fn drop(&mut self) {
        let mut room = std::mem::take(&mut self.0);
        if (FLAT_BYTES..=FLAT_BYTES_MAX).contains(&room.capacity()) {
            room.clear();
            // A thread that ends keeps nothing.
            let _ended = FLAT.try_with(|flat| flat.set(Some(room)));
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::AGE;

    use super::*;

    #[test]
    fn a_head_that_was_kept_says_nothing_and_room_for_many_fields_is_not_kept() {
        let mut one = head();
        one.status = StatusCode::NOT_FOUND;
        one.version = Version::HTTP_10;
        one.headers.insert(AGE, HeaderValue::from_static("1"));
        one.extensions.insert(1_u8);
        let room = one.headers.capacity();
        keep(one);
        let next = head();
        assert_eq!(next.headers.capacity(), room, "it is the same");
        assert_eq!((next.status, next.version), (StatusCode::OK, Version::HTTP_11));
        assert!(next.headers.is_empty() && next.extensions.is_empty());
        let mut large = next;
        large.headers.reserve(2 * FIELDS_MAX);
        keep(large);
        assert_eq!(head().headers.capacity(), 0);
    }

    #[test]
    fn room_that_was_kept_is_empty_and_what_has_grown_is_not_kept() {
        let mut one = Flat::new();
        one.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        let place = one.as_ptr();
        drop(one);
        let mut next = Flat::new();
        assert!(next.is_empty() && next.as_ptr() == place, "it is the same");
        next.reserve(2 * FLAT_BYTES_MAX);
        drop(next);
        assert_eq!(Flat::new().capacity(), FLAT_BYTES, "it is a new one");
    }
}
