//! Everything that the pictures and tables of one run are drawn from, gathered once.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use lb_core::BackendId;

use super::axis::Axis;
use super::history::History;
use super::standing::Band;
use crate::log::Entry;
use crate::measure::{Facts, Measure, origin_of};
use crate::scenario::Scenario;

/// A run, as pages show it.
pub(crate) struct Scene<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) axis: Axis,
    pub(crate) facts: Facts,
    /// What was measured in each bin.
    pub(crate) bins: Vec<Measure>,
    pub(crate) history: History,
    /// The origins that were asked, or that something was said of, by their places in the scenario.
    pub(crate) origins: Vec<usize>,
}

impl<'a> Scene<'a> {
    /// Of a log, in at most `bins_max` bins.
    pub(crate) fn of(scenario: &'a Scenario, log: &[Entry], bins_max: usize) -> Self {
        let axis = Axis::new(scenario.duration, bins_max);
        let facts = Facts::of(scenario, log);
        let history = History::of(scenario, log, axis);
        let bins: Vec<Measure> = axis.bins().map(|span| facts.measure(scenario, &span)).collect();
        let noted = |origin: usize| {
            let asked = bins.iter().any(|bin| bin.attempts[origin] > 0);
            asked || history.bands.keys().any(|it| origin_of(scenario, *it) == origin)
        };
        let origins = (0..scenario.origins.len()).filter(|origin| noted(*origin)).collect();
        Self { scenario, axis, facts, bins, history, origins }
    }

    /// What was measured of a part of the run.
    pub(crate) fn measure(&self, span: &Range<Duration>) -> Measure {
        self.facts.measure(self.scenario, span)
    }

    /// By bin: something that is counted, per second.
    pub(crate) fn rates(&self, count: impl Fn(&Measure) -> u64) -> Vec<f64> {
        let spans = self.axis.bins().map(|span| (span.end - span.start).as_secs_f64());
        self.bins.iter().zip(spans).map(|(bin, seconds)| float(count(bin)) / seconds).collect()
    }

    /// What an origin is called.
    pub(crate) fn name(&self, origin: usize) -> String {
        self.scenario.origins[origin].address()
    }

    /// What spoke against the backends at an origin.
    pub(crate) fn bands(&self, origin: usize) -> BTreeMap<BackendId, &[Band]> {
        let here = |backend: BackendId| origin_of(self.scenario, backend) == origin;
        let all = self.history.bands.iter().filter(|(backend, _)| here(**backend));
        all.map(|(backend, bands)| (*backend, &bands[..])).collect()
    }

    /// What a service is called.
    pub(crate) fn service(&self, service: u16) -> &str {
        let mut configs = self.scenario.configs();
        let said = configs.find_map(|it| self.scenario.roster.service(it, service));
        said.map_or("?", |said| said.core.name.as_str())
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2⁵²")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}
