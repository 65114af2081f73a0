//! The native format: what may be written, its defaults and its bounds.
//!
//! Each file reads one part and says all of its rules: the top level is here, then services, their
//! policies, and their pools. `docs/configuration.md` is the same for users.

mod affinity;
mod balance;
mod condition;
mod discovery;
mod doubts;
mod edit;
mod health;
mod limits;
mod outliers;
mod panic;
mod policy;
mod pool;
mod rate;
mod record;
mod retry;
mod route;
mod service;
mod socket;
mod state;
mod statuses;
mod steering;
mod tls;
mod tracing;
mod trust;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use lb_core::config::{AmbiguousPaths, DURATION_MAX};

use crate::address;
use crate::config::{AccessLog, Address, Admin, Config, Http2, Level, Listener, Server, Trust};
use crate::diagnostic::{At, Report};
use crate::read::{Given, Table};

/// Every duration: none may be zero (nothing can take no time) or without end.
const DURATIONS: RangeInclusive<Duration> = Duration::from_micros(1)..=DURATION_MAX;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Threads, of which more than cores are of no use; the largest machines have some hundred cores.
const WORKERS_MAX: usize = 256;
/// Each is a file descriptor and some tens of KiB.
const CONNECTIONS_MAX: usize = 1_000_000;
/// Less would refuse what browsers send: a cookie alone may have 4 KiB (RFC 6265 §6.1).
const HEADER_BYTES: RangeInclusive<usize> = 8 * KIB..=MIB;
const HEADERS_MAX: usize = 1_000;
/// What is shorter bars usual paths; what is longer no `http::Uri` holds.
const TARGET_BYTES: RangeInclusive<usize> = 256..=0xfffe;
const UNREAD_BYTES: RangeInclusive<usize> = MIB..=64 << 30;
/// A connection that carries a thousand a second carries these in eleven days.
const REQUESTS_MAX: u64 = 1_000_000_000;
/// Each holds an exchange and its buffers.
const STREAMS_MAX: u32 = 10_000;
const RESETS_MAX: u32 = 100_000;
/// Where the admin listener is unless said otherwise: on this machine alone.
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

pub(crate) use discovery::found;

/// Reads a whole configuration; `None` if there was an error.
pub(crate) fn config(mut table: Table<'_>) -> Option<Config> {
    let report = table.report();
    let errors_before = report.errors();

    let (server, trust, ambiguous_paths) = server(table.table("server"));
    let trust_is_sound = report.errors() == errors_before;
    let admin = admin(table.table("admin"));
    let access_log = access_log(table.table("access_log"));
    let tracing = tracing::tracing(table.table("tracing"));
    let (listeners, said) = listeners(&mut table, server.http2);
    let (admin, admin_bind) = admin.unzip();
    report_overlaps(report, &said, admin_bind);
    if trust_is_sound {
        trust::require_proxies(report, &said, &trust);
    }

    let services = service::services(&mut table);
    let at = services.as_ref().map_or_else(Vec::new, |services| services.at.clone());
    let (services, mut routing) = route::routing(&mut table, services);
    routing.ambiguous_paths = ambiguous_paths;
    let dns = discovery::dns(table.table("dns"), &services);
    let state = state::state(table.table("state"));
    let record = record::record(table.table("record"));
    if report.errors() == errors_before {
        doubts::doubts(report, &listeners, &at, &services, &routing);
    }
    drop(table); // which reports unknown keys

    let config = Config {
        server,
        trust,
        admin,
        access_log,
        tracing,
        listeners,
        services: services.into_iter().map(Arc::new).collect(),
        routing: Arc::new(routing),
        dns,
        state,
        record,
    };
    (report.errors() == errors_before).then_some(config)
}

fn access_log(mut table: Table<'_>) -> AccessLog {
    let enabled = table.boolean("enabled").or(true);
    let levels = [("info", Level::Info), ("debug", Level::Debug)];
    let level = table.choice("level", &levels).or(Level::Info);
    if !enabled {
        table.warn_without_effect(&["level"], "with enabled = false");
    }
    AccessLog { enabled, level }
}

fn server(mut table: Table<'_>) -> (Server, Trust, AmbiguousPaths) {
    let server = Server {
        workers: table.integer("workers", 1..=WORKERS_MAX).given().map(|workers| workers.value),
        watch: table.boolean("watch").or(false),
        shutdown_delay: table
            .duration("shutdown_delay", Duration::ZERO..=DURATION_MAX)
            .or(Duration::ZERO),
        drain_timeout: table.duration("drain_timeout", DURATIONS).or(Duration::from_secs(30)),
        drain_idle_timeout: table
            .duration("drain_idle_timeout", Duration::ZERO..=DURATION_MAX)
            .or(Duration::from_secs(1)),
        connections_max: table.integer("connections_max", 1..=CONNECTIONS_MAX).or(10_000),
        connections_per_client_max: table
            .integer("connections_per_client_max", 1..=CONNECTIONS_MAX)
            .or(10_000),
        requests_per_connection_max: table
            .integer("requests_per_connection_max", 1..=REQUESTS_MAX)
            .or(10_000),
        header_timeout: table.duration("header_timeout", DURATIONS).or(Duration::from_secs(10)),
        keep_alive_timeout: table
            .duration("keep_alive_timeout", DURATIONS)
            .or(Duration::from_secs(60)),
        header_bytes_max: table.size("header_bytes_max", HEADER_BYTES).or(32 * KIB),
        target_bytes_max: table.size("target_bytes_max", TARGET_BYTES).or(8 * KIB),
        headers_max: table.integer("headers_max", 1..=HEADERS_MAX).or(100),
        unread_bytes_max: table.size("unread_bytes_max", UNREAD_BYTES).or(48 * MIB),
        splice: table.boolean("splice").or(true),
        http2: http2(table.table("http2")),
    };
    let ways = [("refuse", AmbiguousPaths::Refuse), ("pass", AmbiguousPaths::Pass)];
    let ambiguous_paths = table.choice("ambiguous_paths", &ways).or(AmbiguousPaths::Refuse);
    (server, trust::trust(&mut table), ambiguous_paths)
}

fn http2(mut table: Table<'_>) -> Http2 {
    let enabled = table.boolean("enabled").or(true);
    let streams_max = table.integer("streams_max", 1..=STREAMS_MAX).or(128);
    let resets_per_second_max = table.integer("resets_per_second_max", 1..=RESETS_MAX).or(100);
    if !enabled {
        table
            .warn_without_effect(&["streams_max", "resets_per_second_max"], "with enabled = false");
    }
    Http2 { enabled, streams_max, resets_per_second_max }
}

/// The admin listener, if there is one, and where its address was said.
fn admin(mut table: Table<'_>) -> Option<(Admin, Given<Address>)> {
    let enabled = table.boolean("enabled").or(true);
    let bind = table.parsed("bind", address::bind).or_given(ADMIN.into());
    let hosts = table.list("hosts", |item| item.parsed(address::plain_host)).or(Vec::new());
    if !enabled {
        table.warn_without_effect(&["bind", "hosts"], "with enabled = false");
    }
    enabled.then_some((Admin { bind: bind.value.clone(), hosts }, bind))
}

/// Where parts of a listener were said.
struct Door {
    bind: Given<Address>,
    proxy_protocol: Given<bool>,
}

/// All listeners, and where they were said.
fn listeners(table: &mut Table<'_>, http2: Http2) -> (Vec<Listener>, Vec<Door>) {
    let example = "bind = \"0.0.0.0:8080\"";
    let add = format!("{} with {example}", table.header_of("listener"));
    let Some(written) = table.tables("listener").required(&add) else { return Default::default() };
    if written.value.is_empty() {
        table.report().error(written.at, "there is no listener", format!("add {add}"));
    }
    let listener = |mut listener: Table<'_>| {
        let bind = listener.parsed("bind", address::bind).required(example);
        let socket = socket::socket(&mut listener, bind.as_ref().map(|bind| &bind.value));
        let proxy_protocol = listener.boolean("proxy_protocol").or_given(false);
        let tls = tls::listener(listener.table("tls"), http2);
        let said = Door { bind: bind?, proxy_protocol };
        let bind = said.bind.value.clone();
        Some((Listener { bind, socket, tls, proxy_protocol: proxy_protocol.value }, said))
    };
    written.value.into_iter().filter_map(listener).unzip()
}

/// Two listeners on one port would share its connections by chance, or the second would not start.
fn report_overlaps(report: &Report<'_>, listeners: &[Door], admin: Option<Given<Address>>) {
    let mut taken: Vec<&Given<Address>> = Vec::new();
    for Door { bind, .. } in listeners {
        if let Some(other) = taken.iter().find(|other| overlap(&bind.value, &other.value)) {
            let what = format!("bind {} overlaps with {}", bind.value, whose(report, other));
            report.error(bind.at, what, "remove one of the two or change its port");
        }
        taken.push(bind);
    }
    let Some(admin) = admin else { return };
    let Some(other) = taken.iter().find(|other| overlap(&admin.value, &other.value)) else {
        return;
    };
    if admin.said {
        let what = format!("bind {} overlaps with {}", admin.value, whose(report, other));
        report.error(admin.at, what, "change the port of the admin listener");
    } else {
        let what = format!("bind {} overlaps with the admin listener at {ADMIN}", other.value);
        report.error(other.at, what, "change the port, or set bind in [admin] to another one");
    }
}

fn whose(report: &Report<'_>, bind: &Given<Address>) -> String {
    format!("{} at {}", bind.value, report.place(bind.at))
}

/// Whether a connection could be meant for either. Port 0 is a free one for each. Addresses of
/// different families are left alone: a socket for `0.0.0.0` takes IPv4 from one for `[::]`.
fn overlap(a: &Address, b: &Address) -> bool {
    let (Address::Ip(a), Address::Ip(b)) = (a, b) else { return a == b };
    let either_takes_all = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port()
        && a.port() != 0
        && (a.ip() == b.ip() || (a.is_ipv4() == b.is_ipv4() && either_takes_all))
}

/// Names that must be unique, and where each was first used.
#[derive(Debug, Default)]
struct Taken(BTreeMap<String, At>);

impl Taken {
    /// Where the name was used before; otherwise it is taken from now on.
    fn take(&mut self, name: &str, at: At) -> Result<(), At> {
        match self.0.get(name) {
            Some(first) => Err(*first),
            None => {
                self.0.insert(name.to_owned(), at);
                Ok(())
            }
        }
    }
}

/// A name that is also a label in metrics and logs.
fn label(text: &str) -> Result<String, crate::read::Mistake> {
    const LABEL_MAX: usize = 63;
    let good =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    match (1..=LABEL_MAX).contains(&text.len()) && text.bytes().all(good) {
        true => Ok(text.to_owned()),
        false => Err(crate::read::Mistake::new("is not a name", "use 1..=63 of a-z, 0-9, - and _")),
    }
}
