//! One client connection, from the first byte to the last.
//!
//! Every wait has an end: a connection that says nothing is closed after `keep_alive_timeout`, one
//! that does not finish a head after `header_timeout`, and all of them `drain_timeout` after the
//! process was told to stop.

mod http1;
mod http2;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use lb_config::config::Server;
use tokio::sync::OwnedSemaphorePermit;

use crate::admin;
use crate::client::Client;
use crate::doors::{Key, Kind};
use crate::download::Outgoing;
use crate::platform::Io;
use crate::proxy;
use crate::shutdown::Shutdown;
use crate::worker::{Open, Worker};

/// Who came in, and by which door.
pub(crate) struct Guest {
    pub(crate) door: Key,
    /// Its address, unless it came by a Unix socket.
    pub(crate) peer: Option<SocketAddr>,
    /// Held for as long as the connection is open.
    pub(crate) place: OwnedSemaphorePermit,
}

/// What is known of a connection whatever is spoken on it.
struct Seat {
    worker: Rc<Worker>,
    kind: Kind,
    peer: Option<SocketAddr>,
    server: Server,
    stopping: Shutdown,
}

/// Serves one connection to its end.
pub(crate) async fn connection(
    worker: Rc<Worker>,
    io: Box<dyn Io>,
    guest: Guest,
    stopping: Shutdown,
) {
    let Guest { door: Key { kind, .. }, peer, place: _place } = guest;
    let _open = (kind == Kind::Client).then(|| Open::new(&worker));
    let server = worker.view().config.server;
    let mut seat = Seat { worker, kind, peer, server, stopping };
    if let Some(turned) = http1::serve(&mut seat, io).await {
        http2::serve(&mut seat, turned).await;
    }
}

impl Seat {
    /// Answers one request.
    async fn respond(
        worker: Rc<Worker>,
        kind: Kind,
        client: Rc<Client>,
        request: Request<Incoming>,
    ) -> Result<Response<Outgoing>, Infallible> {
        let asked = Rc::clone(&client);
        let mut response = match kind {
            Kind::Client => proxy::respond(worker, client, request).await,
            Kind::Admin => admin::respond(worker, client, request).await,
        };
        if asked.says_goodbye() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}
