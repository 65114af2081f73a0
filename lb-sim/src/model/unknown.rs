//! What a configuration may say that the model has no notion of.
//!
//! Whoever rehearses a configuration is told of it, and a scenario with it is for another engine. Only what
//! is said counts: what is left as it is by default is far from where it would be felt.

use std::fmt;

use lb_config::config::{Protocol, Server};
use lb_config::{Config, Source};
use lb_core::config::{Action, RouteConfig};

/// A setting, and why nothing comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unknown {
    /// As it is called in the file.
    pub(crate) what: String,
    why: &'static str,
}

impl fmt::Display for Unknown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.what, self.why)
    }
}

/// A configuration in which everything is as it is by default.
pub(crate) fn plain() -> Config {
    const PLAIN: &str = "[[listener]]\nbind = '127.0.0.1:80'\n[[service]]\nname = 'plain'\nhosts = ['*']\n\
                         [[service.pool]]\nbackends = [{ url = 'http://plain' }]\n";
    let plain = lb_config::load(&Source { name: "plain", text: PLAIN }).0;
    plain.expect("nothing is wrong with a listener and a backend")
}

/// What the model leaves out of `config`, as far as the service of this number feels it.
pub(crate) fn unknown(config: &Config, service: usize) -> Vec<Unknown> {
    let plain = plain();
    let mut all = of_server(&config.server, &plain.server);
    if config.routing.https.is_some() {
        let what = "[https_redirect]".to_owned();
        all.push(Unknown { what, why: "clients come as they ought to" });
    }
    let (said, usual) = (&config.services[service], &plain.services[0]);
    let (keeps, usually) = (said.keep_alive, usual.keep_alive);
    let without_end = "a backend has as many connections as it is asked for";
    let kept = "connections are kept until they break";
    let of_connections = [
        (keeps.connections_max != usually.connections_max, "connections_max", without_end),
        (keeps.idle_max != usually.idle_max, "idle_max", kept),
        (keeps.idle_timeout != usually.idle_timeout, "idle_timeout", kept),
        (keeps.age_max != usually.age_max, "age_max", kept),
    ];
    for (_, name, why) in of_connections.into_iter().filter(|(is_said, ..)| *is_said) {
        all.push(Unknown { what: format!("[service.keep_alive] {name}"), why });
    }
    if said.protocol == Protocol::Http2 {
        let what = "[service] protocol = \"h2\"".to_owned();
        all.push(Unknown { what, why: "backends speak HTTP/1.1" });
    }
    all.extend(config.routing.routes.iter().filter_map(|route| copies(route, service)));
    all
}

/// What is said of clients' connections, and of what comes on them.
fn of_server(said: &Server, plain: &Server) -> Vec<Unknown> {
    let (none, sizes) = ("clients have no connections", "heads have no bytes");
    let all = [
        (said.connections_max != plain.connections_max, "connections_max", none),
        (
            said.connections_per_client_max != plain.connections_per_client_max,
            "connections_per_client_max",
            none,
        ),
        (
            said.requests_per_connection_max != plain.requests_per_connection_max,
            "requests_per_connection_max",
            none,
        ),
        (said.keep_alive_timeout != plain.keep_alive_timeout, "keep_alive_timeout", none),
        (said.header_timeout != plain.header_timeout, "header_timeout", none),
        (said.http2 != plain.http2, "http2", "clients speak HTTP/1.1"),
        (said.header_bytes_max != plain.header_bytes_max, "header_bytes_max", sizes),
        (said.target_bytes_max != plain.target_bytes_max, "target_bytes_max", sizes),
        (said.headers_max != plain.headers_max, "headers_max", sizes),
        (
            said.unread_bytes_max != plain.unread_bytes_max,
            "unread_bytes_max",
            "clients read all that there is",
        ),
    ];
    let said = all.into_iter().filter(|(is_said, ..)| *is_said);
    said.map(|(_, name, why)| Unknown { what: format!("[server] {name}"), why }).collect()
}

/// Copies that a route makes of the service's requests, or for it.
fn copies(route: &RouteConfig, service: usize) -> Option<Unknown> {
    let mirror = route.mirror?;
    let (comes, goes) = (usize::from(mirror.service), &route.action);
    let is_source = matches!(goes, Action::Service(at) if usize::from(*at) == service);
    let why = match (is_source, comes == service) {
        (_, true) => "nobody makes the copies, which are load on its backends",
        (true, false) => "nobody makes the copies",
        (false, false) => return None,
    };
    Some(Unknown { what: format!("[route.mirror] of route {}", route.name), why })
}
