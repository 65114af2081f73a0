//! What a backend lets us send on a connection, all streams together (RFC 9113 §6.9).
//!
//! h2 keeps that to itself, so it is read off the wire. One body that its backend does not take can have all
//! of it, and then no other goes out.

use std::cell::{Cell, RefCell};
use std::io::IoSlice;
use std::time::Duration;

use tokio::time::Instant;

use super::inflow::Inflow;

/// For how long there may be none before bodies are sent elsewhere: whoever reads gives some back sooner.
const SPENT_MAX: Duration = Duration::from_millis(250);

/// What is there before anything is said of it.
const AT_FIRST: i64 = 65_535;
/// What a client says before its first frame (RFC 9113 §3.4).
const PREFACE: usize = 24;

/// Kinds of frames (RFC 9113 §6).
const DATA: u8 = 0;
const WINDOW_UPDATE: u8 = 8;

pub(super) struct Window {
    left: Cell<i64>,
    /// Since when there is none.
    spent: Cell<Option<Instant>>,
    said: RefCell<Frames>,
    heard: RefCell<Frames>,
}

impl Window {
    pub(super) fn new() -> Self {
        let said = RefCell::new(Frames { skips: PREFACE, ..Frames::default() });
        Self { left: Cell::new(AT_FIRST), spent: Cell::default(), said, heard: RefCell::default() }
    }

    /// Whether nothing of any body can be sent.
    pub(super) fn is_spent(&self) -> bool {
        self.spent.get().is_some()
    }

    /// Whether that has been so for too long.
    pub(super) fn stays_spent(&self) -> bool {
        self.spent.get().is_some_and(|since| since.elapsed() >= SPENT_MAX)
    }

    /// These bytes were sent.
    pub(super) fn said(&self, bytes: &[u8]) {
        self.said.borrow_mut().read(bytes, |frame| {
            if frame.kind == DATA {
                self.moves(-i64::from(frame.says));
            }
        });
    }

    /// So many of these were.
    pub(super) fn said_of(&self, pieces: &[IoSlice<'_>], mut count: usize) {
        for piece in pieces {
            let part = count.min(piece.len());
            self.said(&piece[..part]);
            count -= part;
        }
    }

    /// These have come.
    pub(super) fn heard(&self, bytes: &[u8], inflow: &Inflow) {
        self.heard.borrow_mut().read(bytes, |frame| match frame.kind {
            DATA => inflow.came(frame.stream, frame.says),
            WINDOW_UPDATE if frame.stream == 0 => self.moves(i64::from(frame.says)),
            _ => {}
        });
    }

    fn moves(&self, by: i64) {
        self.left.set(self.left.get() + by);
        let since = || self.spent.get().unwrap_or_else(Instant::now);
        self.spent.set((self.left.get() <= 0).then(since));
    }
}

/// Frames as they go by, in whatever pieces.
#[derive(Default)]
struct Frames {
    /// What has gone by of a head, and behind it of what a WINDOW_UPDATE says.
    begun: [u8; 13],
    has: usize,
    /// Bytes to which nobody listens.
    skips: usize,
}

struct Frame {
    kind: u8,
    stream: u32,
    /// Bytes that a WINDOW_UPDATE adds; of all others, those behind their head.
    says: u32,
}

impl Frames {
    fn read(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            let skipped = self.skips.min(bytes.len());
            self.skips -= skipped;
            bytes = &bytes[skipped..];
            let wants = if self.has < 9 { 9 } else { 13 };
            let taken = bytes.len().min(wants - self.has);
            self.begun[self.has..self.has + taken].copy_from_slice(&bytes[..taken]);
            self.has += taken;
            bytes = &bytes[taken..];
            if self.has == wants
                && let Some(frame) = self.frame()
            {
                each(frame);
                self.has = 0;
            }
        }
    }

    /// What has gone by, if that is enough to tell.
    fn frame(&mut self) -> Option<Frame> {
        let [high, mid, low, kind, _flags, stream @ ..] = self.begun;
        let length = u32::from_be_bytes([0, high, mid, low]);
        let [a, b, c, d, said @ ..] = stream;
        let stream = u32::from_be_bytes([a, b, c, d]) & !(1 << 31);
        if (kind, length) == (WINDOW_UPDATE, 4) {
            let says = u32::from_be_bytes(said) & !(1 << 31);
            return (self.has == 13).then_some(Frame { kind, stream, says });
        }
        self.skips = length as usize;
        Some(Frame { kind, stream, says: length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, stream], payload].concat()
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_spent_by_bodies_alone_and_comes_back_as_it_is_given_however_it_is_cut() {
        let much = vec![0; 16_384];
        let said = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(4, 0, &[]),
            frame(1, 1, &much),
            frame(DATA, 1, &much).repeat(3),
            frame(WINDOW_UPDATE, 0, &[0, 0, 1, 0]),
            frame(DATA, 1, &much[..16_382]),
        ]
        .concat();
        let heard = [
            frame(WINDOW_UPDATE, 1, &[0, 0, 1, 0]),
            frame(DATA, 1, &much),
            frame(WINDOW_UPDATE, 0, &[0x80, 0, 0, 1]),
        ]
        .concat();
        for cut in [1, 7, 1_000, said.len()] {
            let window = Window::new();
            let pieces: Vec<_> = said.chunks(cut).map(IoSlice::new).collect();
            window.said_of(&pieces, said.len());
            assert_eq!((window.left.get(), window.is_spent()), (1, false));
            window.said_of(&[IoSlice::new(&frame(DATA, 3, &[0])), IoSlice::new(&said)], 10);
            assert!(window.is_spent() && !window.stays_spent());
            tokio::time::advance(SPENT_MAX).await;
            assert!(window.stays_spent());
            heard.chunks(cut).for_each(|piece| window.heard(piece, &Inflow::default()));
            assert_eq!((window.left.get(), window.is_spent()), (1, false));
        }
    }
}
