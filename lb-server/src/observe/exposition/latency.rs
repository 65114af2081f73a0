//! How long attempts and exchanges took: histograms that add up over processes, and precise quantiles
//! of the last minutes (docs/decisions/0020-latency-is-counted-finely-and-told-twice.md).

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::super::latencies::{SECONDS, SHARES, Spread, Tally};
use super::super::metrics::{CLOSE_NAMES, Series, outcome_names};
use super::{Labels, Reading, each_backend, each_service, gauges, with};

/// As a summary would label [`SHARES`].
const QUANTILES: [&str; SHARES.len()] = ["0.5", "0.9", "0.99", "0.999", "1"];

type Each<'w> = &'w mut dyn FnMut(&Labels<'_>, &Series) -> fmt::Result;

impl Reading {
    pub(super) fn encode_latency(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let attempts = "Seconds from an attempt's start to its answer or failure";
        histogram(to, "lb_attempt_seconds", attempts, |each| self.each_attempt(each))?;
        let recent = "The same of the last five minutes, to 1.25 %: 1 is the longest";
        self.quantiles(to, "lb_attempt_recent_seconds", recent, |each| self.each_attempt(each))?;
        let exchanges = "Seconds from a request's head to the last byte of its answer";
        histogram(to, "lb_exchange_seconds", exchanges, |each| self.each_exchange(each))?;
        self.quantiles(to, "lb_exchange_recent_seconds", recent, |each| self.each_exchange(each))
    }

    fn each_attempt(&self, write: Each<'_>) -> fmt::Result {
        each_backend(&self.1, |labels, counts, _| {
            let mut by_outcome = outcome_names().zip(&counts.latencies);
            by_outcome.try_for_each(|(name, series)| write(&with(labels, "outcome", name), series))
        })
    }

    fn each_exchange(&self, write: Each<'_>) -> fmt::Result {
        each_service(&self.1, |labels, counts, _| {
            let mut by_close = CLOSE_NAMES.into_iter().zip(&counts.latencies);
            by_close.try_for_each(|(name, series)| write(&with(labels, "outcome", name), series))
        })
    }

    fn quantiles(
        &self,
        to: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        each: impl FnOnce(Each<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let now = self.0.now();
        let mut spread = Spread::default();
        gauges(to, name, help, |out| {
            each(&mut |labels, series| {
                let Some(latencies) = series.get() else { return Ok(()) };
                spread.clear();
                latencies.add_to(&mut spread, now);
                let Some(found) = spread.quantiles(SHARES) else { return Ok(()) };
                let mut found = QUANTILES.into_iter().zip(found);
                found.try_for_each(|(name, secs)| out.gauge(&with(labels, "quantile", name), secs))
            })
        })
    }
}

/// Series in which nothing was ever recorded are left out.
fn histogram(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    each: impl FnOnce(Each<'_>) -> fmt::Result,
) -> fmt::Result {
    let mut out = to.encode_descriptor(name, help, None, MetricType::Histogram)?;
    each(&mut |labels, series| {
        let Some(tally) = series.get().map(|latencies| latencies.tally()) else { return Ok(()) };
        let Tally { counts, sum } = &tally;
        let bounds = SECONDS.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(counts.iter().copied()).collect();
        let mut out = out.encode_family(labels)?;
        out.encode_histogram::<NoLabelSet>(sum.as_secs_f64(), tally.count(), &buckets, None)
    })
}
