//! Who sticks to a backend gets it for as long as it may be chosen, through reloads and all.
//!
//! Where a client was told to stay is read off what origins saw and what clients got: the last whole
//! answer that had ended well before the request began. A client that has two requests under way may
//! be told two things at once, and either is right: an answer from where a request said that its client
//! is says nothing new, and what the other one said meanwhile stands.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lb_core::config::{KeySource, StickBy};
use lb_core::{BackendId, BodyEnd, Event, ExchangeId};

use super::lineup::{Lineup, Lineups};
use super::moves::Moves;
use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

pub(super) struct ClientsStay {
    lineups: Lineups,
    /// Exchanges under way: when each began, and who is asked as long as it is the first.
    first: BTreeMap<ExchangeId, (Duration, Option<BackendId>)>,
    /// Who asked, as far as an origin has seen it.
    users: BTreeMap<ExchangeId, u32>,
    /// By service and user: whose answers it got.
    told: BTreeMap<(u16, u32), Answers>,
    moves: Moves,
}

/// Whose answers a user got: the last of them, in the order in which they went out, and of those before, by
/// backend, when the head of the latest did.
#[derive(Default)]
struct Answers {
    late: Vec<Told>,
    before: BTreeMap<BackendId, Duration>,
}

/// That a user was answered by a backend: since when it has all of the answer, if it does.
struct Told {
    exchange: ExchangeId,
    backend: BackendId,
    /// When it was asked, and when the head of its answer went out.
    began: Duration,
    head: Duration,
    since: Option<Duration>,
    /// Whether the exchange began before a reload: what serves since then may not hear of its end, as
    /// memories are handed over when the reload comes.
    is_late: bool,
}

/// How long an answer may be on its way to whoever is to remember it.
const ON_ITS_WAY: Duration = Duration::from_millis(100);
/// Answers of a user of which all is remembered.
const TOLD_MAX: usize = 8;

impl ClientsStay {
    pub(super) fn new(lineups: &Lineups) -> Self {
        Self {
            lineups: lineups.clone(),
            first: BTreeMap::new(),
            users: BTreeMap::new(),
            told: BTreeMap::new(),
            moves: Moves::default(),
        }
    }

    /// Where a user may be that began to ask at `began`: what it was told last before, or since.
    fn may_be(&self, who: (u16, u32), began: Duration) -> Option<BTreeSet<BackendId>> {
        let Answers { late, before } = self.told.get(&who)?;
        let old = |told: &Told| {
            !told.is_late && told.since.is_some_and(|since| since + ON_ITS_WAY < began)
        };
        let last = late.iter().rposition(old)?;
        // Whoever asked for the last did not know yet what was said as late as this.
        let beside = |head: Duration| head + ON_ITS_WAY >= late[last].began;
        let (earlier, since) = late.split_at(last);
        let before = before.iter().filter(|(_, head)| beside(**head)).map(|(backend, _)| *backend);
        let known = earlier.iter().filter(|it| beside(it.head)).chain(since);
        Some(before.chain(known.map(|told| told.backend)).collect())
    }

    fn reached(&self, id: ExchangeId, user: u32, ledger: &Ledger<'_>, judge: &mut Judge) {
        let Some((began, Some(first))) = self.first.get(&id).copied() else { return };
        let Some(exchange) = ledger.exchanges.get(&id) else { return };
        let Some(lineup) = self.lineups.at(exchange.reloads, exchange.service) else { return };
        let mut all = self.lineups.all(exchange.service);
        let same = all.all(|other| other.core.affinity == lineup.core.affinity);
        if !same || !sticks(lineup, ledger) || exchange.attempts.len() != 1 {
            return;
        }
        let Some(homes) = self.may_be((exchange.service, user), began) else { return };
        let may_serve = |home: &BackendId| {
            self.moves.none_since(*home, began)
                && lineup.seat(*home).is_some()
                && ledger.is_fit(*home)
        };
        if homes.iter().all(may_serve) {
            judge.check(homes.contains(&first), || {
                let homes: Vec<_> = homes.iter().map(|home| ledger.name(*home)).collect();
                let (homes, other) = (homes.join(" or "), ledger.name(first));
                format!("user {user} of {homes} goes to {other} with exchange {}", id.0)
            });
        }
    }

    fn delivered(&mut self, answer: Told) {
        let Some(user) = self.users.get(&answer.exchange) else { return };
        let told = self.told.entry((answer.backend.service, *user)).or_default();
        if told.late.len() == TOLD_MAX {
            let Told { backend, head, .. } = told.late.remove(0);
            told.before.insert(backend, head);
        }
        told.late.push(answer);
    }

    fn ended(&mut self, id: ExchangeId, backend: BackendId, end: BodyEnd, at: Duration) {
        let Some(user) = self.users.remove(&id) else { return };
        let told = self.told.entry((backend.service, user)).or_default();
        if let Some(told) = told.late.iter_mut().find(|told| told.exchange == id) {
            told.since = (end == BodyEnd::Complete).then_some(at);
        }
    }
}

/// Whether clients of a service stick, and the workload's are such as can.
fn sticks(lineup: &Lineup, ledger: &Ledger<'_>) -> bool {
    let core = &lineup.core;
    let Some(affinity) = &core.affinity else { return false };
    // Whoever is busy may not be had. Memories end in time, and that is not looked into.
    let can_be_had = core.limits.per_backend.is_none();
    can_be_had
        && match &affinity.by {
            StickBy::Cookie(_) => ledger.scenario.workload.cookies,
            StickBy::Key(stick) => {
                let by_user = stick.key.first() == Some(&KeySource::Header("x-user".into()));
                by_user && stick.ttl > ledger.scenario.duration
            }
        }
}

impl Invariant for ClientsStay {
    fn name(&self) -> &'static str {
        "clients stay where they are"
    }

    fn wants(&self, scenario: &Scenario) -> Topics {
        match scenario.workload.users > 0 && self.lineups.any(|core| core.affinity.is_some()) {
            true => Topics::STARTED
                .and(Topics::ATTEMPTED)
                .and(Topics::REACHED)
                .and(Topics::DELIVERED)
                .and(Topics::BACKEND)
                .and(Topics::BODY_ENDED)
                .and(Topics::REJECTED)
                .and(Topics::LEFT),
            false => Topics::NONE,
        }
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        if ledger.scenario.workload.users == 0 {
            return;
        }
        self.moves.enter(entry);
        match entry.what {
            What::Core(Event::Started { exchange, .. }) => {
                self.first.insert(exchange, (entry.at, None));
            }
            What::Core(Event::Attempted { exchange, attempt: 1, backend, .. }) => {
                if let Some((_, first)) = self.first.get_mut(&exchange) {
                    *first = Some(backend);
                }
            }
            What::Core(Event::Attempted { exchange, .. }) => {
                if let Some((_, first)) = self.first.get_mut(&exchange) {
                    *first = None;
                }
            }
            What::Reached { exchange, user: Some(user), .. } => {
                self.reached(exchange, user, ledger, judge);
                self.users.insert(exchange, user);
            }
            What::Core(Event::Delivered { exchange, backend, .. }) => {
                let Some((began, _)) = self.first.remove(&exchange) else { return };
                let reloads = ledger.exchanges.get(&exchange).map(|it| it.reloads);
                let is_late = reloads != Some(ledger.loaded);
                // Who remembers for a client does so as the answer goes out.
                let head = entry.at;
                self.delivered(Told { exchange, backend, began, head, since: None, is_late });
            }
            What::Core(Event::Ended { exchange, backend, end }) => {
                self.ended(exchange, backend, end, entry.at);
            }
            What::Core(Event::Rejected { exchange, .. } | Event::Left { exchange }) => {
                self.first.remove(&exchange);
                self.users.remove(&exchange);
            }
            _ => {}
        }
    }
}
