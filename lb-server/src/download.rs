//! A response on its way to the client, and everything that is held until its last byte.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use lb_core::{BodyEnd, Delivery};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::body::{Broken, Replay};
use crate::client::{Busy, Patience};
use crate::observe::Journal;
use crate::pool::Connection;
use crate::view::View;

/// The body of whatever we answer. While it is there, its client is busy.
pub(crate) struct Outgoing {
    body: Whose,
    _busy: Busy,
}

/// Whose words a body is.
pub(crate) enum Whose {
    /// Our own, and the record that ends with them.
    Ours { body: Full<Bytes>, _record: Option<Rc<Journal>> },
    /// A backend's.
    Backends(Box<Download>),
}

/// A backend's body: the lease, the connection and the record of the exchange end with it.
pub(crate) struct Download {
    pub(crate) incoming: Incoming,
    pub(crate) view: Rc<View>,
    pub(crate) journal: Rc<Journal>,
    /// Until the body has ended.
    pub(crate) delivery: Option<Delivery>,
    pub(crate) connection: Option<Connection>,
    /// The request's own body may still be on its way.
    pub(crate) replay: Replay,
    /// Runs while the backend lets us wait, and says what its end would mean.
    pub(crate) wait: Option<(Pin<Box<Sleep>>, BodyEnd)>,
}

impl Outgoing {
    pub(crate) fn new(body: Whose, busy: Busy) -> Self {
        if let Whose::Backends(download) = &body
            && let Some(patience) = download.patience()
        {
            busy.delivers(patience);
        }
        Self { body, _busy: busy }
    }
}

impl Whose {
    pub(crate) fn ours(body: Full<Bytes>, journal: Rc<Journal>) -> Self {
        journal.body_bytes_out(body.size_hint().lower());
        Self::Ours { body, _record: Some(journal) }
    }

    pub(crate) fn backends(mut download: Download) -> Self {
        if download.incoming.is_end_stream() {
            download.end(BodyEnd::Complete);
        }
        Self::Backends(Box::new(download))
    }
}

impl Download {
    fn poll_backend(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let end = ready!(self.poll_wait(cx));
                // Both stand still: the backend has nothing to go on with.
                let fault = end == BodyEnd::BackendIdle && self.replay.waits_for_client();
                self.end(if fault { BodyEnd::ClientLeft } else { end });
                return Poll::Ready(Some(Err(Broken::Late)));
            }
        };
        self.wait = None;
        match frame {
            Some(Ok(frame)) => {
                self.journal.body_bytes_out(frame.data_ref().map_or(0, |data| data.len() as u64));
                // Nothing follows trailers, and hyper does not ask.
                if frame.is_trailers() || self.incoming.is_end_stream() {
                    self.end(BodyEnd::Complete);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(_)) => {
                // A backend that answers while it still reads breaks off when its client does.
                let fault = self.replay.broken().is_some();
                self.end(if fault { BodyEnd::ClientLeft } else { BodyEnd::BackendBroke });
                Poll::Ready(Some(Err(Broken::Backend)))
            }
            None => {
                self.end(BodyEnd::Complete);
                Poll::Ready(None)
            }
        }
    }

    /// Waits for whatever comes first: the backend idle for too long, or the exchange's end.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<BodyEnd> {
        let Some(patience) = self.patience() else { return Poll::Pending };
        let (sleep, end) = self.wait.get_or_insert_with(|| {
            let (idle, deadline) = (Instant::now() + patience.idle, patience.until);
            let end = if idle < deadline { BodyEnd::BackendIdle } else { BodyEnd::Deadline };
            (Box::pin(sleep_until(idle.min(deadline))), end)
        });
        sleep.as_mut().poll(cx).map(|()| *end)
    }

    /// How long the rest may take, on either side. `None`: there is no rest.
    fn patience(&self) -> Option<Patience> {
        let delivery = self.delivery.as_ref()?;
        let gateway = &self.view.gateway;
        let site = self.view.site_of(delivery.backend());
        let until = gateway.clock.instant(delivery.deadline());
        Some(Patience { idle: site.service.timeouts().body_idle, until })
    }

    /// Ends the exchange, once.
    fn end(&mut self, end: BodyEnd) {
        let Some(delivery) = self.delivery.take() else { return };
        let gateway = &self.view.gateway;
        let site = self.view.site_of(delivery.backend());
        delivery.end(end, &site.service, gateway.clock.now(), &*self.journal);
        site.line.call_next(&site.service);
        // A connection is worth keeping when nothing of this exchange is left on it.
        if end == BodyEnd::Complete
            && self.replay.is_done()
            && let Some(connection) = self.connection.take()
        {
            connection.give_back(gateway.clock.now());
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let late = self.patience().is_some_and(|patience| patience.until <= Instant::now());
        self.end(if late { BodyEnd::Deadline } else { BodyEnd::ClientLeft });
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.body {
            Whose::Ours { body, .. } => {
                Pin::new(body).poll_frame(cx).map_err(|never| match never {})
            }
            Whose::Backends(download) => download.poll_backend(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Whose::Ours { body, .. } => body.is_end_stream(),
            Whose::Backends(download) => download.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Whose::Ours { body, .. } => body.size_hint(),
            Whose::Backends(download) => download.incoming.size_hint(),
        }
    }
}
