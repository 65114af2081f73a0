//! What a choice was made from: everybody who could have been chosen, who was left out and why, and
//! what else had a say.
//!
//! An explanation is made before the choice, of the same words that the choice reads, and for those
//! alone who ask for it ([`Observe::explains`](crate::Observe::explains)).

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::backend::Member;
use crate::breaker::{BreakerState, Declined};
use crate::event::ExchangeId;
use crate::service::Service;
use crate::time::Time;
use crate::tried::Places;
use crate::warmth::CERTAIN;

/// Backends that are told of; a service with more has the others counted.
pub const CANDIDATES_MAX: usize = 256;

/// What the choice for an attempt was made from.
#[derive(Clone, Debug)]
pub struct Explanation<'s> {
    /// Of which exchange.
    pub exchange: ExchangeId,
    /// For which attempt, counted from 1.
    pub attempt: u8,
    /// When.
    pub at: Time,
    /// The pools, in the order of the configuration.
    pub pools: Vec<PoolSeen<'s>>,
    /// In the order of the configuration.
    pub candidates: Vec<Candidate<'s>>,
    /// Backends that are not told of.
    pub more: usize,
    /// The place of the backend that the client sticks to.
    pub wish: Option<u16>,
    /// What the request is hashed by, under a policy that goes by that.
    pub key: Option<u64>,
    /// Retries that the budget allows.
    pub retries_left: f64,
    /// Exchanges in flight, and how many may be, where that is limited.
    pub running: Option<(u32, u32)>,
    /// Exchanges that wait for a place.
    pub waiting: u32,
}

/// A pool as steering saw it.
#[derive(Clone, Copy, Debug)]
pub struct PoolSeen<'s> {
    /// Its name.
    pub name: &'s str,
    /// How many of its backends are fit, as far as is known, ..
    pub fit: usize,
    /// .. of how many.
    pub count: usize,
    /// Whether so many are fit that it serves.
    pub serves: bool,
    /// Whether it is meant for where the client is.
    pub meant: bool,
}

/// A backend that could have been chosen, or could not.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'s> {
    /// Who.
    pub backend: Member<'s>,
    /// Of which pool, counted from 0.
    pub pool: usize,
    /// Why it was left out, if it was.
    pub left_out: Option<LeftOut>,
    /// Its weight within its pool.
    pub weight: u32,
    /// Its attempts in flight.
    pub in_flight: u32,
    /// How long it takes to answer, where somebody goes by that and it is known.
    pub latency: Option<Duration>,
    /// How long it takes to answer checks, likewise.
    pub check: Option<Duration>,
    /// Its errors per request, likewise.
    pub error_rate: Option<f64>,
    /// The chance that a choice of it holds, below 1 while it starts slowly.
    pub chance: f64,
    /// Its breaker.
    pub breaker: BreakerState,
}

/// Why a backend was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// This exchange has asked it.
    Tried,
    /// Its checks fail.
    Unhealthy,
    /// It takes nothing new.
    Draining,
    /// It was ejected until then.
    Ejected(Time),
    /// Its breaker is open until then.
    Open(Time),
    /// Its breaker is half-open, and all places for trials are taken.
    TrialsTaken,
    /// As much is in flight there as may be.
    Full,
}

impl LeftOut {
    /// As written in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tried => "tried",
            Self::Unhealthy => "unhealthy",
            Self::Draining => "draining",
            Self::Ejected(_) => "ejected",
            Self::Open(_) => "open",
            Self::TrialsTaken => "trials_taken",
            Self::Full => "full",
        }
    }

    /// Until when, where that is known.
    pub const fn until(self) -> Option<Time> {
        match self {
            Self::Ejected(until) | Self::Open(until) => Some(until),
            _ => None,
        }
    }
}

impl Member<'_> {
    /// Why it may not be chosen at `now`, if it may not.
    pub fn left_out(self, now: Time) -> Option<LeftOut> {
        let standing = self.standing();
        if standing.unhealthy {
            return Some(LeftOut::Unhealthy);
        } else if standing.draining {
            return Some(LeftOut::Draining);
        } else if standing.is_ejected(now) {
            return Some(LeftOut::Ejected(standing.ejected_until()));
        }
        let declined = self.rules.breaker.and_then(|it| self.breaker().admit(now, &it).err());
        match declined {
            Some(Declined::Until(until)) => Some(LeftOut::Open(until)),
            Some(Declined::TrialsTaken | Declined::Full) => Some(LeftOut::TrialsTaken),
            None => self.backend.is_full(self.rules).then_some(LeftOut::Full),
        }
    }
}

impl Service {
    /// All pools, for a client that those in `meant` are meant for.
    pub(crate) fn pools_seen(&self, meant: u64) -> Vec<PoolSeen<'_>> {
        let pools = self.pools().iter().enumerate();
        pools
            .map(|(nth, pool)| PoolSeen {
                name: pool.name(),
                fit: pool.fit_count(),
                count: pool.count(),
                serves: pool.has_enough(),
                meant: meant >> nth & 1 != 0,
            })
            .collect()
    }

    /// All backends at `now`, as a choice sees them that leaves out `tried`.
    pub(crate) fn candidates(&self, tried: &Places, now: Time) -> Vec<Candidate<'_>> {
        let members = self.pools().iter().enumerate().flat_map(|(pool, of)| {
            of.backends().zip(of.weights()).map(move |(member, weight)| (pool, member, *weight))
        });
        let candidate = |(pool, member, weight)| candidate(pool, member, weight, tried, now);
        members.take(CANDIDATES_MAX).map(candidate).collect()
    }
}

fn candidate<'s>(
    pool: usize,
    member: Member<'s>,
    weight: u32,
    tried: &Places,
    now: Time,
) -> Candidate<'s> {
    let (backend, rules) = (member.backend, member.rules);
    let tried = tried.contains(member.id().backend).then_some(LeftOut::Tried);
    let latency = rules.latency.and_then(|it| backend.estimate(now, &it));
    let record = backend.record.get();
    Candidate {
        backend: member,
        pool,
        left_out: tried.or_else(|| member.left_out(now)),
        weight,
        in_flight: member.in_flight(),
        latency: latency.map(Duration::from_micros),
        check: backend.rtt.get().last().map(Duration::from_micros),
        error_rate: (record.requests > 0).then(|| record.error_rate()),
        chance: f64::from(backend.chance(now, rules)) / f64::from(CERTAIN),
        breaker: member.breaker().state(),
    }
}

/// For people: a line for the exchange, and one for each backend.
impl fmt::Display for Explanation<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.retries_left;
        write!(out, "attempt {}, {left:.0} retries left", self.attempt)?;
        if let Some((running, most)) = self.running {
            write!(out, ", {running} of {most} in flight, {} waiting", self.waiting)?;
        }
        if let Some(key) = self.key {
            write!(out, ", key {key:016x}")?;
        }
        // One pool that serves says nothing that its backends do not say.
        for pool in self.pools.iter().filter(|pool| self.pools.len() > 1 || !pool.serves) {
            let PoolSeen { name, fit, count, serves, meant } = pool;
            write!(out, "\n  pool {name}: {fit} of {count} fit")?;
            if !serves {
                write!(out, ", too few to serve")?;
            }
            if *meant {
                write!(out, ", meant for where the client is")?;
            }
        }
        for candidate in &self.candidates {
            let name = candidate.backend.name();
            let Candidate { pool, weight, in_flight, .. } = candidate;
            write!(out, "\n  {name} (pool {pool}, weight {weight}): ")?;
            match candidate.left_out {
                None => write!(out, "may be chosen")?,
                Some(why) => write!(out, "left out, {}", why.as_str())?,
            }
            if let Some(until) = candidate.left_out.and_then(LeftOut::until) {
                let span = until - self.at;
                write!(out, " for {span:?}")?;
            }
            write!(out, "; {in_flight} in flight, breaker {}", candidate.breaker.as_str())?;
            if let Some(latency) = candidate.latency {
                write!(out, ", answers in {latency:?}")?;
            }
            if let Some(check) = candidate.check {
                write!(out, ", checks in {check:?}")?;
            }
            if let Some(rate) = candidate.error_rate {
                write!(out, ", {:.1} % errors", 100.0 * rate)?;
            }
            if candidate.chance < 1.0 {
                write!(out, ", holds with {:.0} %", 100.0 * candidate.chance)?;
            }
            if self.wish == Some(candidate.backend.id().backend) {
                write!(out, ", its client sticks to it")?;
            }
        }
        if self.more > 0 {
            write!(out, "\n  and {} backends more", self.more)?;
        }
        Ok(())
    }
}
