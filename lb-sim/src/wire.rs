//! A connection of the kernel's that behaves like one of the scenario's network: what comes on it is on
//! its way for a while, and a fault of the network does to it what the scenario says.
//!
//! Delays are those of whoever reads, so each direction has one. Faults are between the proxy and an
//! origin, and lie on the proxy's side of the connection: what is held is not read and not written, what
//! is lost is read and dropped, or taken and not written. The bytes that do go through take the way
//! through the kernel that they would take in production.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use lb_server::platform::Io;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::dice::{Chance, Dice};
use crate::scenario::Span;
use crate::way::Way;

/// How often somebody who is held looks whether he still is.
pub(crate) const LOOK: Duration = Duration::from_millis(1);
/// By what a timer is late on average: the runtime sleeps in whole milliseconds, and so does epoll.
pub(crate) const LATE: Duration = Duration::from_millis(1);
/// Bytes that may be on their way in one direction; more wait in the kernel.
const WINDOW: usize = 256 * 1024;
/// Bytes that are read at once.
const PIECE: usize = 8 * 1024;

/// The way between the proxy and an origin.
#[derive(Debug, Default)]
pub(crate) struct Link {
    state: AtomicU8,
    /// How often the origin has lost its power.
    crashes: AtomicU32,
}

impl Link {
    pub(crate) fn set(&self, way: Way) {
        if way == Way::Off {
            self.crashes.fetch_add(1, Ordering::Relaxed);
        }
        self.state.store(way as u8, Ordering::Relaxed);
    }

    pub(crate) fn state(&self) -> Way {
        let all = [Way::Sound, Way::Mute, Way::Held, Way::Cut, Way::Off];
        all[usize::from(self.state.load(Ordering::Relaxed))]
    }
}

/// One side of a connection.
pub(crate) struct Wire {
    io: Box<dyn Io>,
    link: Option<Arc<Link>>,
    /// How often the other side had lost its power when it came about.
    crashes: u32,
    /// Whether something was lost on its way in, or out: what follows it does not arrive either.
    lost: [bool; 2],
    delays: Span,
    dice: Dice,
    /// What is on its way, and when it is there.
    coming: VecDeque<(Instant, Coming)>,
    bytes: usize,
    /// Whether nothing more comes.
    ended: bool,
    reads: Option<Pin<Box<Sleep>>>,
    writes: Option<Pin<Box<Sleep>>>,
}

/// Something on its way.
enum Coming {
    Bytes(Bytes),
    End,
    Break(io::ErrorKind),
}

impl Wire {
    pub(crate) fn new(io: Box<dyn Io>, link: Option<Arc<Link>>, delays: Span, dice: Dice) -> Self {
        let crashes = link.as_ref().map_or(0, |link| link.crashes.load(Ordering::Relaxed));
        Self {
            io,
            link,
            crashes,
            lost: [false; 2],
            delays,
            dice,
            coming: VecDeque::new(),
            bytes: 0,
            ended: false,
            reads: None,
            writes: None,
        }
    }

    fn state(&self) -> io::Result<Way> {
        let Some(link) = &self.link else { return Ok(Way::Sound) };
        match link.crashes.load(Ordering::Relaxed) == self.crashes {
            true => Ok(link.state()),
            false => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }

    /// Takes what the kernel has.
    fn take(&mut self, cx: &mut Context<'_>, is_lost: bool) {
        while !self.ended && self.bytes < WINDOW {
            let mut space = [0; PIECE];
            let mut piece = ReadBuf::new(&mut space);
            let coming = match Pin::new(&mut self.io).poll_read(cx, &mut piece) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) if piece.filled().is_empty() => Coming::End,
                Poll::Ready(Ok(())) => Coming::Bytes(Bytes::copy_from_slice(piece.filled())),
                Poll::Ready(Err(error)) => Coming::Break(error.kind()),
            };
            self.ended = !matches!(coming, Coming::Bytes(_));
            self.lost[0] |= is_lost;
            if self.lost[0] {
                continue;
            }
            if let Coming::Bytes(bytes) = &coming {
                self.bytes += bytes.len();
            }
            let delay = self.dice.within(self.delays);
            let due = Instant::now() + delay.saturating_sub(LATE);
            let due = self.coming.back().map_or(due, |(before, _)| due.max(*before));
            self.coming.push_back((due, coming));
        }
    }
}

impl Io for Wire {
    fn break_off(&mut self) {
        self.io.break_off();
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let state = this.state()?;
            if state == Way::Held {
                ready!(this.reads.get_or_insert_with(|| Box::pin(sleep(LOOK))).as_mut().poll(cx));
                this.reads = None;
                continue;
            }
            this.take(cx, matches!(state, Way::Cut | Way::Mute));
            let Some((due, coming)) = this.coming.front_mut() else { return Poll::Pending };
            if Instant::now() < *due {
                let due = *due;
                let timer = this.reads.get_or_insert_with(|| Box::pin(sleep_until(due)));
                ready!(timer.as_mut().poll(cx));
                this.reads = None;
                continue;
            }
            match coming {
                Coming::End => return Poll::Ready(Ok(())),
                Coming::Break(kind) => return Poll::Ready(Err((*kind).into())),
                Coming::Bytes(bytes) => {
                    let here = bytes.len().min(buf.remaining());
                    buf.put_slice(&bytes[..here]);
                    bytes.advance(here);
                    this.bytes -= here;
                    if bytes.is_empty() {
                        this.coming.pop_front();
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        loop {
            let state = this.state()?;
            if this.lost[1] || state == Way::Cut {
                this.lost[1] = true;
                return Poll::Ready(Ok(bytes.len()));
            }
            if state != Way::Held {
                return Pin::new(&mut this.io).poll_write(cx, bytes);
            }
            ready!(this.writes.get_or_insert_with(|| Box::pin(sleep(LOOK))).as_mut().poll(cx));
            this.writes = None;
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_lost = self.lost[1] || !matches!(self.state(), Ok(Way::Sound | Way::Mute));
        if is_lost { Poll::Ready(Ok(())) } else { Pin::new(&mut self.io).poll_shutdown(cx) }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;

    const DELAY: Duration = Duration::from_millis(3);

    /// Two sides of a connection, of which the second is on the link; time is paused.
    fn check(test: impl AsyncFnOnce(DuplexStream, Wire, Arc<Link>)) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (far, near) = duplex(1_024);
            let link = Arc::new(Link::default());
            let span = Span { min: DELAY, max: DELAY };
            let dice = Dice::new(7, "wires", 0);
            let wire = Wire::new(Box::new(near), Some(Arc::clone(&link)), span, dice);
            test(far, wire, link).await;
        });
    }

    async fn hears(wire: &mut Wire) -> Option<io::Result<usize>> {
        timeout(Duration::from_secs(1), wire.read(&mut [0; 16])).await.ok()
    }

    #[test]
    fn what_is_sent_arrives_after_the_delay_of_the_network() {
        check(async |mut far, mut wire, _| {
            far.write_all(b"word").await.unwrap();
            let before = Instant::now();
            assert_eq!(hears(&mut wire).await.unwrap().unwrap(), 4);
            assert!(before.elapsed() >= DELAY - LATE, "{:?}", before.elapsed());
        });
    }

    #[test]
    fn what_is_held_arrives_when_that_ends() {
        check(async |mut far, mut wire, link| {
            link.set(Way::Held);
            far.write_all(b"word").await.unwrap();
            assert!(hears(&mut wire).await.is_none());
            link.set(Way::Sound);
            assert_eq!(hears(&mut wire).await.unwrap().unwrap(), 4);
        });
    }

    #[test]
    fn what_is_lost_in_a_cut_does_not_arrive_later_either() {
        check(async |mut far, mut wire, link| {
            link.set(Way::Cut);
            wire.write_all(b"lost").await.unwrap();
            far.write_all(b"lost").await.unwrap();
            assert!(hears(&mut wire).await.is_none());
            link.set(Way::Sound);
            wire.write_all(b"word").await.unwrap();
            far.write_all(b"word").await.unwrap();
            assert!(hears(&mut wire).await.is_none());
            let heard = timeout(Duration::from_secs(1), far.read(&mut [0; 16])).await;
            assert!(heard.is_err(), "{heard:?}");
        });
    }

    #[test]
    fn who_is_only_mute_still_hears() {
        check(async |mut far, mut wire, link| {
            link.set(Way::Mute);
            wire.write_all(b"word").await.unwrap();
            assert_eq!(far.read(&mut [0; 16]).await.unwrap(), 4);
            far.write_all(b"lost").await.unwrap();
            assert!(hears(&mut wire).await.is_none());
        });
    }

    #[test]
    fn a_host_that_had_no_power_knows_no_connection() {
        check(async |_far, mut wire, link| {
            link.set(Way::Off);
            link.set(Way::Sound);
            let broken = hears(&mut wire).await.unwrap().unwrap_err();
            assert_eq!(broken.kind(), io::ErrorKind::ConnectionReset);
        });
    }
}
