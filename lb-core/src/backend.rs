//! One backend: who it is and what was learned about it.
//!
//! A backend is known by its name within its service. It outlives configurations: one that is
//! reloaded, reweighted or moved to another pool keeps its leases, its breaker and its standing, and so
//! does one that was missing for a while (`gone.rs`).

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;

use crate::breaker::{Breaker, BreakerState};
use crate::caps::Caps;
use crate::config::{
    BreakerConfig, LatencyConfig, Policy, ServiceConfig, SlowStartConfig, StatusSet, SteeringPolicy,
};
use crate::event::{BackendId, Event, Observe};
use crate::latency::Latency;
use crate::limit::Limits;
use crate::outlier::Tally;
use crate::probe::Streak;
use crate::score::Record;
use crate::silence::Silence;
use crate::standing::Standing;
use crate::time::Time;
use crate::warmth::{CERTAIN, Warmth};
use crate::window::Window;
use crate::word::Shared;
use crate::word::atomic::{AtomicU32, Ordering};

/// What was learned about one upstream server.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) in_flight: AtomicU32,
    pub(crate) breaker: Shared<Breaker>,
    pub(crate) standing: Shared<Standing>,
    pub(crate) latency: Shared<Latency>,
    /// How long it takes to answer checks.
    pub(crate) rtt: Shared<Latency>,
    pub(crate) record: Shared<Record>,
    pub(crate) silence: Shared<Silence>,
    pub(crate) streak: Shared<Streak>,
    pub(crate) window: Shared<Window>,
    pub(crate) tally: Shared<Tally>,
    pub(crate) warmth: Shared<Warmth>,
    /// By which whoever sticks to it is remembered: one of its own, wherever in the service it stands.
    pub(crate) number: u16,
    name: Box<str>,
}

/// How the backends of a service are judged.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) breaker: Option<BreakerConfig>,
    pub(crate) failures: StatusSet,
    /// How latency is measured, where somebody asks for it.
    pub(crate) latency: Option<LatencyConfig>,
    /// Whether what counts is how long answers take at their worst, and not of late.
    pub(crate) peaks: bool,
    /// Whether a choice goes by how long checks take.
    pub(crate) ranks: bool,
    /// Whether requests are counted to be compared.
    pub(crate) tallies: bool,
    /// The longest that one is ejected, where any is.
    pub(crate) ejected_max: Option<Duration>,
    pub(crate) slow_start: Option<SlowStartConfig>,
    /// Where it says how many attempts may be in flight at one backend.
    caps: Arc<Shared<Caps>>,
    /// Whether records are kept.
    pub(crate) records: bool,
    /// How long attempts that another one was quicker than may wait together, where any is hedged.
    pub(crate) silence_max: Option<Duration>,
    /// Attempts in flight at all backends, where somebody asks for it: every attempt of every thread
    /// would write here otherwise for nothing.
    pub(crate) all: Option<Arc<AtomicU32>>,
    /// The same for the pool that a backend is in.
    pub(crate) pool: Option<Arc<AtomicU32>>,
}

impl Backend {
    pub(crate) fn new(name: &str, number: u16) -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            breaker: Shared::new(Breaker::new()),
            standing: Shared::new(Standing::default()),
            latency: Shared::new(Latency::default()),
            rtt: Shared::new(Latency::default()),
            record: Shared::new(Record::default()),
            silence: Shared::new(Silence::default()),
            streak: Shared::new(Streak::default()),
            window: Shared::new(Window::default()),
            tally: Shared::new(Tally::default()),
            warmth: Shared::new(Warmth::default()),
            number,
            name: name.into(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether as much is in flight as may be.
    pub(crate) fn is_full(&self, rules: &Rules) -> bool {
        rules.in_flight_max().is_some_and(|most| self.in_flight() >= most)
    }

    /// Whether a request would be let through at `now`, or a trial.
    pub(crate) fn would_admit(&self, now: Time, rules: &Rules) -> bool {
        !self.is_full(rules) && self.would_admit_one_less(now, rules)
    }

    /// The same with no regard to how much is in flight.
    pub(crate) fn would_admit_one_less(&self, now: Time, rules: &Rules) -> bool {
        self.standing.get().out_until(now).is_none()
            && rules.breaker.is_none_or(|config| self.breaker.get().admit(now, &config).is_ok())
    }

    /// Whether requests are answered there, for all that is known at `now`.
    pub(crate) fn answers(&self, now: Time) -> bool {
        self.breaker.get().answers() && self.standing.get().out_until(now).is_none()
    }

    /// The chance that a choice of it holds at `now`, out of [`CERTAIN`].
    pub(crate) fn chance(&self, now: Time, rules: &Rules) -> u32 {
        let Some(config) = &rules.slow_start else { return CERTAIN };
        self.warmth.get().chance(self.standing.get().ejected_until(), now, config)
    }

    /// How long it takes to answer, in microseconds, as far as that is known. While its breaker is not
    /// closed it is not: what opened it was slow, perhaps, and whether it still is, trials are to tell.
    pub(crate) fn estimate(&self, now: Time, config: &LatencyConfig) -> Option<u64> {
        match self.breaker.get().state() {
            BreakerState::Closed => self.latency.get().estimate(now, config),
            BreakerState::Open | BreakerState::HalfOpen => None,
        }
    }

    /// It is up again since `now`, or for the first time. How slow it was before says nothing any more.
    pub(crate) fn cool(&self, now: Time, rules: &Rules) {
        if rules.latency.is_some() {
            self.latency.step(|_| Some(Latency::default()));
        }
        if rules.slow_start.is_some() {
            self.warmth.step(|_| Some(Warmth::cold(now)));
        }
    }

    /// Until when it must be left out, as far as is known at `now`.
    pub(crate) fn rests_until(&self, now: Time, rules: &Rules) -> Option<Time> {
        let open_until = rules.breaker.and_then(|_| self.breaker.get().open_until());
        self.standing.get().out_until(now).max(open_until)
    }
}

impl Rules {
    pub(crate) fn new(config: &ServiceConfig, limits: &Limits, before: Option<&Self>) -> Self {
        let asked = config.policy.is_consistent() && config.hash.load_percent.is_some();
        let known = before.and_then(|rules| rules.all.clone());
        let ranks =
            config.policy == Policy::Fastest || config.steering.policy == SteeringPolicy::Fastest;
        let records = config.policy.scores();
        let all = asked.then(|| known.unwrap_or_default());
        let latency = config.policy.measures().then_some(config.latency);
        Self {
            breaker: config.breaker,
            failures: config.failures,
            latency,
            peaks: config.policy == Policy::PeakEwma,
            ranks,
            tallies: config.outliers.is_some(),
            ejected_max: config.outliers.map(|outliers| outliers.eject_for_max),
            slow_start: config.slow_start,
            caps: Arc::clone(limits.caps()),
            records,
            silence_max: config.retry.hedge.map(|_| config.timeouts.first_byte),
            all,
            pool: None,
        }
    }

    /// The same for the backends of one pool, `before` being those of the pool of that name.
    pub(crate) fn of_pool(&self, config: &ServiceConfig, before: Option<&Self>) -> Self {
        let asked = config.steering.policy == SteeringPolicy::LeastOutstanding;
        let known = before.and_then(|rules| rules.pool.clone());
        Self { pool: asked.then(|| known.unwrap_or_default()), ..self.clone() }
    }

    /// Attempts that may be in flight at one backend, if that is limited.
    pub(crate) fn in_flight_max(&self) -> Option<u32> {
        self.caps.get().at_backend()
    }

    pub(crate) fn in_flight_of_all(&self) -> u32 {
        self.all.as_ref().map_or(0, |all| all.load(Ordering::Relaxed))
    }
}

/// A backend in its place in a service.
#[derive(Clone, Copy, Debug)]
pub struct Member<'s> {
    pub(crate) id: BackendId,
    pub(crate) backend: &'s Arc<Backend>,
    pub(crate) rules: &'s Rules,
}

impl<'s> Member<'s> {
    /// Its place.
    pub const fn id(self) -> BackendId {
        self.id
    }

    /// Its identity: the url it was configured with.
    pub fn name(self) -> &'s str {
        self.backend.name()
    }

    /// Attempts that hold a lease now.
    pub fn in_flight(self) -> u32 {
        self.backend.in_flight()
    }

    /// Its breaker now.
    pub fn breaker(self) -> Breaker {
        self.backend.breaker.get()
    }

    /// What others say of it now.
    pub fn standing(self) -> Standing {
        self.backend.standing.get()
    }

    /// Failures in a row, counted until its breaker opens: from then on, until it closes, as many
    /// as opened it.
    pub fn consecutive_failures(self) -> u16 {
        match (self.breaker(), self.rules.breaker) {
            (breaker, Some(config)) if breaker.state() != BreakerState::Closed => {
                config.consecutive_failures
            }
            (breaker, _) => breaker.failures(),
        }
    }

    /// Forgets what speaks against it but what its checks and its operator say.
    pub(crate) fn forget(self, now: Time, observe: &dyn Observe) {
        let closed = |breaker: Breaker| breaker.reset();
        if let Some((from, to)) = self.backend.breaker.step(closed) {
            let (backend, from, to) = (self.id, from.state(), to.state());
            observe.on(now, &Event::BreakerMoved { backend, from, to });
        }
        let pardoned = self.backend.standing.step(|standing| {
            let forgotten = Standing { ejections: 0, ..standing }.ejected(Time::ZERO);
            (forgotten != standing).then_some(forgotten)
        });
        if pardoned.is_some() {
            observe.on(now, &Event::Pardoned { backend: self.id });
        }
    }

    /// Whether a request would be let through as a matter of course.
    pub fn is_fit(self) -> bool {
        let standing = self.standing();
        let closed = self.rules.breaker.is_none() || self.breaker().state() == BreakerState::Closed;
        closed && !standing.unhealthy && !standing.draining
    }
}
