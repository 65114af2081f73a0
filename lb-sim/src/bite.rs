//! Whether a fault bit: a fault that nobody noticed was not rehearsed.

use std::collections::BTreeSet;
use std::time::Duration;

use lb_core::{BodyEnd, Event, ExchangeId, Outcome};

use crate::engine::TICK;
use crate::log::{Entry, What};
use crate::measure::origin_of;
use crate::scenario::{Fault, FaultKind, Scenario};

/// Whether somebody noticed a fault.
pub(crate) fn bit(scenario: &Scenario, fault: &Fault, log: &[Entry]) -> bool {
    let is_there = |backend| origin_of(scenario, backend) == fault.origin;
    let during = |at: Duration| fault.at <= at && at < fault.end();
    // Attempts under way at the faulty origin while the fault lasts.
    let mut under_way: BTreeSet<ExchangeId> = BTreeSet::new();
    log.iter().any(|Entry { at, what }| match *what {
        What::Reached { origin, status, .. } => {
            origin == fault.origin
                && during(*at)
                && matches!(fault.kind, FaultKind::Status { code, .. } if code == status)
        }
        What::Core(Event::Attempted { exchange, backend, .. }) => {
            if is_there(backend) && *at < fault.end() {
                under_way.insert(exchange);
            }
            false
        }
        What::Core(Event::Concluded { exchange, backend, outcome, took, .. }) => {
            let was = is_there(backend) && under_way.remove(&exchange) && *at >= fault.at;
            // Longer than any answer of a sound origin takes: two round trips and a few ticks.
            let sound = scenario.origins[fault.origin].latency.max + 4 * scenario.network.max;
            let hangs = matches!(
                fault.kind,
                FaultKind::Blackhole
                    | FaultKind::HalfOpen
                    | FaultKind::Partition
                    | FaultKind::Crash
            );
            was && match (fault.kind, outcome) {
                (FaultKind::Slow { by }, Outcome::Answered(_)) => took >= by,
                (FaultKind::Slow { .. }, Outcome::Failed(_)) => true,
                (FaultKind::Status { .. } | FaultKind::Truncate, _) => false,
                (_, Outcome::Answered(_)) if hangs => took > sound + 10 * TICK,
                (_, outcome) => matches!(outcome, Outcome::Failed(_)),
            }
        }
        // Health checks were the first to find out.
        What::Core(Event::HealthMoved { backend, healthy: false }) => {
            is_there(backend) && during(*at) && fault.kind != FaultKind::Truncate
        }
        // Somebody was asked beside it, and was sooner.
        What::Core(Event::Overtaken { exchange, backend, .. }) => {
            let waits = !matches!(fault.kind, FaultKind::Status { .. } | FaultKind::Truncate);
            is_there(backend) && under_way.remove(&exchange) && waits && *at >= fault.at
        }
        What::Core(Event::Left { exchange }) => {
            let breaks = !matches!(fault.kind, FaultKind::Status { .. } | FaultKind::Truncate);
            under_way.remove(&exchange) && breaks && *at >= fault.at
        }
        What::Core(Event::Ended { backend, end: BodyEnd::BackendBroke, .. }) => {
            is_there(backend) && fault.kind == FaultKind::Truncate && *at >= fault.at
        }
        _ => false,
    })
}
