//! An answer on its way to the client: its head, and a body of ours or of a backend.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Response, response};
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use crate::body::Broken;
use crate::download::Download;
use crate::http1::Source;
use crate::observe::Journal;
use crate::platform::Pipe;
use crate::pulse::Busy;

/// Bytes of an answer that a client of HTTP/2 is handed at a time. Of many answers on a slow way each goes on by
/// one of those in turn, and whoever was handed more of it would seem to take nothing until all that has gone:
/// this much in 30 s is 1 kB/s. Less of it is cut into more and smaller frames, where windows are small.
const HANDED_BYTES: usize = 32 * 1024;

/// An answer on its way to the client. Its head is in a box: it passes through many hands.
pub(crate) struct Reply<B = Outgoing> {
    pub(crate) head: Box<response::Parts>,
    pub(crate) body: B,
}

/// The body of whatever we answer. While it is there, its client is busy.
pub(crate) struct Outgoing {
    body: Whose,
    busy: Busy,
}

/// Whose words a body is.
pub(crate) enum Whose {
    /// Our own, and the record that ends with them.
    Ours { body: Full<Bytes>, _record: Option<Rc<Journal>> },
    /// A backend's.
    Backends(Rc<RefCell<Download>>),
}

impl<B> Reply<B> {
    /// The same with another body.
    pub(crate) fn map<C>(self, with: impl FnOnce(B) -> C) -> Reply<C> {
        Reply { head: self.head, body: with(self.body) }
    }

    pub(crate) fn into_response(self) -> Response<B> {
        Response::from_parts(*self.head, self.body)
    }
}

impl<B> From<Response<B>> for Reply<B> {
    fn from(response: Response<B>) -> Self {
        let (head, body) = response.into_parts();
        Self { head: Box::new(head), body }
    }
}

impl Outgoing {
    pub(crate) fn new(body: Whose, busy: Busy) -> Self {
        if let Whose::Backends(download) = &body
            && let Some(patience) = download.borrow().patience()
        {
            busy.delivers(patience, download);
        }
        busy.hands();
        Self { body, busy }
    }

    /// The next of it was asked for, and has come to this.
    fn note(&self, is_broken: bool, is_pending: bool) {
        if is_broken {
            // Whoever asks has looked whether its client took it back: it is somebody else who ends it.
            self.busy.ends();
        } else if is_pending {
            self.busy.waits();
        } else {
            self.busy.hands();
        }
    }
}

impl Source for Outgoing {
    fn poll_splice(&mut self, cx: &mut Context<'_>) -> Option<Poll<Result<Pipe, Broken>>> {
        let Whose::Backends(download) = &self.body else { return None };
        let spliced = download.borrow_mut().poll_splice(cx)?;
        self.note(matches!(spliced, Poll::Ready(Err(_))), spliced.is_pending());
        Some(spliced)
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.busy.ends();
        }
    }
}

impl Whose {
    pub(crate) fn ours(body: Full<Bytes>, journal: Rc<Journal>) -> Self {
        journal.body_bytes_out(body.size_hint().lower());
        Self::unheard(body, journal)
    }

    /// Ours, for a client that has left.
    pub(crate) const fn unheard(body: Full<Bytes>, journal: Rc<Journal>) -> Self {
        Self::Ours { body, _record: Some(journal) }
    }

    /// Nobody's: nothing.
    pub(crate) fn nobodys() -> Self {
        Self::Ours { body: Full::default(), _record: None }
    }

    pub(crate) fn backends(download: Download) -> Self {
        let download = Rc::new(RefCell::new(download));
        download.borrow_mut().is_over();
        Self::Backends(download)
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let most = if self.busy.is_of_http2() { HANDED_BYTES } else { usize::MAX };
        let frame = match &mut self.body {
            Whose::Ours { body, .. } => {
                Pin::new(body).poll_frame(cx).map_err(|never| match never {})
            }
            Whose::Backends(download) => download.borrow_mut().poll_backend(cx, most),
        };
        self.note(matches!(frame, Poll::Ready(Some(Err(_)))), frame.is_pending());
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Whose::Ours { body, .. } => body.is_end_stream(),
            Whose::Backends(download) => download.borrow().is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Whose::Ours { body, .. } => body.size_hint(),
            Whose::Backends(download) => download.borrow().size_hint(),
        }
    }
}
