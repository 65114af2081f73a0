//! A key goes to its own backend while that may be chosen; another backend that fails or leaves moves
//! the keys that were its own, and no others.
//!
//! Whose a key is is not worked out here: it is where the key went when all were fit. Maglev moves a
//! few keys more when its table is made anew (Eisenbud et al., NSDI 2016, §5.3), and is allowed them.

use std::collections::BTreeMap;
use std::time::Duration;

use lb_core::config::{KeySource, Policy};
use lb_core::{BackendId, Event, ExchangeId, How, Role};

use super::lineup::{Lineup, Lineups, Seat};
use super::moves::Moves;
use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

pub(super) struct KeysStay {
    lineups: Lineups,
    /// First attempts by key, until an origin says whose it was: where, and when.
    first: BTreeMap<ExchangeId, (BackendId, How, Duration)>,
    /// By service and user: whose it is, by the configuration after so many reloads.
    homes: BTreeMap<(u16, u32), (BackendId, usize)>,
    /// By service: keys that a reload left in place, and such that it moved for nothing.
    moved_by_reload: BTreeMap<u16, (u32, u32)>,
    moves: Moves,
}

/// The share of other keys that Maglev may move when a backend comes or goes: with ten backends a tenth.
const MAGLEV_MOVES: f64 = 0.2;
/// Keys from which on the share of those that moved says something.
const KEYS_MIN: u32 = 20;

impl KeysStay {
    pub(super) fn new(lineups: &Lineups) -> Self {
        Self {
            lineups: lineups.clone(),
            first: BTreeMap::new(),
            homes: BTreeMap::new(),
            moved_by_reload: BTreeMap::new(),
            moves: Moves::default(),
        }
    }

    fn reached(&mut self, id: ExchangeId, user: u32, ledger: &Ledger<'_>, judge: &mut Judge) {
        let Some((backend, how, at)) = self.first.remove(&id) else { return };
        let Some(exchange) = ledger.exchanges.get(&id) else { return };
        let (service, reloads) = (exchange.service, exchange.reloads);
        let Some(lineup) = self.lineups.at(reloads, service) else { return };
        let key = (service, user);
        let known = self.homes.get(&key).copied();
        match known {
            Some((home, of)) if of == reloads => {
                let stays = ledger.is_fit(home) && self.moves.is_settled(home, at);
                judge.check(backend == home || !stays || bound(lineup), || {
                    let (home, other) = (ledger.name(home), ledger.name(backend));
                    format!("user {user} of {home} goes to {other} with exchange {}", id.0)
                });
                judge.check(how != How::Key || backend == home, || {
                    format!("user {user} is at home at {} as well", ledger.name(backend))
                });
            }
            _ if how != How::Key => {}
            Some((home, of)) => {
                let before = self.lineups.at(of, service);
                let stayed = lineup.seat(home).is_some();
                // One that is new takes some keys from everybody.
                let is_new = before.is_some_and(|before| before.seat(backend).is_none());
                if same_weights(before, lineup) && stayed && !is_new {
                    let (kept, lost) = self.moved_by_reload.entry(service).or_default();
                    *(if backend == home { kept } else { lost }) += 1;
                    judge.check(backend == home || lineup.core.policy == Policy::Maglev, || {
                        let (home, other) = (ledger.name(home), ledger.name(backend));
                        format!("a reload moves user {user} from {home}, which stays, to {other}")
                    });
                }
                self.homes.insert(key, (backend, reloads));
            }
            None => {
                self.homes.insert(key, (backend, reloads));
            }
        }
    }
}

/// Whether a popular key may be sent on.
fn bound(lineup: &Lineup) -> bool {
    lineup.core.hash.load_percent.is_some() || lineup.core.limits.per_backend.is_some()
}

/// Whether a table of both is made by the same rule.
fn same_weights(before: Option<&Lineup>, now: &Lineup) -> bool {
    let Some(before) = before else { return false };
    let same = |seat: &Seat| now.seat(seat.backend).is_none_or(|other| other.weight == seat.weight);
    let policy = (before.core.policy, &before.core.hash) == (now.core.policy, &now.core.hash);
    policy && before.pools.len() == now.pools.len() && before.pools.iter().flatten().all(same)
}

fn is_by_user(lineup: &Lineup) -> bool {
    let consistent =
        matches!(lineup.core.policy, Policy::Ring | Policy::Maglev | Policy::Rendezvous);
    let first = lineup.core.hash.sources.first();
    let plain = lineup.pools.len() == 1 && lineup.core.slow_start.is_none();
    consistent && plain && first == Some(&KeySource::Header("x-user".into()))
}

impl Invariant for KeysStay {
    fn name(&self) -> &'static str {
        "keys stay where they are"
    }

    fn wants(&self, scenario: &Scenario) -> Topics {
        match scenario.workload.users > 0 && self.lineups.any(|core| core.policy.is_consistent()) {
            true => Topics::ATTEMPTED
                .and(Topics::REACHED)
                .and(Topics::BACKEND)
                .and(Topics::BODY_ENDED)
                .and(Topics::REJECTED)
                .and(Topics::LEFT),
            false => Topics::NONE,
        }
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        self.moves.enter(entry);
        match entry.what {
            What::Core(Event::Attempted { exchange, attempt: 1, backend, choice, .. }) => {
                let lineup = self.lineups.at(ledger.reloads, backend.service);
                let by_key = matches!(choice.how, How::Key | How::KeyNext);
                if by_key && choice.role == Role::Normal && lineup.is_some_and(is_by_user) {
                    self.first.insert(exchange, (backend, choice.how, entry.at));
                }
            }
            What::Reached { exchange, user: Some(user), .. } => {
                self.reached(exchange, user, ledger, judge);
            }
            What::Core(
                Event::Attempted { exchange, .. }
                | Event::Rejected { exchange, .. }
                | Event::Left { exchange }
                | Event::Ended { exchange, .. },
            ) => {
                self.first.remove(&exchange);
            }
            _ => {}
        }
    }

    fn at_end(&mut self, _ledger: &Ledger<'_>, judge: &mut Judge) {
        for (kept, lost) in
            self.moved_by_reload.values().filter(|(kept, lost)| kept + lost >= KEYS_MIN)
        {
            let share = f64::from(*lost) / f64::from(kept + lost);
            judge.check(share <= MAGLEV_MOVES, || {
                format!("reloads moved {lost} users of {} for nothing", kept + lost)
            });
        }
    }
}
