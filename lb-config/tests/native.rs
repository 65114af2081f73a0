//! What the native format means: defaults, the full example, and order.

use std::time::Duration;

use lb_config::config::{
    AccessLog, Admin, Config, Dns, HostPolicy, Http2, KeepAlive, Level, Listener, Origin, Protocol,
    Server, Service,
};
use lb_config::{Source, load};
use lb_core::config::{
    AreaHeaders, BackendConfig, BackoffConfig, BreakerConfig, BudgetConfig, FailureSet, HashConfig,
    Jitter, KeySource, LatencyConfig, LimitConfig, Methods, Policy, PoolConfig, RetryConfig,
    ServiceConfig, StatusSet, SteeringConfig, SteeringPolicy, Timeouts, WhenAllUnfit, WhenSpent,
};

/// Loads a file that must have no diagnostics.
fn sound(text: &str) -> Config {
    let (config, diagnostics) = load(&Source { name: "lb.toml", text });
    assert_eq!(diagnostics, [], "in {text}");
    config.expect("without diagnostics there is a configuration")
}

const SMALLEST: &str = r#"
[[listener]]
bind = "0.0.0.0:8080"
[[service]]
name = "web"
hosts = ["*"]
[[service.pool]]
backends = [{ url = "http://10.0.0.1:3000" }]
"#;

fn documented_retry() -> RetryConfig {
    let secs = Duration::from_secs;
    RetryConfig {
        attempts_max: 3,
        attempts_per_backend: 1,
        methods: Methods::Idempotent,
        failures: FailureSet::ALL,
        statuses: StatusSet::RETRIED,
        retry_after_max: secs(1),
        when_spent: WhenSpent::Pass,
        budget: BudgetConfig { percent: 20, min_per_second: 10, burst: 50 },
        backoff: BackoffConfig {
            base: Duration::from_millis(25),
            max: secs(1),
            jitter: Jitter::Full,
        },
        hedge: None,
    }
}

fn documented_limits() -> LimitConfig {
    LimitConfig {
        per_backend: None,
        per_service: None,
        per_client: None,
        client: vec![KeySource::ClientIp],
        adaptive: None,
        queue_max: 0,
        queue_timeout: Duration::from_secs(1),
        urgency: false,
    }
}

fn documented_timeouts() -> Timeouts {
    let secs = Duration::from_secs;
    Timeouts {
        connect: secs(2),
        first_byte: secs(15),
        body_idle: secs(30),
        exchange: secs(300),
        tunnel_idle: secs(3_600),
    }
}

#[test]
fn the_smallest_file_gets_the_documented_defaults() {
    let secs = Duration::from_secs;
    let core = ServiceConfig {
        name: "web".into(),
        steering: SteeringConfig {
            policy: SteeringPolicy::Priority,
            overprovision_percent: None,
            zone: None,
            headers: AreaHeaders::default(),
            countries: Vec::new(),
        },
        policy: Policy::LeastRequest,
        choices: 2,
        switch_margin: 10,
        latency: LatencyConfig { half_life: secs(10), failure_penalty: secs(1) },
        hash: HashConfig::default(),
        when_all_unfit: WhenAllUnfit::FailFast,
        panic_below: 0,
        breaker: Some(BreakerConfig {
            consecutive_failures: 5,
            open_for: secs(10),
            open_for_max: secs(300),
            half_open_trials: 3,
            half_open_successes: 2,
            error_rate: None,
        }),
        outliers: None,
        slow_start: None,
        retry: documented_retry(),
        failures: StatusSet::FAILURES,
        affinity: None,
        probe: None,
        rate: None,
        limits: documented_limits(),
        timeouts: documented_timeouts(),
        pools: vec![PoolConfig::new("default", vec![BackendConfig::new("http://10.0.0.1:3000")])],
    };
    let expected = Config {
        server: Server {
            workers: None,
            watch: false,
            drain_timeout: secs(30),
            connections_max: 10_000,
            header_timeout: secs(10),
            keep_alive_timeout: secs(60),
            header_bytes_max: 32_768,
            headers_max: 100,
            http2: Http2 { enabled: true, streams_max: 128, resets_per_second_max: 100 },
        },
        admin: Some(Admin {
            bind: "127.0.0.1:9090".parse().expect("an address"),
            hosts: Vec::new(),
        }),
        access_log: AccessLog { enabled: true, level: Level::Info },
        listeners: vec![Listener { bind: "0.0.0.0:8080".parse().expect("an address") }],
        services: vec![Service {
            core,
            hosts: vec!["*".into()],
            origins: vec![Origin { host: "10.0.0.1".into(), port: 3000, at: None }],
            discovery: Vec::new(),
            host: HostPolicy::Client,
            replay_buffer: 65_536,
            keep_alive: KeepAlive { idle_max: 32, idle_timeout: secs(15), age_max: secs(3_600) },
            protocol: Protocol::Auto,
        }],
        dns: Dns { servers: Vec::new(), timeout: secs(2) },
        state: None,
    };
    assert_eq!(sound(SMALLEST), expected);
}

#[test]
fn the_documented_example_loads_and_says_what_the_defaults_are() {
    let document = include_str!("../../docs/configuration.md");
    let (_, after) = document.split_once("```toml full\n").expect("the document has an example");
    let (example, _) = after.split_once("\n```").expect("the example ends");
    let full = sound(example);

    // The example writes every setting out with its default, except where it says otherwise.
    let smallest = sound(SMALLEST);
    assert_eq!(full.server, Server { workers: Some(2), ..smallest.server });
    assert_eq!(full.admin, smallest.admin);
    assert_eq!(full.access_log, smallest.access_log);
    let (full, smallest) = (&full.services[0], &smallest.services[0]);
    assert_eq!(full.core.retry, smallest.core.retry);
    assert_eq!(full.core.timeouts, smallest.core.timeouts);
    assert_eq!(full.core.breaker, smallest.core.breaker);
    assert_eq!(full.core.policy, smallest.core.policy);
    assert_eq!(full.core.when_all_unfit, smallest.core.when_all_unfit);
    assert_eq!(full.host, smallest.host);
    assert_eq!(full.replay_buffer, smallest.replay_buffer);
    assert_eq!(full.keep_alive, smallest.keep_alive);
}

#[test]
fn the_document_names_every_key_that_can_be_set() {
    let document = include_str!("../../docs/configuration.md");
    for table in [
        "server",
        "admin",
        "access_log",
        "dns",
        "state",
        "service.balance",
        "service.steering",
        "service.breaker",
        "service.outliers",
        "service.slow_start",
        "service.retry",
        "service.retry.budget",
        "service.retry.backoff",
        "service.retry.hedge",
        "service.affinity",
        "service.health",
        "service.rate_limit",
        "service.limits",
        "service.limits.adaptive",
        "service.timeouts",
        "service.keep_alive",
    ] {
        let heading = format!("### `[{table}]`");
        let (_, section) = document.split_once(&heading).expect("the table has a section");
        let section = section.split("\n### ").next().expect("a split has a first part");
        for key in keys_of(table) {
            assert!(section.contains(&format!("| `{key}` |")), "{key} is missing in {heading}");
        }
    }
}

#[test]
fn the_defaults_in_the_document_are_those_that_apply() {
    let document = include_str!("../../docs/configuration.md");
    let (mut top, mut service) = (String::new(), String::new());
    for section in document.split("\n### `[").skip(1) {
        let (table, rows) = section.split_once("]`").expect("a heading is a table");
        for row in rows.lines().filter(|row| row.starts_with("| `")) {
            let cells: Vec<&str> = row.split(" | ").collect();
            let [key, _, default, ..] = cells[..] else { continue }; // a table of something else
            let key = key.trim_start_matches("| ").trim_matches('`');
            if !default.ends_with('`') {
                continue; // required, or said in words
            }
            let default = default.trim_matches('`');
            match table.strip_prefix("service.") {
                Some(inner) => service += &format!("{inner}.{key} = {default}\n"),
                None if table == "[service]" => service += &format!("{key} = {default}\n"),
                None if !table.starts_with('[') => top += &format!("{table}.{key} = {default}\n"),
                None => {} // arrays of tables, whose only other default is a weight of 1
            }
        }
    }
    assert!(
        service.contains("host = \"client\"\n") && service.contains("retry.budget.burst = 50\n")
    );
    let text =
        format!("{top}{}", SMALLEST.replace("[[service]]", &format!("[[service]]\n{service}")));
    // A default that only matters beside another setting is warned about when it is written.
    let (config, diagnostics) = load(&Source { name: "lb.toml", text: &text });
    assert_eq!(config, Some(sound(SMALLEST)), "{diagnostics:#?}");
}

/// The keys of a table, from what is said about an unknown one.
fn keys_of(table: &str) -> Vec<String> {
    let unknown = format!("{table}.zzzzzzzzzzzz = 1");
    let unknown = unknown.strip_prefix("service.").map_or_else(
        || format!("{unknown}\n{SMALLEST}"),
        |inner| SMALLEST.replace("[[service]]", &format!("[[service]]\n{inner}")),
    );
    let (_, diagnostics) = load(&Source { name: "lb.toml", text: &unknown });
    // Somewhere: a table may lack something else as well.
    let known =
        diagnostics.iter().find_map(|it| it.remedy.strip_prefix("what can be set here is "));
    let known = known.expect("a nonsense key is close to no other");
    known.split(", ").map(str::to_owned).collect()
}

#[test]
fn origins_are_in_the_order_of_pools_and_backends() {
    let config = sound(&SMALLEST.replace(
        "[[service.pool]]\nbackends = [{ url = \"http://10.0.0.1:3000\" }]",
        r#"
        [[service.pool]]
        name = "near"
        backends = [{ url = "HTTP://Web-1.Internal/", weight = 3 }, { url = "http://[0::1]:81" }]
        [[service.pool]]
        name = "far"
        [[service.pool.backends]]
        url = "http://10.0.0.3"
        "#,
    ));
    let service = &config.services[0];
    let backends = service.core.pools.iter().flat_map(|pool| &pool.backends);
    let pairs: Vec<String> = backends
        .zip(&service.origins)
        .map(|(backend, origin)| {
            format!("{} x{} is {} {}", backend.name, backend.weight, origin.host, origin.port)
        })
        .collect();
    assert_eq!(
        pairs,
        [
            "http://web-1.internal:80 x3 is web-1.internal 80",
            "http://[::1]:81 x1 is ::1 81",
            "http://10.0.0.3:80 x1 is 10.0.0.3 80",
        ],
    );
}

#[test]
fn hosts_are_kept_in_lower_case_and_ipv6_in_brackets() {
    let hosts = r#"["WWW.Example.com", "*.Example.com", "0::1", "[::2]", "10.0.0.1", "*"]"#;
    let config = sound(&SMALLEST.replace("[\"*\"]", hosts));
    assert_eq!(
        config.services[0].hosts,
        ["www.example.com", "*.example.com", "[::1]", "[::2]", "10.0.0.1", "*"],
    );
}

#[test]
fn an_absent_table_and_an_empty_one_are_the_same() {
    let empty = "[server]\n[admin]\n[access_log]\n";
    let policies = "[[service]]\nbalance = {}\nbreaker = {}\nretry = { budget = {}, backoff = {} }\n\
                    timeouts = {}\nkeep_alive = {}";
    let text = format!("{empty}{}", SMALLEST.replace("[[service]]", policies));
    assert_eq!(sound(&text), sound(SMALLEST));
}

#[test]
fn a_table_turned_off_is_absent_in_what_comes_out() {
    let config = sound(&format!(
        "admin.enabled = false\naccess_log.enabled = false\n{}",
        SMALLEST.replace("[[service]]", "[[service]]\nbreaker.enabled = false")
    ));
    assert_eq!(config.admin, None);
    assert_eq!(config.access_log, AccessLog { enabled: false, level: Level::Info });
    assert_eq!(config.services[0].core.breaker, None);
}
