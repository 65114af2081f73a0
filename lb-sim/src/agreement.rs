//! How far two engines are apart in what they measure of the same scenario under the same seed.
//!
//! The engines share arrivals, not luck: an origin's latency and a coin that a fault tosses are drawn in
//! another order, a connection is kept a millisecond longer. So they cannot say the same to the last
//! request, and what they may differ by is said here, once, for tests, tables and documents.

use std::fmt;

use crate::engine::Run;
use crate::measure::{Facts, span};
use crate::scenario::{Phase, Scenario};

/// How far two engines may be apart in a share of requests or attempts.
pub const SHARE_APART_MAX: f64 = 0.08;
/// The same in the median latency: so many milliseconds, and this part of the larger.
pub const P50_APART_MAX: (f64, f64) = (5.0, 0.25);
/// The same in the 99th percentile, which a few requests decide.
pub const P99_APART_MAX: (f64, f64) = (25.0, 0.5);

/// What an engine measured of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// How many requests there were.
    pub requests: u64,
    /// The share of them that got no good answer.
    pub errors: f64,
    /// Attempts after the first, per request.
    pub retries: f64,
    /// Latencies of good answers, in milliseconds, if there were any.
    pub p50: Option<f64>,
    /// The same.
    pub p99: Option<f64>,
    /// The share of the attempts that went to each origin.
    pub shares: Vec<f64>,
}

/// Something in which two engines differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Apart {
    /// In what.
    pub what: String,
    /// By how much: a share, or milliseconds.
    pub by: f64,
    /// By how much they may.
    pub at_most: f64,
    /// Whether it is in milliseconds.
    pub is_latency: bool,
}

impl Apart {
    /// Whether that is as much as two runs may differ by.
    pub fn is_tolerable(&self) -> bool {
        self.by <= self.at_most
    }
}

impl fmt::Display for Apart {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, by, at_most, is_latency } = self;
        match is_latency {
            true => write!(out, "{what} by {by:.1} ms (at most {at_most:.1})"),
            false => {
                let (by, at_most) = (by * 100.0, at_most * 100.0);
                write!(out, "{what} by {by:.1} points (at most {at_most:.0})")
            }
        }
    }
}

impl Figures {
    /// What was measured of `run`, or of a part of it.
    pub fn of(scenario: &Scenario, run: &Run, phase: Option<Phase>) -> Self {
        let facts = Facts::of(scenario, &run.log);
        let measure = facts.measure(scenario, &span(scenario, phase));
        let per_request = |part: u64| ratio(part, measure.requests);
        Self {
            requests: measure.requests,
            errors: per_request(measure.errors),
            retries: per_request(measure.retries),
            p50: measure.latency_ms(0.5),
            p99: measure.latency_ms(0.99),
            shares: (0..scenario.origins.len())
                .map(|origin| measure.share(Some(origin)).unwrap_or(0.0))
                .collect(),
        }
    }

    /// In what these differ from `other`, and by how much.
    pub fn apart(&self, other: &Self, scenario: &Scenario) -> Vec<Apart> {
        let share = |what: String, one: f64, other: f64| Apart {
            what,
            by: (one - other).abs(),
            at_most: SHARE_APART_MAX,
            is_latency: false,
        };
        let mut all = vec![
            share("errors".to_owned(), self.errors, other.errors),
            share("retries".to_owned(), self.retries, other.retries),
        ];
        for (origin, (one, other)) in
            scenario.origins.iter().zip(self.shares.iter().zip(&other.shares))
        {
            all.push(share(format!("the share of {}", origin.address()), *one, *other));
        }
        for (what, one, other, (flat, part)) in [
            ("p50", self.p50, other.p50, P50_APART_MAX),
            ("p99", self.p99, other.p99, P99_APART_MAX),
        ] {
            if let (Some(one), Some(other)) = (one, other) {
                let at_most = flat + part * one.max(other);
                let by = (one - other).abs();
                all.push(Apart { what: what.to_owned(), by, at_most, is_latency: true });
            }
        }
        all
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2⁵²")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
