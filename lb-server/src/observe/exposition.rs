//! `/metrics`: the counters, and what the backends' state is at this moment, for Prometheus.

mod discovery;
mod latency;
mod plain;
mod tls;
mod tracing;

use std::fmt;
use std::sync::Arc;

use lb_core::{BodyEnd, BreakerState, Withheld};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::metrics::{Count, STATUS_CLASS_NAMES, outcome_names, rejection_names};
use crate::gateway::Gateway;
use crate::snapshot::{Site, Snapshot};

/// How metrics are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// OpenMetrics 1.0.
    Open,
    /// Prometheus' older text, which everybody reads.
    Plain,
}

impl Format {
    /// The one for a scraper that accepts this.
    pub(crate) fn for_who_accepts(accept: &[u8]) -> Self {
        let open = b"application/openmetrics-text";
        let is_open = accept.windows(open.len()).any(|part| part.eq_ignore_ascii_case(open));
        if is_open { Self::Open } else { Self::Plain }
    }

    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Open => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// All metrics.
pub(crate) fn exposition(gateway: &Arc<Gateway>, format: Format) -> String {
    let text = open(gateway);
    if format == Format::Open { text } else { plain::plain(&text) }
}

/// The OpenMetrics text of all metrics.
fn open(gateway: &Arc<Gateway>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Reading(Arc::clone(gateway), gateway.snapshot())));
    let mut text = String::new();
    encode(&mut text, &registry).expect("writing to a string cannot fail");
    text
}

struct Reading(Arc<Gateway>, Arc<Snapshot>);

impl fmt::Debug for Reading {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Reading")
    }
}

type Labels<'l> = Vec<(&'static str, &'l str)>;

/// One metric being written: a name, and then a value per set of labels.
struct Writing<'e>(MetricEncoder<'e>);

impl Writing<'_> {
    fn counter(&mut self, labels: &Labels<'_>, count: &Count) -> fmt::Result {
        self.counted(labels, count.get())
    }

    fn counted(&mut self, labels: &Labels<'_>, count: u64) -> fmt::Result {
        if labels.is_empty() {
            return self.0.encode_counter::<NoLabelSet, _, u64>(&count, None);
        }
        self.0.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)
    }

    fn gauge(&mut self, labels: &Labels<'_>, value: f64) -> fmt::Result {
        if labels.is_empty() {
            return self.0.encode_gauge(&value);
        }
        self.0.encode_family(labels)?.encode_gauge(&value)
    }
}

impl Collector for Reading {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(gateway, snapshot) = self;
        self.encode_process(&mut to)?;
        self.encode_services(&mut to)?;
        self.encode_limits(&mut to)?;
        discovery::encode(gateway, &mut to)?;
        counters(&mut to, "lb_backend_attempts", "Attempts by what became of them", |out| {
            each_backend(snapshot, |labels, counts, _| {
                for (name, series) in outcome_names().zip(&counts.latencies) {
                    out.counted(&with(labels, "outcome", name), series.count())?;
                }
                out.counter(&with(labels, "outcome", "abandoned"), &counts.abandoned)
            })
        })?;
        counters(&mut to, "lb_breaker_opened", "How often a breaker opened", |out| {
            each_backend(snapshot, |labels, counts, _| out.counter(labels, &counts.opened))
        })?;
        counters(&mut to, "lb_backend_fell", "How often health checks took it out", |out| {
            each_backend(snapshot, |labels, counts, _| out.counter(labels, &counts.fell))
        })?;
        counters(&mut to, "lb_backend_ejected", "How often it was ejected as an outlier", |out| {
            each_backend(snapshot, |labels, counts, _| out.counter(labels, &counts.ejected))
        })?;
        gauges(&mut to, "lb_backend_is_ejected", "1 while it is ejected", |out| {
            each_backend(snapshot, |labels, _, backend| {
                let ejected = backend.standing().is_ejected(gateway.now());
                out.gauge(labels, f64::from(u8::from(ejected)))
            })
        })?;
        gauges(&mut to, "lb_backend_healthy", "0 while health checks keep it out", |out| {
            each_backend(snapshot, |labels, _, backend| {
                out.gauge(labels, f64::from(u8::from(!backend.standing().unhealthy)))
            })
        })?;
        gauges(&mut to, "lb_backend_in_flight", "Attempts that hold a lease", |out| {
            each_backend(snapshot, |labels, _, backend| {
                out.gauge(labels, f64::from(backend.in_flight()))
            })
        })?;
        gauges(&mut to, "lb_breaker_state", "1 for the state the breaker is in", |out| {
            each_backend(snapshot, |labels, _, backend| {
                for state in [BreakerState::Closed, BreakerState::Open, BreakerState::HalfOpen] {
                    let is = f64::from(u8::from(backend.breaker().state() == state));
                    out.gauge(&with(labels, "state", state.as_str()), is)?;
                }
                Ok(())
            })
        })?;
        self.encode_latency(&mut to)
    }
}

impl Reading {
    fn encode_process(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Self(gateway, _) = self;
        gauges(to, "lb_connections", "Client connections open now", |out| {
            out.gauge(
                &Vec::new(),
                f64::from(u32::try_from(gateway.connections()).unwrap_or(u32::MAX)),
            )
        })?;
        gauges(to, "lb_draining", "1 while the process finishes what runs", |out| {
            out.gauge(&Vec::new(), f64::from(u8::from(gateway.is_draining())))
        })?;
        counters(to, "lb_accept_failures", "Connections that could not be accepted", |out| {
            out.counter(&Vec::new(), &gateway.process.accept_failures)
        })?;
        counters(to, "lb_listen_failures", "Tries to open a listener that failed", |out| {
            out.counter(&Vec::new(), &gateway.process.listen_failures)
        })?;
        counters(
            to,
            "lb_accept_pauses",
            "How often accepting paused since descriptors or memory had run out",
            |out| out.counter(&Vec::new(), &gateway.process.accept_pauses),
        )?;
        counters(to, "lb_spliced_bytes", "Bytes of answers that were not copied", |out| {
            out.counter(&Vec::new(), &gateway.process.spliced_bytes)
        })?;
        counters(
            to,
            "lb_connections_refused",
            "Connections closed since their client had as many as it may",
            |out| out.counter(&Vec::new(), &gateway.process.refused_connections),
        )?;
        counters(
            to,
            "lb_connections_flooded",
            "Connections closed since they took back too many requests, or sent too much that carries nothing",
            |out| out.counter(&Vec::new(), &gateway.process.floods),
        )?;
        counters(to, "lb_admin_waits", "Admin connections that waited for a place", |out| {
            out.counter(&Vec::new(), &gateway.process.admin_waits)
        })?;
        tracing::encode(&gateway.exporter, to)?;
        let process = &gateway.process;
        counters(to, "lb_routes_answered", "Requests that routes answered, by how", |out| {
            out.counter(&vec![("how", "redirect")], &process.redirected)?;
            out.counter(&vec![("how", "respond")], &process.responded)
        })?;
        tls::encode(process, to)?;
        counters(to, "lb_reloads", "Configurations that were put in force", |out| {
            out.counter(&Vec::new(), &gateway.process.reloads)
        })?;
        counters(to, "lb_reloads_failed", "Configurations that were refused", |out| {
            out.counter(&Vec::new(), &gateway.process.reloads_failed)
        })?;
        self.encode_writers(to)?;
        counters(
            to,
            "lb_requests_refused",
            "Requests refused by ourselves: malformed, late, broken off, for no service",
            |out| out.counter(&Vec::new(), &gateway.process.refused_requests),
        )
    }

    /// Of what is written for others to read.
    fn encode_writers(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Self(gateway, _) = self;
        let lost = gateway.access.as_ref().map_or(0, |access| access.lost());
        counters(to, "lb_access_lines_lost", "Lines of the access log that were lost", |out| {
            out.counted(&Vec::new(), lost)
        })?;
        counters(to, "lb_notices_lost", "Notices to the operator that were lost", |out| {
            out.counted(&Vec::new(), gateway.notices_lost())
        })?;
        let recorder = gateway.recorder.as_ref();
        counters(to, "lb_record_exchanges", "Exchanges that were recorded", |out| {
            out.counted(&Vec::new(), recorder.map_or(0, |it| it.written()))
        })?;
        counters(to, "lb_record_lost", "Exchanges that could not be recorded", |out| {
            out.counted(&Vec::new(), recorder.map_or(0, |it| it.lost()))
        })
    }

    fn encode_services(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Self(gateway, snapshot) = self;
        counters(
            to,
            "lb_exchanges",
            "Requests that began at a service: the sum of lb_delivered, lb_rejections and lb_clients_left, and what runs",
            |out| {
                each_service(snapshot, |labels, counts, _| out.counter(labels, &counts.exchanges))
            },
        )?;
        counters(to, "lb_retries", "Attempts after the first", |out| {
            each_service(snapshot, |labels, counts, _| out.counter(labels, &counts.retries))
        })?;
        counters(
            to,
            "lb_clients_left",
            "Clients that left, or broke off their request, before there was an answer",
            |out| each_service(snapshot, |labels, counts, _| out.counter(labels, &counts.left)),
        )?;
        encode_mirrors(snapshot, to)?;
        counters(to, "lb_delivered", "Backends' answers that went out", |out| {
            each_service(snapshot, |labels, counts, _| {
                for (name, count) in STATUS_CLASS_NAMES.iter().zip(&counts.delivered) {
                    out.counter(&with(labels, "status", name), count)?;
                }
                Ok(())
            })
        })?;
        counters(to, "lb_rejections", "Requests that we answered ourselves", |out| {
            each_service(snapshot, |labels, counts, _| {
                for (name, count) in
                    rejection_names().zip(counts.rejected.iter().chain(&counts.spoiled))
                {
                    out.counter(&with(labels, "reason", name), count)?;
                }
                Ok(())
            })
        })?;
        counters(
            to,
            "lb_retries_withheld",
            "Retries that were worth making and not made",
            |out| {
                each_service(snapshot, |labels, counts, _| {
                    for (why, count) in Withheld::ALL.iter().zip(&counts.withheld) {
                        out.counter(&with(labels, "reason", why.as_str()), count)?;
                    }
                    Ok(())
                })
            },
        )?;
        counters(to, "lb_bodies_ended", "How the bodies of answers ended", |out| {
            each_service(snapshot, |labels, counts, _| {
                for (end, count) in BodyEnd::ALL.iter().zip(&counts.ended) {
                    out.counter(&with(labels, "end", end.as_str()), count)?;
                }
                Ok(())
            })
        })?;
        gauges(to, "lb_retries_left", "Retries that the budget allows now", |out| {
            each_service(snapshot, |labels, _, site| {
                out.gauge(labels, site.service.retries_left(gateway.now()))
            })
        })
    }

    fn encode_limits(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Self(_, snapshot) = self;
        counters(to, "lb_hedges", "Attempts beside another one that took long", |out| {
            each_service(snapshot, |labels, counts, _| out.counter(labels, &counts.hedges))
        })?;
        counters(to, "lb_queued", "Requests that waited for a place", |out| {
            each_service(snapshot, |labels, counts, _| out.counter(labels, &counts.queued))
        })?;
        gauges(to, "lb_queue_length", "Requests that wait for a place now", |out| {
            each_service(snapshot, |labels, _, site| {
                out.gauge(labels, f64::from(site.service.waiting()))
            })
        })?;
        gauges(
            to,
            "lb_running_max",
            "Requests that may be in flight: a limit, or infinity",
            |out| {
                each_service(snapshot, |labels, _, site| {
                    out.gauge(labels, site.service.running_max().map_or(f64::INFINITY, f64::from))
                })
            },
        )
    }
}

fn counters(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    write: impl FnOnce(&mut Writing<'_>) -> fmt::Result,
) -> fmt::Result {
    write(&mut Writing(to.encode_descriptor(name, help, None, MetricType::Counter)?))
}

fn gauges(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    write: impl FnOnce(&mut Writing<'_>) -> fmt::Result,
) -> fmt::Result {
    write(&mut Writing(to.encode_descriptor(name, help, None, MetricType::Gauge)?))
}

fn encode_mirrors(snapshot: &Snapshot, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    counters(to, "lb_mirrored", "Copies of requests that went to the service", |out| {
        each_service(snapshot, |labels, counts, _| out.counter(labels, &counts.mirrored))
    })?;
    counters(
        to,
        "lb_mirrors_left_out",
        "Copies for the service that were not made: too many ran, or the body was not kept",
        |out| {
            each_service(snapshot, |labels, counts, _| {
                out.counter(labels, &counts.mirrors_left_out)
            })
        },
    )
}

fn each_service(
    snapshot: &Snapshot,
    mut write: impl FnMut(&Labels<'_>, &super::metrics::ServiceCounts, &Site) -> fmt::Result,
) -> fmt::Result {
    for site in &snapshot.sites {
        write(&vec![("service", site.service.name())], &site.counts.service, site)?;
    }
    Ok(())
}

fn each_backend(
    snapshot: &Snapshot,
    mut write: impl FnMut(
        &Labels<'_>,
        &super::metrics::BackendCounts,
        lb_core::Member<'_>,
    ) -> fmt::Result,
) -> fmt::Result {
    for site in &snapshot.sites {
        for (backend, counts) in site.service.backends().zip(&site.counts.backends) {
            let labels = vec![("service", site.service.name()), ("backend", backend.name())];
            write(&labels, counts, backend)?;
        }
    }
    Ok(())
}

fn with<'l>(labels: &Labels<'l>, key: &'static str, value: &'l str) -> Labels<'l> {
    labels.iter().copied().chain([(key, value)]).collect()
}

#[cfg(test)]
mod tests;
