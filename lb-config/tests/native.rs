//! What the native format means: defaults, the full example, and order.

use std::sync::Arc;
use std::time::Duration;

use lb_config::config::{
    AccessLog, Address, Admin, ClientAddress, Config, Dns, HostPolicy, Http2, KeepAlive, Level,
    Listener, Origin, Protocol, ProxyProtocol, Server, Service, ServiceTls, Socket, Tcp,
    TcpKeepAlive, TlsVersion, Tracing, Trust,
};
use lb_config::{Source, load};
use lb_core::config::{
    Action, AmbiguousPaths, AreaHeaders, BackendConfig, BackoffConfig, BreakerConfig, BudgetConfig,
    FailureSet, HashConfig, Jitter, KeySource, LatencyConfig, LimitConfig, Methods, MirrorConfig,
    PathPattern, Policy, PoolConfig, RetryConfig, RouteConfig, RoutingConfig, ServiceConfig, Slot,
    StatusSet, SteeringConfig, SteeringPolicy, Template, Timeouts, WhenAllUnfit, WhenSpent,
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

fn documented_breaker() -> BreakerConfig {
    BreakerConfig {
        consecutive_failures: 5,
        open_for: Duration::from_secs(10),
        open_for_max: Duration::from_secs(300),
        half_open_trials: 3,
        half_open_successes: 2,
        error_rate: None,
    }
}

fn documented_server() -> Server {
    Server {
        workers: None,
        watch: false,
        shutdown_delay: Duration::ZERO,
        drain_timeout: Duration::from_secs(30),
        drain_idle_timeout: Duration::from_secs(1),
        connections_max: 10_000,
        connections_per_client_max: 10_000,
        requests_per_connection_max: 10_000,
        header_timeout: Duration::from_secs(10),
        keep_alive_timeout: Duration::from_secs(60),
        header_bytes_max: 32_768,
        target_bytes_max: 8_192,
        headers_max: 100,
        unread_bytes_max: 48 << 20,
        splice: true,
        http2: Http2 { enabled: true, streams_max: 128, resets_per_second_max: 100 },
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

fn documented_socket() -> Socket {
    let secs = Duration::from_secs;
    let keepalive = TcpKeepAlive { idle: secs(60), interval: secs(10), count: 6 };
    Socket {
        backlog: 4_096,
        tcp: Tcp { nodelay: true, keepalive: Some(keepalive) },
        ipv6_only: false,
        mode: 0o660,
    }
}

fn ip(text: &str) -> Address {
    Address::Ip(text.parse().expect("an address"))
}

fn documented_steering() -> SteeringConfig {
    SteeringConfig {
        policy: SteeringPolicy::Priority,
        overprovision_percent: None,
        zone: None,
        headers: AreaHeaders::default(),
        countries: Vec::new(),
    }
}

fn documented_tls() -> ServiceTls {
    ServiceTls {
        ca: None,
        identity: None,
        server_name: None,
        min_version: TlsVersion::V1_2,
        insecure_skip_verify: false,
    }
}

fn documented_origin() -> Origin {
    Origin { host: "10.0.0.1".into(), port: 3000, tls: false, socket: None, at: None }
}

#[test]
fn the_smallest_file_gets_the_documented_defaults() {
    let secs = Duration::from_secs;
    let core = ServiceConfig {
        name: "web".into(),
        steering: documented_steering(),
        policy: Policy::LeastRequest,
        choices: 2,
        switch_margin: 10,
        latency: LatencyConfig { half_life: secs(10), failure_penalty: secs(1) },
        hash: HashConfig::default(),
        when_all_unfit: WhenAllUnfit::AskAnswering,
        panic_below: 0,
        breaker: Some(documented_breaker()),
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
        server: documented_server(),
        trust: Trust { proxies: Vec::new(), client_address: ClientAddress::XForwardedFor },
        admin: Some(Admin { bind: ip("127.0.0.1:9090"), hosts: Vec::new() }),
        access_log: AccessLog { enabled: true, level: Level::Info },
        tracing: None,
        listeners: vec![Listener {
            bind: ip("0.0.0.0:8080"),
            socket: documented_socket(),
            tls: None,
            proxy_protocol: false,
        }],
        services: vec![Arc::new(Service {
            core,
            hosts: vec!["*".into()],
            origins: vec![documented_origin()],
            discovery: Vec::new(),
            host: HostPolicy::Client,
            body_bytes_max: 1 << 30,
            replay_buffer: 65_536,
            keep_alive: KeepAlive {
                connections_max: 10_000,
                idle_max: 32,
                idle_timeout: secs(15),
                age_max: secs(3_600),
            },
            protocol: Protocol::Auto,
            tcp: documented_socket().tcp,
            tls: documented_tls(),
            edits: Arc::default(),
            proxy_protocol: None,
            allow_connect: false,
        })],
        routing: Arc::new(RoutingConfig {
            https: None,
            routes: vec![RouteConfig::catch_all("web", vec!["*".into()], Action::Service(0))],
            ambiguous_paths: AmbiguousPaths::Refuse,
        }),
        dns: Dns { servers: Vec::new(), timeout: secs(2), stale_max: secs(3_600) },
        state: None,
        record: None,
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
    assert_eq!(full.trust, smallest.trust);
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
        "record",
        "tracing",
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
        "service.tcp_keepalive",
        "service.tls",
        "listener.tls",
        "https_redirect",
        "route.redirect",
        "route.respond",
        "route.mirror",
        "route.request",
        "route.request.query",
        "route.request.headers",
        "route.response",
        "route.response.headers",
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
fn the_document_names_every_key_of_a_route() {
    let document = include_str!("../../docs/configuration.md");
    let (_, section) = document.split_once("### `[[route]]`").expect("routes have a section");
    let section = section.split("\n### ").next().expect("a split has a first part");
    for key in keys_of("route") {
        assert!(section.contains(&format!("| `{key}` |")), "{key} is missing");
    }
}

#[test]
fn routes_come_in_the_order_of_the_file_and_hosts_of_services_last() {
    let second = SMALLEST.split_once("[[service]]").expect("there is a service").1;
    let second = second.replace("web", "static").replace("hosts = [\"*\"]", "");
    let routes = r#"
        [https_redirect]
        enabled = true
        [[route]]
        name = "assets"
        hosts = ["CDN.example.com"]
        path_prefix = "/assets"
        service = "static"
        mirror = { service = "web" }
        [[route]]
        name = "home"
        hosts = ["*"]
        path = "/home"
        redirect = { to = "/" }
    "#;
    let config = sound(&format!("{SMALLEST}[[service]]{second}{routes}"));
    assert_eq!(config.services[1].hosts, [""; 0]);
    let https = config.routing.https.as_ref().expect("it is enabled");
    assert_eq!((https.status, &*https.hosts), (308, &["*".to_owned()][..]));
    assert_eq!(https.to.to_string(), "https://{host}{path}{query}");
    let route = |name, host: &str, path, action| RouteConfig {
        path,
        ..RouteConfig::catch_all(name, vec![host.into()], action)
    };
    let prefix = PathPattern::prefix("/assets").expect("a prefix");
    let home = PathPattern::exact("/home").expect("a path");
    let to = Template::parse("/", Slot::Redirect, &[]).expect("a redirect");
    let expected = [
        RouteConfig {
            mirror: Some(MirrorConfig { service: 0, percent: 100 }),
            ..route("assets", "cdn.example.com", prefix, Action::Service(1))
        },
        route("home", "*", home, Action::Redirect { to, status: 307 }),
        route("web", "*", PathPattern::any(), Action::Service(0)),
    ];
    assert_eq!(config.routing.routes, expected);
}

#[test]
fn the_defaults_in_the_document_are_those_that_apply() {
    let document = include_str!("../../docs/configuration.md");
    let (mut top, mut service, mut listener) = (String::new(), String::new(), String::new());
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
            match table.split_once('.') {
                Some(("service", inner)) => service += &format!("{inner}.{key} = {default}\n"),
                Some(("listener", inner)) => listener += &format!("{inner}.{key} = {default}\n"),
                _ if table == "[service]" => service += &format!("{key} = {default}\n"),
                _ if !table.starts_with('[') => top += &format!("{table}.{key} = {default}\n"),
                _ => {} // arrays of tables, whose only other default is a weight of 1
            }
        }
    }
    assert!(
        service.contains("host = \"client\"\n") && service.contains("retry.budget.burst = 50\n")
    );
    assert!(listener.contains("tls.session_tickets = true\n"));
    let secret =
        SMALLEST.replace("bind", "tls.certificates = [{ cert = \"a\", key = \"b\" }]\nbind");
    let text = secret
        .replace("[[listener]]", &format!("{top}[[listener]]\n{listener}"))
        .replace("[[service]]", &format!("[[service]]\n{service}"));
    // A default that only matters beside another setting is warned about when it is written.
    let (config, diagnostics) = load(&Source { name: "lb.toml", text: &text });
    assert_eq!(config, Some(sound(&secret)), "{diagnostics:#?}");
}

/// The keys of a table, from what is said about an unknown one.
fn keys_of(table: &str) -> Vec<String> {
    let within = |array: &str, inner: &str| {
        let header = format!("[[{array}]]");
        SMALLEST.replace(&header, &format!("{header}\n{inner}.zzzzzzzzzzzz = 1"))
    };
    let unknown = match table.split_once('.') {
        Some((array @ ("service" | "listener"), inner)) => within(array, inner),
        _ => format!("{table}.zzzzzzzzzzzz = 1\n{SMALLEST}"),
    };
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
fn sockets_are_paths_and_have_options() {
    let config = sound(
        &SMALLEST
            .replace("\"0.0.0.0:8080\"", "\"unix:/run/lb.sock\"\nmode = \"0600\"\nbacklog = 16")
            .replace("http://10.0.0.1:3000", "unix:/run/app.sock"),
    );
    let socket = Socket { backlog: 16, mode: 0o600, ..documented_socket() };
    let bind = Address::Unix("/run/lb.sock".into());
    assert_eq!(config.listeners, [Listener { bind, socket, tls: None, proxy_protocol: false }]);
    let service = &config.services[0];
    assert_eq!(service.core.pools[0].backends[0].name, "unix:/run/app.sock");
    let origin = Origin {
        host: "localhost".into(),
        port: 80,
        tls: false,
        socket: Some("/run/app.sock".into()),
        at: None,
    };
    assert_eq!(service.origins, [origin]);
    let off = "[[service]]\ntcp_keepalive.enabled = false";
    let config = sound(&SMALLEST.replace("[[service]]", off));
    assert_eq!(config.services[0].tcp, Tcp { keepalive: None, ..documented_socket().tcp });
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

#[test]
fn trusted_proxies_are_ranges_or_single_addresses() {
    let server = "[server]\ntrusted_proxies = ['10.0.0.0/8', '2001:db8::/32', '192.0.2.1']\n\
                  client_address = 'forwarded'\n";
    let listener = "bind = \"0.0.0.0:8080\"\nproxy_protocol = true";
    let smallest = SMALLEST
        .replace("bind = \"0.0.0.0:8080\"", listener)
        .replace("[[service]]", "[[service]]\nproxy_protocol = 'v2'");
    let config = sound(&format!("{server}{smallest}"));
    let shown: Vec<String> = config.trust.proxies.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.0.0.0/8", "2001:db8::/32", "192.0.2.1/32"]);
    assert_eq!(config.trust.client_address, ClientAddress::Forwarded);
    assert!(config.listeners[0].proxy_protocol);
    assert_eq!(config.services[0].proxy_protocol, Some(ProxyProtocol::V2));
}

#[test]
fn spans_go_to_a_collector_on_this_machine_unless_said_otherwise() {
    let tracing = sound(&format!("tracing.enabled = true\n{SMALLEST}")).tracing;
    let expected = Tracing {
        endpoint: Origin {
            host: "127.0.0.1".into(),
            port: 4318,
            tls: false,
            socket: None,
            at: None,
        },
        sample_per_million: 10_000,
        service_name: "lb".into(),
    };
    assert_eq!(tracing, Some(expected));
}
