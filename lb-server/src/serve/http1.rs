//! A connection on which HTTP/1.1 is spoken, as far as is known.

use std::rc::Rc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::Seat;
use crate::client::Client;
use crate::framing::{Guard, Limits};
use crate::platform::{Io, Prefixed};
use crate::pool::PIECE_BYTES_MAX;
use crate::shutdown::Phase;

/// Serves a connection to its end, or to the preface of HTTP/2, if that is what it begins with
/// (RFC 9113 §3.4): then it comes back as it was.
pub(super) async fn serve(seat: &mut Seat, io: Box<dyn Io>) -> Option<Prefixed> {
    let server = seat.server;
    let limits = Limits {
        bytes_max: server.header_bytes_max,
        lines_max: server.headers_max,
        timeout: server.header_timeout,
        http2: server.http2.enabled,
    };
    let (io, watch) = Guard::new(io, limits);
    let client = Client::of_http1(seat.peer, seat.secure.clone(), watch);
    let (worker, kind) = (Rc::clone(&seat.worker), seat.kind);
    let service =
        service_fn(|request| Seat::respond(Rc::clone(&worker), kind, Rc::clone(&client), request));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Ours tell an idle connection from a slow head, and Date comes from the platform.
        .header_read_timeout(None)
        .auto_date_header(false)
        .max_headers(server.headers_max)
        // The guard sees to the length of heads.
        .max_buf_size(server.header_bytes_max.max(PIECE_BYTES_MAX));
    let mut serving = builder.serve_connection(TokioIo::new(io), service);
    let mut next = Phase::Draining;
    loop {
        tokio::select! {
            biased;
            // What goes wrong on a client's connection is the client's, and in the access log.
            _served = &mut serving => break,
            () = seat.stopping.reached(next) => {
                if next == Phase::Stopping {
                    return None;
                }
                next = Phase::Stopping;
                std::pin::Pin::new(&mut serving).graceful_shutdown();
            }
            () = client.turned() => {
                let (io, begun) = serving.into_parts().io.into_inner().into_parts();
                return Some(Prefixed::new(begun, io));
            }
            () = client.silent(&server) => return None,
        }
    }
    let tunnel = client.tunnel()?;
    let (io, begun) = serving.into_parts().io.into_inner().into_parts();
    tokio::select! {
        biased;
        () = tunnel.run(io, begun) => {}
        () = seat.stopping.reached(Phase::Stopping) => {}
    }
    None
}
