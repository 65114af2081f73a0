//! The clients: requests that arrive when the workload says, whether or not others were answered.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use lb_server::platform::{Platform, Tcp};
use lb_server::{Here, RequestId};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::arrivals::{Arrival, Arriving, Asking};
use crate::filling::Filling;
use crate::log::{End, Log, What};
use crate::scenario::{Protocol, Scenario, Workload};

/// All clients of a run. They share one host, and each keeps its connection for the next.
pub(crate) struct Clients {
    workload: Workload,
    world: Arc<dyn Platform>,
    /// Those that wait for their answers.
    asking: Asking,
    proxy: (String, u16),
    /// How long the answer to a request of each status is; origins may differ.
    bodies: Vec<usize>,
    log: Log,
    idle: RefCell<Vec<SendRequest<Filling>>>,
    /// Of HTTP/2.
    shared: Vec<Mutex<Option<http2::SendRequest<Filling>>>>,
    /// What each user was told to send back, last.
    jars: RefCell<BTreeMap<u32, HeaderValue>>,
    arrivals: Vec<Arrival>,
    /// When no more of them arrive.
    ends: Duration,
    sent: Cell<u32>,
    open: Cell<usize>,
}

impl Clients {
    /// The clients of `scenario`, who reach the proxy at `proxy`.
    pub(crate) fn new(
        scenario: &Scenario,
        world: Arc<dyn Platform>,
        proxy: (&str, u16),
        log: Log,
    ) -> Rc<Self> {
        // They are made before it begins, so that nothing in it can shift them.
        let arrivals: Vec<_> = Arriving::new(scenario, world.seed()).collect();
        let asking = Asking::new(scenario, world.seed());
        Rc::new(Self {
            workload: scenario.workload.clone(),
            world,
            proxy: (proxy.0.to_owned(), proxy.1),
            bodies: scenario.origins.iter().map(|origin| origin.body).collect(),
            log,
            idle: RefCell::default(),
            shared: (0..scenario.workload.connections).map(|_| Mutex::default()).collect(),
            jars: RefCell::default(),
            ends: scenario.duration,
            sent: Cell::default(),
            open: Cell::new(arrivals.len() + asking.first().count()),
            asking,
            arrivals,
        })
    }

    /// Requests that have not come to their end, or not even begun.
    pub(crate) fn open(&self) -> usize {
        self.open.get()
    }

    /// Sends every request at its time. Deadlines are absolute: waiting for gaps one after another
    /// would add up the waiting of each.
    pub(crate) async fn run(self: Rc<Self>) -> turmoil::Result {
        let start = Instant::now();
        for arrival in self.asking.first() {
            tokio::task::spawn_local(Rc::clone(&self).ask_in_turn(start, arrival));
        }
        for arrival in &self.arrivals {
            sleep_until(start + arrival.at).await;
            tokio::task::spawn_local(Rc::clone(&self).request(start, *arrival));
        }
        std::future::pending().await
    }

    /// Asks, waits for the answer, thinks, and asks again, until no more requests arrive.
    async fn ask_in_turn(self: Rc<Self>, start: Instant, mut arrival: Arrival) {
        loop {
            sleep_until(start + arrival.at).await;
            self.ask_until_good(start, arrival).await;
            let next = arrival.client.and_then(|turn| self.asking.next(turn, start.elapsed()));
            let Some(next) = next else { break };
            arrival = next;
        }
        self.open.set(self.open.get() - 1);
    }

    /// Asks, and where the answer is no good asks again, as other requests.
    async fn request(self: Rc<Self>, start: Instant, arrival: Arrival) {
        self.ask_until_good(start, arrival).await;
        self.open.set(self.open.get() - 1);
    }

    async fn ask_until_good(&self, start: Instant, mut arrival: Arrival) {
        let again = self.workload.again;
        loop {
            let is_good = self.ask_and_tell(arrival).await;
            let is_late = start.elapsed() + again.after >= self.ends;
            if is_good || arrival.tries >= again.tries || is_late {
                break;
            }
            sleep(again.after).await;
            arrival.tries += 1;
        }
    }

    /// Whether the answer was good.
    async fn ask_and_tell(&self, arrival: Arrival) -> bool {
        let request = self.sent.replace(self.sent.get() + 1);
        let began = Instant::now();
        let sent = self.log.now();
        self.log.write(What::Sent { request, post: arrival.post });
        let told = Cell::new(None);
        let asked = timeout(self.workload.timeout, self.ask(request, arrival, &told)).await;
        let end = asked.unwrap_or(Some(End::TimedOut)).unwrap_or(End::Failed);
        let exchange = told.get().map(|id: RequestId| id.exchange());
        self.log.write(What::Ended { request, end, exchange, sent, took: began.elapsed() });
        end.is_good()
    }

    /// Asks once, on a kept connection or a new one. `None`: there was no answer.
    async fn ask(
        &self,
        number: u32,
        arrival: Arrival,
        told: &Cell<Option<RequestId>>,
    ) -> Option<End> {
        let mut sender = self.sender(number).await?;
        let Arrival { post, user, .. } = arrival;
        let body = if post { self.workload.body } else { 0 };
        let mut request = Request::builder()
            .method(if post { Method::POST } else { Method::GET })
            .body(Filling::over(body, self.workload.upload))
            .expect("a request of valid parts");
        sender.address(&mut request, &self.workload.host);
        if let Some(user) = user {
            request.headers_mut().insert("x-user", user.into());
            if let Some(cookie) = self.jars.borrow().get(&user) {
                request.headers_mut().insert(header::COOKIE, cookie.clone());
            }
        }
        let response = sender.send(request).await.ok()?;
        told.set(request_id(&response));
        let status = response.status().as_u16();
        if let (Some(user), Some(cookie)) =
            (user.filter(|_| self.workload.cookies), cookie(&response))
        {
            self.jars.borrow_mut().insert(user, cookie);
        }
        if arrival.reads_late {
            sleep(self.workload.reads_after).await;
        }
        let body = response.into_body().collect().await.map(|body| body.to_bytes());
        let end = match body {
            Ok(body) if self.is_whole(status, &body) => End::Answered(status),
            Ok(_) => End::PassedOff(status),
            Err(_) => End::Broken(status),
        };
        if let Sender::Http1(sender) = sender
            && !sender.is_closed()
        {
            self.idle.borrow_mut().push(sender);
        }
        Some(end)
    }

    /// Whether an answer is what an origin sends: its filling, and all of it. What the proxy says
    /// itself is whole if hyper says so.
    fn is_whole(&self, status: u16, body: &[u8]) -> bool {
        status != 200 || (Filling::is_filling(body) && self.bodies.contains(&body.len()))
    }

    /// A kept connection, or a new one.
    async fn sender(&self, number: u32) -> Option<Sender> {
        if self.workload.protocol == Protocol::Http1 {
            return Some(Sender::Http1(match self.kept() {
                Some(sender) => sender,
                None => self.connect().await?,
            }));
        }
        let place = usize::try_from(number).ok()? % self.shared.len();
        // Whoever comes while it is made waits for it.
        let mut shared = self.shared[place].lock().await;
        if shared.as_ref().is_none_or(http2::SendRequest::is_closed) {
            let (host, port) = &self.proxy;
            *shared = Some(connect_http2(&*self.world, (host, *port)).await?);
        }
        shared.clone().map(Sender::Http2)
    }

    fn kept(&self) -> Option<SendRequest<Filling>> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|sender| !sender.is_closed());
        let newest = idle.iter().rposition(SendRequest::is_ready)?;
        Some(idle.remove(newest))
    }

    async fn connect(&self) -> Option<SendRequest<Filling>> {
        let (host, port) = &self.proxy;
        let addr = *self.world.lookup(host, *port).await.ok()?.first()?;
        let io = self.world.dial(addr.into(), Tcp::DEFAULT).await.ok()?;
        let (sender, connection) = handshake(TokioIo::new(io)).await.ok()?;
        // What goes wrong on a connection is told to the request on it.
        tokio::task::spawn_local(async move {
            let _told = connection.await;
        });
        Some(sender)
    }
}

/// A new connection to the proxy on which HTTP/2 is spoken.
pub(crate) async fn connect_http2(
    world: &dyn Platform,
    (host, port): (&str, u16),
) -> Option<http2::SendRequest<Filling>> {
    let addr = *world.lookup(host, port).await.ok()?.first()?;
    let io = world.dial(addr.into(), Tcp::DEFAULT).await.ok()?;
    let mut builder = http2::Builder::new(Here);
    builder.timer(TokioTimer::new());
    let (sender, connection) = builder.handshake(TokioIo::new(io)).await.ok()?;
    tokio::task::spawn_local(async move {
        let _told = connection.await;
    });
    Some(sender)
}

/// A connection to the proxy.
enum Sender {
    Http1(SendRequest<Filling>),
    Http2(http2::SendRequest<Filling>),
}

impl Sender {
    /// Says in a request's head where it goes.
    fn address(&self, request: &mut Request<Filling>, host: &str) {
        match self {
            Self::Http1(_) => {
                let host = host.parse().expect("scenarios name hosts that can be asked for");
                request.headers_mut().insert(header::HOST, host);
            }
            Self::Http2(_) => *request.uri_mut() = absolute(host),
        }
    }

    async fn send(&mut self, request: Request<Filling>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => sender.send_request(request).await,
            Self::Http2(sender) => sender.send_request(request).await,
        }
    }
}

/// What HTTP/2 asks for at `host`.
pub(crate) fn absolute(host: &str) -> Uri {
    let uri = Uri::builder().scheme("http").authority(host).path_and_query("/");
    uri.build().expect("scenarios name hosts that can be asked for")
}

/// The cookie that an answer sets: its name and value (RFC 6265 §5.2).
fn cookie(response: &Response<Incoming>) -> Option<HeaderValue> {
    let line = response.headers().get(header::SET_COOKIE)?.to_str().ok()?;
    line.split(';').next()?.parse().ok()
}

/// The name that the proxy gave a request.
pub(crate) fn request_id(response: &Response<Incoming>) -> Option<RequestId> {
    let value = response.headers().get("x-request-id")?.to_str().ok()?;
    RequestId::parse(value)
}
