//! Faults: when each begins and ends, and who does its harm, an origin or the network before it.

use std::rc::Rc;
use std::time::Duration;

use crate::log::{Log, What};
use crate::origin::Origin;
use crate::scenario::{Fault, FaultKind, Scenario};

/// What the network between the proxy and a host can do wrong.
pub(crate) trait Net {
    /// Nothing arrives in either direction, and all of it does when that ends.
    fn hold(&mut self, host: &str, begins: bool);
    /// What is sent is lost, and connecting is refused.
    fn cut(&mut self, host: &str, begins: bool);
    /// What the host sends is lost.
    fn mute(&mut self, host: &str, begins: bool);
    /// The host loses its power and all that it knew of connections, or has it again. Says whether that
    /// ends its process as well; else somebody else has to.
    fn power(&mut self, host: &str, is_on: bool) -> bool;
}

/// The faults of a run.
pub(crate) struct Harm<'s> {
    scenario: &'s Scenario,
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

impl<'s> Harm<'s> {
    pub(crate) fn new(scenario: &'s Scenario, origins: Vec<Rc<Origin>>, log: &Log) -> Self {
        let faults = vec![Course::default(); scenario.faults.len()];
        Self { scenario, origins, faults, log: log.clone() }
    }

    /// Lets faults begin and end that should by `now`.
    pub(crate) fn follow(&mut self, now: Duration, net: &mut dyn Net) {
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
                self.change(fault, !on, net);
            }
        }
    }

    /// Makes a fault begin or end to do its harm.
    fn change(&self, fault: &Fault, begins: bool, net: &mut dyn Net) {
        let origin = &self.origins[fault.origin];
        let host = self.scenario.origins[fault.origin].host.as_str();
        match (fault.kind, begins) {
            (FaultKind::Blackhole, begins) => net.hold(host, begins),
            (FaultKind::Partition, begins) => net.cut(host, begins),
            (FaultKind::HalfOpen, begins) => net.mute(host, begins),
            (FaultKind::Crash, begins) => {
                if !net.power(host, !begins) {
                    origin.refuse(begins);
                }
            }
            (FaultKind::Refuse | FaultKind::Flap { .. }, begins) => origin.refuse(begins),
            (FaultKind::Status { code, rate, whom }, begins) => {
                origin.answer((code, rate, whom), begins);
            }
            (FaultKind::Brownout { speed }, true) => origin.work_at(speed),
            (FaultKind::Brownout { .. }, false) => origin.work_at(1.0),
            (FaultKind::Shrink { concurrency }, begins) => origin.shrink(concurrency, begins),
            (FaultKind::Slow { by }, true) => origin.slow_down(by),
            (FaultKind::Slow { .. }, false) => origin.slow_down(Duration::ZERO),
            (FaultKind::Truncate, begins) => origin.truncate(begins),
            (FaultKind::Trickle { over }, true) => origin.trickle(over),
            (FaultKind::Trickle { .. }, false) => origin.trickle(Duration::ZERO),
            (FaultKind::Reset { rate }, true) => origin.reset(rate),
            (FaultKind::Reset { .. }, false) => origin.reset(0.0),
            (FaultKind::Goaway { requests }, begins) => {
                origin.say_goodbye(begins.then_some(requests));
            }
            (FaultKind::RefusedStream { rate }, true) => origin.refuse_streams(rate),
            (FaultKind::RefusedStream { .. }, false) => origin.refuse_streams(0.0),
            (FaultKind::CloseIdle { after }, begins) => origin.close_idle(begins.then_some(after)),
        }
    }
}
