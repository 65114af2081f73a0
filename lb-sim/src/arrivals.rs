//! When requests arrive, and who sends them.

use std::time::Duration;

use crate::dice::{Chance, Dice};
use crate::scenario::{Arrivals, Scenario, Surge, Workload};

/// When a request arrives, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Since the world began.
    pub(crate) at: Duration,
    /// Whether it is a POST.
    pub(crate) post: bool,
    /// Who sends it, if the workload has users.
    pub(crate) user: Option<u32>,
    /// Whether it reads nothing of the answer's body for a while.
    pub(crate) reads_late: bool,
    /// How often its client has asked in vain before.
    pub(crate) tries: u8,
}

/// When the first request may arrive: everybody listens by then.
pub(crate) const START: Duration = Duration::from_millis(100);

/// The arrivals of a run, one after the other.
pub(crate) struct Arriving<'s> {
    workload: &'s Workload,
    ends: Duration,
    mean: Duration,
    at: Duration,
    gaps: Dice,
    methods: Dice,
    users: Dice,
    readers: Dice,
}

impl<'s> Arriving<'s> {
    pub(crate) fn new(scenario: &'s Scenario, seed: u64) -> Self {
        let workload = &scenario.workload;
        let dice = |user| Dice::new(seed, user, 0);
        Self {
            workload,
            ends: scenario.duration,
            mean: Duration::from_secs_f64(1.0 / workload.rate),
            at: START,
            gaps: dice("gaps"),
            methods: dice("methods"),
            users: dice("users"),
            readers: dice("readers"),
        }
    }
}

impl Iterator for Arriving<'_> {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let workload = self.workload;
        let is_on = |surge: &&Surge| (surge.at..surge.at + surge.lasts).contains(&self.at);
        let times: f64 = workload.surges.iter().filter(is_on).map(|surge| surge.times).product();
        let mean = self.mean.div_f64(times);
        self.at += match workload.arrivals {
            Arrivals::Poisson => self.gaps.gap(mean),
            Arrivals::Even => mean,
        };
        if self.at >= self.ends {
            return None;
        }
        let post = self.methods.unit() < workload.post;
        let heavy = workload.heavy > 0.0 && self.users.unit() < workload.heavy;
        let any = |users: &mut Dice| if heavy { 0 } else { users.below(workload.users) };
        let user = (workload.users > 0).then(|| any(&mut self.users));
        let reads_late = self.readers.unit() < workload.slow_readers;
        Some(Arrival { at: self.at, post, user, reads_late, tries: 0 })
    }
}
