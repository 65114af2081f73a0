//! The in-flight slot of an attempt, and what the attempt shows about its backend.

use alloc::sync::Arc;
use core::time::Duration;

use crate::backend::{Backend, Rules};
use crate::breaker::{Breaker, BreakerState, Declined, Permit, Role, Verdict};
use crate::config::BreakerConfig;
use crate::event::{BackendId, Event, Observe};
use crate::outcome::{BodyEnd, Outcome};
use crate::silence::Silence;
use crate::time::Time;
use crate::window::Window;
use crate::word::atomic::{AtomicU32, Ordering};

/// The in-flight slot of an attempt. Dropping it gives the slot back, and with it the place of a
/// trial, whether the attempt was answered, failed, or was forgotten when its client hung up.
#[derive(Debug)]
pub(crate) struct Lease {
    backend: Arc<Backend>,
    id: BackendId,
    permit: Permit,
    judged: bool,
    /// What was in flight there when it was taken, this one not counted.
    ahead: u32,
    /// Where it is counted among those of the whole service.
    all: Option<Arc<AtomicU32>>,
    /// The same for its pool.
    pool: Option<Arc<AtomicU32>>,
    /// What a trial with a good head is judged by if its body fails: the era that head led to.
    late: Option<Permit>,
}

impl Lease {
    /// Takes a lease, if nobody speaks against it.
    pub(crate) fn take(
        backend: &Arc<Backend>,
        id: BackendId,
        rules: &Rules,
        now: Time,
        observe: &dyn Observe,
    ) -> Result<Self, Declined> {
        match backend.standing.get().out_until(now) {
            Some(until) => Err(Declined::Until(until)),
            None => Self::ask_breaker(backend, id, rules, now, observe),
        }
    }

    /// Takes a lease for a client that the backend knows, if nobody speaks against it.
    pub(crate) fn take_for_its_client(
        backend: &Arc<Backend>,
        id: BackendId,
        rules: &Rules,
        now: Time,
        observe: &dyn Observe,
    ) -> Result<Self, Declined> {
        match backend.standing.get().out_for_its_clients_until(now) {
            Some(until) => Err(Declined::Until(until)),
            None => Self::ask_breaker(backend, id, rules, now, observe),
        }
    }

    /// A closed breaker is only looked at.
    fn ask_breaker(
        backend: &Arc<Backend>,
        id: BackendId,
        rules: &Rules,
        now: Time,
        observe: &dyn Observe,
    ) -> Result<Self, Declined> {
        let seen = backend.breaker.get();
        let Some(config) = &rules.breaker else {
            return Self::granted(backend, id, rules, seen.permit());
        };
        if seen.admit(now, config)? == seen {
            return Self::granted(backend, id, rules, seen.permit());
        }
        // Before a trial is counted it has to have a place here.
        if backend.is_full(rules) {
            return Err(Declined::Full);
        }
        // Between the look and the step another thread may have taken the last place.
        let (from, to) = backend
            .breaker
            .step(|breaker| breaker.admit(now, config).ok())
            .ok_or(Declined::TrialsTaken)?;
        tell_move(id, from, to, now, observe);
        let granted = Self::granted(backend, id, rules, to.permit());
        if granted.is_err() {
            backend.breaker.step(|breaker| breaker.give_back(to.permit()));
        }
        granted
    }

    /// Takes a lease without asking anybody.
    pub(crate) fn take_in_panic(
        backend: &Arc<Backend>,
        id: BackendId,
        rules: &Rules,
    ) -> Option<Self> {
        Self::granted(backend, id, rules, backend.breaker.get().waive()).ok()
    }

    fn granted(
        backend: &Arc<Backend>,
        id: BackendId,
        rules: &Rules,
        permit: Permit,
    ) -> Result<Self, Declined> {
        let before = backend.in_flight.fetch_add(1, Ordering::Relaxed);
        if rules.in_flight_max().is_some_and(|most| before >= most) {
            backend.in_flight.fetch_sub(1, Ordering::Relaxed);
            return Err(Declined::Full);
        }
        let (all, pool) = (rules.all.clone(), rules.pool.clone());
        for count in [&all, &pool].into_iter().flatten() {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let backend = Arc::clone(backend);
        let (judged, ahead, late) = (false, before, None);
        Ok(Self { backend, id, permit, judged, ahead, all, pool, late })
    }

    /// On whom.
    pub(crate) const fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// On whom, by place.
    pub(crate) const fn id(&self) -> BackendId {
        self.id
    }

    /// In what capacity.
    pub(crate) const fn role(&self) -> Role {
        self.permit.role
    }

    /// What the head of the response showed, or that there was none. A trial is decided here, so
    /// that an endless body does not hold its place; a good head alone breaks no row of failures.
    pub(crate) fn judge_head(
        &mut self,
        outcome: Outcome,
        took: Duration,
        rules: &Rules,
        now: Time,
        observe: &dyn Observe,
    ) {
        let verdict = outcome.verdict(rules.failures);
        if let (Some(_), Outcome::Answered(_)) = (rules.silence_max, outcome) {
            let ends = |silence| (silence != Silence::default()).then(Silence::default);
            self.backend.silence.step(ends);
        }
        // What was asked before the breaker moved says how it was then, and that is over.
        let is_current = self.backend.breaker.get().is_current(self.permit);
        if let Some(config) = rules.latency.as_ref().filter(|_| is_current) {
            let took = match verdict {
                Verdict::Success => Some(took),
                Verdict::Failure => Some(took.max(config.failure_penalty)),
                Verdict::Abandoned => None,
            };
            if let Some(took) = took {
                self.backend.latency.step(|latency| {
                    Some(match rules.peaks {
                        true => latency.observe(took, now, config),
                        false => latency.approach(took / (self.ahead + 1), now),
                    })
                });
            }
        }
        if let (true, Some(shown)) = (rules.records && is_current, outcome.shown(rules.failures)) {
            self.backend.record.step(|record| Some(record.after(shown, took)));
        }
        if verdict != Verdict::Success || self.role() == Role::Trial {
            let is_asked_on = outcome.is_asked_on();
            let entered = self.judge(verdict, is_asked_on, rules, now, observe);
            self.late = entered.filter(|_| verdict == Verdict::Success).map(Breaker::waive);
        }
    }

    /// It is given up after so long, since another attempt was quicker. Says whether the backend has kept as
    /// many waiting in vain as one that never answers.
    pub(crate) fn waits_in_vain(&self, waited: Duration, rules: &Rules) -> bool {
        let Some(most) = rules.silence_max else { return false };
        let longer = self.backend.silence.step(|silence| Some(silence.after(waited)));
        longer.is_some_and(|(_, silence)| silence.lasts(most))
    }

    /// How the body ended. A trial that failed late counts against the breaker it has closed, and
    /// no longer once that has moved: then it is a straggler like any other.
    pub(crate) fn judge_body(
        &mut self,
        end: BodyEnd,
        rules: &Rules,
        now: Time,
        observe: &dyn Observe,
    ) {
        let verdict = end.verdict();
        if let Some(late) = self.late.filter(|_| verdict == Verdict::Failure) {
            self.permit = late;
            self.judge(verdict, false, rules, now, observe);
        } else if !self.judged {
            self.judge(verdict, false, rules, now, observe);
        }
    }

    /// Returns the breaker that the verdict led to, if it changed anything. If it opened,
    /// the backend may be asked on where nobody is better, or not.
    fn judge(
        &mut self,
        verdict: Verdict,
        is_asked_on: bool,
        rules: &Rules,
        now: Time,
        observe: &dyn Observe,
    ) -> Option<Breaker> {
        self.judged = true;
        if rules.tallies && verdict != Verdict::Abandoned {
            let failed = verdict == Verdict::Failure;
            self.backend.tally.step(|tally| Some(tally.after(failed)));
        }
        let config = rules.breaker.as_ref()?;
        let permit = self.permit;
        let judge = |breaker: Breaker| {
            let judged = breaker.judge(permit, verdict, now, config)?;
            Some(judged.opened_by(is_asked_on))
        };
        let moved = self.backend.breaker.step(judge);
        if let Some((from, to)) = moved {
            tell_move(self.id, from, to, now, observe);
        }
        if permit.role == Role::Normal && verdict != Verdict::Abandoned {
            let trip =
                |breaker: Breaker| Some(breaker.trip(permit, now, config)?.opened_by(is_asked_on));
            self.count(verdict == Verdict::Failure, config, trip, now, observe);
        }
        if moved.is_some_and(|(from, to)| {
            (from.state(), to.state()) == (BreakerState::HalfOpen, BreakerState::Closed)
        }) {
            self.backend.cool(now, rules);
        }
        if moved.is_some_and(|(_, to)| to.state() == BreakerState::Open) {
            // What opened it is not held against it again.
            self.backend.window.step(|_| Some(Window::default()));
        }
        moved.map(|(_, to)| to)
    }

    /// Counts towards the error rate, and opens the breaker where that is too high.
    fn count(
        &self,
        failed: bool,
        config: &BreakerConfig,
        trip: impl Fn(Breaker) -> Option<Breaker>,
        now: Time,
        observe: &dyn Observe,
    ) {
        let Some(rate) = &config.error_rate else { return };
        if !self.backend.breaker.get().is_current(self.permit) {
            return; // a straggler from a past era
        }
        let window = &self.backend.window;
        let counted = window.step(|window| Some(window.record(failed, now, rate)));
        if !counted.is_some_and(|(_, window)| failed && window.is_bad(rate)) {
            return;
        }
        let tripped = self.backend.breaker.step(trip);
        if let Some((from, to)) = tripped {
            // What opened it once is not held against it again.
            window.step(|_| Some(Window::default()));
            tell_move(self.id, from, to, now, observe);
        }
    }
}

fn tell_move(backend: BackendId, from: Breaker, to: Breaker, now: Time, observe: &dyn Observe) {
    let (from, to) = (from.state(), to.state());
    if from != to {
        observe.on(now, &Event::BreakerMoved { backend, from, to });
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.judged {
            // No rule and no clock: no state is entered or left by giving a place back.
            self.backend.breaker.step(|breaker| breaker.give_back(self.permit));
        }
        self.backend.in_flight.fetch_sub(1, Ordering::Relaxed);
        for count in [&self.all, &self.pool].into_iter().flatten() {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
