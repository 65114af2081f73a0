//! Faults: when each begins and ends, and who does its harm, an origin or the network before it.
//!
//! Faults may overlap. So nobody is told that one begins or ends, but what all that are on come to.

use std::rc::Rc;
use std::time::Duration;

use crate::log::{Log, What};
use crate::origin::Origin;
use crate::scenario::{Fault, FaultKind, Scenario, Whom};
use crate::way::Way;

/// The network between the proxy and the origins.
pub(crate) trait Net {
    /// The way to the origin of this name is no longer as it was.
    fn change(&mut self, origin: &str, was: Way, is: Way);
}

/// The faults of a run.
pub(crate) struct Harm<'s> {
    scenario: &'s Scenario,
    origins: Vec<Rc<Origin>>,
    /// By origin: how the way to it is.
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
        let faults = vec![Course::default(); scenario.faults.len()];
        Self { scenario, origins, ways, faults, log: log.clone() }
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
                self.change(fault, net);
            }
        }
    }

    /// Lets what a fault is about be as all faults come to that are on now.
    fn change(&mut self, fault: &Fault, net: &mut dyn Net) {
        let Fault { origin: place, kind, .. } = *fault;
        let is = self.on(place, Way::of).max().unwrap_or(Way::Sound);
        let was = std::mem::replace(&mut self.ways[place], is);
        if was != is {
            net.change(&self.scenario.name_of(place), was, is);
        }
        let origin = &self.origins[place];
        match kind {
            FaultKind::Blackhole | FaultKind::Partition | FaultKind::HalfOpen => {}
            FaultKind::Crash | FaultKind::Refuse | FaultKind::Flap { .. } => {
                origin.refuse(self.on(place, stops).next().is_some());
            }
            FaultKind::Status { .. } => origin.answer(self.on(place, status).collect()),
            FaultKind::Brownout { .. } => origin.work_at(self.on(place, speed).product()),
            FaultKind::Shrink { .. } => origin.shrink(self.on(place, seats).min()),
            FaultKind::Slow { .. } => origin.slow_down(self.on(place, delay).sum()),
            FaultKind::Truncate => origin.truncate(self.on(place, truncates).next().is_some()),
            FaultKind::Trickle { .. } => {
                origin.trickle(self.on(place, over).max().unwrap_or_default());
            }
            FaultKind::Reset { .. } => origin.reset(self.on(place, resets).fold(0.0, f64::max)),
            FaultKind::Goaway { .. } => origin.say_goodbye(self.on(place, goodbye).min()),
            FaultKind::RefusedStream { .. } => {
                origin.refuse_streams(self.on(place, refused).fold(0.0, f64::max));
            }
            FaultKind::CloseIdle { .. } => origin.close_idle(self.on(place, idle).min()),
        }
    }

    /// What `of` finds in the faults of an origin that are on now.
    fn on<T>(&self, place: usize, of: impl Fn(FaultKind) -> Option<T>) -> impl Iterator<Item = T> {
        let all = self.scenario.faults.iter().zip(&self.faults);
        let on = all.filter(move |(fault, course)| course.on && fault.origin == place);
        on.filter_map(move |(fault, _)| of(fault.kind))
    }
}

fn stops(kind: FaultKind) -> Option<()> {
    matches!(kind, FaultKind::Crash | FaultKind::Refuse | FaultKind::Flap { .. }).then_some(())
}

fn truncates(kind: FaultKind) -> Option<()> {
    (kind == FaultKind::Truncate).then_some(())
}

/// A function that finds what faults of one kind say.
macro_rules! said {
    ($($name:ident: $kind:pat => $what:expr, $of:ty;)*) => {$(
        fn $name(kind: FaultKind) -> Option<$of> {
            match kind {
                $kind => Some($what),
                _ => None,
            }
        }
    )*};
}

said! {
    status: FaultKind::Status { code, rate, whom } => (code, rate, whom), (u16, f64, Whom);
    speed: FaultKind::Brownout { speed } => speed, f64;
    seats: FaultKind::Shrink { concurrency } => concurrency, usize;
    delay: FaultKind::Slow { by } => by, Duration;
    over: FaultKind::Trickle { over } => over, Duration;
    resets: FaultKind::Reset { rate } => rate, f64;
    goodbye: FaultKind::Goaway { requests } => requests, u32;
    refused: FaultKind::RefusedStream { rate } => rate, f64;
    idle: FaultKind::CloseIdle { after } => after, Duration;
}
