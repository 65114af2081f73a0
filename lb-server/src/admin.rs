//! The admin listener: is it alive, is it ready, and what has it learned.
//!
//! Everything here only reads, but for `POST /reload`, which reads the configuration's file anew. It answers to names of this machine, to addresses, and to the names
//! that its configuration lists, so that a web page elsewhere cannot have a browser read it under a
//! name of its own (DNS rebinding).

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Body;
use lb_core::Time;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use crate::client::Client;
use crate::discovery;
use crate::gateway::{Gateway, Refused, ReloadCall};
use crate::headers;
use crate::observe::{Format, SHARES, Spread, exposition};
use crate::reply::{Outgoing, Reply, Whose};
use crate::snapshot::{Site, Snapshot};
use crate::worker::Worker;

const INDEX: &str = "lb admin\n\n\
    /health        200 while the process lives\n\
    /ready         200 while new requests are welcome, 503 while draining\n\
    /metrics       counters and state, for Prometheus\n\
    /metrics.json  what was learned about each backend\n\
    /discovery     where backends were found, and why not\n    \
    /reload        POST: read the configuration's file anew\n";

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// Answers one request to the admin listener.
pub(crate) async fn respond(worker: &Worker, client: &Client, head: &Parts) -> Reply {
    let busy = client.begin();
    let (gateway, view) = (&worker.gateway, worker.view());
    let (status, kind, body) = if client.refusal().is_some() {
        (StatusCode::BAD_REQUEST, TEXT, "malformed request\n".to_owned())
    } else if !may_ask(&view, &headers::host(head)) {
        let body = "the admin listener answers to localhost, to IP addresses and to the names in \
                    [admin] hosts; add this one there\n";
        (StatusCode::FORBIDDEN, TEXT, body.to_owned())
    } else if head.uri.path() == "/reload" {
        reload(gateway, head).await
    } else if !matches!(head.method, Method::GET | Method::HEAD) {
        (StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".to_owned())
    } else {
        match head.uri.path() {
            "/" => (StatusCode::OK, TEXT, INDEX.to_owned()),
            "/health" => (StatusCode::OK, TEXT, "ok\n".to_owned()),
            "/ready" => ready(gateway, &view),
            "/metrics" => {
                let accept = head.headers.get(header::ACCEPT);
                let format = Format::for_who_accepts(accept.map_or(b"", HeaderValue::as_bytes));
                (StatusCode::OK, format.content_type(), exposition(gateway, format))
            }
            "/discovery" => {
                (StatusCode::OK, JSON, format!("{:#}\n", discovery::report::report(gateway)))
            }
            "/metrics.json" => {
                (StatusCode::OK, JSON, format!("{:#}\n", learned(&view, gateway.now())))
            }
            _ => (StatusCode::NOT_FOUND, TEXT, format!("no such page\n\n{INDEX}")),
        }
    };
    let mut response = Response::new(Full::from(Bytes::from(body)));
    *response.status_mut() = status;
    let date = headers::date(gateway.platform.unix_time());
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    out.insert(header::DATE, date);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let allowed = if head.uri.path() == "/reload" { "POST" } else { "GET, HEAD" };
        out.insert(header::ALLOW, HeaderValue::from_static(allowed));
    }
    if head.method == Method::HEAD {
        let length = headers::written(&response.body().size_hint().lower());
        response.headers_mut().insert(header::CONTENT_LENGTH, length);
        *response.body_mut() = Full::default();
    }
    Reply::from(response).map(|body| Outgoing::new(Whose::Ours { body, _record: None }, busy))
}

/// Has the configuration read anew. What a browser sends for another site says `Origin`, and has no
/// business here.
async fn reload(gateway: &Gateway, head: &Parts) -> (StatusCode, &'static str, String) {
    if head.method != Method::POST {
        return (StatusCode::METHOD_NOT_ALLOWED, TEXT, "only POST\n".to_owned());
    }
    if head.headers.contains_key(header::ORIGIN) {
        return (StatusCode::FORBIDDEN, TEXT, "not from a browser\n".to_owned());
    }
    let Some(reloads) = &gateway.reloads else {
        let said = "there is no configuration file to read anew\n";
        return (StatusCode::NOT_IMPLEMENTED, TEXT, said.to_owned());
    };
    let (answer, answered) = oneshot::channel();
    if reloads.send(ReloadCall { answer }).await.is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, TEXT, "the process ends\n".to_owned());
    }
    match answered.await {
        Ok(Ok(said)) => (StatusCode::OK, TEXT, said + "\n"),
        Ok(Err(why)) => (StatusCode::UNPROCESSABLE_ENTITY, TEXT, why + "\n"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, TEXT, "the process ends\n".to_owned()),
    }
}

fn may_ask(snapshot: &Snapshot, host: &str) -> bool {
    let name = without_port(host);
    let listed = snapshot.config.admin.iter().flat_map(|admin| &admin.hosts);
    is_local(name) || listed.into_iter().any(|listed| name.eq_ignore_ascii_case(listed))
}

fn without_port(host: &str) -> &str {
    host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { host }
    })
}

/// Whether a host names this machine: `localhost`, or an address.
fn is_local(name: &str) -> bool {
    let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    name.eq_ignore_ascii_case("localhost")
        || name.is_empty()
        || name.parse::<std::net::Ipv4Addr>().is_ok()
        || literal.is_some_and(|literal| literal.parse::<std::net::Ipv6Addr>().is_ok())
}

/// Ready is who welcomes new requests. Backends that are all unfit are told of, and do not count:
/// taking every proxy out of rotation because a backend is ill would make an outage of an illness.
fn ready(gateway: &Gateway, snapshot: &Snapshot) -> (StatusCode, &'static str, String) {
    // When another process has the sockets, the service is as ready as before.
    let draining = gateway.is_draining() && !gateway.is_succeeded();
    let services: Map<String, Value> = snapshot
        .services()
        .map(|service| {
            let fit = service.backends().filter(|backend| backend.is_fit()).count();
            let all = service.backends().count();
            (service.name().to_owned(), json!({ "backends": all, "fit": fit }))
        })
        .collect();
    let status = if draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let refused = {
        let Refused { configuration, certificates } = &*gateway.refused();
        let configuration = configuration.as_deref().map(|why| match place(why) {
            Some(place) => format!("the configuration, at {place}; standard error has the rest"),
            None => "the configuration; standard error says why".to_owned(),
        });
        let both: Vec<&str> =
            [&configuration, certificates].into_iter().flatten().map(String::as_str).collect();
        (!both.is_empty()).then(|| both.join("\n"))
    };
    let body = json!({
        "ready": !draining,
        "draining": draining,
        "services": services,
        "reload": { "count": gateway.process.reloads.get(), "refused": refused },
    });
    (status, JSON, format!("{body:#}\n"))
}

/// `file:line:column` of the first mistake. More of a file that is broken is not for everybody: what is wrong
/// may be a secret.
fn place(why: &str) -> Option<&str> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    why.lines().find_map(|line| {
        let (place, what) = line.split_once(": ")?;
        let (before, column) = place.rsplit_once(':')?;
        let (_, number) = before.rsplit_once(':')?;
        let is_mistake = !what.starts_with("warning: ");
        (is_mistake && is_number(column) && is_number(number)).then_some(place)
    })
}

/// What was learned about each backend: by service, then by url.
#[expect(clippy::cast_precision_loss, reason = "a ratio needs no more than 52 bits")]
fn learned(snapshot: &Snapshot, now: Time) -> Value {
    let service = |site: &Arc<Site>| {
        let backends: Map<String, Value> = site
            .service
            .backends()
            .zip(&site.counts.backends)
            .map(|(backend, counts)| {
                let figures = counts.figures();
                let (requests, errors) = (figures.attempts, figures.errors);
                let rate = if requests == 0 { 0.0 } else { errors as f64 / requests as f64 };
                let breaker = backend.breaker();
                let learned = json!({
                    "requests": requests,
                    "errors": errors,
                    "errorRate": rate,
                    "avgResponseTime": figures.mean_ms(),
                    "recentMs": recent_ms(&counts.spread(now)),
                    "isHealthy": backend.is_fit(),
                    "consecutiveFailures": backend.consecutive_failures(),
                    "breaker": breaker.state().as_str(),
                    "inFlight": backend.in_flight(),
                });
                (backend.name().to_owned(), learned)
            })
            .collect();
        (site.service.name().to_owned(), Value::Object(backends))
    };
    Value::Object(snapshot.sites.iter().map(service).collect())
}

/// How long attempts of the last minutes took, in milliseconds.
fn recent_ms(spread: &Spread) -> Value {
    const NAMES: [&str; SHARES.len()] = ["p50", "p90", "p99", "p999", "max"];
    let quantiles = spread.quantiles(SHARES);
    let ms = |place: usize| quantiles.map(|secs| secs[place] * 1_000.0);
    let said = NAMES.iter().enumerate().map(|(place, name)| ((*name).to_owned(), json!(ms(place))));
    let count = ("count".to_owned(), json!(spread.count()));
    Value::Object(said.chain([count]).collect())
}

#[cfg(test)]
mod tests {
    use super::{is_local, place, without_port};

    #[test]
    fn of_a_broken_configuration_the_place_is_shown_and_nothing_else() {
        assert_eq!(place("lb.toml:12:10: weight hunter2 is no number; x"), Some("lb.toml:12:10"));
        let both = "lb.toml:1:2: warning: a; b\nlb.toml:3:4: hunter2: c; d\nlb.toml:5:6: e; f";
        assert_eq!(place(both), Some("lb.toml:3:4"));
        for without in
            ["", "lb.toml: no such file", "cannot listen at [::1]:80: hunter2", "a:b:c: d"]
        {
            assert_eq!(place(without), None, "{without}");
        }
    }

    #[test]
    fn only_names_of_this_machine_are_local() {
        for host in
            ["localhost", "LOCALHOST:9090", "127.0.0.1:9090", "10.0.0.7", "[::1]:9090", "[::1]"]
        {
            assert!(is_local(without_port(host)), "{host}");
        }
        for host in ["example.com", "localhost.example.com:9090", "127.0.0.1.example.com", "[x]"] {
            assert!(!is_local(without_port(host)), "{host}");
        }
    }
}
