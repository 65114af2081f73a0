//! What of a configuration can have no effect, or another than whoever wrote it expects, once all of it is
//! read. Each is a warning at the service that it is about.

use std::collections::BTreeSet;

use lb_core::config::{
    Action, AffinityConfig, CookieConfig, CookieValue, HedgeAfter, KeySource, RouteConfig,
    RoutingConfig, StickBy,
};

use crate::config::{Address, Listener, Service};
use crate::diagnostic::{At, Report};

/// `at` says where each service is.
pub(super) fn doubts(
    report: &Report<'_>,
    listeners: &[Listener],
    at: &[At],
    services: &[Service],
    routing: &RoutingConfig,
) {
    // Whoever comes by a Unix socket has no address.
    let have_addresses = listeners.iter().all(|it| matches!(it.bind, Address::Ip(_)));
    for (at, service) in at.iter().zip(services) {
        let mut doubt = |what: String, remedy: String| report.warn(*at, what, remedy);
        outliers(service, &mut doubt);
        keys(service, have_addresses, &mut doubt);
        hedges(service, &mut doubt);
        if let Some(cookie) = cookie(service) {
            cookies(service, cookie, &mut doubt);
        }
        drained(service, &mut doubt);
    }
    shared_cookies(report, at, services, routing);
}

/// Tells what is doubtful, and what to do.
type Doubt<'d> = &'d mut dyn FnMut(String, String);

/// Backends that are written down; `None` where some are still to be found.
fn written(service: &Service) -> Option<usize> {
    let count = service.core.pools.iter().map(|pool| pool.backends.len()).sum();
    service.discovery.is_empty().then_some(count)
}

fn outliers(service: &Service, doubt: Doubt<'_>) {
    let Some(outliers) = &service.core.outliers else { return };
    let most = service.core.pools.iter().map(|pool| pool.backends.len()).max().unwrap_or_default();
    let least = usize::from(outliers.min_backends);
    if written(service).is_some() && most < least {
        let what = format!(
            "[service.outliers] compares backends of a pool with at least {least} (min_backends), and \
             no pool has more than {most}"
        );
        doubt(what, format!("set min_backends = {}, or remove it", most.max(2)));
    }
}

/// Sources behind one that every request has, and one that clients write themselves.
fn keys(service: &Service, have_addresses: bool, doubt: Doubt<'_>) {
    let core = &service.core;
    let rate = core.rate.as_ref().map(|rate| ("[service.rate_limit] key", &rate.key));
    let limits = core.limits.per_client.map(|_| ("[service.limits] client", &core.limits.client));
    let affinity = core.affinity.as_ref().and_then(|it| match &it.by {
        StickBy::Key(stick) => Some(("[service.affinity] key", &stick.key)),
        StickBy::Cookie(_) => None,
    });
    for (name, sources) in [rate, limits, affinity].into_iter().flatten() {
        let has_all = |it: &KeySource| match it {
            KeySource::ClientIp => have_addresses,
            KeySource::Path | KeySource::Text(_) => true,
            _ => false,
        };
        let last = sources.len().saturating_sub(1);
        if sources.iter().position(has_all).is_some_and(|place| place < last) {
            let what = format!("{name} has sources behind one that every request has");
            doubt(what, "put \"client-ip\", \"path\" or a text last".to_owned());
        }
    }
    for (name, sources) in [rate, limits].into_iter().flatten() {
        if sources.contains(&KeySource::ForwardedFor) {
            let what = format!("{name} has \"forwarded-for\", which clients write themselves");
            let remedy = "use \"client-ip\", and name proxies in front in [server] trusted_proxies";
            doubt(what, remedy.to_owned());
        }
    }
}

fn hedges(service: &Service, doubt: Doubt<'_>) {
    let core = &service.core;
    let Some(after) = core.retry.hedge else { return };
    if written(service) == Some(1) {
        let what = "[service.retry] hedge asks another backend, and there is one".to_owned();
        doubt(what, "add a backend, or remove hedge".to_owned());
    }
    let longest = core.timeouts.first_byte.min(core.timeouts.exchange);
    if let HedgeAfter::Fixed(after) = after
        && after >= longest
    {
        let what =
            "[service.retry] hedge.after is no sooner than an attempt ends (first_byte, exchange)";
        doubt(what.to_owned(), "lower it".to_owned());
    }
}

fn cookie(service: &Service) -> Option<&CookieConfig> {
    match service.core.affinity.as_ref() {
        Some(AffinityConfig { by: StickBy::Cookie(cookie), .. }) => Some(cookie),
        _ => None,
    }
}

fn cookies(service: &Service, cookie: &CookieConfig, doubt: Doubt<'_>) {
    let name = &cookie.name;
    let is_host = name.starts_with("__Host-");
    if is_host && !(cookie.secure && cookie.path == "/") {
        let what = format!("browsers refuse {name} without secure = true and path = \"/\"");
        doubt(what, "add both, or leave out __Host-".to_owned());
    } else if name.starts_with("__Secure-") && !cookie.secure {
        let what = format!("browsers refuse {name} without secure = true");
        doubt(what, "add it, or leave out __Secure-".to_owned());
    }
    let mut hosts = BTreeSet::new();
    let twice = service.origins.iter().find(|origin| !hosts.insert(origin.host.clone()));
    if let Some(origin) = twice.filter(|_| cookie.value == CookieValue::Hostname) {
        let what = format!(
            "several backends are at {}: with [service.affinity] value = \"hostname\" all their clients \
             stick to the first",
            origin.host
        );
        doubt(what, "leave out value, which tells them apart".to_owned());
    }
}

fn drained(service: &Service, doubt: Doubt<'_>) {
    let mut all = service.core.pools.iter().flat_map(|pool| &pool.backends);
    if written(service).is_some_and(|count| count > 0) && all.all(|backend| backend.draining) {
        let what = "all backends are draining: nobody new is served".to_owned();
        doubt(what, "let one of them serve".to_owned());
    }
}

/// Services that a browser meets at one host, each of which sets the cookie of the other anew.
fn shared_cookies(report: &Report<'_>, at: &[At], services: &[Service], routing: &RoutingConfig) {
    let hosts = |service: usize| -> BTreeSet<&str> {
        let leads = |route: &&RouteConfig| matches!(route.action, Action::Service(to) if usize::from(to) == service);
        let routes = routing.routes.iter().filter(leads);
        routes.flat_map(|route| &route.hosts).map(String::as_str).collect()
    };
    let known: Vec<_> = services
        .iter()
        .enumerate()
        .filter_map(|(place, service)| Some((place, service, cookie(service)?)))
        .collect();
    for (nth, (place, service, cookie)) in known.iter().enumerate() {
        let same = known[..nth].iter().find(|(other, _, its)| {
            (&its.name, &its.path) == (&cookie.name, &cookie.path)
                && !hosts(*other).is_disjoint(&hosts(*place))
        });
        if let Some((_, other, _)) = same {
            let name = &service.core.name;
            let what = format!(
                "services {:?} and {name:?} answer at one host and set the same cookie {}: each takes \
                 the other's for a stranger's",
                other.core.name, cookie.name
            );
            report.warn(at[*place], what, format!("give one another name: cookie = \"lb_{name}\""));
        }
    }
}
