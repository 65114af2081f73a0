//! A message on its way out: its head, and its body as it comes.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::HeaderMap;
use hyper::body::{Body, Frame};

use super::spare::Flat;
use super::{Asked, piece, write};
use crate::body::{Broken, Upload};
use crate::headers::Added;
use crate::platform::{Io, Pipe};

/// A message on its way out.
pub(super) struct Outbox<B> {
    /// The head, and where nothing is gathered the body as well.
    flat: Flat,
    flat_at: usize,
    /// What follows it.
    pieces: VecDeque<Bytes>,
    /// What follows them, unseen, if the connection takes it.
    pipe: Option<Pipe>,
    splices: bool,
    queued: usize,
    /// How many of them, from the first on, keep no more memory than they need.
    settled: usize,
    body: B,
    framing: Framing,
    /// How much was written, and whether all of that has left.
    written: u64,
    flushed: bool,
}

/// A body that can be sent.
pub(crate) trait Source: Body<Data = Bytes> + Unpin {
    /// The next of it in a pipe. `None`: it has to be read.
    fn poll_splice(&mut self, cx: &mut Context<'_>) -> Option<Poll<Result<Pipe, Broken>>> {
        let _ = cx;
        None
    }
}

impl Source for Upload {}

/// How the other side is told where the body ends.
pub(super) enum Framing {
    /// It has ended.
    Done,
    /// So many bytes are missing.
    Length(u64),
    /// In chunks, behind which fields may stand or not.
    Chunked { trailers: bool },
    /// With the connection.
    ToEnd,
}

impl Framing {
    pub(super) const fn of(length: u64) -> Self {
        if length == 0 { Self::Done } else { Self::Length(length) }
    }
}

/// The connection did not take all of it, for this reason; or the body did not come to its end.
#[derive(Debug)]
pub(super) struct Cut(pub(super) Option<io::Error>);

impl From<io::Error> for Cut {
    fn from(error: io::Error) -> Self {
        Self(Some(error))
    }
}

/// Bytes that wait to be written before the body is asked for more.
const QUEUED_MAX: usize = 256 * 1024;
/// Pieces that are written at once.
const PIECES_MAX: usize = 16;
/// Frames that are taken before something is written: fewer than a turn has, which the write takes part in.
const TAKEN_MAX: usize = 64;
/// Bytes of a body that go out in one run with what is before them.
const COPIED_MAX: usize = 2 * 1024;

impl Outbox<Upload> {
    /// A request on its way to a backend.
    pub(super) fn of_request(asked: &Asked<'_>, upload: Upload) -> Self {
        let mut flat = Flat::new();
        write::line(asked, &mut flat);
        let said = write::unframed(&asked.fields, &mut flat);
        let added = asked.added.into_iter().flat_map(Added::iter);
        added.for_each(|(name, value)| write::field(name, value, &mut flat));
        write::options(&said, &mut flat);
        let framing = match upload.size_hint().exact() {
            _ if upload.is_end_stream() => Framing::Done,
            Some(length) => Framing::Length(length),
            None => Framing::Chunked { trailers: true },
        };
        write::framing_and_end(&framing, said.length().filter(|length| *length == 0), &mut flat);
        Self::new(flat, framing, upload)
    }
}

impl<B: Source> Outbox<B> {
    /// With the head, and how it says that the body is framed.
    pub(super) const fn new(head: Flat, framing: Framing, body: B) -> Self {
        Self {
            flat: head,
            flat_at: 0,
            pieces: VecDeque::new(),
            pipe: None,
            splices: true,
            queued: 0,
            settled: 0,
            body,
            framing,
            written: 0,
            flushed: false,
        }
    }

    pub(super) const fn body(&self) -> &B {
        &self.body
    }

    /// How many bytes were written.
    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    /// Sends what there is. Ready when all has left.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, io: &mut dyn Io) -> Poll<Result<(), Cut>> {
        loop {
            let waits = self.gather(cx, io.is_write_vectored())?;
            if self.is_empty() {
                if !self.flushed {
                    ready!(Pin::new(&mut *io).poll_flush(cx))?;
                    self.flushed = true;
                }
                return if waits { Poll::Pending } else { Poll::Ready(Ok(())) };
            }
            self.flushed = false;
            let Poll::Ready(wrote) = self.poll_write(cx, io) else {
                self.settle();
                return Poll::Pending;
            };
            wrote?;
        }
    }

    /// Nobody knows for how long it lies where it is.
    fn settle(&mut self) {
        self.pieces.iter_mut().skip(self.settled).for_each(piece::settle);
        self.settled = self.pieces.len();
    }

    fn is_empty(&self) -> bool {
        self.has_written_what_was_read() && self.pipe.is_none()
    }

    fn has_written_what_was_read(&self) -> bool {
        self.flat_at == self.flat.len() && self.pieces.is_empty()
    }

    /// Takes of the body what there is, and room for. Says whether more of it is to come.
    fn gather(&mut self, cx: &mut Context<'_>, vectored: bool) -> Result<bool, Cut> {
        let mut taken = 0;
        while !matches!(self.framing, Framing::Done) {
            let is_enough = taken >= TAKEN_MAX && !self.is_empty();
            let is_full = self.queued >= QUEUED_MAX || self.pieces.len() >= PIECES_MAX;
            if is_enough || is_full || self.pipe.is_some() {
                return Ok(true);
            }
            if self.body.is_end_stream() {
                self.end(None, vectored)?;
                break;
            }
            if self.splices
                && let Framing::Length(_) = self.framing
                && let Some(spliced) = self.body.poll_splice(cx)
            {
                let Poll::Ready(spliced) = spliced else { return Ok(true) };
                let pipe = spliced.map_err(|_broken| Cut(None))?;
                self.count(pipe.held())?;
                self.pipe = Some(pipe);
                continue;
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(Some(Ok(frame))) => {
                    taken += 1;
                    self.take(frame, vectored)?;
                }
                Poll::Ready(Some(Err(_broken))) => return Err(Cut(None)),
                Poll::Ready(None) => self.end(None, vectored)?,
            }
        }
        Ok(false)
    }

    fn take(&mut self, frame: Frame<Bytes>, vectored: bool) -> Result<(), Cut> {
        let data = match frame.into_data() {
            Ok(data) if data.is_empty() => return Ok(()),
            Ok(data) => data,
            Err(frame) => return self.end(frame.into_trailers().ok(), vectored),
        };
        match &self.framing {
            Framing::Done => Err(Cut(None)),
            Framing::ToEnd => {
                self.push(data, vectored);
                Ok(())
            }
            Framing::Length(_) => {
                self.count(data.len())?;
                self.push(data, vectored);
                Ok(())
            }
            Framing::Chunked { .. } => {
                self.push(Bytes::from(format!("{:X}\r\n", data.len())), vectored);
                self.push(data, vectored);
                self.push(Bytes::from_static(b"\r\n"), vectored);
                Ok(())
            }
        }
    }

    /// So much of a body of known length goes out.
    fn count(&mut self, bytes: usize) -> Result<(), Cut> {
        let Framing::Length(left) = &mut self.framing else { return Ok(()) };
        *left = left.checked_sub(bytes as u64).ok_or(Cut(None))?;
        if *left == 0 {
            self.framing = Framing::Done;
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<HeaderMap>, vectored: bool) -> Result<(), Cut> {
        match std::mem::replace(&mut self.framing, Framing::Done) {
            Framing::Done | Framing::ToEnd | Framing::Length(0) => Ok(()),
            Framing::Length(_) => Err(Cut(None)),
            Framing::Chunked { trailers: takes } => {
                let mut last = b"0\r\n".to_vec();
                if let Some(trailers) = trailers.filter(|_| takes) {
                    write::fields(&trailers, &mut last);
                }
                last.extend_from_slice(b"\r\n");
                self.push(Bytes::from(last), vectored);
                Ok(())
            }
        }
    }

    fn push(&mut self, data: Bytes, vectored: bool) {
        self.queued += data.len();
        // To gather costs more than to copy a little.
        let is_little = self.pieces.is_empty() && data.len() <= COPIED_MAX;
        if vectored && !is_little {
            self.pieces.push_back(data);
        } else {
            self.flat.extend_from_slice(&data);
        }
    }

    /// Writes something.
    fn poll_write(&mut self, cx: &mut Context<'_>, io: &mut dyn Io) -> Poll<io::Result<()>> {
        if self.has_written_what_was_read()
            && let Some(pipe) = &mut self.pipe
        {
            return match ready!(io.poll_splice_out(cx, pipe)) {
                Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(wrote) => {
                    self.written += wrote as u64;
                    self.pipe.take_if(|pipe| pipe.held() == 0);
                    Poll::Ready(Ok(()))
                }
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    self.splices = false;
                    let read = self.pipe.take().map(Pipe::read).transpose()?;
                    self.pieces.extend(read);
                    Poll::Ready(Ok(()))
                }
                Err(error) => Poll::Ready(Err(error)),
            };
        }
        let head = &self.flat[self.flat_at..];
        let wrote = if self.pieces.is_empty() {
            ready!(Pin::new(io).poll_write(cx, head))?
        } else {
            let mut slices = [IoSlice::new(&[]); 2 * PIECES_MAX];
            let queued = std::iter::once(head).chain(self.pieces.iter().map(|piece| &piece[..]));
            let mut count = 0;
            for (slice, bytes) in slices.iter_mut().zip(queued.filter(|it| !it.is_empty())) {
                *slice = IoSlice::new(bytes);
                count += 1;
            }
            ready!(Pin::new(io).poll_write_vectored(cx, &slices[..count]))?
        };
        if wrote == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.wrote(wrote);
        Poll::Ready(Ok(()))
    }

    fn wrote(&mut self, mut count: usize) {
        self.written += count as u64;
        let head = count.min(self.flat.len() - self.flat_at);
        self.flat_at += head;
        count -= head;
        if self.flat_at == self.flat.len() {
            self.flat.clear();
            self.flat_at = 0;
        }
        while let Some(piece) = self.pieces.front_mut().filter(|_| count > 0) {
            let here = count.min(piece.len());
            let _gone = piece.split_to(here);
            count -= here;
            if piece.is_empty() {
                self.pieces.pop_front();
                self.settled = self.settled.saturating_sub(1);
            }
        }
        self.queued = self.pieces.iter().map(Bytes::len).sum::<usize>() + self.flat.len();
    }
}
