//! What was learned about a backend, as it can outlive a process.
//!
//! Inside, state stands in words with points in time of one process's clock. Another process has
//! another clock, so here spans take their place: an open breaker has so long to go, an ejection ends
//! in so long. Whoever recalls them says how long nobody looked, and that much of each has passed.
//!
//! ```
//! use core::time::Duration;
//! use lb_core::config::{BackendConfig, PoolConfig, ServiceConfig};
//! use lb_core::{BreakerState, Learned, LearnedBreaker, Service, Time};
//!
//! let backends = vec![BackendConfig::new("http://a"), BackendConfig::new("http://b")];
//! let config = ServiceConfig::new("api", vec![PoolConfig::new("all", backends)]);
//! let service = Service::new(&config, 0, 7)?;
//!
//! let open = LearnedBreaker::Open { level: 1, left: Duration::from_secs(8) };
//! let learned = Learned { breaker: open, ..Learned::default() };
//! let away = Duration::from_secs(5);
//! service.recall(|name| (name == "http://a").then_some((learned, away)), Time::ZERO);
//!
//! let breaker = service.backend(0).breaker();
//! assert_eq!(breaker.state(), BreakerState::Open);
//! assert_eq!(breaker.open_until(), Some(Time::from_millis(3_000)));
//! assert_eq!(service.backend(0).learned(Time::ZERO).breaker.left(), Duration::from_secs(3));
//! # Ok::<(), lb_core::Meaningless>(())
//! ```
//!
//! Not here: what runs (leases, trials; a half-open breaker comes back open with nothing to go, so
//! that the next request is a trial), what belongs to a service as a whole (budget, limits), and what
//! an operator says (draining).

use core::time::Duration;

use crate::backend::{Backend, Member, Rules};
use crate::breaker::Breaker;
use crate::config::LatencyConfig;
use crate::latency::Latency;
use crate::pool::Pool;
use crate::score::Record;
use crate::service::Service;
use crate::standing::Standing;
use crate::time::Time;
use crate::warmth::Warmth;

/// What was learned about one backend, as of some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Its breaker.
    pub breaker: LearnedBreaker,
    /// Whether its checks say that it is ill.
    pub unhealthy: bool,
    /// Ejections without calm in between.
    pub ejections: u8,
    /// How long it is still ejected as an outlier; zero is not at all.
    pub ejected_for: Duration,
    /// How long it takes to answer requests, if that was measured.
    pub latency: Option<Measured>,
    /// How long it takes to answer checks, if that was measured.
    pub check: Option<Measured>,
    /// How it has done of late.
    pub record: LearnedRecord,
}

/// A breaker with spans in place of points in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LearnedBreaker {
    /// Everything passes.
    Closed {
        /// Failures in a row.
        failures: u16,
        /// Openings without calm in between.
        level: u8,
        /// How long it has to stay closed until those are forgotten.
        calm_in: Duration,
    },
    /// Nothing passes.
    Open {
        /// Openings without calm in between.
        level: u8,
        /// Until trials may begin.
        left: Duration,
    },
}

/// How long something takes, and how long ago that was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// How long it takes.
    pub took: Duration,
    /// How long ago that was.
    pub age: Duration,
}

/// Requests of late, and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LearnedRecord {
    /// How many.
    pub requests: u16,
    /// How many of them failed.
    pub errors: u16,
    /// How many of them told of a backend out of reach.
    pub critical: u8,
    /// How long answers took in the mean.
    pub mean: Duration,
}

impl LearnedBreaker {
    /// Until trials may begin.
    pub const fn left(self) -> Duration {
        match self {
            Self::Closed { .. } => Duration::ZERO,
            Self::Open { left, .. } => left,
        }
    }
}

impl Default for LearnedBreaker {
    fn default() -> Self {
        Self::Closed { failures: 0, level: 0, calm_in: Duration::ZERO }
    }
}

impl Member<'_> {
    /// What was learned about it, as of `now`.
    pub fn learned(self, now: Time) -> Learned {
        let Backend { breaker, latency, rtt, record, .. } = &**self.backend;
        let standing = self.standing();
        Learned {
            breaker: breaker.get().learned(now),
            unhealthy: standing.unhealthy,
            ejections: standing.ejections,
            ejected_for: standing.ejected_until() - now,
            latency: latency.get().measured(now),
            check: rtt.get().measured(now),
            record: record.get().learned(),
        }
    }
}

impl Service {
    /// Recalls what an earlier process learned: `remembered` says of a backend what that was, and how
    /// long ago. What the service has no rule for is left out, as it could never be unlearned. Meant for
    /// backends that nothing was asked of yet. Returns of how many something was recalled.
    pub fn recall(
        &self,
        remembered: impl Fn(&str) -> Option<(Learned, Duration)>,
        now: Time,
    ) -> usize {
        let mut count = 0;
        for member in self.backends() {
            let Some((learned, away)) = remembered(member.name()) else { continue };
            member.backend.recall(&learned, away, now, member.rules);
            let said = |standing: Standing| {
                let unhealthy = learned.unhealthy && self.probe().is_some();
                Some(Standing { unhealthy, ..standing })
            };
            member.backend.standing.step(said);
            count += 1;
        }
        if count > 0 {
            self.pools().iter().for_each(Pool::look_again);
            self.rank_all(now);
        }
        count
    }
}

impl Backend {
    fn recall(&self, learned: &Learned, away: Duration, now: Time, rules: &Rules) {
        if let Some(config) = &rules.breaker {
            self.breaker.step(|_| Some(Breaker::recalled(learned.breaker, away, now, config)));
        }
        if let Some(most) = rules.ejected_max {
            let left = learned.ejected_for.saturating_sub(away).min(most);
            let until = if left.is_zero() { Time::ZERO } else { now + left };
            let ejections = learned.ejections;
            self.standing.step(|it| Some(Standing { ejections, ..it }.ejected(until)));
        }
        if let (Some(measured), Some(config)) = (learned.latency, &rules.latency) {
            self.latency.step(|_| Some(Latency::recalled(measured, away, now, config)));
        }
        if let (Some(measured), true) = (learned.check, rules.ranks) {
            // It does not fade: checks renew it.
            let kept = LatencyConfig { half_life: Duration::MAX, ..LatencyConfig::default() };
            self.rtt.step(|_| Some(Latency::recalled(measured, Duration::ZERO, now, &kept)));
        }
        if rules.records {
            self.record.step(|_| Some(Record::recalled(learned.record)));
        }
        // It was there before: it need not come to its share slowly.
        self.warmth.step(|_| Some(Warmth::default()));
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;
    use crate::breaker::BreakerState;
    use crate::config::{
        BackendConfig, BreakerConfig, Policy, PoolConfig, ProbeConfig, ServiceConfig,
    };
    use crate::score::Shown;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn at(secs: u64) -> Time {
        Time::from_millis(secs * 1_000)
    }

    fn service(policy: Policy) -> Service {
        let backends = vec![BackendConfig::new("http://a"), BackendConfig::new("http://b")];
        let pools = vec![PoolConfig::new("all", backends)];
        let probe = Some(ProbeConfig::default());
        let outliers = Some(crate::config::OutlierConfig::default());
        let config =
            ServiceConfig { policy, probe, outliers, ..ServiceConfig::new("tested", pools) };
        Service::new(&config, 0, 7).expect("sound")
    }

    /// What is known of the first backend after another process recalled `learned`.
    fn recalled(policy: Policy, learned: Learned, away: Duration) -> Learned {
        let service = service(policy);
        let known = |name: &str| (name == "http://a").then_some((learned, away));
        assert_eq!(service.recall(known, at(1)), 1);
        assert_eq!(service.backend(1).learned(at(1)), Learned::default(), "the other is new");
        service.backend(0).learned(at(1))
    }

    #[test]
    fn what_passes_by_itself_has_passed_by_as_much_as_nobody_looked() {
        let before = Learned {
            breaker: LearnedBreaker::Open { level: 2, left: secs(20) },
            unhealthy: true,
            ejections: 3,
            ejected_for: secs(9),
            ..Learned::default()
        };
        let after = |away| recalled(Policy::RoundRobin, before, away);
        assert_eq!(after(Duration::ZERO), before);
        let later = after(secs(5));
        assert_eq!(later.breaker, LearnedBreaker::Open { level: 2, left: secs(15) });
        assert_eq!((later.ejected_for, later.ejections, later.unhealthy), (secs(4), 3, true));
        let long = after(secs(60));
        assert_eq!(long.breaker.left(), Duration::ZERO, "a trial is due");
        assert!(matches!(long.breaker, LearnedBreaker::Open { .. }), "{long:?}");
        assert_eq!(long.ejected_for, Duration::ZERO);
    }

    #[test]
    fn a_breaker_goes_on_as_it_would_have() {
        let config = BreakerConfig { consecutive_failures: 1, ..BreakerConfig::default() };
        let struck = |breaker: Breaker, now| {
            let admitted = breaker.admit(now, &config).expect("it is closed or due");
            let failed = crate::breaker::Verdict::Failure;
            admitted.judge(admitted.permit(), failed, now, &config).expect("it counts")
        };
        // Opened twice: 10 s, then 20 s.
        let second = struck(struck(Breaker::new(), at(0)), at(10));
        assert_eq!(second.open_until(), Some(at(30)));
        let known = second.learned(at(12));
        // Another process, whose clock stands at 2 s, five seconds later.
        let again = Breaker::recalled(known, secs(5), at(2), &config);
        assert_eq!(again.open_until(), Some(at(15)));
        assert_eq!(struck(again, at(15)).open_until(), Some(at(55)), "and the third takes 40 s");
        // Half-open: the trials died with the process, and the next request is one.
        let trying = second.admit(at(30), &config).expect("it is due");
        let again = Breaker::recalled(trying.learned(at(30)), secs(1), at(2), &config);
        assert_eq!(again.admit(at(2), &config).map(Breaker::state), Ok(BreakerState::HalfOpen));
    }

    #[test]
    fn a_latency_fades_while_nobody_looks_and_a_ranking_stands() {
        let slow = Some(Measured { took: Duration::from_millis(800), age: Duration::ZERO });
        let before = Learned { latency: slow, check: slow, ..Learned::default() };
        let faded = recalled(Policy::PeakEwma, before, secs(10));
        assert_eq!(faded.latency.map(|it| it.took), Some(Duration::from_millis(400)));
        assert_eq!(faded.check, None, "nobody ranks by checks there");

        let service = service(Policy::Fastest);
        let took = |name: &str| if name == "http://a" { 90 } else { 5 };
        let check = |name: &str| Measured { took: Duration::from_millis(took(name)), age: secs(1) };
        let known = |name: &str| {
            Some((Learned { check: Some(check(name)), ..Learned::default() }, secs(10)))
        };
        assert_eq!(service.recall(known, at(0)), 2);
        let chosen: Vec<_> = (0..10)
            .map(|id| {
                let ask = crate::Ask::bare(crate::ExchangeId(id), crate::Repeat::Idempotent);
                let step = crate::Exchange::start(&service, &crate::Unobserved, ask, at(0));
                let crate::Step::Attempt(attempt) = step else { panic!("an attempt") };
                attempt.backend().name() == "http://b"
            })
            .collect();
        assert_eq!(chosen, [true; 10], "the ranking was remembered");
    }

    #[test]
    fn a_record_is_what_it_was_and_nonsense_is_bounded() {
        let record = (0..50).fold(crate::score::Record::default(), |it, nth| {
            let shown = if nth < 5 { Shown::Critical } else { Shown::Good };
            it.after(shown, Duration::from_millis(30))
        });
        let before = Learned { record: record.learned(), ..Learned::default() };
        assert_eq!(recalled(Policy::Performance, before, secs(1)).record, before.record);
        let nonsense = Learned {
            breaker: LearnedBreaker::Closed {
                failures: u16::MAX,
                level: u8::MAX,
                calm_in: Duration::MAX,
            },
            ejections: u8::MAX,
            ejected_for: Duration::MAX,
            latency: Some(Measured { took: Duration::MAX, age: Duration::MAX }),
            record: LearnedRecord {
                requests: u16::MAX,
                errors: u16::MAX,
                critical: u8::MAX,
                mean: Duration::MAX,
            },
            ..Learned::default()
        };
        let bounded = recalled(Policy::Performance, nonsense, Duration::ZERO);
        let LearnedBreaker::Closed { failures, .. } = bounded.breaker else { panic!("closed") };
        assert!(failures < BreakerConfig::default().consecutive_failures, "one more opens it");
        assert!(bounded.ejected_for <= crate::config::OutlierConfig::default().eject_for_max);
        assert!(bounded.record.errors <= bounded.record.requests);
        let open = LearnedBreaker::Open { level: 99, left: Duration::MAX };
        let open = recalled(
            Policy::Performance,
            Learned { breaker: open, ..Learned::default() },
            Duration::ZERO,
        );
        assert!(open.breaker.left() <= BreakerConfig::default().open_for_max);
    }
}
