//! A scripted server: it answers as its scenario says, and writes down every request that reaches it.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use lb_server::RequestId;
use lb_server::platform::{Accepted, Io, Listen, Place, Platform};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::dice::Chance;
use crate::filling::{BrokeOff, Filling};
use crate::log::{Log, What};
use crate::luck::Callers;
use crate::scenario::{self, Protocol, Whom};
use crate::seats::Seats;
use crate::streams;
use crate::tunnels::{ECHO, echo};
use crate::weather::answer;

/// One origin and what is wrong with it at the moment.
pub(crate) struct Origin {
    place: usize,
    script: scenario::Origin,
    /// Where it listens.
    port: u16,
    world: Arc<dyn Platform>,
    log: Log,
    /// Statuses that some requests are answered with, and their share.
    statuses: RefCell<Vec<(u16, f64, Whom)>>,
    slower_by: Cell<Duration>,
    /// The share of its speed at which it works.
    speed: Cell<f64>,
    /// For requests that are worked on.
    seats: Seats,
    truncates: Cell<bool>,
    /// How long a body takes.
    trickles_over: Cell<Duration>,
    /// The share of the requests that are read and not answered.
    resets: Cell<f64>,
    refuses: Cell<bool>,
    /// How long a kept connection may be idle before it is closed, if it ever is.
    closes_after: Cell<Option<Duration>>,
    /// How many requests a connection of HTTP/2 takes, if that is bounded.
    leaves_after: Cell<Option<u32>>,
    /// The share of the streams that are not taken.
    refuses_streams: Cell<f64>,
    changed: Notify,
    callers: RefCell<Callers>,
}

/// A connection to an origin, as its requests see it.
#[derive(Default)]
struct Line {
    busy: Cell<bool>,
    /// Requests that came on it.
    requests: Cell<u32>,
    /// Whether it takes no more of them.
    leaves: Cell<bool>,
    /// Whether another protocol is spoken on it from the next answer on.
    switched: Cell<bool>,
    /// A request began, or its answer was written.
    changed: Notify,
}

/// Dropped with the body of an answer: the connection is idle then.
pub(crate) struct Answering(Rc<Line>);

impl Answering {
    fn begin(line: &Rc<Line>) -> Self {
        line.busy.set(true);
        line.requests.set(line.requests.get() + 1);
        line.changed.notify_one();
        Self(Rc::clone(line))
    }

    /// An answer with which HTTP ends on the connection.
    fn switches(self) -> Response<Filling> {
        self.0.switched.set(true);
        let mut response = Response::new(Filling::over(0, Duration::ZERO));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, ECHO);
        response
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.busy.set(false);
        self.0.changed.notify_one();
    }
}

impl Origin {
    /// The origin at `place` of its scenario, which listens at `port`.
    pub(crate) fn new(
        place: usize,
        script: scenario::Origin,
        port: u16,
        world: Arc<dyn Platform>,
        log: Log,
    ) -> Rc<Self> {
        let callers = Callers::of(world.seed(), &script.host, script.port);
        Rc::new(Self {
            place,
            port,
            world,
            log,
            statuses: RefCell::default(),
            slower_by: Cell::default(),
            speed: Cell::new(1.0),
            seats: Seats::new(script.concurrency, script.queue),
            truncates: Cell::default(),
            trickles_over: Cell::default(),
            resets: Cell::default(),
            refuses: Cell::default(),
            closes_after: Cell::default(),
            leaves_after: Cell::default(),
            refuses_streams: Cell::default(),
            changed: Notify::new(),
            callers: RefCell::new(callers),
            script,
        })
    }

    /// From now on it works at this share of its speed.
    pub(crate) fn work_at(&self, speed: f64) {
        self.speed.set(speed);
    }

    /// From now on it works on so many answers at a time at most, or on as many as ever.
    pub(crate) fn shrink(&self, concurrency: Option<usize>) {
        self.seats.leave(concurrency);
    }

    /// From now on some requests are answered with these statuses.
    pub(crate) fn answer(&self, said: Vec<(u16, f64, Whom)>) {
        self.statuses.replace(said);
    }

    /// From now on answers take longer by this much.
    pub(crate) fn slow_down(&self, by: Duration) {
        self.slower_by.set(by);
    }

    /// From now on bodies break off, or no longer.
    pub(crate) fn truncate(&self, truncates: bool) {
        self.truncates.set(truncates);
    }

    /// From now on bodies take this long.
    pub(crate) fn trickle(&self, over: Duration) {
        self.trickles_over.set(over);
    }

    /// From now on this share of the requests is read, and then the connection ends.
    pub(crate) fn reset(&self, rate: f64) {
        self.resets.set(rate);
    }

    /// From now on connections are closed that have been idle for this long, or none are.
    pub(crate) fn close_idle(&self, after: Option<Duration>) {
        self.closes_after.set(after);
    }

    /// From now on every connection says GOAWAY at its request of this number, or none does.
    pub(crate) fn say_goodbye(&self, requests: Option<u32>) {
        self.leaves_after.set(requests);
    }

    /// From now on this share of the streams is not taken.
    pub(crate) fn refuse_streams(&self, rate: f64) {
        self.refuses_streams.set(rate);
    }

    /// From now on nobody listens, or somebody does again.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.refuses.set(refuses);
        self.changed.notify_waiters();
    }

    /// Serves for ever.
    pub(crate) async fn serve(self: Rc<Self>) -> turmoil::Result {
        loop {
            while self.refuses.get() {
                self.changed.notified().await;
            }
            tokio::select! {
                biased;
                () = self.stops() => {}
                served = Rc::clone(&self).listen() => served?,
            }
        }
    }

    async fn stops(&self) {
        while !self.refuses.get() {
            self.changed.notified().await;
        }
    }

    /// Accepts until it is dropped, which closes every connection.
    async fn listen(self: Rc<Self>) -> turmoil::Result {
        let addr = SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.port)).into();
        let mut listener: Box<dyn Listen> = self.world.listen(Place::new(addr)).await?;
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                Some(_ended) = connections.join_next() => {}
                accepted = listener.accept() => {
                    let Accepted { io, .. } = accepted?;
                    let this = Rc::clone(&self);
                    match self.script.protocol {
                        Protocol::Http1 => connections.spawn_local(this.converse(io)),
                        Protocol::Http2 => connections.spawn_local(this.converse_in_streams(io)),
                    };
                }
            }
        }
    }

    /// Answers what comes on a connection, until either side closes it.
    ///
    /// hyper ends HTTP on it with a 101, and what is left of it goes on as a tunnel.
    async fn converse(self: Rc<Self>, io: Box<dyn Io>) {
        if self.closes_after.get().is_some() {
            self.log.write(What::Connected { origin: self.place });
        }
        let line = Rc::new(Line::default());
        let (this, used) = (Rc::clone(&self), Rc::clone(&line));
        let service = service_fn(move |request: Request<Incoming>| {
            let answering = Answering::begin(&used);
            let (head, body) = request.into_parts();
            let drained = async { drop(body.collect().await) };
            Rc::clone(&this).respond(head, drained, answering)
        });
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .auto_date_header(false)
            .serve_connection(TokioIo::new(io), service);
        tokio::select! {
            biased;
            _ended = &mut connection => {
                if line.switched.get() {
                    let parts = connection.into_parts();
                    echo(parts.io.into_inner(), parts.read_buf).await;
                }
                return;
            }
            () = self.has_enough_of(&line) => {}
        }
        self.log.write(What::HungUp { origin: self.place });
        Pin::new(&mut connection).graceful_shutdown();
        let _ended = connection.await;
    }

    /// The same over HTTP/2. Told to leave, it says GOAWAY twice: that it will take no more, and, when
    /// the other side must know, what it has taken (RFC 9113 §6.8). What comes in between is refused.
    async fn converse_in_streams(self: Rc<Self>, io: Box<dyn Io>) {
        if self.leaves_after.get().is_some() {
            self.log.write(What::Connected { origin: self.place });
        }
        let line = Rc::new(Line::default());
        let Ok(mut connection) = streams::begin(io, self.script.streams).await else { return };
        let mut answers = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                asked = connection.accept() => {
                    let Some(Ok((request, reply))) = asked else { return };
                    let answering = Answering::begin(&line);
                    let (head, body) = request.into_parts();
                    let answer = Rc::clone(&self).respond(head, streams::drain(body), answering);
                    answers.spawn_local(streams::reply(reply, answer));
                }
                () = self.has_taken_enough(&line), if !line.leaves.get() => {
                    self.log.write(What::SaidGoodbye { origin: self.place });
                    line.leaves.set(true);
                    connection.graceful_shutdown();
                }
                Some(_answered) = answers.join_next() => {}
            }
        }
    }

    /// Waits until a connection has taken as many requests as this origin likes.
    async fn has_taken_enough(&self, line: &Line) {
        while self.leaves_after.get().is_none_or(|most| line.requests.get() < most) {
            line.changed.notified().await;
        }
    }

    /// Waits until a connection has been idle after an answer for longer than this origin likes.
    async fn has_enough_of(&self, line: &Line) {
        loop {
            line.changed.notified().await;
            while !line.busy.get() {
                let Some(after) = self.closes_after.get() else { break };
                // The shortest timer takes a millisecond.
                let idle =
                    after.is_zero() || timeout(after, line.changed.notified()).await.is_err();
                // The fault may have ended meanwhile.
                if idle && self.closes_after.get().is_some() {
                    return;
                }
            }
        }
    }

    async fn respond(
        self: Rc<Self>,
        head: Parts,
        body: impl Future<Output = ()>,
        answering: Answering,
    ) -> Result<Response<Filling>, BrokeOff> {
        let id = head.headers.get("x-request-id").and_then(|value| value.to_str().ok());
        let exchange = id.and_then(RequestId::parse).map(|id| id.exchange());
        let mut dice = self.callers.borrow_mut().dice(exchange);
        let takes = self.script.latency.draw(&mut dice);
        let chance = dice.unit();
        // Nobody gave a check a name.
        let is_check = exchange.is_none();
        let status = answer(self.statuses.borrow().iter().copied(), chance, is_check);
        let resets = dice.unit() < self.resets.get();
        let refuses = dice.unit() < self.refuses_streams.get();
        if refuses || answering.0.leaves.get() {
            return Err(BrokeOff::REFUSED);
        }
        if let Some(exchange) = exchange {
            let post = head.method == Method::POST;
            let user = head.headers.get("x-user").and_then(|value| value.to_str().ok());
            let user = user.and_then(|user| user.parse().ok());
            self.log.write(What::Reached { origin: self.place, exchange, post, status, user });
        }
        let switches = status == 200 && head.headers.get(header::UPGRADE) == Some(&ECHO);
        // A request that breaks off is not answered: its connection is gone.
        body.await;
        let is_full = !self.work(takes).await;
        if resets {
            // hyper hangs up on a request whose service fails.
            return Err(BrokeOff::SOMEHOW);
        }
        if switches {
            return Ok(answering.switches());
        }
        let breaks_at = self.truncates.get().then_some(self.script.body / 2);
        let mut filling = Filling::over(self.script.body, self.trickles_over.get());
        filling.breaks_at = breaks_at;
        filling.framing = self.script.framing;
        filling.answering = Some(answering);
        let mut response = Response::new(filling);
        let status = if is_full { 503 } else { status };
        *response.status_mut() = StatusCode::from_u16(status).expect("scenarios say 400 to 599");
        if let Some(span) = self.script.retry_after.filter(|_| status >= 500) {
            response.headers_mut().insert(header::RETRY_AFTER, span.as_secs().into());
        }
        Ok(response)
    }

    /// Works on an answer that takes so long, after those that came before. Whether there was room to
    /// wait.
    async fn work(&self, takes: Duration) -> bool {
        let Some(_seat) = self.seats.take().await else { return false };
        sleep(takes.div_f64(self.speed.get()) + self.slower_by.get()).await;
        true
    }
}
