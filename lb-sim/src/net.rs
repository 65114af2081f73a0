//! The net engine: turmoil runs the real proxy between scripted origins and open-loop clients.
//!
//! A run has four parts: requests arrive and faults come and go; then the clients wait for what is
//! still open; then the world is quiet, and leases are counted; then the proxy is told to drain, if it
//! was not before.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use lb_config::Config;
use lb_server::shutdown::{self, Shutdown, Trigger};
use lb_server::{Gateway, Listeners, Listening, Platform, WorkerOptions};
use tokio::task::JoinSet;
use turmoil::{Builder, Sim};

use crate::attackers::Attackers;
use crate::client::Clients;
use crate::engine::{Run, TICK, caught};
use crate::harm::{Harm, Net};
use crate::life::Life;
use crate::log::{Log, What};
use crate::origin::Origin;
use crate::scenario::{self, Scenario, Workload};
use crate::tunnels::Tunnels;
use crate::way::Way;
use crate::world::{EPOCH, Machine, World, machines};

/// The host on which the proxy runs. No origin has a name with parentheses.
pub(crate) const PROXY: &str = "(proxy)";
/// The host from which all clients come.
const CLIENTS: &str = "(clients)";
/// The host from which all tunnels come.
const TUNNELS: &str = "(tunnels)";
/// The host from which all attacks come.
const ATTACKERS: &str = "(attackers)";
/// How long after the last arrival everything must have ended: more than any default timeout.
const SETTLE_MAX: Duration = Duration::from_secs(400);

/// More requests a second than it has been made for; they would take hours.
const RATE_MAX: f64 = 10_000.0;
/// More clients than it has been made for, each of which may have a connection.
const CLIENTS_MAX: u32 = 10_000;

/// What of a scenario is too much for this engine. Nothing: it can run it.
pub(crate) fn refusals(scenario: &Scenario) -> Vec<String> {
    let Workload { rate, closed, .. } = &scenario.workload;
    let mut refusals = Vec::new();
    if *rate > RATE_MAX {
        refusals.push("it is not made for more than 10,000 requests a second".to_owned());
    }
    if closed.as_ref().is_some_and(|closed| closed.clients > CLIENTS_MAX) {
        refusals.push(
            "it is not made for more than 10,000 clients that wait for their answers".to_owned(),
        );
    }
    refusals
}

/// Runs `scenario` under `seed`, and tells `log` all of it.
pub(crate) fn run_into(log: &Log, scenario: &Scenario, seed: u64) -> Run {
    let (simulated, panic) = caught(|| drive(scenario, seed, log));
    Run { log: log.take(), simulated, panic }
}

/// The world of one run.
struct Stage<'a> {
    sim: Sim<'a>,
    harm: Harm<'a>,
    /// Whether the proxy has come to its end, and whether the log says so.
    ended: Rc<Cell<bool>>,
    drained: bool,
    log: Log,
}

/// The network of the simulated world. turmoil's verbs surprise: `hold` is what a black hole is, and
/// `partition` refuses connections at once.
impl Net for Sim<'_> {
    fn change(&mut self, origin: &str, was: Way, is: Way) {
        match was {
            Way::Sound => {}
            Way::Mute => self.repair_oneway(origin, PROXY),
            Way::Held if is > Way::Held => {
                // What is held is lost, and does not get through in between.
                self.partition(PROXY, origin);
                self.repair(PROXY, origin);
            }
            Way::Held => self.release(PROXY, origin),
            Way::Cut => self.repair(PROXY, origin),
            Way::Off => self.bounce(origin),
        }
        match is {
            Way::Sound => {}
            Way::Mute => self.partition_oneway(origin, PROXY),
            Way::Held => self.hold(PROXY, origin),
            Way::Cut => self.partition(PROXY, origin),
            Way::Off => self.crash(origin),
        }
    }
}

fn drive(scenario: &Scenario, seed: u64, log: &Log) -> Result<Duration, String> {
    let mut builder = Builder::new();
    builder
        .rng_seed(seed)
        .epoch(std::time::UNIX_EPOCH + EPOCH)
        .tick_duration(TICK)
        .simulation_duration(scenario.duration + 2 * SETTLE_MAX)
        .min_message_latency(scenario.network.min)
        .max_message_latency(scenario.network.max)
        .tcp_capacity(scenario.socket);
    let mut sim = builder.build();
    // turmoil draws the part of the span beyond its minimum from an exponential distribution, cuts it off
    // at the maximum and rounds it down. With this curve a span of one tick is its minimum as often as
    // its maximum; with turmoil's own, nearly every segment would take the minimum.
    sim.set_message_latency_curve(std::f64::consts::LN_2);
    let world: Arc<dyn Platform> = Arc::new(World::bare(seed));
    let machines = machines(scenario);
    let origin = |((place, script), machine): ((usize, &scenario::Origin), &Machine)| {
        Origin::new(place, script.clone(), machine.port, Arc::clone(&world), log.clone())
    };
    let origins: Vec<_> = scenario.origins.iter().enumerate().zip(&machines).map(origin).collect();
    for (place, Machine { name, .. }) in machines.iter().enumerate() {
        if machines[..place].iter().all(|before| before.name != *name) {
            let here = machines.iter().zip(&origins).filter(|(machine, _)| machine.name == *name);
            let here: Vec<_> = here.map(|(_, origin)| Rc::clone(origin)).collect();
            sim.host(name.as_str(), move || serve(here.clone()));
        }
    }
    let (trigger, shutdown) = shutdown::pair();
    let trigger = Rc::new(trigger);
    let ended = Rc::new(Cell::new(false));
    let reins = Reins { trigger: Rc::clone(&trigger), shutdown, ended: Rc::clone(&ended) };
    host_proxy(&mut sim, scenario, seed, log, reins);
    let listener = scenario.config.listeners[0].bind.ip();
    let port = listener.expect("a scenario has no Unix sockets").port();
    let clients = Clients::new(scenario, Arc::clone(&world), (PROXY, port), log.clone());
    let all = Rc::clone(&clients);
    sim.host(CLIENTS, move || Rc::clone(&all).run());
    let tunnels = scenario
        .tunnels
        .map(|said| Tunnels::new(said, scenario, Arc::clone(&world), (PROXY, port), log.clone()));
    if let Some(tunnels) = tunnels.clone() {
        sim.host(TUNNELS, move || Rc::clone(&tunnels).run());
    }
    if !scenario.attacks.is_empty() {
        let attackers = Attackers::new(scenario, world, (PROXY, port), log.clone());
        sim.host(ATTACKERS, move || Rc::clone(&attackers).run());
    }

    let harm = Harm::new(scenario, origins, log);
    let mut stage = Stage { sim, harm, ended, drained: false, log: log.clone() };
    stage.until(|stage| stage.sim.elapsed() >= scenario.duration)?;
    let settled_by = scenario.duration + SETTLE_MAX;
    let held = || held(log);
    stage.until(|stage| {
        let open = clients.open() > 0 || tunnels.as_ref().is_some_and(|it| it.open() > 0);
        let quiet = !open && held().iter().all(|held| *held == 0);
        quiet || stage.sim.elapsed() >= settled_by
    })?;
    log.write_at(stage.sim.elapsed(), What::Quiet(held()));
    trigger.drain();
    let drain = scenario.config.server.drain_timeout + Duration::from_secs(1);
    let drained_by = stage.sim.elapsed() + drain;
    stage.until(|stage| stage.drained || stage.sim.elapsed() >= drained_by)?;
    Ok(stage.sim.elapsed())
}

/// Serves all origins of a machine.
async fn serve(origins: Vec<Rc<Origin>>) -> turmoil::Result {
    if let [origin] = &*origins {
        return Rc::clone(origin).serve().await;
    }
    let mut serving = JoinSet::new();
    for origin in origins {
        serving.spawn_local(origin.serve());
    }
    while let Some(ended) = serving.join_next().await {
        ended??;
    }
    Ok(())
}

/// What a proxy is led by, and what it says of itself.
#[derive(Clone)]
struct Reins {
    trigger: Rc<Trigger>,
    shutdown: Shutdown,
    /// Whether it has come to its end.
    ended: Rc<Cell<bool>>,
}

fn host_proxy<'a>(sim: &mut Sim<'a>, scenario: &'a Scenario, seed: u64, log: &Log, reins: Reins) {
    let (log, world) = (log.clone(), Arc::new(World::of(scenario, seed)));
    sim.host(PROXY, move || {
        let listeners = Listeners { tap: Some(Arc::new(log.clone())), ..Listeners::default() };
        let (log, Reins { trigger, shutdown, ended }) = (log.clone(), reins.clone());
        let world = Arc::clone(&world);
        let (config, actions) = (scenario.config.clone(), scenario.actions.clone());
        let refused = scenario.configs().try_for_each(refuse_tls);
        async move {
            refused?;
            let made = Gateway::new(world, config, listeners)?;
            log.knows(made.snapshot());
            let listening = Listening::open(Arc::clone(&made), WorkerOptions::default()).await?;
            let life = Life { gateway: made, trigger, log };
            tokio::task::spawn_local(life.lead(actions));
            listening.serve(shutdown).await;
            ended.set(true);
            // The machine stays: whoever connects is refused, and does not wait for an answer.
            std::future::pending().await
        }
    });
}

/// Keys and nonces come from the system: no run with TLS could be repeated.
pub(crate) fn refuse_tls(config: &Config) -> Result<(), String> {
    let listeners = config.listeners.iter().any(|listener| listener.tls.is_some());
    let origins = config.services.iter().flat_map(|service| &service.origins).any(|it| it.tls);
    match listeners || origins {
        true => {
            Err("a simulated world has no TLS: leave [listener.tls] out and say http://".into())
        }
        false => Ok(()),
    }
}

/// Leases held on each backend of each service; after a reload, of what was served before as well.
pub(crate) fn held(log: &Log) -> Vec<u32> {
    let snapshots = log.snapshots();
    let services = snapshots.iter().flat_map(|snapshot| snapshot.services());
    services.flat_map(|service| service.backends()).map(|backend| backend.in_flight()).collect()
}

impl Stage<'_> {
    /// Lets time pass until `done`, and faults begin and end when they should.
    fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) -> Result<(), String> {
        while !done(self) {
            let now = self.sim.elapsed();
            self.harm.follow(now, &mut self.sim);
            self.sim.step().map_err(|error| format!("the simulation failed: {error}"))?;
            if !self.drained && self.ended.get() {
                self.drained = true;
                self.log.write_at(self.sim.elapsed(), What::Drained);
            }
        }
        Ok(())
    }
}
