//! The net engine: turmoil runs the real proxy between scripted origins and open-loop clients.
//!
//! A run has four parts: requests arrive and faults come and go; then the clients wait for what is
//! still open; then the world is quiet, and leases are counted; then the proxy is told to drain.

use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lb_config::Config;
use lb_server::shutdown::{self, Shutdown};
use lb_server::{Gateway, Listeners, Listening, WorkerOptions};
use turmoil::{Builder, Sim};

use crate::client::Clients;
use crate::log::{Entry, Log, What};
use crate::origin::Origin;
use crate::panics;
use crate::scenario::{Fault, FaultKind, Scenario};
use crate::world::{EPOCH, World};

/// The host on which the proxy runs.
const PROXY: &str = "proxy";
/// The host from which all clients come.
const CLIENTS: &str = "clients";
/// turmoil's time goes in steps of this.
pub const TICK: Duration = Duration::from_millis(1);
/// How long after the last arrival everything must have ended: more than any default timeout.
const SETTLE_MAX: Duration = Duration::from_secs(400);

/// What a run left behind.
#[derive(Debug)]
pub struct Run {
    /// What happened.
    pub log: Vec<Entry>,
    /// How long it took in the world's time.
    pub simulated: Duration,
    /// What panicked, if anything did.
    pub panic: Option<String>,
}

/// Runs `scenario` under `seed`.
pub fn run(scenario: &Scenario, seed: u64) -> Run {
    run_into(&Log::default(), scenario, seed)
}

/// The same, and the log also says what every choice was made from.
pub fn run_explained(scenario: &Scenario, seed: u64) -> Run {
    run_into(&Log::new(true), scenario, seed)
}

fn run_into(log: &Log, scenario: &Scenario, seed: u64) -> Run {
    panics::forget();
    let ran = panic::catch_unwind(AssertUnwindSafe(|| drive(scenario, seed, log)));
    let (simulated, error) = match ran {
        Ok(Ok(simulated)) => (simulated, None),
        Ok(Err(error)) => (Duration::ZERO, Some(error)),
        Err(_) => (Duration::ZERO, Some("the simulation panicked".to_owned())),
    };
    // A panic in a task of the proxy ends that task alone, and nobody would hear of it.
    Run { log: log.take(), simulated, panic: panics::first().or(error) }
}

/// The world of one run.
struct Stage<'a> {
    sim: Sim<'a>,
    scenario: &'a Scenario,
    origins: Vec<Rc<Origin>>,
    /// By fault: what has become of it.
    faults: Vec<Course>,
    log: Log,
}

/// What has become of a fault.
#[derive(Clone, Copy, Default)]
struct Course {
    began: bool,
    ended: bool,
    /// Whether it does its harm.
    on: bool,
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
    let origins: Vec<_> = (0..)
        .zip(&scenario.origins)
        .map(|(place, script)| Origin::new(place, script.clone(), seed, log.clone()))
        .collect();
    for (origin, script) in origins.iter().zip(&scenario.origins) {
        let origin = Rc::clone(origin);
        sim.host(script.host.as_str(), move || Rc::clone(&origin).serve());
    }
    let (trigger, shutdown) = shutdown::pair();
    let gateway = Rc::new(OnceLock::new());
    host_proxy(&mut sim, scenario, seed, log, &gateway, &shutdown);
    let port = scenario.config.listeners[0].bind.port();
    let clients = Clients::new(scenario, seed, (PROXY, port), log.clone());
    let all = Rc::clone(&clients);
    sim.host(CLIENTS, move || Rc::clone(&all).run());

    let faults = vec![Course::default(); scenario.faults.len()];
    let mut stage = Stage { sim, scenario, origins, faults, log: log.clone() };
    stage.until(|stage| stage.sim.elapsed() >= scenario.duration)?;
    let settled_by = scenario.duration + SETTLE_MAX;
    let held = || gateway.get().map(|it: &Arc<Gateway>| held(it)).unwrap_or_default();
    stage.until(|stage| {
        let quiet = clients.open() == 0 && held().iter().all(|held| *held == 0);
        quiet || stage.sim.elapsed() >= settled_by
    })?;
    log.write_at(stage.sim.elapsed(), What::Quiet(held()));
    trigger.drain();
    let drain = scenario.config.server.drain_timeout + Duration::from_secs(1);
    let drained_by = stage.sim.elapsed() + drain;
    stage.until(|stage| !stage.sim.is_host_running(PROXY) || stage.sim.elapsed() >= drained_by)?;
    if !stage.sim.is_host_running(PROXY) {
        log.write_at(stage.sim.elapsed(), What::Drained);
    }
    Ok(stage.sim.elapsed())
}

fn host_proxy<'a>(
    sim: &mut Sim<'a>,
    scenario: &'a Scenario,
    seed: u64,
    log: &Log,
    gateway: &Rc<OnceLock<Arc<Gateway>>>,
    shutdown: &Shutdown,
) {
    let (log, gateway, shutdown) = (log.clone(), Rc::clone(gateway), shutdown.clone());
    sim.host(PROXY, move || {
        let listeners = Listeners { tap: Some(Arc::new(log.clone())), ..Listeners::default() };
        let (gateway, shutdown) = (Rc::clone(&gateway), shutdown.clone());
        let config = scenario.config.clone();
        async move {
            refuse_tls(&config)?;
            let made = Gateway::new(Arc::new(World { seed }), config, listeners)?;
            let listening = Listening::open(Arc::clone(&made), WorkerOptions::default()).await?;
            gateway.set(made).map_err(|_| "the proxy was started twice")?;
            listening.serve(shutdown).await;
            Ok(())
        }
    });
}

/// Keys and nonces come from the system: no run with TLS could be repeated.
fn refuse_tls(config: &Config) -> Result<(), String> {
    let listeners = config.listeners.iter().any(|listener| listener.tls.is_some());
    let origins = config.services.iter().flat_map(|service| &service.origins).any(|it| it.tls);
    match listeners || origins {
        true => {
            Err("a simulated world has no TLS: leave [listener.tls] out and say http://".into())
        }
        false => Ok(()),
    }
}

/// Leases held on each backend of each service.
fn held(gateway: &Arc<Gateway>) -> Vec<u32> {
    let snapshot = gateway.snapshot();
    let services = snapshot.services();
    services.flat_map(|service| service.backends()).map(|backend| backend.in_flight()).collect()
}

impl Stage<'_> {
    /// Lets time pass until `done`, and faults begin and end when they should.
    fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) -> Result<(), String> {
        while !done(self) {
            self.change_faults();
            self.sim.step().map_err(|error| format!("the simulation failed: {error}"))?;
        }
        Ok(())
    }

    fn change_faults(&mut self) {
        let now = self.sim.elapsed();
        for place in 0..self.faults.len() {
            let fault = &self.scenario.faults[place];
            let Course { began, ended, on } = self.faults[place];
            if !began && now >= fault.at {
                self.faults[place].began = true;
                self.log.write_at(now, What::FaultBegan(place));
            } else if began && !ended && now >= fault.end() {
                self.faults[place].ended = true;
                self.log.write_at(now, What::FaultEnded(place));
            }
            if fault.is_on(now) != on {
                self.faults[place].on = !on;
                self.change(fault, !on);
            }
        }
    }

    /// Makes a fault begin or end to do its harm. turmoil's verbs surprise: `hold` is what a black
    /// hole is, and `partition` refuses connections at once.
    fn change(&mut self, fault: &Fault, begins: bool) {
        let origin = &self.origins[fault.origin];
        let host = self.scenario.origins[fault.origin].host.as_str();
        match (fault.kind, begins) {
            (FaultKind::Blackhole, true) => self.sim.hold(PROXY, host),
            (FaultKind::Blackhole, false) => self.sim.release(PROXY, host),
            (FaultKind::Partition, true) => self.sim.partition(PROXY, host),
            (FaultKind::Partition, false) => self.sim.repair(PROXY, host),
            (FaultKind::HalfOpen, true) => self.sim.partition_oneway(host, PROXY),
            (FaultKind::HalfOpen, false) => self.sim.repair_oneway(host, PROXY),
            (FaultKind::Crash, true) => self.sim.crash(host),
            (FaultKind::Crash, false) => self.sim.bounce(host),
            (FaultKind::Refuse | FaultKind::Flap { .. }, begins) => origin.refuse(begins),
            (FaultKind::Status { code, rate }, begins) => origin.answer(code, rate, begins),
            (FaultKind::Slow { by }, true) => origin.slow_down(by),
            (FaultKind::Slow { .. }, false) => origin.slow_down(Duration::ZERO),
            (FaultKind::Truncate, begins) => origin.truncate(begins),
            (FaultKind::Trickle { over }, true) => origin.trickle(over),
            (FaultKind::Trickle { .. }, false) => origin.trickle(Duration::ZERO),
            (FaultKind::Reset { rate }, true) => origin.reset(rate),
            (FaultKind::Reset { .. }, false) => origin.reset(0.0),
            (FaultKind::CloseIdle { after }, begins) => origin.close_idle(begins.then_some(after)),
        }
    }
}
