//! Breakers move when they should: not before enough failed, at once when enough did, for as long as
//! was asked for, and back when enough trials went well and no sooner.
//!
//! A second breaker beside the core's, written from the configuration's own words. What the first
//! request shows is told before the breaker moves, what a body shows right after; so a move is held
//! against the count so far, or against the body's end that has to come next.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use lb_core::config::{BreakerConfig, StatusSet, WhenAllUnfit};
use lb_core::{BackendId, BodyEnd, BreakerState, Event, ExchangeId, Failure, Outcome, Role};

use super::lineup::Lineups;
use super::{Invariant, Judge};
use crate::engine::TICK;
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::measure::origin_of;
use crate::scenario::Scenario;

pub(super) struct BreakerMoves {
    lineups: Lineups,
    watched: BTreeMap<BackendId, Watched>,
    /// Attempts whose verdict is still to come.
    open: BTreeMap<(ExchangeId, u8), Shown>,
    /// A breaker that opened for a body whose end must be told of next.
    owes: Option<(BackendId, String)>,
    /// The trial whose head was good just now.
    good: Option<(ExchangeId, u8)>,
    now: Duration,
}

/// What is known of one breaker.
#[derive(Clone, Default)]
struct Watched {
    /// Counts moves.
    era: u32,
    state: Option<BreakerState>,
    row: u32,
    /// When verdicts came since it was closed, within the window of the error rate.
    seen: VecDeque<Duration>,
    good_trials: u32,
    bad_trials: u32,
    /// Openings without calm in between, how long the last one had to last, and from when to when.
    openings: u32,
    lasts: Duration,
    opened: Duration,
    closed: Duration,
}

/// An attempt whose verdict is still to come.
#[derive(Clone, Copy)]
struct Shown {
    backend: BackendId,
    era: u32,
    role: Role,
    /// The head of a trial was good: what its body shows counts against the breaker that it closed.
    is_late: bool,
    is_judged: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    Good,
    Bad,
    Nothing,
}

/// What an outcome says of the backend. Written down here once more, as the core's table is judged.
fn of_head(outcome: Outcome, failures: StatusSet) -> Says {
    match outcome {
        Outcome::Answered(status) if status >= 600 || failures.contains(status) => Says::Bad,
        Outcome::Answered(_) => Says::Good,
        Outcome::Failed(
            Failure::Unsent
            | Failure::Exhausted
            | Failure::Crowded
            | Failure::NoTunnel
            | Failure::OutOfTime
            | Failure::BodyAwaited
            | Failure::ConnectionLost,
        ) => Says::Nothing,
        Outcome::Failed(_) => Says::Bad,
    }
}

fn of_body(end: BodyEnd) -> Says {
    match end {
        BodyEnd::Complete => Says::Good,
        BodyEnd::BackendBroke | BodyEnd::BackendIdle => Says::Bad,
        BodyEnd::BackendLeft
        | BodyEnd::BackendQuiet
        | BodyEnd::Deadline
        | BodyEnd::ClientLeft
        | BodyEnd::ConnectionBroke => Says::Nothing,
    }
}

/// Whether a silence is blamed on whoever announced more, and on nobody else.
fn silence(backend: BackendId, end: BodyEnd, ledger: &Ledger<'_>, judge: &mut Judge) {
    let scenario = ledger.scenario;
    let announces = || scenario.origins[origin_of(scenario, backend)].announces();
    let fits = match end {
        BodyEnd::BackendIdle => announces().is_some(),
        BodyEnd::BackendQuiet => announces().is_none(),
        _ => return,
    };
    judge.check(fits, || {
        let (name, announced) = (ledger.name(backend), announces());
        format!("{name} announced {announced:?} bytes, and its body ends as {end:?}")
    });
}

/// How long it stays open the `nth` time in a row, counted from 0.
fn lasts(nth: u32, config: &BreakerConfig) -> Duration {
    let mut span = config.open_for.min(config.open_for_max);
    for _ in 0..nth.min(64) {
        span = (span * 2).min(config.open_for_max);
    }
    span
}

impl Watched {
    fn state(&self) -> BreakerState {
        self.state.unwrap_or(BreakerState::Closed)
    }

    /// Forgets what is older than any window reaches; all of it, where nobody asks for a rate.
    fn prune(&mut self, now: Duration, window: Option<Duration>) {
        let since = window.map(|window| now.saturating_sub(window + TICK));
        while self.seen.front().is_some_and(|at| since.is_none_or(|since| *at < since)) {
            self.seen.pop_front();
        }
    }
}

impl BreakerMoves {
    pub(super) fn new(lineups: &Lineups) -> Self {
        let (watched, open) = (BTreeMap::new(), BTreeMap::new());
        let (lineups, now) = (lineups.clone(), Duration::ZERO);
        Self { lineups, watched, open, owes: None, good: None, now }
    }

    /// The rules of a service's breakers, where all its configurations agree on them.
    fn rules(&self, service: u16) -> Option<(BreakerConfig, StatusSet)> {
        let mut all = self.lineups.all(service).map(|it| (it.core.breaker, it.core.failures));
        let first = all.next()?;
        let reset = |it: &super::lineup::Lineup| it.core.when_all_unfit == WhenAllUnfit::Reset;
        let agree = all.all(|other| other == first) && !self.lineups.all(service).any(reset);
        Some((first.0.filter(|_| agree)?, first.1))
    }

    fn judge(&mut self, shown: Shown, says: Says) {
        let watched = self.watched.entry(shown.backend).or_default();
        if watched.era != shown.era || says == Says::Nothing {
            return;
        }
        match watched.state() {
            BreakerState::Closed => {
                watched.row = if says == Says::Bad { watched.row + 1 } else { 0 };
                watched.seen.push_back(self.now);
            }
            BreakerState::HalfOpen if shown.role == Role::Trial => {
                watched.good_trials += u32::from(says == Says::Good);
                watched.bad_trials += u32::from(says == Says::Bad);
            }
            BreakerState::HalfOpen | BreakerState::Open => {}
        }
    }

    fn attempted(
        &mut self,
        (id, attempt): (ExchangeId, u8),
        (backend, role): (BackendId, Role),
        config: &BreakerConfig,
        ledger: &Ledger<'_>,
        judge: &mut Judge,
    ) {
        let window = config.error_rate.map(|rate| rate.window);
        let now = self.now;
        let watched = self.watched.entry(backend).or_default();
        watched.prune(now, window);
        let most = u32::from(config.consecutive_failures);
        let name = || ledger.name(backend);
        if role == Role::Normal && watched.state() == BreakerState::Closed {
            judge.check(watched.row < most, || {
                format!(
                    "{} is asked after {} failures in a row, and {most} are too many",
                    name(),
                    watched.row
                )
            });
        }
        if role == Role::Trial {
            let enough = u32::from(config.half_open_successes);
            judge.check(watched.bad_trials == 0 && watched.good_trials < enough, || {
                let (good, bad) = (watched.good_trials, watched.bad_trials);
                format!("{} is tried on after {good} good trials and {bad} bad ones", name())
            });
        }
        let shown = Shown { backend, era: watched.era, role, is_late: false, is_judged: false };
        self.open.insert((id, attempt), shown);
    }

    fn moved(
        &mut self,
        backend: BackendId,
        (from, to): (BreakerState, BreakerState),
        config: &BreakerConfig,
        (entry, ledger): (&Entry, &Ledger<'_>),
        judge: &mut Judge,
    ) {
        use BreakerState::{Closed, HalfOpen, Open};
        let watched = self.watched.entry(backend).or_default();
        let name = || ledger.name(backend);
        let now = entry.at;
        match (from, to) {
            (Closed, Open) => {
                let enough = watched.row >= u32::from(config.consecutive_failures);
                let row = watched.row + 1 >= u32::from(config.consecutive_failures);
                watched.prune(now, config.error_rate.map(|rate| rate.window));
                let seen = watched.seen.len();
                let of_many = config
                    .error_rate
                    .is_some_and(|rate| seen + 1 >= usize::from(rate.min_requests));
                let why = format!("{} opens after {} of {seen}", name(), watched.row);
                judge.check(enough || row || of_many, || why.clone());
                if !enough && !of_many {
                    self.owes = Some((backend, why));
                }
                // The core forgets in whole seconds, and may do so later: never sooner.
                if now >= watched.closed + watched.lasts {
                    watched.openings = 0;
                }
            }
            (HalfOpen, Open) => {
                judge.check(watched.bad_trials > 0, || {
                    format!("{} opens again, and no trial has failed", name())
                });
            }
            (HalfOpen, Closed) => {
                let enough = u32::from(config.half_open_successes);
                judge.check(watched.good_trials >= enough, || {
                    let good = watched.good_trials;
                    format!("{} closes after {good} good trials of {enough}", name())
                });
                watched.closed = now;
            }
            (Open, HalfOpen) => {
                let hastened = ledger.breakers.get(&backend).is_some_and(|it| it.hastened);
                let was = now.saturating_sub(watched.opened);
                let least = watched.lasts;
                judge.check(hastened || was + TICK >= least, || {
                    format!("{} is asked after {was:?}, and {least:?} is the least", name())
                });
            }
            _ => {}
        }
        if to == Open {
            watched.lasts = lasts(watched.openings, config);
            watched.openings += 1;
            watched.opened = now;
        }
        watched.era += 1;
        watched.state = Some(to);
        (watched.row, watched.good_trials, watched.bad_trials) = (0, 0, 0);
        watched.seen.clear();
    }

    /// What an event of an exchange shows.
    fn shows(&mut self, event: &Event, failures: StatusSet) {
        match *event {
            Event::Concluded { exchange, attempt, outcome, .. } => {
                let Some(mut shown) = self.open.get(&(exchange, attempt)).copied() else { return };
                let says = of_head(outcome, failures);
                let is_trial = shown.role == Role::Trial;
                if says == Says::Bad || is_trial {
                    self.judge(shown, says);
                    shown.is_judged = true;
                    shown.is_late = is_trial && says == Says::Good;
                    self.good = shown.is_late.then_some((exchange, attempt));
                }
                match outcome {
                    Outcome::Answered(_) => self.open.insert((exchange, attempt), shown),
                    Outcome::Failed(_) => self.open.remove(&(exchange, attempt)),
                };
            }
            Event::Overtaken { exchange, attempt, .. } => {
                self.open.remove(&(exchange, attempt));
            }
            Event::Ended { exchange, backend, end } => {
                let last = self.of(exchange).filter(|(_, shown)| shown.backend == backend).last();
                if let Some((_, shown)) = last {
                    let says = of_body(end);
                    // What a late body says against a breaker is no trial any more.
                    let late = Shown { role: Role::Panic, ..shown };
                    match (shown.is_late, shown.is_judged, says) {
                        (true, _, Says::Bad) => self.judge(late, says),
                        (_, false, _) => self.judge(shown, says),
                        _ => {}
                    }
                }
                self.forget(exchange);
            }
            Event::Rejected { exchange, .. } | Event::Left { exchange } => self.forget(exchange),
            _ => {}
        }
    }

    fn of(&self, id: ExchangeId) -> impl Iterator<Item = ((ExchangeId, u8), Shown)> {
        self.open.range((id, 0)..=(id, u8::MAX)).map(|(key, shown)| (*key, *shown))
    }

    fn forget(&mut self, id: ExchangeId) {
        let gone: Vec<_> = self.of(id).map(|(key, _)| key).collect();
        gone.iter().for_each(|key| {
            self.open.remove(key);
        });
    }

    /// The trial that closed a breaker is held to what its body shows in the era that it led to.
    fn carry_over(&mut self) {
        let Some(shown) = self.good.take().and_then(|key| self.open.get_mut(&key)) else { return };
        shown.era += 1;
    }
}

impl Invariant for BreakerMoves {
    fn name(&self) -> &'static str {
        "breakers move as configured"
    }

    fn wants(&self, scenario: &Scenario) -> Topics {
        match !scenario.faults.is_empty() && self.lineups.any(|core| core.breaker.is_some()) {
            true => Topics::ATTEMPTED
                .and(Topics::CONCLUDED)
                .and(Topics::ASIDE)
                .and(Topics::BACKEND)
                .and(Topics::BODY_ENDED)
                .and(Topics::REJECTED)
                .and(Topics::LEFT),
            false => Topics::NONE,
        }
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        self.now = entry.at;
        if let Some((backend, why)) = self.owes.take() {
            let is_paid = matches!(
                entry.what,
                What::Core(Event::Ended { backend: of, end, .. })
                    if of == backend && of_body(end) == Says::Bad
            );
            judge.check(is_paid, || format!("{why}, and no body has failed"));
        }
        let What::Core(event) = &entry.what else { return };
        match *event {
            Event::Attempted { exchange, attempt, backend, choice, .. } => {
                let Some((config, _)) = self.rules(backend.service) else { return };
                let (who, whom) = ((exchange, attempt), (backend, choice.role));
                self.attempted(who, whom, &config, ledger, judge);
            }
            Event::BreakerMoved { backend, from, to } => {
                let Some((config, _)) = self.rules(backend.service) else { return };
                self.moved(backend, (from, to), &config, (entry, ledger), judge);
                if to == BreakerState::Closed {
                    self.carry_over();
                }
            }
            Event::Concluded { backend, .. } | Event::Ended { backend, .. } => {
                if let Event::Ended { end, .. } = *event {
                    silence(backend, end, ledger, judge);
                }
                let Some((_, failures)) = self.rules(backend.service) else { return };
                self.shows(event, failures);
            }
            _ => self.shows(event, StatusSet::FAILURES),
        }
    }
}
