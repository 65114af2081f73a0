//! A connection on which HTTP/1.1 is spoken, as far as is known.
//!
//! Between requests a connection rests: what a request needs is gone, and only the guarded socket waits.
//! When its client begins to speak it is made anew.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::Seat;
use crate::arriving::Arriving;
use crate::boxed::in_box;
use crate::client::{Client, Silence};
use crate::doors::Kind;
use crate::framing::{self, Begun, Guard};
use crate::http1::{Farewell, Guarded, Limits, Visit};
use crate::platform::{Io, Prefixed};
use crate::shutdown::Phase;

/// How long a connection to the admin listener may take to begin its first request.
const ADMIN_SILENCE_MAX: Duration = Duration::from_secs(5);

/// Serves a connection to its end, or to the preface of HTTP/2, if that is what it begins with
/// (RFC 9113 §3.4): then it comes back as it was.
pub(super) async fn serve(seat: &mut Seat, io: Box<dyn Io>) -> Option<Prefixed> {
    let server = &seat.server;
    let limits = framing::Limits {
        bytes_max: server.header_bytes_max,
        lines_max: server.headers_max,
        timeout: server.header_timeout,
        // Over TLS it is agreed on (ALPN) or not spoken.
        http2: server.http2.enabled && seat.whence.secure.is_none(),
    };
    let (mut io, watch) = Guard::new(io, limits);
    let client = Client::of_http1(seat.whence.clone(), watch);
    client.allow(server);
    loop {
        match rest(seat, &client, &mut io).await {
            Woken::Spoken(begun) => io = work(seat, &client, io, begun).await?,
            Woken::Turned => {
                let (io, begun) = io.into_parts();
                return Some(Prefixed::new(begun, io));
            }
            Woken::Over => {
                let _closed_or_not = timeout(seat.server.header_timeout, io.shutdown()).await;
                return None;
            }
        }
    }
}

/// What ends a rest.
enum Woken {
    /// The client speaks HTTP/1.1, and this has come.
    Spoken(Bytes),
    /// It speaks HTTP/2.
    Turned,
    /// It left, was silent for too long, or the process drains.
    Over,
}

/// Waits for the next request.
async fn rest(seat: &mut Seat, client: &Client, io: &mut Guarded) -> Woken {
    let mut next = Phase::Draining;
    let mut patience = seat.server.keep_alive_timeout;
    if seat.kind == Kind::Admin && client.has_asked_nothing() {
        // Few may be here, and whoever has something to ask says so.
        patience = patience.min(ADMIN_SILENCE_MAX);
    }
    loop {
        tokio::select! {
            biased;
            begins = io.begins() => return match begins {
                Ok(Begun::Spoken(begun)) => Woken::Spoken(begun),
                Ok(Begun::Turned) => Woken::Turned,
                Ok(Begun::Ended) | Err(_) => Woken::Over,
            },
            () = seat.stopping.reached(next) => {
                if next == Phase::Stopping {
                    return Woken::Over;
                }
                next = Phase::Stopping;
                // A request may be on its way: it is answered, and told that it was the last.
                client.leave();
            }
            () = client.expires(&seat.server, patience) => return Woken::Over,
        }
    }
}

/// Serves requests, of which some have `begun`, until none is on its way, and gives the socket back; or to the
/// connection's end.
///
/// It is a box, so that a connection at rest has no room for it.
fn work<'s>(
    seat: &'s mut Seat,
    client: &'s Rc<Client>,
    io: Guarded,
    begun: Bytes,
) -> Pin<Box<impl Future<Output = Option<Guarded>> + 's>> {
    let server = &seat.server;
    let (worker, kind) = (Rc::clone(&seat.worker), seat.kind);
    let respond = async move |head: &mut Parts, incoming: Arriving| {
        Seat::respond(&worker, kind, client, head, incoming).await
    };
    let limits = Limits { fields_max: server.headers_max, head_bytes_max: server.header_bytes_max };
    let visit = Visit::new(io, begun, limits);
    in_box(move || async move {
        let farewell = {
            let mut talk = std::pin::pin!(visit.talk(respond));
            let mut next = Phase::Draining;
            loop {
                tokio::select! {
                    biased;
                    // What goes wrong on a client's connection is the client's, and in the access log.
                    farewell = &mut talk => break Some(farewell),
                    () = seat.stopping.reached(next) => {
                        if next == Phase::Stopping {
                            return None;
                        }
                        next = Phase::Stopping;
                        // A request may be on its way to a connection that waits for one: it is
                        // answered, and told that it was the last.
                        client.leave();
                    }
                    silence = client.silent(&seat.server) => match silence {
                        Silence::TooLong => return None,
                        Silence::Rest => break None,
                    }
                }
            }
        };
        match farewell {
            None => return Some(visit.into_io()),
            Some(Farewell::Gone) => return None,
            Some(Farewell::Leave(last)) => {
                // Nobody asks any more how long the client is silent.
                tokio::select! {
                    biased;
                    () = visit.close(last, seat.whence.secure.is_none()) => {}
                    () = seat.stopping.reached(Phase::Stopping) => {}
                }
                return None;
            }
            Some(Farewell::Switched) => {}
        }
        let tunnel = client.tunnel()?;
        let (io, begun) = visit.into_io().into_parts();
        tokio::select! {
            biased;
            () = tunnel.run(io, begun) => {}
            () = seat.stopping.reached(Phase::Stopping) => {}
        }
        None
    })
}
