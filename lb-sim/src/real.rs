//! The third engine: the same scenario on real sockets, by the clock on the wall.
//!
//! The proxy is the same, and so are origins, clients and whoever does harm; what differs is what they
//! stand on: the kernel's TCP, its scheduler and its timers, where the net engine has turmoil's. What is
//! left between the two is what the simulation leaves out, so the distance between their figures is the
//! simulator's fidelity ([`agreement`](crate::agreement)). Only the network's delays and its faults are
//! still the scenario's (`wire.rs`).
//!
//! Everybody runs on one thread and one runtime. A run takes as long as it says, so it is bounded, and it
//! does not repeat. What timers are late by is the machine's: [`verdict`] sets it apart.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use lb_config::quantity::show_duration;
use lb_core::Time;
use lb_server::shutdown::{self, Shutdown, Trigger};
use lb_server::{Gateway, Listeners, Listening, WorkerOptions};
use tokio::runtime;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep};

use crate::attackers::Attackers;
use crate::client::Clients;
use crate::engine::{Run, TICK, caught};
use crate::harm::Harm;
use crate::invariant::Violation;
use crate::life::Life;
use crate::log::{Log, What};
use crate::net::{PROXY, held, refuse_tls};
use crate::origin::Origin;
use crate::scenario::Scenario;
use crate::street::{Street, Who};
use crate::tunnels::Tunnels;
use crate::verdict::Verdict;

/// The longest scenario that is run in real time.
const DURATION_MAX: Duration = Duration::from_secs(60);
/// How long after the last arrival everything must have ended.
const SETTLE_MAX: Duration = Duration::from_secs(60);
/// Segments at a socket, where a scenario says nothing of it.
const SOCKET: usize = 4_096;
/// The invariant that is about how exact timers are.
const TIMED: &str = "deadlines are kept";

/// Why a scenario cannot be run on real sockets. Nothing: it can be.
pub(crate) fn refusals(scenario: &Scenario) -> Vec<String> {
    let mut refusals = Vec::new();
    if scenario.duration > DURATION_MAX {
        refusals.push(format!(
            "it lasts {} of real time, and at most {} are waited for: shorten `duration`",
            show_duration(scenario.duration),
            show_duration(DURATION_MAX),
        ));
    }
    if scenario.socket != SOCKET {
        refusals.push("the kernel has buffers of its own: leave `socket` out".to_owned());
    }
    refusals
}

/// What a run comes to, and by what timers were late: a machine that is busy with something else says
/// nothing about the proxy.
pub(crate) fn verdict(scenario: &Scenario, seed: u64, run: &Run) -> (Verdict, Vec<Violation>) {
    let mut verdict = Verdict::of(scenario, seed, run);
    let timed = verdict.findings.iter_mut().filter(|finding| finding.name == TIMED);
    let late = timed.flat_map(|finding| std::mem::take(&mut finding.violations)).collect();
    (verdict, late)
}

/// Runs `scenario` under `seed` for as long as it lasts, and tells `log` all of it.
pub(crate) fn run_into(log: &Log, scenario: &Scenario, seed: u64) -> Run {
    let (simulated, panic) = caught(|| {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("there is no runtime: {error}"))?;
        LocalSet::new().block_on(&runtime, play(scenario, seed, log))
    });
    Run { log: log.take(), simulated, panic }
}

/// The world of one run.
struct Stage<'s> {
    street: Arc<Street>,
    harm: Harm<'s>,
    /// Whether the proxy has come to its end, and whether the log says so.
    ended: Rc<Cell<bool>>,
    drained: bool,
    /// What no origin can do.
    failed: Rc<RefCell<Option<String>>>,
    log: Log,
}

async fn play(scenario: &Scenario, seed: u64, log: &Log) -> Result<Duration, String> {
    scenario.configs().try_for_each(refuse_tls)?;
    let street = Street::open(scenario, seed).map_err(|error| format!("no sockets: {error}"))?;
    let failed = Rc::default();
    let origins = serve_origins(scenario, &street, log, &failed);
    let (trigger, shutdown) = shutdown::pair();
    let trigger = Rc::new(trigger);
    let ended = Rc::new(Cell::new(false));
    host_proxy(scenario, &street, log, (Rc::clone(&trigger), shutdown), &ended).await?;

    let listener = scenario.config.listeners[0].bind.ip();
    let port = listener.expect("a scenario has no Unix sockets").port();
    let world = street.seen_by(Who::Clients);
    let clients = Clients::new(scenario, Arc::clone(&world), (PROXY, port), log.clone());
    spawn_local(Rc::clone(&clients).run());
    let tunnels = scenario
        .tunnels
        .map(|said| Tunnels::new(said, scenario, Arc::clone(&world), (PROXY, port), log.clone()));
    if let Some(tunnels) = tunnels.clone() {
        spawn_local(tunnels.run());
    }
    if !scenario.attacks.is_empty() {
        spawn_local(Attackers::new(scenario, world, (PROXY, port), log.clone()).run());
    }

    let harm = Harm::new(scenario, origins, log);
    let mut stage = Stage { street, harm, ended, drained: false, failed, log: log.clone() };
    stage.until(|_| log.now() >= scenario.duration).await?;
    let settled_by = scenario.duration + SETTLE_MAX;
    stage
        .until(|_| {
            let open = clients.open() > 0 || tunnels.as_ref().is_some_and(|it| it.open() > 0);
            let quiet = !open && held(log).iter().all(|held| *held == 0);
            quiet || log.now() >= settled_by
        })
        .await?;
    log.write(What::Quiet(held(log)));
    trigger.drain();
    let drained_by = log.now() + scenario.config.server.drain_timeout + Duration::from_secs(1);
    stage.until(|stage| stage.drained || log.now() >= drained_by).await?;
    Ok(log.now())
}

/// Opens all origins.
fn serve_origins(
    scenario: &Scenario,
    street: &Arc<Street>,
    log: &Log,
    failed: &Rc<RefCell<Option<String>>>,
) -> Vec<Rc<Origin>> {
    let origins = (0..).zip(&scenario.origins).map(|(place, script)| {
        let world = street.seen_by(Who::Origin(script.host.clone()));
        let origin = Origin::new(place, script.clone(), script.port, world, log.clone());
        let (serving, failed) = (Rc::clone(&origin), Rc::clone(failed));
        let name = script.address();
        spawn_local(async move {
            if let Err(error) = serving.serve().await {
                *failed.borrow_mut() = Some(format!("the origin {name} cannot listen: {error}"));
            }
        });
        origin
    });
    origins.collect()
}

/// Begins to serve. Time begins with the proxy's clock.
async fn host_proxy(
    scenario: &Scenario,
    street: &Arc<Street>,
    log: &Log,
    (trigger, shutdown): (Rc<Trigger>, Shutdown),
    ended: &Rc<Cell<bool>>,
) -> Result<(), String> {
    // Everybody listens before anybody asks.
    sleep(TICK).await;
    let listeners = Listeners { tap: Some(Arc::new(log.clone())), ..Listeners::default() };
    let platform = street.seen_by(Who::Proxy);
    let gateway = Gateway::new(platform, scenario.config.clone(), listeners);
    let gateway = gateway.map_err(|error| error.to_string())?;
    log.began(Instant::now() - (gateway.now() - Time::ZERO));
    log.knows(gateway.snapshot());
    let listening = Listening::open(Arc::clone(&gateway), WorkerOptions::default()).await;
    let listening = listening.map_err(|error| format!("the proxy cannot listen: {error}"))?;
    let life = Life { gateway, trigger, log: log.clone() };
    spawn_local(life.lead(scenario.actions.clone()));
    let ended = Rc::clone(ended);
    spawn_local(async move {
        listening.serve(shutdown).await;
        ended.set(true);
    });
    Ok(())
}

impl Stage<'_> {
    /// Lets time pass until `done`, and faults begin and end when they should.
    async fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) -> Result<(), String> {
        while !done(self) {
            self.harm.follow(self.log.now(), &mut self.street);
            sleep(TICK).await;
            if let Some(failed) = self.failed.take() {
                return Err(failed);
            }
            if !self.drained && self.ended.get() {
                self.drained = true;
                self.log.write(What::Drained);
            }
        }
        Ok(())
    }
}
