//! `[[service]]`: who it answers for, and what all its parts make together.

use lb_core::config::{ServiceConfig, StatusSet};

use crate::config::{HostPolicy, Protocol, Service, Tcp};
use crate::diagnostic::{At, Report};
use crate::native::balance::{Balance, balance};
use crate::native::edit::{Edited, edits};
use crate::native::pool::Pools;
use crate::native::route::host;
use crate::native::statuses::statuses;
use crate::native::{
    Taken, affinity, health, label, limits, outliers, panic, policy, pool, rate, retry, socket,
    steering, tls, trust,
};
use crate::read::{Field, Given, Table};

/// Metrics are kept per service and backend, so that thousands would drown any dashboard.
const SERVICES_MAX: usize = 1_000;

/// A TiB, which takes the better part of a day at 100 Mbit/s.
const BODY_BYTES_MAX: usize = 1 << 40;

/// What may be used once in the whole file.
#[derive(Debug, Default)]
struct Names {
    services: Taken,
    hosts: Taken,
}

/// All services, and what routes need to know of them.
pub(super) struct Services<'d> {
    /// Those without a mistake, and where they are.
    pub(super) all: Vec<Service>,
    pub(super) at: Vec<At>,
    /// The names of all, in the order of the file; `None` for one that has none.
    pub(super) names: Vec<Option<String>>,
    /// Those that a CONNECT may lead to, by their place among `names`.
    pub(super) allow_connect: Vec<u16>,
    /// Those that answer for hosts.
    pub(super) hosts: Vec<ServiceHosts>,
    /// Those of which no hosts were said.
    without: Vec<WithoutHosts<'d>>,
}

/// A service that answers for nothing by itself.
struct WithoutHosts<'d> {
    name: Option<String>,
    hosts: Field<'d, Vec<Given<String>>>,
}

/// The hosts that a service answers for.
pub(super) struct ServiceHosts {
    pub(super) service: u16,
    pub(super) name: String,
    pub(super) at: At,
    pub(super) hosts: Vec<Given<String>>,
}

impl Services<'_> {
    /// All of them; one that neither has hosts nor is led to by a route is a mistake.
    pub(super) fn all_reached(self, led_to: &[String]) -> Vec<Service> {
        for service in self.without {
            if !service.name.is_some_and(|name| led_to.contains(&name)) {
                service.hosts.required("hosts = [\"*\"] for any host, or a route that leads here");
            }
        }
        self.all
    }
}

/// All services, each with unique names.
pub(super) fn services<'d>(table: &mut Table<'d>) -> Option<Services<'d>> {
    let report = table.report();
    let add = format!("{} with name, hosts and backends in a pool", table.header_of("service"));
    let written = table.tables("service").required(&add)?;
    if written.value.is_empty() {
        report.error(written.at, "there is no service", format!("add {add}"));
    }
    if written.value.len() > SERVICES_MAX {
        let what = format!("there are {} services", written.value.len());
        report.error(written.at, what, format!("use 1..={SERVICES_MAX}"));
    }
    let mut names = Names::default();
    let mut services = Services {
        all: Vec::new(),
        at: Vec::new(),
        names: Vec::new(),
        allow_connect: Vec::new(),
        hosts: Vec::new(),
        without: Vec::new(),
    };
    for table in written.value {
        let at = table.at();
        if let Some(read) = service(table, &mut names, &mut services) {
            services.all.push(read);
            services.at.push(at);
        }
    }
    Some(services)
}

fn service<'d>(
    mut table: Table<'d>,
    names: &mut Names,
    services: &mut Services<'d>,
) -> Option<Service> {
    let name = name(&mut table, &mut names.services);
    let hosts = hosts(&mut table, name.as_deref(), &mut names.hosts, services);
    let allow_connect = allow_connect(&mut table, services);
    services.names.push(name.clone());
    let host = host_shown(&mut table);
    let protocol = protocol(&mut table);
    let proxy_protocol = trust::announced(&mut table, protocol);

    let breaker = policy::breaker(table.table("breaker"));
    let outliers = outliers::outliers(table.table("outliers"));
    let slow_start = outliers::slow_start(table.table("slow_start"));
    let body_bytes_max = table.size("body_bytes_max", 0..=BODY_BYTES_MAX).or(1 << 30);
    let (retry, replay_buffer) = retry::retry(table.table("retry"));
    let failures = statuses(&mut table, "failure_statuses", StatusSet::FAILURES);
    let affinity = affinity::affinity(table.table("affinity"));
    let probe = health::health(table.table("health"));
    let steering = steering::steering(table.table("steering"), probe.is_some());
    let Balance { policy, choices, latency, hash, switch_margin } =
        balance(table.table("balance"), &steering, probe.is_some());
    let rate = rate::rate(table.table("rate_limit"));
    let limits = limits::limits(table.table("limits"));
    let timeouts = policy::timeouts(table.table("timeouts"));
    let keep_alive = policy::keep_alive(table.table("keep_alive"));
    let tcp = Tcp { nodelay: true, keepalive: socket::keepalive(table.table("tcp_keepalive")) };
    let all = pool::pools(&mut table, &steering);
    let tls = tls::service(table.table("tls"), &all.expected());
    let Pools { pools, origins, discovery } = all;
    let panic = panic::panic(&mut table, &pools);
    if breaker.is_none() && probe.is_none() && outliers.is_none() {
        let why = "without breaker, checks and outliers: no backend is ever unfit";
        table.warn_without_effect(&["when_all_unfit", "panic_below", "fallback_pool"], why);
    }

    let edits = edits(&mut table, Edited { path: None, has_backend: true });

    let core = ServiceConfig {
        name: name?,
        steering,
        policy,
        choices,
        latency,
        switch_margin,
        hash,
        when_all_unfit: panic.when_all_unfit,
        panic_below: panic.below,
        breaker,
        outliers,
        slow_start,
        retry,
        failures,
        affinity,
        probe,
        rate,
        limits,
        timeouts,
        pools,
    };
    Some(Service {
        core,
        hosts,
        origins,
        discovery,
        host,
        body_bytes_max: body_bytes_max as u64,
        replay_buffer,
        keep_alive,
        protocol,
        tcp,
        proxy_protocol,
        tls,
        edits,
        allow_connect,
    })
}

/// Whether a CONNECT may lead to the service, which is the next one to be named.
fn allow_connect(table: &mut Table<'_>, services: &mut Services<'_>) -> bool {
    let is_allowed = table.boolean("allow_connect").or(false);
    if is_allowed {
        services.allow_connect.extend(u16::try_from(services.names.len()));
    }
    is_allowed
}

fn host_shown(table: &mut Table<'_>) -> HostPolicy {
    let shown = [("client", HostPolicy::Client), ("backend", HostPolicy::Backend)];
    table.choice("host", &shown).or(HostPolicy::Client)
}

fn protocol(table: &mut Table<'_>) -> Protocol {
    let protocols = [("auto", Protocol::Auto), ("http1", Protocol::Http1), ("h2", Protocol::Http2)];
    table.choice("protocol", &protocols).or(Protocol::Auto)
}

fn name(table: &mut Table<'_>, taken: &mut Taken) -> Option<String> {
    let report = table.report();
    let name = table.parsed("name", label).required("name = \"web\"")?;
    if let Err(first) = taken.take(&name.value, name.at) {
        let what =
            format!("name {:?} is taken by the service at {}", name.value, report.place(first));
        report.error(name.at, what, "give each service a name of its own");
    }
    Some(name.value)
}

fn hosts<'d>(
    table: &mut Table<'d>,
    name: Option<&str>,
    taken: &mut Taken,
    services: &mut Services<'d>,
) -> Vec<String> {
    let report = table.report();
    let hosts = table.list("hosts", |item| host(&item));
    if hosts.is_absent() {
        services.without.push(WithoutHosts { name: name.map(str::to_owned), hosts });
        return Vec::new();
    }
    let Some(hosts) = hosts.given() else { return Vec::new() };
    if hosts.value.is_empty() {
        report_no_hosts(report, hosts.at);
    }
    let texts = hosts.value.iter().map(|host| host.value.clone()).collect();
    let mut own = Vec::new();
    for host in hosts.value {
        match taken.take(&host.value, host.at) {
            Ok(()) => own.push(host),
            Err(first) => {
                let what =
                    format!("host {:?} is claimed already at {}", host.value, report.place(first));
                report.error(host.at, what, "remove one of the two: a host leads to one service");
            }
        }
    }
    services.hosts.push(ServiceHosts {
        service: u16::try_from(services.names.len()).unwrap_or(u16::MAX),
        name: name.unwrap_or_default().to_owned(),
        at: hosts.at,
        hosts: own,
    });
    texts
}

fn report_no_hosts(report: &Report<'_>, at: At) {
    report.error(
        at,
        "hosts is empty",
        "write [\"*\"] for any host, or leave it out and add a route",
    );
}
