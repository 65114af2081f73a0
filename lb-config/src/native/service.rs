//! `[[service]]`: who it answers for, and what all its parts make together.

use lb_core::config::{ServiceConfig, StatusSet};

use crate::address;
use crate::config::{HostPolicy, Protocol, Service};
use crate::diagnostic::{At, Report};
use crate::native::balance::{Balance, balance};
use crate::native::pool::Pools;
use crate::native::statuses::statuses;
use crate::native::{
    Taken, affinity, health, label, limits, outliers, panic, policy, pool, rate, retry, steering,
};
use crate::read::{Given, Table};

/// Metrics are kept per service and backend, so that thousands would drown any dashboard.
const SERVICES_MAX: usize = 1_000;

/// What may be used once in the whole file.
#[derive(Debug, Default)]
struct Names {
    services: Taken,
    hosts: Taken,
}

/// All services, each with unique names.
pub(super) fn services(table: &mut Table<'_>) -> Vec<Service> {
    let report = table.report();
    let add = format!("{} with name, hosts and backends in a pool", table.header_of("service"));
    let Some(written) = table.tables("service").required(&add) else { return Vec::new() };
    if written.value.is_empty() {
        report.error(written.at, "there is no service", format!("add {add}"));
    }
    if written.value.len() > SERVICES_MAX {
        let what = format!("there are {} services", written.value.len());
        report.error(written.at, what, format!("use 1..={SERVICES_MAX}"));
    }
    let mut names = Names::default();
    written.value.into_iter().filter_map(|written| service(written, &mut names)).collect()
}

fn service(mut table: Table<'_>, names: &mut Names) -> Option<Service> {
    let report = table.report();
    let name = table.parsed("name", label).required("name = \"web\"");
    if let Some(name) = &name
        && let Err(first) = names.services.take(&name.value, name.at)
    {
        let what =
            format!("name {:?} is taken by the service at {}", name.value, report.place(first));
        report.error(name.at, what, "give each service a name of its own");
    }
    let hosts = hosts(&mut table, &mut names.hosts);
    let host = table
        .choice("host", &[("client", HostPolicy::Client), ("backend", HostPolicy::Backend)])
        .or(HostPolicy::Client);

    let protocols = [("auto", Protocol::Auto), ("http1", Protocol::Http1), ("h2", Protocol::Http2)];
    let protocol = table.choice("protocol", &protocols).or(Protocol::Auto);

    let breaker = policy::breaker(table.table("breaker"));
    let outliers = outliers::outliers(table.table("outliers"));
    let slow_start = outliers::slow_start(table.table("slow_start"));
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
    let Pools { pools, origins, discovery } = pool::pools(&mut table, &steering);
    let panic = panic::panic(&mut table, &pools);
    if breaker.is_none() && probe.is_none() && outliers.is_none() {
        let why = "without breaker, checks and outliers: no backend is ever unfit";
        table.warn_without_effect(&["when_all_unfit", "panic_below", "fallback_pool"], why);
    }

    let name = name?.value;
    let core = ServiceConfig {
        name,
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
    Some(Service { core, hosts, origins, discovery, host, replay_buffer, keep_alive, protocol })
}

fn hosts(table: &mut Table<'_>, taken: &mut Taken) -> Vec<String> {
    let report = table.report();
    let hosts = table.list("hosts", |item| {
        Some(Given { at: item.at(), value: item.parsed(address::service_host)?, said: true })
    });
    let Some(hosts) = hosts.required("hosts = [\"*\"] for any host") else { return Vec::new() };
    if hosts.value.is_empty() {
        report_no_hosts(report, hosts.at);
    }
    for host in &hosts.value {
        if let Err(first) = taken.take(&host.value, host.at) {
            let what =
                format!("host {:?} is claimed already at {}", host.value, report.place(first));
            report.error(host.at, what, "remove one of the two: a host leads to one service");
        }
    }
    hosts.value.into_iter().map(|host| host.value).collect()
}

fn report_no_hosts(report: &Report<'_>, at: At) {
    report.error(at, "hosts is empty", "write [\"*\"] for any host, or remove the service");
}
