//! A copy of a request for another service, of whose answer nobody waits.
//!
//! It goes out when the request itself has its answer, so that it costs the client nothing, and by the
//! same core: the other service's breaker, retries and limits count. What was not kept of a body is
//! not there to be copied; then the request is not mirrored, and counted.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;

use lb_core::Ask;

use crate::asking::Asking;
use crate::attempt::{Answer, Sending};
use crate::body::Replay;
use crate::client::Client;
use crate::download::Download;
use crate::held::Held;
use crate::observe::{Journal, RequestFacts};
use crate::proxy::{exchange, repeat};
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

/// The request that a copy is of.
pub(crate) struct Copied<'r> {
    pub(crate) view: &'r Rc<View>,
    pub(crate) client: &'r Client,
    pub(crate) asking: &'r Asking<'r>,
    pub(crate) replay: &'r Replay,
}

/// Sends the head of the request, and what was kept of its body, to the service at `index`, as an
/// exchange of its own. Backends that are told of clients before the first byte are told of its client.
pub(crate) fn send(worker: &Rc<Worker>, index: u16, copied: &Copied<'_>) {
    let Copied { view, client, asking, replay } = *copied;
    let counts = &view.sites[usize::from(index)].counts.service;
    let (Some(replay), Some(running)) = (replay.copy(), Running::begin(worker)) else {
        return counts.mirrors_left_out.add(1);
    };
    counts.mirrored.add(1);
    let (id, peer, ends) = (worker.next_request_id(), client.peer, client.ends());
    let (mut head, ()) = http::Request::new(()).into_parts();
    head.method = asking.head.method.clone();
    head.uri = asking.head.uri.clone();
    head.headers = asking.head.headers.clone();
    let (view, host) = (Rc::clone(view), asking.host.to_owned());
    let (client, scheme) = (asking.client, asking.scheme);
    tokio::task::spawn_local(async move {
        let _running = running;
        let site = &view.sites[usize::from(index)];
        let mut facts = RequestFacts::new(id, peer, Some(site));
        let asking = Asking { head: &head, host: &host, client, scheme, claims: None };
        if view.gateway.access(view.config.access_log).is_some() {
            facts.asks(&asking, None);
            let other =
                client.filter(|it| peer.is_some_and(|peer| peer.ip().to_canonical() != *it));
            other.into_iter().for_each(|caller| facts.comes_from(caller));
        }
        let journal = Rc::new(Journal::new(Rc::clone(&view), facts));
        let ask = Ask {
            id: id.exchange(),
            repeat: repeat(&head.method),
            facts: &asking,
            bodiless: replay.is_empty(),
        };
        let sending = Sending {
            view: &view,
            site,
            head: &head,
            replay: &replay,
            keeps_host: false,
            ends,
            trace: None,
            herald: None,
            tried: Cell::new(0),
        };
        let answered = exchange(&sending, &journal, ask).await;
        let (Answer { response, connection }, delivery) = match answered {
            Ok(answered) => answered,
            // Nobody is told but the log and the counters.
            Err(problem) => return journal.refused(problem),
        };
        journal.answered(response.status());
        // Read to its end, so that the connection can be used again.
        let held = Held::new(&view, &journal, delivery);
        let mut download = Download::new(held, connection, replay, None);
        while !download.is_over() {
            let frame = poll_fn(|cx| download.poll_backend(cx)).await;
            if !matches!(frame, Some(Ok(_))) {
                break;
            }
        }
    });
}
