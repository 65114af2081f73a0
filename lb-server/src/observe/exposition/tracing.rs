//! What becomes of spans.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::counters;
use crate::observe::Exporter;
use crate::observe::trace::export::Exported;

pub(super) fn encode(exporter: &Exporter, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let Exported { exported, dropped, failed } = exporter.counts().read();
    counters(to, "lb_spans", "Spans of traces, by what became of them", |out| {
        for (what, count) in [("exported", exported), ("dropped", dropped), ("failed", failed)] {
            out.counted(&vec![("what", what)], count)?;
        }
        Ok(())
    })
}
