//! Checks take a backend out after so many bad ones and bring it back after so many good ones: no
//! sooner and no later.
//!
//! When a backend fails its checks is known from the faults of the scenario; how many of them fit in
//! between, from the interval, of which each check may be off by a tenth.

use std::time::Duration;

use lb_core::config::{ProbeConfig, ProbeKind};
use lb_core::{BackendId, Event};

use super::lineup::Lineups;
use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::{Fault, FaultKind, Scenario, Whom};

pub(super) struct HealthInTime {
    lineups: Lineups,
    /// A time in which a backend fails every check for sure, and one that follows in which it passes.
    spells: Vec<Spell>,
}

/// From when to when every check of a backend fails, and until when every one passes then.
struct Spell {
    origin: usize,
    /// When something else ended before, which may have failed checks.
    before: Option<Duration>,
    from: Duration,
    to: Duration,
    well_until: Duration,
    /// What checks come to meanwhile.
    what: Failing,
    /// Who fell and rose for it, and when.
    moves: Vec<(BackendId, bool, Duration)>,
}

/// How a fault fails every check that asks for an answer.
struct Failing {
    /// By saying nothing: the check takes all of its time.
    is_silent: bool,
    /// Only once it is connected: a check that does no more than that passes all the same.
    connects: bool,
}

/// What the network and the ticks of the world add.
const UNSHARP: Duration = Duration::from_millis(60);

impl HealthInTime {
    pub(super) fn new(lineups: &Lineups, scenario: &Scenario) -> Self {
        // A reload moves checks: their turns are others then.
        let faults = if scenario.actions.is_empty() { &scenario.faults[..] } else { &[] };
        let spell = |fault: &Fault| {
            let mut others = faults.iter().filter(|it| it.origin == fault.origin);
            let next = others.clone().map(|it| it.at).filter(|at| *at >= fault.end()).min();
            let before = others.clone().map(Fault::end).filter(|end| *end <= fault.at).max();
            let overlaps = others
                .any(|it| !std::ptr::eq(it, fault) && it.at < fault.end() && fault.at < it.end());
            Some(Spell {
                origin: fault.origin,
                before,
                from: fault.at,
                to: fault.end(),
                well_until: next.unwrap_or(scenario.duration),
                what: Failing::of(fault.kind).filter(|_| !overlaps)?,
                moves: Vec::new(),
            })
        };
        Self { lineups: lineups.clone(), spells: faults.iter().filter_map(spell).collect() }
    }

    fn check(&self, spell: &Spell, backend: BackendId, config: &ProbeConfig, judge: &mut Judge) {
        let (early, late) = (config.interval * 9 / 10, config.interval * 11 / 10);
        let each = |count: u8, of: Duration| of * u32::from(count);
        // Who has not risen yet since something else cannot fall, and who has not passed falls sooner.
        let rises = |end| end + each(config.rise, late) + config.timeout + UNSHARP <= spell.from;
        if !spell.before.is_none_or(rises) {
            return;
        }
        let takes = if spell.what.is_silent { config.timeout } else { Duration::ZERO };
        let name = backend.backend;
        let moved =
            |to| spell.moves.iter().find(|(it, healthy, _)| *it == backend && *healthy == to);
        let (fell, rose) = (moved(false).map(|it| it.2), moved(true).map(|it| it.2));
        // The first bad check may come at once, and each further one an interval later.
        let soonest = spell.from + each(config.fall.saturating_sub(1), early);
        let latest = spell.from + each(config.fall, late) + takes + UNSHARP;
        if latest < spell.to {
            judge.check(fell.is_some_and(|at| at <= latest), || {
                let fall = config.fall;
                format!("backend {name} fails {fall} checks by {latest:?}, and falls at {fell:?}")
            });
        }
        if let Some(fell) = fell {
            judge.check(fell + UNSHARP >= soonest, || {
                format!(
                    "backend {name} falls at {fell:?}, and cannot have failed before {soonest:?}"
                )
            });
            // A check that hung when it ended comes to its own end, a good one or a bad one.
            let soonest = spell.to + each(config.rise.saturating_sub(1), early) - takes;
            let latest = spell.to + each(config.rise, late) + takes + UNSHARP;
            if let Some(rose) = rose {
                judge.check(rose + UNSHARP >= soonest, || {
                    format!(
                        "backend {name} rises at {rose:?}, and cannot be well before {soonest:?}"
                    )
                });
            }
            if latest < spell.well_until {
                judge.check(rose.is_some_and(|at| at <= latest), || {
                    let rise = config.rise;
                    format!(
                        "backend {name} passes {rise} checks by {latest:?}, and rises at {rose:?}"
                    )
                });
            }
        }
    }
}

impl Failing {
    /// What a fault does to checks, if it fails every one that asks for an answer.
    fn of(kind: FaultKind) -> Option<Self> {
        let (is_silent, connects) = match kind {
            FaultKind::Blackhole | FaultKind::Crash => (true, false),
            FaultKind::HalfOpen => (true, true),
            FaultKind::Refuse | FaultKind::Partition => (false, false),
            FaultKind::Status { code: 500.., rate, whom }
                if whom != Whom::Requests && rate >= 1.0 =>
            {
                (false, true)
            }
            _ => return None,
        };
        Some(Self { is_silent, connects })
    }
}

impl Invariant for HealthInTime {
    fn name(&self) -> &'static str {
        "health is seen in time"
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        Topics::BACKEND
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, _judge: &mut Judge) {
        let What::Core(Event::HealthMoved { backend, healthy }) = entry.what else { return };
        let place = ledger.scenario.place(&ledger.name(backend));
        let mine = |spell: &&mut Spell| Some(spell.origin) == place && entry.at >= spell.from;
        let Some(spell) = self.spells.iter_mut().filter(mine).max_by_key(|spell| spell.from) else {
            return;
        };
        if !spell.moves.iter().any(|it| (it.0, it.1) == (backend, healthy)) {
            spell.moves.push((backend, healthy, entry.at));
        }
    }

    fn at_end(&mut self, ledger: &Ledger<'_>, judge: &mut Judge) {
        for service in ledger.scenario.roster.numbers() {
            let Some(lineup) = self.lineups.at(0, service) else { continue };
            let Some(config) = &lineup.core.probe else { continue };
            let asks = !matches!(config.kind, ProbeKind::Tcp);
            let fixed = !asks || matches!(&config.kind, ProbeKind::Http { path: Some(_), .. });
            if !fixed || config.interval_max.is_some() || config.timeout >= config.interval {
                continue;
            }
            for seat in lineup.pools.iter().flatten() {
                let place = ledger.scenario.place(&ledger.name(seat.backend));
                let fails = |spell: &&Spell| asks || !spell.what.connects;
                let mine = self.spells.iter().filter(|spell| Some(spell.origin) == place);
                for spell in mine.filter(fails) {
                    self.check(spell, seat.backend, config, judge);
                }
            }
        }
    }
}
