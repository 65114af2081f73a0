//! A server that does what it did when it was recorded.
//!
//! It has no places and no queue: what its requests waited for there is in what they took. Nor does
//! anything else go wrong with it than what did. Where nobody knows how long it took, it takes its latency.

use std::time::Duration;

use lb_core::{Failure, Outcome, Rng, Time};

use crate::dice::Chance;
use crate::record::Past;
use crate::scenario::Latency;
use crate::weather::since_start;

use super::fate::{Deadlines, Fate};

/// What becomes of a request at `now`. All chance of it comes from `dice`.
pub(super) fn relive(
    past: &Past,
    latency: &Latency,
    now: Time,
    deadlines: Deadlines,
    mut dice: Rng,
) -> Fate {
    let lot = past.lot(since_start(now), dice.unit(), dice.unit());
    let fails = |at: Time, failure, reached| Fate {
        at: at.max(now),
        outcome: Outcome::Failed(failure),
        body: Duration::ZERO,
        is_whole: true,
        reached,
    };
    let done = now + lot.takes.unwrap_or_else(|| latency.draw(&mut dice));
    let late = || fails(deadlines.head, deadlines.no_head, Some(0));
    match lot.outcome {
        Outcome::Failed(Failure::ConnectTimeout) => {
            fails(deadlines.connect, deadlines.no_connection, None)
        }
        // How much longer it would have taken nobody knows.
        Outcome::Failed(Failure::FirstByteTimeout) => late(),
        Outcome::Failed(failure @ (Failure::Reset | Failure::Malformed)) => {
            match done <= deadlines.head {
                true => fails(done, failure, Some(0)),
                false => late(),
            }
        }
        Outcome::Failed(failure) => fails(done.min(deadlines.connect), failure, None),
        Outcome::Answered(_) if done > deadlines.head => late(),
        Outcome::Answered(status) => Fate {
            at: done,
            outcome: lot.outcome,
            body: Duration::ZERO,
            is_whole: true,
            reached: Some(status),
        },
    }
}
