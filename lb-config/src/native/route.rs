//! `[[route]]` and `[https_redirect]`: which requests go where.
//!
//! Services' hosts are routes as well, and are read before. All routes are looked at together in the
//! end: one that no request gets to is a mistake.

mod hidden;

use lb_core::config::{
    Action, BadPath, Conditions, HttpsConfig, MirrorConfig, PathPattern, RESPOND_BYTES_MAX,
    ROUTE_HOSTS_MAX, ROUTES_MAX, RouteConfig, RoutingConfig, Slot, Template,
};
use lb_core::edit::has_body;

use crate::address;
use crate::config::Service;
use crate::diagnostic::At;
use crate::native::condition::conditions;
use crate::native::edit::{Edited, edits, template};
use crate::native::service::{ServiceHosts, Services};
use crate::native::{Taken, label};
use crate::read::{Given, Mistake, Table, Value};

/// A route, and where it and its hosts were said.
struct Said {
    route: RouteConfig,
    at: At,
    hosts: Vec<At>,
    /// What diagnostics call it.
    title: String,
    /// What they say of it if no request gets to it.
    unreached: String,
}

/// All routes; and the services, of which each is reached.
pub(super) fn routing(
    table: &mut Table<'_>,
    services: Option<Services<'_>>,
) -> (Vec<Service>, RoutingConfig) {
    let report = table.report();
    let https = https(table.table("https_redirect"));
    let written = table.tables("route").or_given(Vec::new());
    if written.value.len() > ROUTES_MAX {
        let what = format!("there are {} routes", written.value.len());
        report.error(written.at, what, format!("use at most {ROUTES_MAX}"));
    }
    let known = services.as_ref();
    let mut reader = Reader {
        services: known.map_or(&[], |services| &services.names),
        allow_connect: known.map_or(&[], |services| &services.allow_connect),
        names: Taken::default(),
        led_to: Vec::new(),
    };
    let mut all: Vec<Said> =
        written.value.into_iter().filter_map(|table| reader.route(table)).collect();
    let led_to = reader.led_to;
    all.extend(services.iter().flat_map(|services| &services.hosts).map(Said::from));
    hidden::report(report, &all);
    let services = services.map_or(Vec::new(), |services| services.all_reached(&led_to));
    let routes = all.into_iter().map(|said| said.route).collect();
    (services, RoutingConfig { https, routes, ..RoutingConfig::default() })
}

impl From<&ServiceHosts> for Said {
    fn from(said: &ServiceHosts) -> Self {
        let names = said.hosts.iter().map(|host| host.value.clone()).collect();
        Self {
            route: RouteConfig::catch_all(&said.name, names, Action::Service(said.service)),
            at: said.at,
            hosts: said.hosts.iter().map(|host| host.at).collect(),
            title: format!("service {:?}", said.name),
            unreached: format!("no host leads to service {:?} by itself", said.name),
        }
    }
}

/// Reads one route after the other.
struct Reader<'s> {
    /// The names of services by their place; `None` for one that has none.
    services: &'s [Option<String>],
    /// The places of those that a CONNECT may lead to.
    allow_connect: &'s [u16],
    names: Taken,
    /// The names of services that routes lead to.
    led_to: Vec<String>,
}

impl Reader<'_> {
    fn route(&mut self, mut table: Table<'_>) -> Option<Said> {
        let report = table.report();
        let errors_before = report.errors();
        let name = table.parsed("name", label).required("name = \"static\"");
        if let Some(name) = &name
            && let Err(first) = self.names.take(&name.value, name.at)
        {
            let what =
                format!("name {:?} is taken by the route at {}", name.value, report.place(first));
            report.error(name.at, what, "give each route a name of its own");
        }
        let hosts = hosts(&mut table);
        let Some(path) = path(&mut table) else {
            // Which captures there are is unknown, and complaints about them would only distract.
            let _known = table.field("service", |value| self.service(&value)).given();
            let _known = (self.mirror(&mut table), conditions(&mut table));
            let _known = respond(table.table("respond"));
            drop(table.entries());
            return None;
        };
        let conditions = conditions(&mut table);
        let captures: Vec<&str> = path.captures().collect();
        let action = self.action(&mut table, &captures);
        let has_backend = matches!(action, None | Some(Action::Service(_)));
        let edits = edits(&mut table, Edited { path: Some(&path), has_backend });
        let mirror = self.mirror(&mut table);
        if !has_backend {
            let why = "without service: nothing is sent to a backend";
            table.warn_without_effect(&["request", "mirror"], why);
        }
        // Of half a route nobody could say who is hidden by it.
        let name = name.filter(|_| report.errors() == errors_before)?.value;
        self.warn_of_connect(&table, &conditions, action.as_ref());
        let at = table.at();
        let title = format!("route {name:?}");
        let unreached = format!("{title} is never reached");
        let (hosts, places) = hosts.into_iter().map(|host| (host.value, host.at)).unzip();
        let route = RouteConfig { name, hosts, path, conditions, action: action?, edits, mirror };
        Some(Said { route, at, hosts: places, title, unreached })
    }

    /// A route may ask for CONNECT by name and yet lead to where it is refused.
    fn warn_of_connect(&self, table: &Table<'_>, asks: &Conditions, action: Option<&Action>) {
        let refuses = match action {
            Some(Action::Service(place)) => !self.allow_connect.contains(place),
            _ => true,
        };
        if refuses && asks.methods.iter().any(|method| method == "CONNECT") {
            let what = "\"CONNECT\" in methods has no effect: it is refused where this route leads";
            let remedy = "remove it, or lead it to a service with allow_connect = true";
            table.report().warn(table.at(), what, remedy);
        }
    }

    /// What becomes of a request: exactly one thing.
    fn action(&mut self, table: &mut Table<'_>, captures: &[&str]) -> Option<Action> {
        let report = table.report();
        let service = table.field("service", |value| self.service(&value));
        let service_is_absent = service.is_absent();
        let service =
            service.given().map(|place| (place.at, "service", Action::Service(place.value)));
        let redirect = redirect(table.table("redirect"), captures);
        let respond = respond(table.table("respond"));
        if service_is_absent && redirect.is_none() && respond.is_none() {
            let remedy = "add service = \"web\", redirect = { to = \"..\" } or \
                          respond = { status = 404 }";
            report.error(table.at(), "the route does nothing", remedy);
        }
        let mut said =
            [service, redirect.and_then(|it| it), respond.and_then(|it| it)].into_iter().flatten();
        let (_, first, action) = said.next()?;
        if let Some((at, second, _)) = said.next() {
            let what = format!("the route has both {first} and {second}");
            report.error(at, what, "keep one of the two");
        }
        Some(action)
    }

    /// The place of a service, by its name.
    fn service(&mut self, value: &Value<'_>) -> Option<u16> {
        let names: Vec<&str> =
            self.services.iter().map(|name| name.as_deref().unwrap_or_default()).collect();
        // Of one whose own name is wrong, nobody knows whether it was meant.
        if names.is_empty() || names.contains(&"") {
            value.text()?;
            return None;
        }
        let place = value.name_among(&names, "write the name of a [[service]] of this file")?;
        self.led_to.push(names[place].to_owned());
        u16::try_from(place).ok()
    }

    fn mirror(&mut self, table: &mut Table<'_>) -> Option<MirrorConfig> {
        let mut table = table.table("mirror");
        let said = table.said();
        let service = table.field("service", |value| self.service(&value));
        let percent = table.integer("percent", 1..=100_u8).or(100);
        let service = match said {
            true => service.required("service = \"shadow\"")?,
            false => return None,
        };
        Some(MirrorConfig { service: service.value, percent })
    }
}

/// An action, where it was said, and under which key. The outer `None`: nothing was said.
type Acting = Option<Option<(At, &'static str, Action)>>;

fn redirect(mut table: Table<'_>, captures: &[&str]) -> Acting {
    let to = table.parsed("to", |text| template(text, Slot::Redirect, captures));
    let status = status(&mut table, &[301, 302, 303, 307, 308]).unwrap_or(307);
    if !table.said() {
        return None;
    }
    let to = to.required("to = \"https://{host}{path}{query}\"");
    let action = |to: Given<Template>| Action::Redirect { to: to.value, status };
    Some(to.map(action).map(|action| (table.at(), "redirect", action)))
}

fn status(table: &mut Table<'_>, known: &[u16]) -> Option<u16> {
    let read = |value: Value<'_>| {
        let status = value.integer(0..=u16::MAX)?;
        if !known.contains(&status) {
            let all: Vec<String> = known.iter().map(u16::to_string).collect();
            let remedy = format!("use one of {}", all.join(", "));
            value.wrong(&Mistake::new("is no status of a redirect", remedy));
            return None;
        }
        Some(status)
    };
    table.field("status", read).given().map(|status| status.value)
}

fn respond(mut table: Table<'_>) -> Acting {
    let status = table.integer("status", 200..=599_u16);
    let body = table.parsed("body", body).or_given(String::new());
    let content_type = table.parsed("content_type", content_type);
    if !table.said() {
        return None;
    }
    let status = status.required("status = 404");
    let content_type = content_type.or("text/plain; charset=utf-8".to_owned());
    if body.value.is_empty() {
        table.warn_without_effect(&["content_type"], "without a body");
    }
    if let Some(status) = &status
        && !has_body(status.value)
        && !body.value.is_empty()
    {
        let what = format!("an answer with status {} has no body", status.value);
        table.report().error(body.at, what, "remove body or use another status");
    }
    let action = |status: Given<u16>| Action::Respond {
        status: status.value,
        body: body.value,
        content_type,
    };
    Some(status.map(action).map(|action| (table.at(), "respond", action)))
}

fn body(text: &str) -> Result<String, Mistake> {
    match text.len() <= RESPOND_BYTES_MAX {
        true => Ok(text.to_owned()),
        false => {
            let remedy = format!("use at most {RESPOND_BYTES_MAX}, or a backend for more");
            Err(Mistake::new(format!("has {} bytes", text.len()), remedy))
        }
    }
}

fn content_type(text: &str) -> Result<String, Mistake> {
    let good = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    match text.contains('/') && text.len() <= 256 && text.trim() == text && text.bytes().all(good) {
        true => Ok(text.to_owned()),
        false => Err(Mistake::new("is no media type", "write one such as \"text/html\"")),
    }
}

fn hosts(table: &mut Table<'_>) -> Vec<Given<String>> {
    let report = table.report();
    let hosts = table.list("hosts", |item| host(&item));
    let example = "hosts = [\"*\"] for any host of which nothing else is said";
    let Some(hosts) = hosts.required(example) else { return Vec::new() };
    if !(1..=ROUTE_HOSTS_MAX).contains(&hosts.value.len()) {
        let what = format!("hosts has {} items", hosts.value.len());
        report.error(hosts.at, what, format!("use 1..={ROUTE_HOSTS_MAX}; [\"*\"] is any host"));
    }
    let mut taken = Taken::default();
    for host in &hosts.value {
        if taken.take(&host.value, host.at).is_err() {
            let what = format!("host {:?} is in this route twice", host.value);
            report.error(host.at, what, "remove one of the two");
        }
    }
    hosts.value
}

pub(super) fn host(item: &Value<'_>) -> Option<Given<String>> {
    Some(Given { at: item.at(), value: item.parsed(address::service_host)?, said: true })
}

/// One of the two ways to say it, or all paths. `None`: it was said wrongly.
fn path(table: &mut Table<'_>) -> Option<PathPattern> {
    let exact = table.parsed("path", |text| pattern(text, PathPattern::exact));
    let prefix = table.parsed("path_prefix", |text| pattern(text, PathPattern::prefix));
    let is_absent = exact.is_absent() && prefix.is_absent();
    let (exact, prefix) = (exact.given(), prefix.given());
    if let (Some(_), Some(prefix)) = (&exact, &prefix) {
        let what = "the route has both path and path_prefix";
        table.report().error(prefix.at, what, "keep one of the two");
    }
    let said = exact.or(prefix).map(|path| path.value);
    said.or_else(|| is_absent.then(PathPattern::any))
}

fn pattern(
    text: &str,
    read: impl FnOnce(&str) -> Result<PathPattern, BadPath>,
) -> Result<PathPattern, Mistake> {
    read(text).map_err(|bad| {
        let remedy = match &bad {
            BadPath::NoSlash => "begin with /".to_owned(),
            BadPath::TooLong | BadPath::TooMany => "make it shorter".to_owned(),
            BadPath::Character(_) => "percent-encode it, as in %20 for a space".to_owned(),
            BadPath::Form(normal) => format!("write {normal:?}"),
            BadPath::PrefixEndsInSlash => {
                format!("write {:?}, which is that and all below it", text.trim_end_matches('/'))
            }
            BadPath::Brace(_) => "write /{name}/ for one segment, /{*name} for all the rest".into(),
            BadPath::Name(_) => "use up to 32 of a-z, 0-9 and _, not beginning with a digit".into(),
            BadPath::Reserved(_) | BadPath::Twice(_) => "use another name".to_owned(),
            BadPath::RestWithin => "use {*name} once, at the end of path".to_owned(),
        };
        Mistake::new(bad.to_string(), remedy)
    })
}

fn https(mut table: Table<'_>) -> Option<HttpsConfig> {
    let enabled = table.boolean("enabled").or(false);
    let status = status(&mut table, &[301, 302, 307, 308]).unwrap_or(308);
    let port = table.integer("port", 1..=u16::MAX).or(443);
    let hosts = table.list("hosts", |item| host(&item)).given();
    if let Some(hosts) = hosts.as_ref().filter(|hosts| hosts.value.is_empty()) {
        table.report().error(hosts.at, "hosts is empty", "leave it out for any host");
    }
    let except =
        table.list("except", |item| item.parsed(|text| pattern(text, PathPattern::prefix)));
    let except = except.given().map_or_else(acme, |except| except.value);
    if !enabled {
        let others = ["status", "port", "hosts", "except"];
        table.warn_without_effect(&others, "without enabled = true");
        return None;
    }
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    let to = format!("https://{{host}}{port}{{path}}{{query}}");
    let to = Template::parse(&to, Slot::Redirect, &[]).expect("it leads to the same host");
    let hosts = hosts.map_or_else(
        || vec!["*".to_owned()],
        |hosts| hosts.value.into_iter().map(|host| host.value).collect(),
    );
    Some(HttpsConfig { status, to, hosts, except })
}

/// Where certificates are asked for without TLS (RFC 8555 §8.3).
fn acme() -> Vec<PathPattern> {
    let path = PathPattern::prefix("/.well-known/acme-challenge");
    path.into_iter().collect()
}
