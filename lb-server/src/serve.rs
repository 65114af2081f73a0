//! One client connection, from the first byte to the last.
//!
//! Every wait has an end: a connection that says nothing is closed after `keep_alive_timeout`, one
//! that does not finish a head after `header_timeout`, and all of them `drain_timeout` after the
//! process was told to stop.

use std::net::SocketAddr;
use std::rc::Rc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::OwnedSemaphorePermit;

use crate::admin;
use crate::client::Client;
use crate::doors::{Key, Kind};
use crate::framing::{Guard, Limits};
use crate::platform::Io;
use crate::proxy;
use crate::shutdown::{Phase, Shutdown};
use crate::worker::{Open, Worker};

/// Who came in, and by which door.
pub(crate) struct Guest {
    pub(crate) door: Key,
    pub(crate) peer: SocketAddr,
    /// Held for as long as the connection is open.
    pub(crate) place: OwnedSemaphorePermit,
}

/// Serves one connection to its end.
pub(crate) async fn connection(
    worker: Rc<Worker>,
    io: Box<dyn Io>,
    guest: Guest,
    mut stopping: Shutdown,
) {
    let Guest { door: Key { kind, .. }, peer, place: _place } = guest;
    let _open = (kind == Kind::Client).then(|| Open::new(&worker));
    let server = worker.view().config.server;
    let limits = Limits {
        bytes_max: server.header_bytes_max,
        lines_max: server.headers_max,
        timeout: server.header_timeout,
    };
    let (io, watch) = Guard::new(io, limits);
    let client = Client::new(peer, watch);
    let service = service_fn(|request| {
        let (worker, client) = (Rc::clone(&worker), Rc::clone(&client));
        async move {
            Ok::<_, std::convert::Infallible>(match kind {
                Kind::Client => proxy::respond(worker, client, request).await,
                Kind::Admin => admin::respond(worker, client, request).await,
            })
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Ours tell an idle connection from a slow head, and Date comes from the platform.
        .header_read_timeout(None)
        .auto_date_header(false)
        .max_headers(server.headers_max)
        .max_buf_size(server.header_bytes_max);
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service));
    let mut next = Phase::Draining;
    loop {
        tokio::select! {
            biased;
            // What goes wrong on a client's connection is the client's, and in the access log.
            _served = serving.as_mut() => return,
            () = stopping.reached(next) => {
                if next == Phase::Stopping {
                    return;
                }
                next = Phase::Stopping;
                serving.as_mut().graceful_shutdown();
            }
            () = client.silent(&server) => return,
        }
    }
}
