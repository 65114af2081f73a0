//! Before another attempt an exchange waits as long as it was told: below the ceiling, and not always
//! at the same height below it.
//!
//! What jitter draws is not known here. But of many waits the mean is, within five of its standard
//! deviations.

use std::collections::BTreeMap;
use std::time::Duration;

use lb_core::config::{BackoffConfig, Jitter};
use lb_core::{Event, Outcome, Time};

use super::lineup::Lineups;
use super::{Invariant, Judge};
use crate::engine::TICK;
use crate::ledger::{Exchange, Ledger};
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

pub(super) struct WaitsInBounds {
    lineups: Lineups,
    /// By service: waits as shares of their ceilings, their sum and their count.
    shares: BTreeMap<u16, (f64, u32)>,
}

/// Waits from which on their mean says something.
const WAITS_MIN: u32 = 40;
/// The standard deviation of what is drawn evenly from 0 to 1 is one over the root of 12.
const DEVIATION: f64 = 0.288_675_134_594_812_9;
/// What ticks of the world add to a mean.
const UNSHARP: f64 = 0.05;

impl WaitsInBounds {
    pub(super) fn new(lineups: &Lineups) -> Self {
        Self { lineups: lineups.clone(), shares: BTreeMap::new() }
    }
}

/// The most that may be waited after so many attempts, worked out step by step.
fn ceiling(said: &BackoffConfig, attempts: usize) -> Duration {
    let mut ceiling = said.base.min(said.max);
    for _ in 1..attempts {
        ceiling = (ceiling * 2).min(said.max);
    }
    ceiling
}

/// How long the last backend asked to be left alone.
fn asked(exchange: &Exchange, ledger: &Ledger<'_>) -> Option<Duration> {
    let last = exchange.attempts.last()?;
    let Some(Outcome::Answered(500..)) = last.outcome else { return None };
    let place = ledger.scenario.place(&ledger.name(last.backend))?;
    ledger.scenario.origins[place].retry_after
}

impl Invariant for WaitsInBounds {
    fn name(&self) -> &'static str {
        "waits are as configured"
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        Topics::DELAYED
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        let What::Core(Event::Delayed { exchange: id, until }) = entry.what else { return };
        let Some(exchange) = ledger.exchanges.get(&id) else { return };
        let Some(lineup) = self.lineups.at(exchange.reloads, exchange.service) else { return };
        let said = lineup.core.retry.backoff;
        // The core's clock and that of the log are a tick apart at most.
        let wait = (until - Time::ZERO).saturating_sub(entry.at);
        let ceiling = match said.jitter {
            Jitter::Decorrelated => said.max,
            _ => ceiling(&said, exchange.attempts.len()),
        };
        // Whoever is asked to leave a backend alone does, and waits no longer than that for it.
        let asked =
            asked(exchange, ledger).filter(|asked| *asked <= lineup.core.retry.retry_after_max);
        if let Some(asked) = asked {
            return judge.check(wait + TICK >= asked && wait <= asked.max(ceiling) + TICK, || {
                format!("exchange {} waits {wait:?}, and was asked to wait {asked:?}", id.0)
            });
        }
        judge.check(wait <= ceiling + TICK, || {
            format!("exchange {} waits {wait:?}, and {ceiling:?} is the most", id.0)
        });
        let least = match said.jitter {
            Jitter::Full => Duration::ZERO,
            Jitter::Equal => ceiling / 2,
            Jitter::Decorrelated => said.base.min(said.max),
            Jitter::None => ceiling,
        };
        judge.check(wait + TICK >= least, || {
            format!("exchange {} waits {wait:?}, and {least:?} is the least", id.0)
        });
        if said.jitter == Jitter::Full && !ceiling.is_zero() {
            let (sum, count) = self.shares.entry(exchange.service).or_default();
            *sum += wait.as_secs_f64() / ceiling.as_secs_f64();
            *count += 1;
        }
    }

    fn at_end(&mut self, _ledger: &Ledger<'_>, judge: &mut Judge) {
        for (sum, count) in self.shares.values().filter(|(_, count)| *count >= WAITS_MIN) {
            let mean = sum / f64::from(*count);
            let off = 5.0 * DEVIATION / f64::from(*count).sqrt() + UNSHARP;
            judge.check((mean - 0.5).abs() <= off, || {
                format!(
                    "{count} waits with full jitter are at {mean:.2} of their ceilings in the mean"
                )
            });
        }
    }
}
