//! A copy of a request for another service, of whose answer nobody waits.
//!
//! It goes out when the request itself has its answer, so that it costs the client nothing, and by the
//! same core: the other service's breaker, retries and limits count. The request passes the edits of its route
//! and of the other service. What was not kept of a body, or is more than the other takes, is not there to be
//! copied; then the request is not mirrored, and counted. What no backend was asked is not mirrored at all.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;

use http::request::Parts;
use lb_core::{Delivery, Match};

use crate::asking::{Asking, Word};
use crate::attempt::{Answer, Sending};
use crate::body::Replay;
use crate::client::Client;
use crate::download::Download;
use crate::error::Unserved;
use crate::held::Held;
use crate::layers::Layers;
use crate::observe::{Journal, RequestFacts};
use crate::proxy::exchange;
use crate::request_id::RequestId;
use crate::routed::Routed;
use crate::view::View;
use crate::worker::Worker;

/// Copies that are on their way at once, of one worker. More are left out.
const MIRRORS_MAX: usize = 64;

/// A copy that is on its way, counted until it has ended.
struct Running(Rc<Worker>);

impl Running {
    fn begin(worker: &Rc<Worker>) -> Option<Self> {
        let before = worker.mirrors.get();
        (before < MIRRORS_MAX).then(|| worker.mirrors.set(before + 1))?;
        Some(Self(Rc::clone(worker)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.mirrors.set(self.0.mirrors.get() - 1);
    }
}

/// A request that is to be copied, as the other service wants it: of what its own service changes in it, and
/// puts into it, the other learns nothing.
pub(crate) struct Copy {
    /// The service that gets it.
    service: u16,
    head: Parts,
    layers: Option<Layers>,
    says_host: bool,
}

/// Where a copy comes from, once the request itself has gone out.
pub(crate) struct Copied<'r> {
    pub(crate) view: &'r Rc<View>,
    pub(crate) client: &'r Client,
    pub(crate) asking: &'r Asking<'r>,
    pub(crate) replay: &'r Replay,
}

impl Copy {
    /// A copy of what is on its way to a backend, and has not been edited. `None`: there is to be none, as for
    /// most requests, which need no room for it.
    pub(crate) fn of(
        view: &View,
        found: &Match<'_>,
        asking: &Asking<'_>,
        id: RequestId,
    ) -> Option<Box<Self>> {
        let mirror = found.route().mirror?;
        if !mirror.takes(view.gateway.platform.seed(), id.exchange()) {
            return None;
        }
        let service = mirror.service;
        let site = &view.sites[usize::from(service)];
        let (mut head, ()) = http::Request::new(()).into_parts();
        head.method = asking.head.method.clone();
        head.uri = asking.head.uri.clone();
        head.headers = asking.head.headers.clone();
        let routed = Routed::new(found.clone(), site, asking, id);
        if routed.edit_request(&mut head).is_err() {
            site.counts.service.mirrors_left_out.add(1);
            return None;
        }
        let says_host = routed.says_host();
        Some(Box::new(Self { service, head, layers: routed.layers, says_host }))
    }

    /// Sends it, with what was kept of the body, as an exchange of its own. Backends that are told of clients
    /// before the first byte are told of the request's.
    pub(crate) fn send(self, worker: &Rc<Worker>, copied: &Copied<'_>) {
        let Copied { view, client, asking, replay } = *copied;
        let Self { service, head, layers, says_host } = self;
        let site = &view.sites[usize::from(service)];
        let counts = &site.counts.service;
        let replay = replay.copy(site.body_bytes_max, layers.as_ref());
        let (Some(replay), Some(running)) = (replay, Running::begin(worker)) else {
            return counts.mirrors_left_out.add(1);
        };
        counts.mirrored.add(1);
        let (id, peer, ends) = (worker.next_request_id(), client.peer, client.ends());
        let (view, host) = (Rc::clone(view), asking.host.to_owned());
        let (client, scheme) = (asking.client, asking.scheme);
        tokio::task::spawn_local(async move {
            let _running = running;
            let site = &view.sites[usize::from(service)];
            let mut facts = RequestFacts::new(id, peer, Some(site));
            let (head, host, word) = (&head, &*host, Word::Ours(None));
            let asking = Asking { head, host, client, scheme, word };
            if view.gateway.access(view.config.access_log).is_some() {
                facts.asks(&asking, None);
                let other =
                    client.filter(|it| peer.is_some_and(|peer| peer.ip().to_canonical() != *it));
                other.into_iter().for_each(|caller| facts.comes_from(caller));
            }
            let journal = Rc::new(Journal::new(Rc::clone(&view), facts));
            let sending = Sending {
                view: &view,
                site,
                head,
                added: None,
                replay: &replay,
                keeps_host: says_host,
                ends,
                trace: None,
                herald: None,
                may_splice: false,
                tried: Cell::new(0),
                is_alone: Cell::new(false),
            };
            let answered = exchange(&sending, &journal, id.exchange(), &asking).await;
            deliver(answered, &view, &journal, replay).await;
        });
    }
}

/// Reads the answer to its end, so that the connection can be used again. Nobody is told of it but the log
/// and the counters.
async fn deliver(
    answered: Result<(Answer, Delivery), Unserved>,
    view: &Rc<View>,
    journal: &Rc<Journal>,
    replay: Replay,
) {
    let (Answer { head, connection }, delivery) = match answered {
        Ok(answered) => answered,
        Err(Unserved { problem, .. }) => return journal.refused(problem),
    };
    journal.answered(head.status);
    let held = Held::new(view, journal, delivery);
    let mut download = Download::new(held, connection, replay, None);
    while !download.is_over() {
        let frame = poll_fn(|cx| download.poll_backend(cx, usize::MAX)).await;
        if !matches!(frame, Some(Ok(_))) {
            break;
        }
    }
}
