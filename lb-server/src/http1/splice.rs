//! The body of an answer that goes from socket to socket unseen, in a pipe of the kernel.
//!
//! Most of what a large answer costs is copying it, twice. Where nobody has to see it, which is where both sides
//! speak HTTP/1.1 in the clear and its length is known, only its pages change hands.

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::body::Body;
use super::{Http1, piece};
use crate::platform::{Io, Pipe};

/// Bytes that have to be left of a body: of fewer, copies cost less than calls.
const LEFT_MIN: u64 = 32 * 1024;
/// Bytes that came at once of which copies cost less than calls, and how often in a row that shows that they will be:
/// whoever is on a slow way is read from, as ever.
const LITTLE: usize = 16 * 1024;
const LITTLE_MAX: u8 = 2;
/// What comes with a head at most, if little is read with it.
const FIRST_MAX: u64 = piece::HEAD_BYTES as u64;

impl Http1 {
    /// Learns of an answer whether little of it should have been read with its head: a large one is to be moved on
    /// then, and one that is neither large nor small took another call. A small one says nothing.
    pub(super) fn learn(&mut self) {
        match self.body {
            Body::Length(length) if length >= FIRST_MAX + LEFT_MIN => self.reads_little = true,
            Body::Length(0..=FIRST_MAX) | Body::Ended => {}
            _ => self.reads_little = false,
        }
    }

    /// Reads what comes with a head.
    pub(super) fn poll_read_head(&self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let io = &mut **self.line.io.borrow_mut();
        match self.may_splice && self.reads_little && Pipe::can_be_had() {
            true => piece::poll_read_head(io, cx),
            false => self.reader.poll_read(io, cx),
        }
    }

    /// Moves the next of the answer's body into a pipe. `None`: it has to be read.
    pub(crate) fn poll_splice(&mut self, cx: &mut Context<'_>) -> Option<Poll<io::Result<Pipe>>> {
        let Body::Length(left) = &mut self.body else { return None };
        if !self.may_splice || *left < LEFT_MIN || !self.ahead.is_empty() || self.broken.is_some() {
            return None;
        }
        let mut pipe = Pipe::take()?;
        let most = usize::try_from(*left).unwrap_or(usize::MAX);
        let moved = self.line.io.borrow_mut().poll_splice_in(cx, &mut pipe, most);
        let error = match moved {
            Poll::Ready(Ok(moved @ 1..)) => {
                *left -= moved as u64;
                self.little = if moved < LITTLE { self.little + 1 } else { 0 };
                self.may_splice = self.little < LITTLE_MAX;
                if *left == 0 {
                    self.body = Body::Ended;
                }
                return Some(Poll::Ready(Ok(pipe)));
            }
            Poll::Ready(Ok(0)) => io::ErrorKind::UnexpectedEof.into(),
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Unsupported => {
                self.may_splice = false;
                return None;
            }
            Poll::Ready(Err(error)) => error,
            Poll::Pending => match self.poll_aside(cx) {
                Poll::Ready(error) => error,
                Poll::Pending => return Some(Poll::Pending),
            },
        };
        Some(self.breaks(cx, error))
    }
}
