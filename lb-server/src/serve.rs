//! One client connection, from the first byte to the last.
//!
//! Every wait has an end: a connection that says nothing is closed after `keep_alive_timeout`, one
//! that does not finish a head after `header_timeout`, and all of them `drain_timeout` after the
//! process was told to stop.

mod http1;
mod http2;
mod life;

use std::net::SocketAddr;
use std::rc::Rc;

use http::header::{CONNECTION, HeaderValue};
use http::request::Parts;
use lb_config::config::{Alpn, Server};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::admin;
use crate::arriving::Arriving;
use crate::client::Client;
use crate::crowd::{self, Crowded, Share};
use crate::curfew::Hearer;
use crate::distrust::turned_away;
use crate::doors::{Key, Kind};
use crate::headers;
use crate::platform::Io;
use crate::proxy;
use crate::proxy_protocol::{self, Admitted};
use crate::reply::Reply;
use crate::shutdown::Phase;
use crate::tls::ServerTls;
use crate::whence::{Secure, Whence};
use crate::worker::{Open, Worker};

/// Who came in, and by which door.
pub(crate) struct Guest {
    pub(crate) door: Key,
    /// Its address, unless it came by a Unix socket.
    pub(crate) peer: Option<SocketAddr>,
    /// What it connected to.
    pub(crate) local: Option<SocketAddr>,
    /// Held for as long as the connection is open.
    pub(crate) place: OwnedSemaphorePermit,
    /// Likewise, of what its address may have.
    pub(crate) share: Option<Share>,
}

/// What is known of a connection whatever is spoken on it.
struct Seat {
    worker: Rc<Worker>,
    kind: Kind,
    whence: Whence,
    server: Server,
    stopping: Hearer,
    /// Of the connections that its client may have open.
    share: Option<Share>,
}

/// Serves one connection to its end.
pub(crate) async fn connection(
    worker: Rc<Worker>,
    io: Box<dyn Io>,
    guest: Guest,
    stopping: Hearer,
) {
    let Guest { door, peer, local, place: _place, share } = guest;
    let kind = door.kind;
    let _open = (kind == Kind::Client).then(|| Open::new(&worker));
    let view = worker.view();
    let server = view.config.server;
    let tls = view.tls(&door);
    let is_for_proxies = view.is_for_proxies(&door);
    drop(view);
    let whence = Whence { peer, local, secure: None };
    let mut seat = Seat { worker, kind, whence, server, stopping, share };
    let io = match is_for_proxies {
        false => io,
        true => match Box::pin(seat.admit(io)).await {
            Some(io) => io,
            None => return,
        },
    };
    let io = match tls {
        None => io,
        // In boxes, for which a connection at rest needs no room.
        Some(tls) => match Box::pin(seat.handshake(&tls, io)).await {
            Some((io, Alpn::Http2)) => return Box::pin(http2::serve(&mut seat, io)).await,
            Some((io, Alpn::Http1)) => io,
            None => return,
        },
    };
    if let Some(turned) = http1::serve(&mut seat, io).await {
        Box::pin(http2::serve(&mut seat, turned)).await;
    }
}

impl Seat {
    /// Takes the header off a proxy's connection that says for whom it speaks, in time.
    async fn admit(&mut self, io: Box<dyn Io>) -> Option<Box<dyn Io>> {
        let view = self.worker.view();
        let admitting = proxy_protocol::admit(io, self.whence.peer, &view.config.trust);
        let admitted = tokio::select! {
            biased;
            admitted = timeout(self.server.header_timeout, admitting) => admitted,
            () = self.stopping.reached(Phase::Stopping) => return None,
        };
        let Ok(Ok(Admitted { peer, local, io })) = admitted else {
            self.worker.gateway.process.proxies_refused.add(1);
            return None;
        };
        if let Some(client) = peer {
            match crowd::share(&view, client) {
                Ok(share) => self.share = share,
                Err(Crowded) => {
                    self.worker.gateway.process.refused_connections.add(1);
                    return None;
                }
            }
        }
        self.whence.peer = peer;
        self.whence.local = local.or(self.whence.local);
        Some(io)
    }

    /// Agrees on TLS with the client in time, unless the process stops first.
    async fn handshake(&mut self, tls: &ServerTls, io: Box<dyn Io>) -> Option<(Box<dyn Io>, Alpn)> {
        let process = &self.worker.gateway.process;
        let accepting = timeout(tls.handshake_timeout(), tls.accept(io));
        let accepted = tokio::select! {
            biased;
            accepted = accepting => accepted,
            // Who was let in before the process drains gets an answer, and no other.
            () = self.stopping.reached(Phase::Stopping) => return None,
        };
        match accepted {
            Ok(Ok(accepted)) => {
                process.handshakes.add(1);
                process.handshakes_resumed.add(u64::from(accepted.resumed));
                let certificate = accepted.client_subject.as_deref().and_then(headers::certificate);
                self.whence.secure = Some(Secure { certificate });
                Some((accepted.io, accepted.alpn))
            }
            // It is the client's, who was told what can be told.
            Ok(Err(error)) => {
                process.handshakes_failed[error.why as usize].add(1);
                turned_away(&self.worker.gateway, self.whence.peer, &error);
                None
            }
            Err(_) => {
                process.handshakes_late.add(1);
                None
            }
        }
    }

    /// Answers one request.
    async fn respond(
        worker: &Rc<Worker>,
        kind: Kind,
        client: &Rc<Client>,
        head: &mut Parts,
        incoming: Arriving,
    ) -> Reply {
        let mut reply = match kind {
            Kind::Client => proxy::respond(worker, client, head, incoming).await,
            Kind::Admin => {
                drop(incoming);
                admin::respond(worker, client, head).await
            }
        };
        if client.has_no_tunnel() {
            // Whatever the client sent behind it is its next request, and not another protocol.
            client.let_go();
            if client.says_goodbye() {
                reply.head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        reply
    }
}
