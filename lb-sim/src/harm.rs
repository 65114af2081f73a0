//! Faults: when each begins and ends, and who does its harm, an origin or the network before it.
//!
//! Faults may overlap. So nobody is told that one begins or ends, but what all that are on come to (`weather`).

use std::rc::Rc;
use std::time::Duration;

use lb_core::Time;

use crate::log::{Log, What};
use crate::origin::Origin;
use crate::scenario::{FaultKind, Scenario};
use crate::way::Way;
use crate::weather::{Weather, since_start};

/// The network between the proxy and the origins.
pub(crate) trait Net {
    /// The way to the origin of this name is no longer as it was.
    fn change(&mut self, origin: &str, was: Way, is: Way);
}

/// The faults of a run.
pub(crate) struct Harm<'s> {
    scenario: &'s Scenario,
    origins: Vec<Rc<Origin>>,
    /// By origin: what is wrong with it when, and how the way to it was left.
    weathers: Vec<Weather<'s>>,
    ways: Vec<Way>,
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
        let ways = vec![Way::Sound; origins.len()];
        let weathers = (0..origins.len()).map(|place| Weather::of(scenario, place)).collect();
        let faults = vec![Course::default(); scenario.faults.len()];
        Self { scenario, origins, weathers, ways, faults, log: log.clone() }
    }

    /// Lets faults begin and end that should by `now`.
    pub(crate) fn follow(&mut self, now: Duration, net: &mut dyn Net) {
        let moment = Time::ZERO + now;
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
            if fault.is_on(since_start(moment)) != on {
                self.faults[place].on = !on;
                self.change(fault.origin, fault.kind, moment, net);
            }
        }
    }

    /// Lets what faults of a kind are about be as all that are on now come to.
    fn change(&mut self, place: usize, kind: FaultKind, now: Time, net: &mut dyn Net) {
        let (origin, weather) = (&self.origins[place], &self.weathers[place]);
        let is = weather.way(now);
        let was = std::mem::replace(&mut self.ways[place], is);
        if was != is {
            net.change(&self.scenario.name_of(place), was, is);
        }
        match kind {
            FaultKind::Blackhole | FaultKind::Partition | FaultKind::HalfOpen => {}
            FaultKind::Crash | FaultKind::Refuse | FaultKind::Flap { .. } => {
                origin.refuse(is == Way::Off || weather.refuses(now));
            }
            FaultKind::Status { .. } => origin.answer(weather.statuses(now).collect()),
            FaultKind::Brownout { .. } => origin.work_at(weather.speed(now)),
            FaultKind::Shrink { .. } => origin.shrink(weather.places(now)),
            FaultKind::Slow { .. } => origin.slow_down(weather.delay(now)),
            FaultKind::Truncate => origin.truncate(weather.truncates(now)),
            FaultKind::Trickle { .. } => origin.trickle(weather.body(now)),
            FaultKind::Reset { .. } => origin.reset(weather.resets(now)),
            FaultKind::Goaway { .. } => origin.say_goodbye(weather.goodbye(now)),
            FaultKind::RefusedStream { .. } => {
                origin.refuse_streams(weather.refuses_streams(now));
            }
            FaultKind::CloseIdle { .. } => origin.close_idle(weather.closes_idle(now)),
        }
    }
}
