//! `/metrics`: the counters, and what the backends' state is at this moment, for Prometheus.

use std::fmt;
use std::sync::Arc;

use lb_core::{BodyEnd, BreakerState, Withheld};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::metrics::{Count, SECONDS, STATUS_CLASS_NAMES, outcome_names, rejection_names};
use crate::gateway::{Gateway, Site};

/// The OpenMetrics text of all metrics.
pub(crate) fn exposition(gateway: &Arc<Gateway>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Reading(Arc::clone(gateway))));
    let mut text = String::new();
    encode(&mut text, &registry).expect("writing to a string cannot fail");
    text
}

struct Reading(Arc<Gateway>);

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
        let gateway = &*self.0;
        self.encode_process(&mut to)?;
        self.encode_services(&mut to)?;
        self.encode_limits(&mut to)?;
        counters(&mut to, "lb_backend_attempts", "Attempts by what became of them", |out| {
            each_backend(gateway, |labels, counts, _| {
                for (name, count) in outcome_names().zip(&counts.outcomes) {
                    out.counter(&with(labels, "outcome", name), count)?;
                }
                out.counter(&with(labels, "outcome", "abandoned"), &counts.abandoned)
            })
        })?;
        counters(&mut to, "lb_breaker_opened", "How often a breaker opened", |out| {
            each_backend(gateway, |labels, counts, _| out.counter(labels, &counts.opened))
        })?;
        counters(&mut to, "lb_backend_fell", "How often health checks took it out", |out| {
            each_backend(gateway, |labels, counts, _| out.counter(labels, &counts.fell))
        })?;
        counters(&mut to, "lb_backend_ejected", "How often it was ejected as an outlier", |out| {
            each_backend(gateway, |labels, counts, _| out.counter(labels, &counts.ejected))
        })?;
        gauges(&mut to, "lb_backend_is_ejected", "1 while it is ejected", |out| {
            each_backend(gateway, |labels, _, backend| {
                let ejected = backend.standing().is_ejected(gateway.now());
                out.gauge(labels, f64::from(u8::from(ejected)))
            })
        })?;
        gauges(&mut to, "lb_backend_healthy", "0 while health checks keep it out", |out| {
            each_backend(gateway, |labels, _, backend| {
                out.gauge(labels, f64::from(u8::from(!backend.standing().unhealthy)))
            })
        })?;
        gauges(&mut to, "lb_backend_in_flight", "Attempts that hold a lease", |out| {
            each_backend(gateway, |labels, _, backend| {
                out.gauge(labels, f64::from(backend.in_flight()))
            })
        })?;
        gauges(&mut to, "lb_breaker_state", "1 for the state the breaker is in", |out| {
            each_backend(gateway, |labels, _, backend| {
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
        let Self(gateway) = self;
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
            out.counter(&Vec::new(), &gateway.metrics.accept_failures)
        })?;
        let lost = gateway.access.as_ref().map_or(0, |access| access.lost());
        counters(to, "lb_access_lines_lost", "Lines of the access log that were lost", |out| {
            out.counted(&Vec::new(), lost)
        })?;
        counters(
            to,
            "lb_requests_refused",
            "Requests refused by ourselves: malformed, late, broken off, for no service",
            |out| out.counter(&Vec::new(), &gateway.metrics.refused_requests),
        )
    }

    fn encode_services(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Self(gateway) = self;
        counters(
            to,
            "lb_exchanges",
            "Requests that began at a service: the sum of lb_delivered, lb_rejections and lb_clients_left, and what runs",
            |out| each_service(gateway, |labels, counts, _| out.counter(labels, &counts.exchanges)),
        )?;
        counters(to, "lb_retries", "Attempts after the first", |out| {
            each_service(gateway, |labels, counts, _| out.counter(labels, &counts.retries))
        })?;
        counters(
            to,
            "lb_clients_left",
            "Clients that left, or broke off their request, before there was an answer",
            |out| each_service(gateway, |labels, counts, _| out.counter(labels, &counts.left)),
        )?;
        counters(to, "lb_delivered", "Backends' answers that went out", |out| {
            each_service(gateway, |labels, counts, _| {
                for (name, count) in STATUS_CLASS_NAMES.iter().zip(&counts.delivered) {
                    out.counter(&with(labels, "status", name), count)?;
                }
                Ok(())
            })
        })?;
        counters(to, "lb_rejections", "Requests that we answered ourselves", |out| {
            each_service(gateway, |labels, counts, _| {
                for (name, count) in rejection_names().zip(&counts.rejected) {
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
                each_service(gateway, |labels, counts, _| {
                    for (why, count) in Withheld::ALL.iter().zip(&counts.withheld) {
                        out.counter(&with(labels, "reason", why.as_str()), count)?;
                    }
                    Ok(())
                })
            },
        )?;
        counters(to, "lb_bodies_ended", "How the bodies of answers ended", |out| {
            each_service(gateway, |labels, counts, _| {
                for (end, count) in BodyEnd::ALL.iter().zip(&counts.ended) {
                    out.counter(&with(labels, "end", end.as_str()), count)?;
                }
                Ok(())
            })
        })?;
        gauges(to, "lb_retries_left", "Retries that the budget allows now", |out| {
            each_service(gateway, |labels, _, site| {
                out.gauge(labels, site.service.retries_left(gateway.now()))
            })
        })
    }

    fn encode_limits(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Self(gateway) = self;
        counters(to, "lb_hedges", "Attempts beside another one that took long", |out| {
            each_service(gateway, |labels, counts, _| out.counter(labels, &counts.hedges))
        })?;
        counters(to, "lb_queued", "Requests that waited for a place", |out| {
            each_service(gateway, |labels, counts, _| out.counter(labels, &counts.queued))
        })?;
        gauges(to, "lb_queue_length", "Requests that wait for a place now", |out| {
            each_service(gateway, |labels, _, site| {
                out.gauge(labels, f64::from(site.service.waiting()))
            })
        })?;
        gauges(
            to,
            "lb_running_max",
            "Requests that may be in flight: a limit, or infinity",
            |out| {
                each_service(gateway, |labels, _, site| {
                    out.gauge(labels, site.service.running_max().map_or(f64::INFINITY, f64::from))
                })
            },
        )
    }

    fn encode_latency(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Seconds from an attempt's start to its answer or failure";
        let mut out =
            to.encode_descriptor("lb_attempt_seconds", help, None, MetricType::Histogram)?;
        each_backend(&self.0, |labels, counts, _| {
            let bounds = SECONDS.into_iter().chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(counts.buckets.iter().map(Count::get)).collect();
            let seconds = counts.mean_ms() / 1_000.0;
            #[expect(clippy::cast_precision_loss, reason = "a sum of seconds is a float")]
            let sum = seconds * counts.attempts() as f64;
            let count = buckets.iter().map(|(_, count)| count).sum();
            out.encode_family(labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        })
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

fn each_service(
    gateway: &Gateway,
    mut write: impl FnMut(&Labels<'_>, &super::metrics::ServiceCounts, &Site) -> fmt::Result,
) -> fmt::Result {
    for (site, counts) in gateway.sites.iter().zip(&gateway.metrics.services) {
        write(&vec![("service", site.service.name())], counts, site)?;
    }
    Ok(())
}

fn each_backend(
    gateway: &Gateway,
    mut write: impl FnMut(
        &Labels<'_>,
        &super::metrics::BackendCounts,
        lb_core::Member<'_>,
    ) -> fmt::Result,
) -> fmt::Result {
    for (site, counts) in gateway.sites.iter().zip(&gateway.metrics.services) {
        for (backend, counts) in site.service.backends().zip(&counts.backends) {
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
mod tests {
    use super::*;
    use crate::gateway::Listeners;
    use crate::platform::os::Os;
    use expect_test::expect;
    use lb_config::{Source, load};
    use lb_core::{BackendId, Event, ExchangeId, Failure, Outcome};
    use std::time::Duration;

    const CONFIG: &str = r#"
        [[listener]]
        bind = "127.0.0.1:0"

        [[service]]
        name = "web"
        hosts = ["*"]

        [[service.pool]]
        backends = [{ url = "http://a" }]
    "#;

    /// What a gateway tells that has seen an attempt refused and another take 3 ms.
    fn text() -> String {
        let (config, _) = load(&Source { name: "test.toml", text: CONFIG });
        let config = config.expect("the test's configuration has no mistakes");
        let gateway =
            Gateway::new(Arc::new(Os::with_seed(7)), config, Listeners::default()).unwrap();
        let backend = BackendId { service: 0, backend: 0 };
        let outcomes = [Outcome::Failed(Failure::ConnectRefused), Outcome::Answered(200)];
        for (outcome, attempt) in outcomes.into_iter().zip(1..) {
            let took = Duration::from_millis(3) * u32::from(attempt == 2);
            let exchange = ExchangeId(1);
            let event = Event::Concluded { exchange, attempt, backend, outcome, took };
            gateway.metrics.on(0, &event);
        }
        exposition(&gateway)
    }

    #[test]
    fn every_metric_has_a_type_and_somewhere_a_value() {
        let text = text();
        let types: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        for said in &types {
            let (name, _) = said.split_once(' ').expect("a name and a type");
            let is_one = |line: &str| line.starts_with(name);
            assert!(text.lines().any(is_one), "{name} has no value");
        }
        expect![[r#"
            lb_connections gauge
            lb_draining gauge
            lb_accept_failures counter
            lb_access_lines_lost counter
            lb_requests_refused counter
            lb_exchanges counter
            lb_retries counter
            lb_clients_left counter
            lb_delivered counter
            lb_rejections counter
            lb_retries_withheld counter
            lb_bodies_ended counter
            lb_retries_left gauge
            lb_hedges counter
            lb_queued counter
            lb_queue_length gauge
            lb_running_max gauge
            lb_backend_attempts counter
            lb_breaker_opened counter
            lb_backend_fell counter
            lb_backend_ejected counter
            lb_backend_is_ejected gauge
            lb_backend_healthy gauge
            lb_backend_in_flight gauge
            lb_breaker_state gauge
            lb_attempt_seconds histogram
        "#]]
        .assert_eq(&(types.join("\n") + "\n"));
    }

    #[test]
    fn attempts_are_told_by_outcome_and_by_how_long_they_took() {
        let told: String = text()
            .lines()
            .filter(|line| line.starts_with("lb_attempt_seconds") || line.ends_with("} 1"))
            .map(|line| format!("{line}\n"))
            .collect();
        expect![[r#"
            lb_backend_attempts_total{service="web",backend="http://a:80",outcome="2xx"} 1
            lb_backend_attempts_total{service="web",backend="http://a:80",outcome="connect_refused"} 1
            lb_attempt_seconds_sum{service="web",backend="http://a:80"} 0.003
            lb_attempt_seconds_count{service="web",backend="http://a:80"} 2
            lb_attempt_seconds_bucket{le="0.001",service="web",backend="http://a:80"} 1
            lb_attempt_seconds_bucket{le="0.002",service="web",backend="http://a:80"} 1
            lb_attempt_seconds_bucket{le="0.005",service="web",backend="http://a:80"} 2
            lb_attempt_seconds_bucket{le="0.01",service="web",backend="http://a:80"} 2
            lb_attempt_seconds_bucket{le="0.02",service="web",backend="http://a:80"} 2
            lb_attempt_seconds_bucket{le="0.05",service="web",backend="http://a:80"} 2
            lb_attempt_seconds_bucket{le="0.1",service="web",backend="http://a:80"} 2
            lb_attempt_seconds_bucket{le="0.2",service="web",backend="http://a:80"} 2
            lb_attempt_seconds_bucket{le="0.5",service="web",backend="http://a:80"} 2
            lb_attempt_seconds_bucket{le="1.0",service="web",backend="http://a:80"} 2
            lb_attempt_seconds_bucket{le="2.0",service="web",backend="http://a:80"} 2
            lb_attempt_seconds_bucket{le="5.0",service="web",backend="http://a:80"} 2
            lb_attempt_seconds_bucket{le="10.0",service="web",backend="http://a:80"} 2
            lb_attempt_seconds_bucket{le="+Inf",service="web",backend="http://a:80"} 2
        "#]].assert_eq(&told);
    }
}
