//! What lb-core promises, tested through its public door: text of what happened, models that are
//! simpler than the code, and legal runs that chance invents.
//!
//! What can only be seen from inside (tables, bitmaps, the bucket) is tested beside it in `src/`;
//! what only several threads can break is in `loom.rs`.

#![cfg(not(loom))]

mod support;

mod affinity;
mod breaker;
mod checks;
mod empty;
mod error_rate;
mod exchange;
mod explain;
mod hashing;
mod hedges;
mod limits;
mod membership;
mod outcome;
mod outliers;
mod picks;
mod queues;
mod retries;
mod returns;
mod runs;
mod shares;
mod steering;
mod theory;
