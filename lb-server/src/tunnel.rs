//! A connection that speaks another protocol after its answer 101: bytes both ways, as they come.
//!
//! HTTP has ended on both sides when a tunnel begins. What the client sent ahead of the answer waited
//! in the guard (`framing`), so that a backend which did not switch never saw it; it goes out first.
//! The exchange lives on: its lease is given back, and its record written, when the tunnel ends.
//! Where one side breaks off, so does the other: nobody takes half of what was said for all of it. That says
//! nothing of the backend: a client can have it hang up, and close a connection with something unread in it.

mod stream;

use hyper::upgrade::OnUpgrade;
use lb_core::BodyEnd;

use crate::client::Client;
use crate::held::Held;
use crate::platform::{Io, Prefixed};
use crate::pool::Remains;
use crate::relay::{Idle, RelayEnd, Side, relay};
use stream::Stream;

/// A tunnel to a backend that waits for its client's side.
pub(crate) struct Tunnel {
    pub(crate) held: Held,
    /// What is left of the backend's connection, unless it still carries a request.
    pub(crate) remains: Option<Remains>,
}

impl Tunnel {
    /// Begins when `client` has its answer: on its whole connection, or on one `stream` of it.
    pub(crate) fn begin(self, client: &Client, stream: Option<OnUpgrade>) {
        let Some(stream) = stream else { return client.turn_into(self) };
        // The connection stays as long as something on it goes on, and takes the tunnel with it.
        let (busy, carrier) = (client.busy(), client.carrying.next());
        tokio::task::spawn_local(async move {
            if let Ok(stream) = stream.await {
                self.run(Box::new(Stream::new(stream, carrier)), Vec::new()).await;
                busy.ends();
            }
        });
    }

    /// Carries bytes between `client`, of which `begun` was read already, and the backend, until both
    /// are done, one breaks off, or neither says anything for `tunnel_idle`; when one is done, the
    /// other may be silent for `body_idle`.
    pub(crate) async fn run(self, client: Box<dyn Io>, begun: Vec<u8>) {
        let Self { mut held, remains } = self;
        let Some(Remains { io, begun: answered, slot: _held }) = remains else {
            held.end(BodyEnd::BackendLeft);
            return;
        };
        let idle = held
            .timeouts()
            .map(|said| Idle { both: said.tunnel_idle, one: said.body_idle.min(said.tunnel_idle) });
        let Some(idle) = idle else { return };
        let mut ends = Ends {
            near: Prefixed::new(begun, client),
            far: Prefixed::new(answered.into(), io),
            break_off: true,
        };
        let journal = std::rc::Rc::clone(&held.journal);
        let bytes_in = journal.bytes_in();
        let end = relay(&mut ends.near, &mut ends.far, idle, |from, bytes| match from {
            Side::Near => bytes_in.set(bytes_in.get() + bytes),
            Side::Far => journal.body_bytes_out(bytes),
        });
        let end = end.await;
        ends.break_off = matches!(end, RelayEnd::Broken(_));
        held.end(match end {
            RelayEnd::Done => BodyEnd::Complete,
            RelayEnd::Broken(Side::Far) => BodyEnd::BackendLeft,
            RelayEnd::Broken(Side::Near) => BodyEnd::ClientLeft,
            RelayEnd::Idle => BodyEnd::Deadline,
        });
    }
}

/// Both ends of a tunnel. One that does not end by itself, or by its idle time, breaks off on both sides.
struct Ends {
    near: Prefixed,
    far: Prefixed,
    break_off: bool,
}

impl Drop for Ends {
    fn drop(&mut self) {
        if self.break_off {
            self.near.break_off();
            self.far.break_off();
        }
    }
}
