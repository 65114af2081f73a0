//! What was learned and written down, and what discovery found.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::{counters, gauges, with};
use crate::discovery::Key;
use crate::discovery::known::Became;
use crate::gateway::Gateway;

pub(super) fn encode(gateway: &Gateway, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    counters(to, "lb_state_writes", "How often what was learned was written down", |out| {
        out.counter(&Vec::new(), &gateway.process.state_writes)
    })?;
    counters(to, "lb_state_failures", "How often it could not be", |out| {
        out.counter(&Vec::new(), &gateway.process.state_failures)
    })?;
    let book = gateway.sources.book();
    if book.known.is_empty() {
        return Ok(());
    }
    let labels = |key: &Key| -> [(&'static str, String); 3] {
        let Key { service, pool, source } = key.clone();
        [("service", service), ("pool", pool), ("source", source)]
    };
    let all: Vec<_> = book.known.iter().map(|(key, known)| (labels(key), known)).collect();
    let all = || {
        all.iter().map(|(labels, known)| {
            (labels.each_ref().map(|(name, it)| (*name, it.as_str())).to_vec(), *known)
        })
    };
    gauges(to, "lb_discovery_backends", "Backends in the list that is in force", |out| {
        for (labels, known) in all() {
            let count = known.found.as_ref().map_or(0, Vec::len);
            out.gauge(&labels, f64::from(u32::try_from(count).unwrap_or(u32::MAX)))?;
        }
        Ok(())
    })?;
    let help = "Seconds since the list that is in force was seen to hold, or infinity";
    gauges(to, "lb_discovery_age_seconds", help, |out| {
        for (labels, known) in all() {
            let age = known.seen.map_or(f64::INFINITY, |it| (gateway.now() - it).as_secs_f64());
            out.gauge(&labels, age)?;
        }
        Ok(())
    })?;
    counters(to, "lb_discovery_looks", "Looks at a source by what became of them", |out| {
        for (labels, known) in all() {
            for became in Became::ALL {
                let count = known.counts[became as usize];
                out.counted(&with(&labels, "outcome", became.as_str()), count)?;
            }
        }
        Ok(())
    })
}
