//! Clients that mean harm: they ask over HTTP/2, and take back what they asked for as soon as a backend
//! may have begun with it (rapid reset, CVE-2023-44487). That costs them next to nothing.
//!
//! Whoever is cut off comes again a second later, with a new connection.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request};
use lb_server::Platform;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::client::{absolute, connect_http2};
use crate::filling::Filling;
use crate::log::{Log, What};
use crate::scenario::{Attack, Scenario};

/// How long a request has until it is taken back: a way to a backend.
const TAKEN_BACK_AFTER: Duration = Duration::from_millis(8);
/// How long an attacker who was cut off stays away.
const STAYS_AWAY: Duration = Duration::from_secs(1);

/// All attackers of a run.
pub(crate) struct Attackers {
    attacks: Vec<Attack>,
    host: String,
    world: Arc<dyn Platform>,
    proxy: (String, u16),
    log: Log,
}

impl Attackers {
    /// The attackers of `scenario`, who reach the proxy at `proxy`.
    pub(crate) fn new(
        scenario: &Scenario,
        world: Arc<dyn Platform>,
        proxy: (&str, u16),
        log: Log,
    ) -> Rc<Self> {
        Rc::new(Self {
            attacks: scenario.attacks.clone(),
            host: scenario.workload.host.clone(),
            world,
            proxy: (proxy.0.to_owned(), proxy.1),
            log,
        })
    }

    /// Begins each attack at its time.
    pub(crate) async fn run(self: Rc<Self>) -> turmoil::Result {
        let start = Instant::now();
        for (place, attack) in self.attacks.iter().enumerate() {
            let (this, attack) = (Rc::clone(&self), *attack);
            tokio::task::spawn_local(async move { this.attack(place, attack, start).await });
        }
        std::future::pending().await
    }

    async fn attack(&self, place: usize, attack: Attack, start: Instant) {
        sleep_until(start + attack.at).await;
        let until = start + attack.end();
        let gap = Duration::from_secs_f64(1.0 / attack.rate);
        while Instant::now() < until {
            let (host, port) = &self.proxy;
            if let Some(sender) = connect_http2(&*self.world, (host, *port)).await {
                let mut next = Instant::now();
                while !sender.is_closed() && next < until {
                    sleep_until(next).await;
                    next += gap;
                    let mut sender = sender.clone();
                    let request = self.request();
                    tokio::task::spawn_local(async move {
                        // Dropping the answer that is waited for takes the request back.
                        let _nobody_cares =
                            timeout(TAKEN_BACK_AFTER, sender.send_request(request)).await;
                    });
                }
                if sender.is_closed() {
                    self.log.write(What::CutOff { attack: place });
                }
            }
            sleep(STAYS_AWAY).await;
        }
    }

    fn request(&self) -> Request<Filling> {
        let mut request = Request::new(Filling::over(0, Duration::ZERO));
        *request.uri_mut() = absolute(&self.host);
        request.headers_mut().insert("x-user", HeaderValue::from_static("attacker"));
        request
    }
}
