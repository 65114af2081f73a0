//! Bytes both ways between two connections, until both have ended.
//!
//! A way that has nothing to carry keeps no buffer: what is read goes through one that all of a
//! thread share, and only what the other side does not take at once is kept. So ten thousand idle
//! tunnels cost what their sockets cost.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::time::{Instant, sleep_until};

use crate::platform::Io;

/// One side of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Near,
    Far,
}

/// How a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RelayEnd {
    /// Both sides said that they were done.
    Done,
    /// This one broke off.
    Broken(Side),
    /// Neither said anything for too long.
    Idle,
}

/// Bytes that are read at once.
const PIECE: usize = 64 * 1024;

thread_local! {
    static PIECES: RefCell<Box<[u8]>> = RefCell::new(vec![0; PIECE].into_boxed_slice());
}

/// How long nobody may say anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    pub(crate) both: Duration,
    /// When one side is done.
    pub(crate) one: Duration,
}

/// Carries bytes between `near` and `far` until both are done, one breaks off, or nothing comes for
/// too long. `moved` hears how many bytes came from which side. When one side is done, the other is
/// told, and may go on.
pub(crate) async fn relay(
    near: &mut dyn Io,
    far: &mut dyn Io,
    idle: Idle,
    moved: impl Fn(Side, u64),
) -> RelayEnd {
    let last = Cell::new(Instant::now());
    let heard = |side, bytes| {
        last.set(Instant::now());
        moved(side, bytes);
    };
    let (mut there, mut back) = (Way::new(Side::Near), Way::new(Side::Far));
    let mut late = std::pin::pin!(sleep_until(last.get() + idle.both));
    poll_fn(|cx| {
        let ways = [there.poll(cx, near, far, &heard), back.poll(cx, far, near, &heard)];
        if let Some(side) = ways.iter().find_map(broken) {
            return Poll::Ready(RelayEnd::Broken(side));
        }
        let patience = match ways.iter().filter(|way| way.is_ready()).count() {
            0 => idle.both,
            1 => idle.one,
            _ => return Poll::Ready(RelayEnd::Done),
        };
        let until = last.get() + patience;
        if until < late.deadline() {
            late.as_mut().reset(until);
        }
        while late.as_mut().poll(cx).is_ready() {
            if until <= Instant::now() {
                return Poll::Ready(RelayEnd::Idle);
            }
            // Something came since it was set.
            late.as_mut().reset(until);
        }
        Poll::Pending
    })
    .await
}

fn broken(way: &Poll<Result<(), Side>>) -> Option<Side> {
    match way {
        Poll::Ready(Err(side)) => Some(*side),
        _ => None,
    }
}

/// One direction of a relay.
struct Way {
    from: Side,
    /// Read, and not yet taken by the other side.
    left: Vec<u8>,
    at: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Something was written, and may wait to be sent.
    Written,
    /// There is no more to read.
    Ended,
    /// And the other side knows.
    Shut,
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Near => Self::Far,
            Self::Far => Self::Near,
        }
    }
}

impl Way {
    const fn new(from: Side) -> Self {
        Self { from, left: Vec::new(), at: 0, state: State::Open }
    }

    /// Carries what there is. Ready when all was carried; the error says whose fault it was.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut dyn Io,
        to: &mut dyn Io,
        heard: &dyn Fn(Side, u64),
    ) -> Poll<Result<(), Side>> {
        let (reads, writes) = (self.from, self.from.other());
        loop {
            if self.at < self.left.len() {
                let left = &self.left[self.at..];
                let wrote = write(Pin::new(&mut *to).poll_write(cx, left)).map_err(|_| writes);
                self.at += ready!(wrote)?;
                self.state = State::Written;
                continue;
            }
            (self.left, self.at) = (Vec::new(), 0);
            match self.state {
                State::Shut => return Poll::Ready(Ok(())),
                State::Ended => {
                    // Whoever left does not listen: that is no fault.
                    let _gone = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                    self.state = State::Shut;
                    continue;
                }
                State::Open | State::Written => {}
            }
            let read = PIECES.with_borrow_mut(|piece| {
                let mut buf = ReadBuf::new(piece);
                ready!(Pin::new(&mut *from).poll_read(cx, &mut buf)).map_err(|_| reads)?;
                let read = buf.filled();
                heard(reads, read.len() as u64);
                if read.is_empty() {
                    self.state = State::Ended;
                    return Poll::Ready(Ok(()));
                }
                let mut at = 0;
                while at < read.len() {
                    match write(Pin::new(&mut *to).poll_write(cx, &read[at..])) {
                        Poll::Ready(wrote) => at += wrote.map_err(|_| writes)?,
                        Poll::Pending => {
                            self.left = read[at..].to_vec();
                            return Poll::Pending;
                        }
                    }
                }
                self.state = State::Written;
                Poll::Ready(Ok(()))
            })?;
            if read.is_pending() {
                if self.state == State::Written && self.left.is_empty() {
                    let flushed = Pin::new(&mut *to).poll_flush(cx).map_err(|_| writes);
                    ready!(flushed)?;
                    self.state = State::Open;
                }
                return Poll::Pending;
            }
        }
    }
}

/// A side that takes nothing takes nothing more.
fn write(wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
    wrote.map(|wrote| match wrote {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        wrote => wrote,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// Says `words`, and returns what it hears until the other side is done.
    async fn talk(mut io: impl Io, words: Vec<Vec<u8>>, room: usize) -> Vec<u8> {
        let mut heard = Vec::new();
        let mut piece = vec![0; room];
        for word in words {
            io.write_all(&word).await.unwrap();
            tokio::task::yield_now().await;
        }
        io.shutdown().await.unwrap();
        while let Ok(count @ 1..) = io.read(&mut piece).await {
            heard.extend_from_slice(&piece[..count]);
        }
        heard
    }

    proptest! {
        #![proptest_config(crate::dice::replayed())]

        #[test]
        fn what_is_said_is_heard_byte_for_byte_however_it_is_cut(
            there in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..90), 0..9),
            back in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..90), 0..9),
            // Both sides may say all of it before they listen.
            rooms in prop::array::uniform2(800..2_000_usize),
            takes in 1..70_usize,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap();
            let (client, mut near) = duplex(rooms[0]);
            let (server, mut far) = duplex(rooms[1]);
            let idle = Idle { both: Duration::from_secs(9), one: Duration::from_secs(1) };
            let (counted_in, counted_out) = (Cell::new(0), Cell::new(0));
            let moved = |side, bytes| {
                let counted = if side == Side::Near { &counted_in } else { &counted_out };
                counted.set(counted.get() + bytes);
            };
            let (end, heard_back, heard_there) = runtime.block_on(async {
                tokio::join!(
                    relay(&mut near, &mut far, idle, moved),
                    talk(client, there.clone(), takes),
                    talk(server, back.clone(), takes),
                )
            });
            prop_assert_eq!(end, RelayEnd::Done);
            prop_assert_eq!(usize::try_from(counted_in.get()).unwrap(), heard_there.len());
            prop_assert_eq!(usize::try_from(counted_out.get()).unwrap(), heard_back.len());
            prop_assert_eq!(heard_there, there.concat());
            prop_assert_eq!(heard_back, back.concat());
        }
    }
}
