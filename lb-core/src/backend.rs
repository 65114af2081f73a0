//! One backend: who it is, what was learned about it, and the leases on it.

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::breaker::{Breaker, BreakerState, Declined, Permit, Role, Verdict};
use crate::config::BreakerConfig;
use crate::event::{BackendId, Event, Observe};
use crate::outcome::{BodyEnd, Outcome};
use crate::time::Time;
use crate::word::Shared;
use crate::word::atomic::{AtomicU32, Ordering};

/// One upstream server and what was learned about it.
#[derive(Debug)]
pub struct Backend {
    in_flight: AtomicU32,
    breaker: Shared<Breaker>,
    config: Option<BreakerConfig>,
    id: BackendId,
    name: Box<str>,
}

impl Backend {
    pub(crate) fn new(id: BackendId, name: &str, config: Option<BreakerConfig>) -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            breaker: Shared::new(Breaker::new()),
            config,
            id,
            name: name.into(),
        }
    }

    /// Its place.
    pub const fn id(&self) -> BackendId {
        self.id
    }

    /// Its identity: the url it was configured with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Attempts that hold a lease now.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Its breaker now.
    pub fn breaker(&self) -> Breaker {
        self.breaker.get()
    }

    /// Failures in a row, counted until its breaker opens: from then on, until it closes, as many
    /// as opened it.
    pub fn consecutive_failures(&self) -> u16 {
        match (self.breaker(), self.config) {
            (breaker, Some(config)) if breaker.state() != BreakerState::Closed => {
                config.consecutive_failures
            }
            (breaker, _) => breaker.failures(),
        }
    }

    /// Whether a request would be let through as a matter of course.
    pub fn is_fit(&self) -> bool {
        self.config.is_none() || self.breaker().state() == BreakerState::Closed
    }

    /// Until when its breaker is open, if it is.
    pub(crate) fn open_until(&self) -> Option<Time> {
        self.config.and_then(|_| self.breaker().open_until())
    }

    /// Whether [`Backend::lease`] would be granted.
    pub(crate) fn would_admit(&self, now: Time) -> bool {
        self.config.is_none_or(|config| self.breaker().admit(now, &config).is_ok())
    }

    /// Takes a lease, if the breaker lets it. A closed breaker is only looked at.
    pub(crate) fn lease(
        self: &Arc<Self>,
        now: Time,
        observe: &dyn Observe,
    ) -> Result<Lease, Declined> {
        let seen = self.breaker();
        let Some(config) = &self.config else { return Ok(self.leased(seen.permit())) };
        if seen.admit(now, config)? == seen {
            return Ok(self.leased(seen.permit()));
        }
        // Between the look and the step another thread may have taken the last place.
        let (from, to) = self
            .breaker
            .step(|breaker| breaker.admit(now, config).ok())
            .ok_or(Declined::TrialsTaken)?;
        self.tell_move(from, to, now, observe);
        Ok(self.leased(to.permit()))
    }

    /// Takes a lease without asking the breaker.
    pub(crate) fn lease_in_panic(self: &Arc<Self>) -> Lease {
        self.leased(self.breaker().waive())
    }

    fn leased(self: &Arc<Self>, permit: Permit) -> Lease {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Lease { backend: Arc::clone(self), permit, judged: false, late: None }
    }

    /// What one request showed, where somebody listens. Returns the move, if there was one.
    fn judge(&self, permit: Permit, verdict: Verdict, now: Time) -> Option<(Breaker, Breaker)> {
        let config = self.config.as_ref()?;
        self.breaker.step(|breaker| breaker.judge(permit, verdict, now, config))
    }

    fn tell_move(&self, from: Breaker, to: Breaker, now: Time, observe: &dyn Observe) {
        let (from, to) = (from.state(), to.state());
        if from != to {
            observe.on(now, &Event::BreakerMoved { backend: self.id, from, to });
        }
    }
}

/// The in-flight slot of an attempt. Dropping it gives the slot back, and with it the place of a
/// trial, whether the attempt was answered, failed, or was forgotten when its client hung up.
#[derive(Debug)]
pub struct Lease {
    backend: Arc<Backend>,
    permit: Permit,
    judged: bool,
    /// What a trial with a good head is judged by if its body fails: the era that head led to.
    late: Option<Permit>,
}

impl Lease {
    /// On whom.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// In what capacity.
    pub const fn role(&self) -> Role {
        self.permit.role
    }

    /// What the head of the response showed, or that there was none. A trial is decided here, so
    /// that an endless body does not hold its place; a good head alone breaks no row of failures.
    pub(crate) fn judge_head(&mut self, outcome: Outcome, now: Time, observe: &dyn Observe) {
        let verdict = outcome.verdict();
        if verdict != Verdict::Success || self.role() == Role::Trial {
            let entered = self.judge(verdict, now, observe);
            self.late = entered.filter(|_| verdict == Verdict::Success).map(Breaker::waive);
        }
    }

    /// How the body ended. A trial that failed late counts against the breaker it has closed, and
    /// no longer once that has moved: then it is a straggler like any other.
    pub(crate) fn judge_body(&mut self, end: BodyEnd, now: Time, observe: &dyn Observe) {
        let verdict = end.verdict();
        if let Some(late) = self.late.filter(|_| verdict == Verdict::Failure) {
            self.permit = late;
            self.judge(verdict, now, observe);
        } else if !self.judged {
            self.judge(verdict, now, observe);
        }
    }

    /// Returns the breaker that the verdict led to, if it changed anything.
    fn judge(&mut self, verdict: Verdict, now: Time, observe: &dyn Observe) -> Option<Breaker> {
        self.judged = true;
        let (from, to) = self.backend.judge(self.permit, verdict, now)?;
        self.backend.tell_move(from, to, now, observe);
        Some(to)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.judged {
            // Giving a place back depends on no clock: no state is entered or left by it.
            self.backend.judge(self.permit, Verdict::Abandoned, Time::ZERO);
        }
        self.backend.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
