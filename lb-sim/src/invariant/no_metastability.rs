//! Overload does not outlive its cause: as many requests get good answers after it as before.
//!
//! A metastable failure is one that keeps itself going, by retries for instance, when what began it is long
//! over (Bronson et al., HotOS 2021). Whoever asks for more than his servers can do has no promise to be
//! held to, so only worlds are judged where [everything that may be asked again](is_stable) could be served.

use std::time::Duration;

use super::{Invariant, Judge, Kind};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::sanity::{has_time, is_stable};
use crate::scenario::{ActionKind, Scenario};

/// The share of the goodput from before that must be there after.
const GOODPUT: f64 = 0.99;
/// Requests below which a share says little: with 100 of them one is a hundredth.
const REQUESTS_MIN: u32 = 200;

pub(super) struct NoMetastability {
    /// Before the first trouble, and from some time after the last on; `None` if nobody is held to it.
    calm: Option<(Duration, Duration)>,
    before: Share,
    after: Share,
}

#[derive(Default)]
struct Share {
    good: u32,
    all: u32,
}

impl NoMetastability {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let drains = scenario.actions.iter().any(|it| it.kind == ActionKind::Drain);
        let is_sane = has_time(scenario) && is_stable(scenario) && !drains;
        let surges = scenario.workload.surges.iter().filter(|surge| surge.times > 1.0);
        let begins = surges.clone().map(|it| it.at).chain(scenario.faults.iter().map(|it| it.at));
        let ends =
            surges.map(|it| it.at + it.lasts).chain(scenario.faults.iter().map(|it| it.end()));
        let calm = begins.min().zip(ends.max());
        let calm = calm.map(|(begins, ends)| (begins, ends + scenario.recover_within));
        Self { calm: calm.filter(|_| is_sane), before: Share::default(), after: Share::default() }
    }
}

impl Share {
    fn of(&self) -> f64 {
        f64::from(self.good) / f64::from(self.all.max(1))
    }
}

impl Invariant for NoMetastability {
    fn name(&self) -> &'static str {
        "overload does not outlive its cause"
    }

    fn kind(&self) -> Kind {
        Kind::Liveness
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        if self.calm.is_some() { Topics::ENDED } else { Topics::NONE }
    }

    fn on(&mut self, entry: &Entry, _ledger: &Ledger<'_>, _judge: &mut Judge) {
        let Some((begins, recovered)) = self.calm else { return };
        let What::Ended { sent, end, took, .. } = entry.what else { return };
        // Who was asked in calm times and answered in others is neither.
        let share = if sent + took < begins {
            &mut self.before
        } else if sent >= recovered {
            &mut self.after
        } else {
            return;
        };
        share.all += 1;
        share.good += u32::from(end.is_good());
    }

    fn at_end(&mut self, _ledger: &Ledger<'_>, judge: &mut Judge) {
        if self.before.all.min(self.after.all) < REQUESTS_MIN {
            return;
        }
        let (before, after) = (self.before.of(), self.after.of());
        judge.check(after >= GOODPUT * before, || {
            format!("the share of good answers is {after:.3} where it was {before:.3} before")
        });
    }
}
