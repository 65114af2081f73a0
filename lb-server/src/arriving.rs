//! The body of a request as it comes from its client, whatever is spoken there.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::body::Broken;
use crate::http1::{Herald, Inbound};
use crate::layers::Layers;
use crate::turn;

/// The body of a request as it comes from its client.
pub(crate) enum Arriving {
    Http1(Inbound),
    Http2(Incoming),
}

impl Arriving {
    /// Whoever tells its client what comes before the answer, in which these change something. hyper has
    /// nobody for that over HTTP/2.
    pub(crate) fn herald(&self, layers: Option<&Layers>) -> Option<Herald> {
        match self {
            Self::Http1(inbound) => inbound.herald(layers),
            Self::Http2(_) => None,
        }
    }

    /// Whether its client can be sent what lies in a pipe.
    pub(crate) fn splices_out(&self) -> bool {
        matches!(self, Self::Http1(inbound) if inbound.splices_out())
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        ready!(turn::poll_spend(cx));
        let frame = match &mut *self {
            Self::Http1(inbound) => {
                let frame = ready!(inbound.poll_frame(cx));
                frame.map(|frame| frame.map_err(|error| why(&error)))
            }
            Self::Http2(incoming) => match ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
                None if is_cut(incoming) => Some(Err(Broken::Client)),
                frame => frame.map(|frame| frame.map_err(|_error| Broken::Client)),
            },
        };
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(inbound) => inbound.is_ended(),
            Self::Http2(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(inbound) => inbound.size_hint(),
            Self::Http2(incoming) => incoming.size_hint(),
        }
    }
}

/// What it comes to that a client's connection gives no more of a body.
fn why(error: &io::Error) -> Broken {
    match error.kind() {
        io::ErrorKind::InvalidData => Broken::Malformed,
        _ => Broken::Client,
    }
}

/// Whether a body over HTTP/2 of which nothing more comes has no end.
///
/// hyper calls that an error, but for a reset with NO_ERROR, after which it says that nothing more
/// comes. Such a reset tells the *other* side that the rest of its message is not needed (RFC 9113
/// §8.1). What was sent itself has an end only with END_STREAM.
pub(crate) fn is_cut(body: &impl Body) -> bool {
    !body.is_end_stream()
}
