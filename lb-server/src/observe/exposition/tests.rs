//! What `/metrics` says, as text.

use super::*;
use crate::gateway::Listeners;
use crate::observe::metrics::Close;
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

/// The buckets around what took 3 ms, and the outermost.
const BOUNDS: [&str; 5] = ["le=\"0.0002\"", "0.002", "0.005", "100.0", "+Inf"];

/// What a gateway tells that has seen an attempt refused and another take 3 ms, in an exchange of 4 ms.
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
        gateway.snapshot().sites[0].counts.on(gateway.now(), &event);
    }
    let took = Duration::from_millis(4);
    gateway.snapshot().sites[0].counts.closed(gateway.now(), Close::Answered(200), took);
    exposition(&gateway, Format::Open)
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
        lb_listen_failures counter
        lb_accept_pauses counter
        lb_spliced_bytes counter
        lb_connections_refused counter
        lb_connections_flooded counter
        lb_admin_waits counter
        lb_spans counter
        lb_routes_answered counter
        lb_proxy_protocol_refused counter
        lb_tls_handshakes counter
        lb_tls_handshakes_resumed counter
        lb_tls_handshakes_failed counter
        lb_reloads counter
        lb_reloads_failed counter
        lb_access_lines_lost counter
        lb_notices_lost counter
        lb_record_exchanges counter
        lb_record_lost counter
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
        lb_attempt_recent_seconds gauge
        lb_exchange_seconds histogram
        lb_exchange_recent_seconds gauge
    "#]]
    .assert_eq(&(types.join("\n") + "\n"));
}

#[test]
fn every_metric_stands_in_the_documents_with_its_type_and_nothing_else_does() {
    let document = include_str!("../../../../docs/metrics.md");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `lb_"));
    let mut listed: Vec<String> = rows
        .map(|row| {
            let (name, row) = row.split_once("` | ").expect("a name, and then a type");
            let (kind, _) = row.split_once(" | ").expect("a type, and then labels");
            format!("lb_{name} {kind}")
        })
        .collect();
    let text = text();
    let mut types: Vec<_> = text.lines().filter_map(|it| it.strip_prefix("# TYPE ")).collect();
    types.sort_unstable();
    listed.sort_unstable();
    assert_eq!(listed, types, "docs/metrics.md lists what is told");
}

#[test]
fn attempts_are_told_by_outcome_and_by_how_long_they_took() {
    let told: String = text()
        .lines()
        .filter(|line| line.starts_with("lb_attempt") || line.starts_with("lb_exchange_"))
        .filter(|line| !line.contains("_bucket{") || BOUNDS.iter().any(|le| line.contains(le)))
        .map(|line| format!("{line}\n"))
        .collect();
    expect![[r#"
        lb_attempt_seconds_sum{service="web",backend="http://a:80",outcome="2xx"} 0.003
        lb_attempt_seconds_count{service="web",backend="http://a:80",outcome="2xx"} 1
        lb_attempt_seconds_bucket{le="0.0002",service="web",backend="http://a:80",outcome="2xx"} 0
        lb_attempt_seconds_bucket{le="0.002",service="web",backend="http://a:80",outcome="2xx"} 0
        lb_attempt_seconds_bucket{le="0.005",service="web",backend="http://a:80",outcome="2xx"} 1
        lb_attempt_seconds_bucket{le="100.0",service="web",backend="http://a:80",outcome="2xx"} 1
        lb_attempt_seconds_bucket{le="+Inf",service="web",backend="http://a:80",outcome="2xx"} 1
        lb_attempt_seconds_sum{service="web",backend="http://a:80",outcome="connect_refused"} 0.0
        lb_attempt_seconds_count{service="web",backend="http://a:80",outcome="connect_refused"} 1
        lb_attempt_seconds_bucket{le="0.0002",service="web",backend="http://a:80",outcome="connect_refused"} 1
        lb_attempt_seconds_bucket{le="0.002",service="web",backend="http://a:80",outcome="connect_refused"} 1
        lb_attempt_seconds_bucket{le="0.005",service="web",backend="http://a:80",outcome="connect_refused"} 1
        lb_attempt_seconds_bucket{le="100.0",service="web",backend="http://a:80",outcome="connect_refused"} 1
        lb_attempt_seconds_bucket{le="+Inf",service="web",backend="http://a:80",outcome="connect_refused"} 1
        lb_attempt_recent_seconds{service="web",backend="http://a:80",outcome="2xx",quantile="0.5"} 0.0029755
        lb_attempt_recent_seconds{service="web",backend="http://a:80",outcome="2xx",quantile="0.9"} 0.0029755
        lb_attempt_recent_seconds{service="web",backend="http://a:80",outcome="2xx",quantile="0.99"} 0.0029755
        lb_attempt_recent_seconds{service="web",backend="http://a:80",outcome="2xx",quantile="0.999"} 0.0029755
        lb_attempt_recent_seconds{service="web",backend="http://a:80",outcome="2xx",quantile="1"} 0.0029755
        lb_attempt_recent_seconds{service="web",backend="http://a:80",outcome="connect_refused",quantile="0.5"} 0.000001
        lb_attempt_recent_seconds{service="web",backend="http://a:80",outcome="connect_refused",quantile="0.9"} 0.000001
        lb_attempt_recent_seconds{service="web",backend="http://a:80",outcome="connect_refused",quantile="0.99"} 0.000001
        lb_attempt_recent_seconds{service="web",backend="http://a:80",outcome="connect_refused",quantile="0.999"} 0.000001
        lb_attempt_recent_seconds{service="web",backend="http://a:80",outcome="connect_refused",quantile="1"} 0.000001
        lb_exchange_seconds_sum{service="web",outcome="2xx"} 0.004
        lb_exchange_seconds_count{service="web",outcome="2xx"} 1
        lb_exchange_seconds_bucket{le="0.0002",service="web",outcome="2xx"} 0
        lb_exchange_seconds_bucket{le="0.002",service="web",outcome="2xx"} 0
        lb_exchange_seconds_bucket{le="0.005",service="web",outcome="2xx"} 1
        lb_exchange_seconds_bucket{le="100.0",service="web",outcome="2xx"} 1
        lb_exchange_seconds_bucket{le="+Inf",service="web",outcome="2xx"} 1
        lb_exchange_recent_seconds{service="web",outcome="2xx",quantile="0.5"} 0.0039755
        lb_exchange_recent_seconds{service="web",outcome="2xx",quantile="0.9"} 0.0039755
        lb_exchange_recent_seconds{service="web",outcome="2xx",quantile="0.99"} 0.0039755
        lb_exchange_recent_seconds{service="web",outcome="2xx",quantile="0.999"} 0.0039755
        lb_exchange_recent_seconds{service="web",outcome="2xx",quantile="1"} 0.0039755
    "#]].assert_eq(&told);
}
