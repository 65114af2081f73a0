//! What a choice was made from, as the access log tells it at its level \"debug\".

use lb_core::{Candidate, Explanation, LeftOut, PoolSeen};
use serde::Serialize;

use crate::observe::why::millis;

/// What the choice for an attempt was made from.
#[derive(Serialize)]
pub(super) struct Made {
    attempt: u8,
    pools: Vec<Pool>,
    candidates: Vec<Seen>,
    #[serde(skip_serializing_if = "is_zero")]
    more: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    retries_left: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    running_max: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<u32>,
}

/// A pool as steering saw it.
#[derive(Serialize)]
struct Pool {
    name: String,
    fit: usize,
    of: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    serves: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meant: Option<bool>,
}

/// A backend as the choice saw it.
#[derive(Serialize)]
struct Seen {
    backend: String,
    pool: usize,
    weight: u32,
    in_flight: u32,
    breaker: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    for_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chance: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wish: Option<bool>,
}

impl From<&Explanation<'_>> for Made {
    fn from(said: &Explanation<'_>) -> Self {
        let seen = |candidate: &Candidate<'_>| Seen {
            backend: candidate.backend.name().to_owned(),
            pool: candidate.pool,
            weight: candidate.weight,
            in_flight: candidate.in_flight,
            breaker: candidate.breaker.as_str(),
            left_out: candidate.left_out.map(LeftOut::as_str),
            for_ms: candidate.left_out.and_then(LeftOut::until).map(|it| millis(it - said.at)),
            latency_ms: candidate.latency.map(millis),
            check_ms: candidate.check.map(millis),
            error_rate: candidate.error_rate,
            chance: (candidate.chance < 1.0).then_some(candidate.chance),
            wish: (said.wish == Some(candidate.backend.id().backend)).then_some(true),
        };
        let pool = |pool: &PoolSeen<'_>| Pool {
            name: pool.name.to_owned(),
            fit: pool.fit,
            of: pool.count,
            serves: (!pool.serves).then_some(false),
            meant: pool.meant.then_some(true),
        };
        Self {
            attempt: said.attempt,
            pools: said.pools.iter().map(pool).collect(),
            candidates: said.candidates.iter().map(seen).collect(),
            more: said.more,
            key: said.key.map(|key| format!("{key:016x}")),
            retries_left: said.retries_left,
            running: said.running.map(|(running, _)| running),
            running_max: said.running.map(|(_, most)| most),
            waiting: said.running.map(|_| said.waiting),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes what it skips by reference")]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}
