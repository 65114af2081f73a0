//! What `/metrics` says, as text.

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
    discover = { file = "more.json" }
"#;

/// What a gateway tells that has seen an attempt refused and another take 3 ms.
fn text() -> String {
    let (config, _) = load(&Source { name: "test.toml", text: CONFIG });
    let config = config.expect("the test's configuration has no mistakes");
    let gateway = Gateway::new(Arc::new(Os::with_seed(7)), config, Listeners::default()).unwrap();
    let backend = BackendId { service: 0, backend: 0 };
    let outcomes = [Outcome::Failed(Failure::ConnectRefused), Outcome::Answered(200)];
    for (outcome, attempt) in outcomes.into_iter().zip(1..) {
        let took = Duration::from_millis(3) * u32::from(attempt == 2);
        let exchange = ExchangeId(1);
        let event = Event::Concluded { exchange, attempt, backend, outcome, took };
        gateway.snapshot().sites[0].counts.on(&event);
    }
    exposition(&gateway)
}

#[test]
fn every_metric_has_a_type_and_somewhere_a_value() {
    let text = text();
    let types: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    for said in &types {
        let (name, _) = said.split_once(' ').expect("a name and a type");
        let is_one = |line: &str| line.starts_with(name);
        assert!(text.lines().any(is_one), "{name} has no value");
    }
    expect![[r#"
        lb_connections gauge
        lb_draining gauge
        lb_accept_failures counter
        lb_accept_pauses counter
        lb_connections_refused counter
        lb_connections_flooded counter
        lb_spans counter
        lb_routes_answered counter
        lb_proxy_protocol_refused counter
        lb_tls_handshakes counter
        lb_tls_handshakes_resumed counter
        lb_tls_handshakes_failed counter
        lb_reloads counter
        lb_reloads_failed counter
        lb_access_lines_lost counter
        lb_requests_refused counter
        lb_exchanges counter
        lb_retries counter
        lb_clients_left counter
        lb_mirrored counter
        lb_mirrors_left_out counter
        lb_delivered counter
        lb_rejections counter
        lb_retries_withheld counter
        lb_bodies_ended counter
        lb_retries_left gauge
        lb_hedges counter
        lb_queued counter
        lb_queue_length gauge
        lb_running_max gauge
        lb_state_writes counter
        lb_state_failures counter
        lb_discovery_backends gauge
        lb_discovery_age_seconds gauge
        lb_discovery_looks counter
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
    "#]]
    .assert_eq(&told);
}
