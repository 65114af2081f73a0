//! One client connection, as its requests see it: what it sent, and how long it may be silent.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use http::HeaderValue;
use lb_config::config::Server;
use tokio::sync::Notify;
use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout_at};

use crate::exec::Carrying;
use crate::framing::{Refusal, Watch};
use crate::headers;
use crate::proxy_protocol::Ends;
use crate::pulse::{Busy, Pulse};
use crate::tunnel::Tunnel;
use crate::whence::{Secure, Whence};

/// One client connection, as its requests see it.
pub(crate) struct Client {
    /// Its address, unless it came by a Unix socket.
    pub(crate) peer: Option<SocketAddr>,
    local: Option<SocketAddr>,
    /// Its IP address, as backends are told it.
    pub(crate) address: Option<HeaderValue>,
    /// Where it speaks TLS.
    pub(crate) secure: Option<Secure>,
    /// Of HTTP/1.1, which can be read in two ways.
    watch: Option<Watch>,
    requests: Cell<u64>,
    /// How many it may carry, and told when it has.
    requests_max: Cell<u64>,
    spent: Notify,
    /// Since when the process drains.
    leaving: Cell<Option<Instant>>,
    pulse: Rc<Pulse>,
    tunnel: RefCell<Option<Tunnel>>,
    /// Of HTTP/2: runs its streams.
    pub(crate) carrying: Carrying,
}

impl Client {
    pub(crate) fn of_http1(whence: Whence, watch: Watch) -> Rc<Self> {
        Self::new(whence, Some(watch), None, Carrying::nobodys())
    }

    pub(crate) fn of_http2(whence: Whence, resets_max: u32) -> Rc<Self> {
        Self::new(whence, None, Some(resets_max), Carrying::new())
    }

    fn new(
        whence: Whence,
        watch: Option<Watch>,
        resets_max: Option<u32>,
        carrying: Carrying,
    ) -> Rc<Self> {
        let Whence { peer, local, secure } = whence;
        Rc::new(Self {
            peer,
            local,
            address: peer.map(|peer| headers::address(peer.ip().to_canonical())),
            secure,
            watch,
            requests: Cell::new(0),
            requests_max: Cell::new(u64::MAX),
            spent: Notify::new(),
            leaving: Cell::new(None),
            pulse: Pulse::new(resets_max),
            tunnel: RefCell::default(),
            carrying,
        })
    }

    /// Both ends of the connection, if both have addresses.
    pub(crate) fn ends(&self) -> Option<Ends> {
        Some(Ends { source: self.peer?, destination: self.local? })
    }

    /// Another request begins.
    pub(crate) fn begin(&self) -> Busy {
        self.requests.set(self.requests.get() + 1);
        let most = self.requests_max.get();
        let now = self.requests.get();
        if now == most || now >= most.saturating_add(OVERTIME) {
            self.spent.notify_one();
        }
        self.busy()
    }

    /// Whether no request has begun yet.
    pub(crate) fn has_asked_nothing(&self) -> bool {
        self.requests.get() == 0
    }

    /// The connection may carry so many requests, and leave so much of their answers unread.
    pub(crate) fn allow(&self, server: &Server) {
        self.requests_max.set(server.requests_per_connection_max);
        self.pulse.unread_max.set(server.unread_bytes_max as u64);
    }

    /// Waits until it has carried all that it may; the second time, until its client has not heard that for too
    /// long.
    pub(crate) async fn spent(&self) {
        self.spent.notified().await;
    }

    /// The process drains: the next answer is the last one here.
    pub(crate) fn leave(&self) {
        self.leaving.set(self.leaving.get().or_else(|| Some(Instant::now())));
    }

    /// Whether the connection ends with the answer that goes out next, and says so. HTTP/2 has a
    /// frame for it.
    pub(crate) fn says_goodbye(&self) -> bool {
        let spent = self.requests.get() >= self.requests_max.get();
        self.watch.is_some() && (spent || self.leaving.get().is_some())
    }

    /// Something of its goes on.
    pub(crate) fn busy(&self) -> Busy {
        Busy::new(&self.pulse)
    }

    /// Why the request that began last must be refused, if it must.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.watch.as_ref()?.refusal(self.requests.get().saturating_sub(1))
    }

    /// Whether the request that began last asks for another protocol, over HTTP/1.1.
    pub(crate) fn is_held(&self) -> bool {
        let last = self.requests.get().saturating_sub(1);
        self.watch.as_ref().is_some_and(|watch| watch.is_held(last))
    }

    /// It goes on in this one, if it asked for another.
    pub(crate) fn let_go(&self) {
        if self.is_held() {
            self.watch.iter().for_each(Watch::let_go);
        }
    }

    /// Another protocol is spoken from here on, by `tunnel`.
    pub(crate) fn turn_into(&self, tunnel: Tunnel) {
        *self.tunnel.borrow_mut() = Some(tunnel);
    }

    /// Whether HTTP goes on.
    pub(crate) fn has_no_tunnel(&self) -> bool {
        self.tunnel.borrow().is_none()
    }

    /// What goes on when HTTP has ended.
    pub(crate) fn tunnel(&self) -> Option<Tunnel> {
        self.tunnel.borrow_mut().take()
    }

    /// Waits until nothing has been on its way for a moment, or until the client has been silent for
    /// too long: between requests, when it sends nothing of a body that goes on behind its answer, or takes
    /// nothing of an answer, whose body is then asked for no more.
    ///
    /// Whatever changes that, changes it on this very task or wakes it, and it polls this as well: so it
    /// looks each time, and a timer is set anew only where it would be too late.
    pub(crate) async fn silent(&self, server: &Server) -> Silence {
        let Some(watch) = &self.watch else { return std::future::pending().await };
        let (mut look, mut told) = (std::pin::pin!(None::<Sleep>), None::<Waker>);
        poll_fn(|cx| {
            let (until, silence) = self.silence(watch, server);
            // Most connections that are opened for one request never need a timer.
            if look.is_none() {
                let Some(until) = until else { return Poll::Pending };
                look.set(Some(sleep_until(until)));
            }
            let mut look = look.as_mut().as_pin_mut().expect("it was set");
            if let Some(until) = until.filter(|until| *until < look.deadline()) {
                look.as_mut().reset(until);
            }
            // It knows whom to wake, and has not done so.
            if !look.is_elapsed() && told.as_ref().is_some_and(|told| told.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            told = None;
            while look.as_mut().poll(cx).is_ready() {
                let now = Instant::now();
                if until.is_some_and(|until| until <= now) {
                    return Poll::Ready(silence);
                }
                look.as_mut().reset(until.unwrap_or(now + server.keep_alive_timeout));
            }
            // A task that has had its turn is told nothing by a timer, and the timer nothing of it.
            told = has_budget_remaining().then(|| cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Until when the client may go on as it does, and what it comes to then. `None`: others see to it
    /// that what is on its way ends.
    fn silence(&self, watch: &Watch, server: &Server) -> (Option<Instant>, Silence) {
        let patient = |since: Instant| match self.pulse.patience.get() {
            Some(patience) => (since + patience.idle).min(patience.until),
            None => since + server.keep_alive_timeout,
        };
        let until = match (self.pulse.busy.get(), watch.head_since(), watch.behind_since()) {
            (0, None, None) => Some(self.idle_until(server, server.keep_alive_timeout)),
            (0, None, Some(since)) => Some(patient(since)),
            (0, Some(_), _) => None,
            _ => watch.stuck_since().map(patient),
        };
        let is_quiet = self.pulse.busy.get() == 0 && watch.is_quiet(self.requests.get());
        let rests_at = self.pulse.since.get() + REST_AFTER;
        match until {
            Some(until) if is_quiet && rests_at < until => (Some(rests_at), Silence::Rest),
            until => (until, Silence::TooLong),
        }
    }

    /// Until when the next request has to begin, while none is on its way.
    fn idle_until(&self, server: &Server, patience: Duration) -> Instant {
        let answered = self.pulse.since.get();
        let behind = self.watch.as_ref().and_then(Watch::behind_until);
        let since = behind.map_or(answered, |behind| behind.max(answered));
        match self.leaving.get() {
            Some(leaving) => since.max(leaving) + server.drain_idle_timeout,
            None => since + patience,
        }
    }

    /// Waits, while nothing is on its way, until the next request is too late to begin, for which there is so
    /// much `patience`. The guard sees to it that one which has begun ends.
    pub(crate) async fn expires(&self, server: &Server, patience: Duration) {
        sleep_until(self.idle_until(server, patience)).await;
        if self.watch.as_ref().is_some_and(|watch| watch.head_since().is_some()) {
            std::future::pending().await
        }
    }

    /// Waits until there has been no request for too long; once it `was_told` to leave, until whatever crossed
    /// that has been answered, and nothing more came. Meanwhile, whoever leaves an answer where it is for too
    /// long loses it.
    pub(crate) async fn idle(&self, server: &Server, was_told: Option<Instant>) {
        loop {
            if self.pulse.busy.get() > 0 {
                sleep(LOOK_EVERY).await;
                self.pulse.end_what_stands();
                let is_late = |told: Instant| told + server.header_timeout <= Instant::now();
                if self.pulse.stands(server.keep_alive_timeout) && was_told.is_none_or(is_late) {
                    return;
                }
                continue;
            }
            let patience = if self.requests.get() == 0 || was_told.is_some() {
                server.header_timeout
            } else {
                server.keep_alive_timeout
            };
            let since = self.pulse.since.get();
            let since = was_told.map_or(since, |told| told.max(since));
            let (now, until) = (Instant::now(), since + patience);
            if until <= now {
                return;
            }
            // A request may begin meanwhile, and its answer be left where it is.
            let _began_or_not = timeout_at(until, self.pulse.began.notified()).await;
        }
    }

    /// Waits until the client has taken back more requests within a second than it may, and as many again.
    pub(crate) async fn floods(&self) {
        self.pulse.flooded.notified().await;
    }
}

/// What a client's silence comes to.
pub(crate) enum Silence {
    /// Nothing is on its way.
    Rest,
    /// The connection is not worth keeping.
    TooLong,
}

/// Requests of a connection that may come on top of all that it may carry: its client has not heard yet that
/// it is to end.
const OVERTIME: u64 = 1_000;
/// How long a connection keeps what it needs for a request after the last one. A client that asks more often than
/// this costs no timer that has to be set anew.
const REST_AFTER: Duration = Duration::from_secs(1);

/// How often the answers of a connection of HTTP/2 are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::framing::{Guard, Limits};
    use crate::turn;

    #[tokio::test(start_paused = true)]
    async fn silence_is_heard_of_though_its_timer_was_set_by_a_task_that_had_had_its_turn() {
        let text = "[[listener]]\nbind = \"127.0.0.1:0\"\n[[service]]\nname = \"a\"\nhosts = [\"*\"]\n\
                    [[service.pool]]\nbackends = [{ url = \"http://10.0.0.1\" }]\n";
        let (config, said) = lb_config::load(&lb_config::Source { name: "lb.toml", text });
        let server = config.unwrap_or_else(|| panic!("{said:#?}")).server;
        let limits = Limits {
            bytes_max: server.header_bytes_max,
            lines_max: server.headers_max,
            timeout: server.header_timeout,
            http2: false,
        };
        let (near, _far) = tokio::io::duplex(64);
        let (_guard, watch) = Guard::new(near, limits);
        let whence = Whence { peer: None, local: None, secure: None };
        let client = Client::of_http1(whence, watch);
        let (mut silent, mut is_spent) = (std::pin::pin!(client.silent(&server)), false);
        let silence = poll_fn(|cx| {
            if !std::mem::replace(&mut is_spent, true) {
                while turn::poll_spend(cx).is_ready() {}
            }
            silent.as_mut().poll(cx)
        });
        let heard = timeout(2 * server.keep_alive_timeout, silence).await;
        assert!(heard.is_ok(), "nobody was woken");
    }
}
