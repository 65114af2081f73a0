//! Backends get what their weights say, of the requests that a round or a die gives out, as long as the
//! same ones are fit; and whoever was not fit and is again gets it again.
//!
//! A round is exact but for a cycle that was begun. A die is held to five standard deviations: one run
//! in two million would be accused wrongly.

use std::collections::BTreeMap;

use lb_core::config::{Policy, ServiceConfig, SteeringPolicy, WhenAllUnfit};
use lb_core::{BackendId, Event, How, Role, Steered};

use super::lineup::{Lineup, Lineups};
use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

pub(super) struct SharesFair {
    lineups: Lineups,
    /// By service and pool: who got how many since the fit were others.
    counts: BTreeMap<(u16, usize), Spell>,
    /// By service: how often each pool was drawn while all were fit.
    pools: BTreeMap<u16, BTreeMap<usize, u64>>,
    reloads: usize,
}

/// A time in which the same backends are fit.
#[derive(Default)]
struct Spell {
    fit: Vec<bool>,
    counts: BTreeMap<BackendId, u64>,
}

/// Backends of a pool beyond which it is not looked at: each choice looks at all of them.
const BACKENDS_MAX: usize = 16;
/// Choices from which on their shares say something.
const CHOICES_MIN: u64 = 60;
const DEVIATIONS: f64 = 5.0;

impl SharesFair {
    pub(super) fn new(lineups: &Lineups) -> Self {
        let (counts, pools) = (BTreeMap::new(), BTreeMap::new());
        Self { lineups: lineups.clone(), counts, pools, reloads: 0 }
    }

    /// Whether shares follow from weights alone.
    fn is_plain(lineup: &Lineup) -> bool {
        let core = &lineup.core;
        let is_of_weight = matches!(core.policy, Policy::RoundRobin | Policy::WeightedRandom);
        let regions =
            core.pools.iter().flat_map(|pool| &pool.backends).any(|it| it.region.is_some());
        is_of_weight && core.slow_start.is_none() && core.limits.per_backend.is_none() && !regions
    }

    fn check(&self, service: u16, pool: usize, spell: &Spell, judge: &mut Judge) {
        let Some(lineup) = self.lineups.at(self.reloads, service) else { return };
        let total: u64 = spell.counts.values().sum();
        if total < CHOICES_MIN {
            return;
        }
        let seats = || lineup.pools[pool].iter().zip(&spell.fit).filter(|(_, fit)| **fit);
        let weights: u64 = seats().map(|(seat, _)| u64::from(seat.weight)).sum();
        for (seat, _) in seats() {
            let got = spell.counts.get(&seat.backend).copied().unwrap_or_default();
            let share = f64::from(seat.weight) / weights as f64;
            let due = share * total as f64;
            let off = match lineup.core.policy {
                Policy::RoundRobin => f64::from(seat.weight) + 1.0,
                _ => DEVIATIONS * (due * (1.0 - share)).sqrt() + 1.0,
            };
            judge.check((got as f64 - due).abs() <= off, || {
                let BackendId { service, backend } = seat.backend;
                format!("backend {backend} of service {service} has {got} of {total}, and {due:.0} is its due")
            });
        }
    }

    fn check_pools(&self, service: u16, judge: &mut Judge) {
        let Some(lineup) = self.lineups.at(self.reloads, service) else { return };
        let Some(counts) = self.pools.get(&service) else { return };
        let total: u64 = counts.values().sum();
        // The pool for when nobody else is fit is asked for nothing else.
        let serves = |nth: usize| match lineup.core.when_all_unfit {
            WhenAllUnfit::FallbackPool(fallback) => usize::from(fallback) != nth,
            _ => true,
        };
        let pools = || lineup.core.pools.iter().enumerate().filter(|(nth, _)| serves(*nth));
        let weights: f64 = pools().map(|(_, pool)| f64::from(pool.weight)).sum();
        if total < CHOICES_MIN || weights <= 0.0 {
            return;
        }
        for (nth, pool) in pools() {
            let got = counts.get(&nth).copied().unwrap_or_default();
            let share = f64::from(pool.weight) / weights;
            let due = share * total as f64;
            let off = DEVIATIONS * (due * (1.0 - share)).sqrt() + 1.0;
            judge.check((got as f64 - due).abs() <= off, || {
                format!("pool {:?} has {got} of {total}, and {due:.0} is its due", pool.name)
            });
        }
    }

    /// All that was counted so far is over.
    fn settle(&mut self, judge: &mut Judge) {
        for ((service, pool), spell) in std::mem::take(&mut self.counts) {
            self.check(service, pool, &spell, judge);
        }
        for service in self.pools.keys().copied().collect::<Vec<_>>() {
            self.check_pools(service, judge);
        }
        self.pools.clear();
    }
}

/// Whether weights say anything about who gets what.
fn is_weighed(core: &ServiceConfig) -> bool {
    let policy = matches!(core.policy, Policy::RoundRobin | Policy::WeightedRandom);
    policy || core.steering.policy == SteeringPolicy::Weighted
}

impl Invariant for SharesFair {
    fn name(&self) -> &'static str {
        "shares are as weighed"
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        match self.lineups.any(is_weighed) {
            true => Topics::ATTEMPTED.and(Topics::RELOADS),
            false => Topics::NONE,
        }
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        let (backend, choice) = match entry.what {
            What::Core(Event::Attempted { attempt: 1, backend, choice, .. }) => (backend, choice),
            What::Serves(reloads) => {
                self.settle(judge);
                self.reloads = reloads;
                return;
            }
            _ => return,
        };
        let lineups = self.lineups.clone();
        let Some(lineup) = lineups.at(self.reloads, backend.service) else { return };
        let Some(pool) = lineup.pool_of(backend) else { return };
        let seats = &lineup.pools[pool];
        if seats.len() > BACKENDS_MAX || choice.role != Role::Normal {
            return;
        }
        if lineup.core.steering.policy == SteeringPolicy::Weighted
            && choice.steered == Steered::Weight
            && lineup.pools.iter().flatten().all(|seat| seat.is_fit(ledger))
        {
            *self.pools.entry(backend.service).or_default().entry(pool).or_default() += 1;
        }
        let drawn = match lineup.core.policy {
            Policy::RoundRobin => choice.how == How::Turn,
            _ => choice.how == How::Weight,
        };
        if !drawn || !Self::is_plain(lineup) {
            return;
        }
        let fit: Vec<bool> = seats.iter().map(|seat| seat.is_fit(ledger)).collect();
        let key = (backend.service, pool);
        let spell = self.counts.entry(key).or_default();
        if spell.fit != fit {
            let over = std::mem::replace(spell, Spell { fit, ..Spell::default() });
            self.check(key.0, key.1, &over, judge);
        }
        let spell = self.counts.entry(key).or_default();
        *spell.counts.entry(backend).or_default() += 1;
    }

    fn at_end(&mut self, _ledger: &Ledger<'_>, judge: &mut Judge) {
        self.settle(judge);
    }
}
