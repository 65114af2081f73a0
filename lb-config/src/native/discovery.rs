//! `discover = { .. }` in a pool, the list of backends in a file, and `[dns]`.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lb_core::config::BACKENDS_MAX;

use crate::address::{self, BackendUrl};
use crate::config::{
    Discovery, DiscoverySource, Dns, Family, Format, Found, Origin, Priority, Service,
};
use crate::native::Taken;
use crate::native::pool::{listed, lower};
use crate::read::{Mistake, Table};

/// More often would be a load on whoever is asked; less often than daily is not discovery.
const REFRESH: RangeInclusive<Duration> =
    Duration::from_millis(50)..=Duration::from_secs(24 * 3_600);
const REFRESH_MIN: Duration = Duration::from_secs(1);
const REFRESH_MAX: Duration = Duration::from_secs(60);
const FILE_EVERY: Duration = Duration::from_secs(1);
/// Long enough to mend name servers in; addresses that are older may be somebody else's.
const STALE: Duration = Duration::from_secs(3_600);
const STALE_MAX: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(7 * 24 * 3_600);
const ANSWER: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);
/// A resolver asks one after the other; nobody waits for more.
const SERVERS_MAX: usize = 8;
const DNS_PORT: u16 = 53;

const EXAMPLE: &str = "dns = \"app.internal:8080\", srv = \"_http._tcp.app.internal\" or \
                       file = \"backends.json\"";

/// The table of the pool at this place in its service; `None` where it is absent, or has a mistake.
pub(super) fn discovery(mut table: Table<'_>, pool: usize) -> Option<Discovery> {
    let report = table.report();
    let dns = table.parsed("dns", dns_name).given();
    let srv = table.parsed("srv", srv_name).given();
    let file = table.parsed("file", list_file).given();
    let families = [("any", Family::Any), ("ipv4", Family::V4), ("ipv6", Family::V6)];
    let family = table.choice("family", &families).or(Family::Any);
    let priorities =
        [("first", Priority::First), ("others", Priority::Others), ("all", Priority::All)];
    let priority = table.choice("priority", &priorities).or(Priority::First);
    let refresh_min = table.duration("refresh_min", REFRESH).or_given(REFRESH_MIN);
    let refresh_max = table.duration("refresh_max", REFRESH).or_given(REFRESH_MAX);
    let every = table.duration("every", REFRESH).or(FILE_EVERY);
    let accepts_empty = table.choice("empty", &[("keep", false), ("accept", true)]).or(false);
    if !table.said() {
        return None;
    }
    if refresh_min.value > refresh_max.value {
        let at = if refresh_max.said { refresh_max.at } else { refresh_min.at };
        report.error(at, "refresh_min is more than refresh_max", "lower one or raise the other");
    }
    if dns.is_none() {
        table.warn_without_effect(&["family"], "without dns");
    }
    if srv.is_none() {
        table.warn_without_effect(&["priority"], "without srv");
    }
    match file {
        None => table.warn_without_effect(&["every"], "without file: the answer says how often"),
        Some(_) => {
            table.warn_without_effect(&["refresh_min", "refresh_max"], "with file: write every");
        }
    }
    let refresh = refresh_min.value..=refresh_max.value;
    let (source, refresh) = match (dns, srv, file) {
        (Some(dns), None, None) => (DiscoverySource::Dns { url: dns.value, family }, refresh),
        (None, Some(srv), None) => (DiscoverySource::Srv { name: srv.value, priority }, refresh),
        (None, None, Some(file)) => {
            let (path, format) = file.value;
            (DiscoverySource::File { path, format }, every..=every)
        }
        (None, None, None) => {
            // A source that has a mistake was reported where it stands.
            if !table.has_any(&["dns", "srv", "file"]) {
                report.error(table.at(), "discover says nobody to ask", format!("add {EXAMPLE}"));
            }
            return None;
        }
        _ => {
            let remedy = "keep one of dns, srv and file, and make a pool for each other";
            report.error(table.at(), "discover has several sources", remedy);
            return None;
        }
    };
    Some(Discovery { pool, source, refresh, accepts_empty })
}

/// A list of backends that was found in a file; `None` if there was an error.
pub(crate) fn found(mut table: Table<'_>) -> Option<Vec<Found>> {
    let report = table.report();
    let errors_before = report.errors();
    let written = listed(&mut table, &mut Taken::default());
    let written = written.required("backends = [{ url = \"http://10.0.0.1:3000\" }]")?;
    if written.value.len() > BACKENDS_MAX {
        let what = format!("the list has {} backends", written.value.len());
        report.error(written.at, what, format!("use at most {BACKENDS_MAX} in a service"));
    }
    let found =
        |written| Found { backend: lower(written), origin: written.url.value.origin.clone() };
    let all = written.value.iter().map(found).collect();
    drop(table); // which reports unknown keys
    (report.errors() == errors_before).then_some(all)
}

/// `[dns]`, of which nothing has an effect where nobody has a name.
pub(super) fn dns(mut table: Table<'_>, services: &[Service]) -> Dns {
    let servers = table.list("servers", |item| item.parsed(server)).or_given(Vec::new());
    let timeout = table.duration("timeout", ANSWER).or(Duration::from_secs(2));
    let stale_max = table.duration("stale_max", STALE_MAX).or(STALE);
    if servers.value.len() > SERVERS_MAX {
        let what = format!("there are {} servers", servers.value.len());
        table.report().error(servers.at, what, format!("use at most {SERVERS_MAX}"));
    }
    let is_name = |it: &Origin| it.socket.is_none() && it.host.parse::<IpAddr>().is_err();
    let asks = |it: &Service| !it.discovery.is_empty() || it.origins.iter().any(is_name);
    if !services.iter().any(asks) {
        let why = "without a backend that is known by its name, or a pool that discovers some";
        table.warn_without_effect(&["servers", "timeout", "stale_max"], why);
    }
    Dns { servers: servers.value, timeout, stale_max }
}

/// A name and a port, as a url or without its scheme.
fn dns_name(text: &str) -> Result<BackendUrl, Mistake> {
    let url = match text.contains("://") {
        true => address::backend_url(text)?,
        false => address::backend_url(&format!("http://{text}"))?,
    };
    if url.origin.host.parse::<IpAddr>().is_ok() {
        let remedy = format!("write backends = [{{ url = \"{}\" }}] instead", url.identity);
        return Err(Mistake::new("is an address and not a name", remedy));
    }
    Ok(url)
}

fn srv_name(text: &str) -> Result<String, Mistake> {
    if text.contains(':') {
        let remedy =
            "write the name alone, as in \"_http._tcp.app.internal\": its records say ports";
        return Err(Mistake::new("is more than a name", remedy));
    }
    let name = address::plain_host(text)?;
    match name.parse::<IpAddr>() {
        Ok(_) => Err(Mistake::new("is an address and not a name", "write the name of SRV records")),
        Err(_) => Ok(name),
    }
}

fn list_file(text: &str) -> Result<(PathBuf, Format), Mistake> {
    let path = Path::new(text);
    let ending = path.extension().and_then(|ending| ending.to_str());
    match ending.map(str::to_ascii_lowercase).as_deref() {
        Some("json") => Ok((path.to_owned(), Format::Json)),
        Some("toml") => Ok((path.to_owned(), Format::Toml)),
        _ => Err(Mistake::new(
            "ends in neither .json nor .toml",
            "rename it: the ending says how it is written",
        )),
    }
}

fn server(text: &str) -> Result<SocketAddr, Mistake> {
    let bare =
        text.trim_matches(['[', ']']).parse().map(|ip: IpAddr| SocketAddr::new(ip, DNS_PORT));
    bare.or_else(|_| text.parse()).map_err(|_| {
        let remedy = "write one such as \"10.0.0.2\", \"10.0.0.2:53\" or \"[::1]:53\"";
        Mistake::new("is not the address of a name server", remedy)
    })
}
