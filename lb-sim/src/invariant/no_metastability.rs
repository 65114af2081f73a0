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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::End;
    use crate::scenario;

    /// A crowd from 5 s to 6 s, in front of a server with so many places.
    fn world(places: u32) -> Scenario {
        let text = format!(
            "# A crowd.\nschema = 1\nduration = \"30s\"\n[workload]\nrate = 100\nagain = {{ tries = 1 }}\n\
             surge = [{{ at = \"5s\", for = \"1s\", times = 10 }}]\n\
             [[origin]]\nat = \"b1:80\"\nlatency = \"10ms\"\nconcurrency = {places}\n\
             [[config.listener]]\nbind = \"0.0.0.0:80\"\n[[config.service]]\nname = \"web\"\nhosts = [\"*\"]\n\
             [[config.service.pool]]\nbackends = [{{ url = \"http://b1\" }}]\n"
        );
        let (scenario, said) = scenario::load(&lb_config::Source { name: "s.toml", text: &text });
        scenario.unwrap_or_else(|| panic!("{said:?}"))
    }

    /// 400 requests before the crowd and 400 long after it, of which so many are answered in time: how often
    /// that was looked at, and what was wrong.
    fn judged(scenario: &Scenario, good_after: u32) -> (u64, Vec<String>) {
        let mut judge = Judge { now: Duration::ZERO, checks: 0, violations: Vec::new() };
        let (mut invariant, ledger) = (NoMetastability::new(scenario), Ledger::new(scenario));
        for request in 0..800 {
            let is_good = !(400 + good_after..).contains(&request);
            let second = Duration::from_secs(if request < 400 { 1 } else { 20 });
            let sent = second + Duration::from_millis(request.into());
            let end = if is_good { End::Answered(200) } else { End::TimedOut };
            let took = Duration::from_millis(20);
            let what = What::Ended { request, end, exchange: None, sent, took };
            invariant.on(&Entry { at: sent + took, what }, &ledger, &mut judge);
        }
        invariant.at_end(&ledger, &mut judge);
        (judge.checks, judge.violations.into_iter().map(|it| it.what).collect())
    }

    #[test]
    fn goodput_that_does_not_come_back_is_told_where_servers_could_do_the_work() {
        assert_eq!(judged(&world(10), 398), (1, vec![]), "one in 200 is chance");
        let said = "the share of good answers is 0.500 where it was 1.000 before";
        assert_eq!(judged(&world(10), 200), (1, vec![said.to_owned()]));
        // A hundred a second and as many again: more than two places do in 10 ms each.
        assert_eq!(judged(&world(2), 200), (0, vec![]), "nobody is promised anything");
    }
}
