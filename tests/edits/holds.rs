//! What holds for every edit that a configuration may ask for, and every request that it is made to.
//!
//! A case is text, so that one that fails can be read, kept and written by hand: a line for the request,
//! and one for each edit.
//!
//! ```text
//! GET https://a.example/users/7/x?y=z
//! path /users/{id}/{*rest}
//! request.path /u/{id}{path}
//! service.request.query.set.a {rest}
//! response.headers.append.x-c {backend}
//! ```

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Uri};
use lb_config::Source;
use lb_core::config::{Action, HeaderEdits, RequestEdits, Values};
use lb_core::edit::{self, Change};
use lb_core::{Facts, Match, Request, Router, Scheme};

/// What may be said with a name behind it, and without.
const NAMED: [&str; 3] = ["headers.set", "headers.append", "query.set"];
const PLAIN: [&str; 7] =
    ["path", "strip_prefix", "add_prefix", "host", "headers.remove", "query.remove", "status"];

/// Makes the edits of `case`, if a configuration may ask for them. Says whether it may, and whether the
/// request is one.
///
/// - What a backend is asked for is a target that HTTP can carry, in normal form if a path was edited,
///   and without a fragment.
/// - Headers get names and values that HTTP can carry, and none of those that frame a message.
/// - A redirect leads to a place that can be written down, of http or https or on the same host.
pub(crate) fn check(case: &str) -> bool {
    let mut lines = case.lines();
    let Some(asked) = Asked::read(lines.next().unwrap_or_default()) else { return false };
    let Some(config) = configuration(lines) else { return false };
    let (config, _) = lb_config::load(&Source { name: "case.toml", text: &config });
    let Some(config) = config else { return false };
    let router = Router::new(&config.routing);
    let Ok(found) = router.find(&asked) else { return false };
    let service = &config.services[0];
    let (name, url) = ("web", "http://10.0.0.1:80");
    let values =
        Values { request: &asked, found: &found, request_id: &7, service: name, backend: url };
    match &found.route().action {
        Action::Redirect { to, .. } => {
            if let Some(to) = to.fill(&values) {
                leads_somewhere(&to, &asked.host);
            }
        }
        Action::Respond { .. } => {}
        Action::Service(_) => {
            target_is_one(&[&found.route().edits.request, &service.edits.request], &values);
        }
    }
    for edits in [&found.route().edits, &service.edits] {
        headers_are_some(&edits.request.headers, &values);
        headers_are_some(&edits.response.headers, &values);
        for status in [200, 204, 304, 101, 599] {
            let edited = edits.response.status(status);
            assert!(edit::has_body(status) == edit::has_body(edited), "{status} as {edited}");
        }
    }
    true
}

fn target_is_one(layers: &[&RequestEdits], values: &Values<'_>) {
    let (path, query) = (values.request.path(), values.request.query());
    match edit::target(layers, values) {
        Err(edit::TargetTooLong) => {}
        Ok(None) => {
            assert!(is_none_asked(layers) || !path.starts_with('/'), "they were asked for");
            assert!(!path.split('/').any(|it| matches!(it, "." | "..")), "dots go nowhere");
        }
        Ok(Some(target)) => {
            assert!(target.len() <= edit::TARGET_BYTES_MAX && target.starts_with('/'), "{target}");
            let parsed = PathAndQuery::try_from(&*target);
            let parsed = parsed.unwrap_or_else(|error| panic!("{target:?}: {error}"));
            assert_eq!(parsed.as_str(), target, "nothing of it is a fragment");
            let edits_path = layers.iter().any(|layer| layer.path != Default::default());
            let edits_query = layers.iter().any(|layer| layer.query != Default::default());
            if edits_path {
                // A route that compares it again, as a proxy behind us may, compares the same.
                assert_eq!(normal(parsed.path()), parsed.path(), "its normal form is another");
            } else {
                let same = values.found.followed(values.request).unwrap_or(path);
                assert_eq!(parsed.path(), same, "nobody asked for another path");
            }
            if !edits_query {
                assert_eq!(parsed.query(), query, "nobody asked for another query");
            }
        }
    }
    if let Some(host) = edit::host(layers) {
        HeaderValue::from_str(host).expect("a host can be said");
    }
}

fn is_none_asked(layers: &[&RequestEdits]) -> bool {
    layers.iter().all(|it| it.path == Default::default() && it.query == Default::default())
}

/// The normal form of a path, as routes see it.
fn normal(path: &str) -> String {
    let text = "[server]\nambiguous_paths = \"pass\"\n[[listener]]\nbind = \"127.0.0.1:80\"\n[[service]]\nname = \"web\"\nhosts = [\"*\"]\n\
                pool = [{ backends = [{ url = \"http://10.0.0.1\" }] }]";
    let (config, _) = lb_config::load(&Source { name: "all.toml", text });
    let router = Router::new(&config.expect("it is a configuration").routing);
    let asked = Asked {
        method: "GET".into(),
        host: "a".into(),
        scheme: Scheme::Http,
        path: path.into(),
        query: None,
    };
    let found: Match<'_> = router.find(&asked).expect("all are taken");
    found.path(&asked).to_owned()
}

fn headers_are_some(edits: &HeaderEdits, values: &Values<'_>) {
    for (name, change) in edits.changes(values) {
        let parsed = HeaderName::try_from(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(parsed.as_str(), name, "names are in lower case");
        assert!(!edit::is_not_for_edits(name), "{name} frames a message");
        if let Change::Set(value) | Change::Append(value) = change {
            let parsed = HeaderValue::try_from(&*value);
            parsed.unwrap_or_else(|error| panic!("{name}: {value:?}: {error}"));
            assert!(value.bytes().all(|byte| (b' '..0x7f).contains(&byte)), "{value:?}");
        }
    }
}

/// What was asked of an address in brackets can be led to a place that is none, such as `www.[::1]`.
fn leads_somewhere(to: &str, host: &str) {
    HeaderValue::from_str(to).unwrap_or_else(|error| panic!("{to:?}: {error}"));
    let without = to.split('#').next().unwrap_or_default();
    if to.starts_with('/') {
        assert!(!to.starts_with("//") && !to.starts_with("/\\"), "{to} leads to another host");
    } else if !host.starts_with('[') {
        let uri = Uri::try_from(without).unwrap_or_else(|error| panic!("{to:?}: {error}"));
        assert!(matches!(uri.scheme_str(), Some("http" | "https")), "{to}");
        assert!(uri.host().is_some_and(|host| !host.is_empty()), "{to} leads nowhere");
        assert!(
            !without.contains('@') || uri.authority().is_some_and(|it| !it.as_str().contains('@'))
        );
    }
}

/// The configuration that the lines of a case ask for; `None` if one of them asks for nothing.
fn configuration<'c>(lines: impl Iterator<Item = &'c str>) -> Option<String> {
    let (mut route, mut service) = (String::new(), String::new());
    let mut seen = BTreeSet::new();
    let mut leads = "service = \"web\"\n".to_owned();
    for line in lines {
        let (key, value) = line.split_once(' ')?;
        let value = toml::Value::String(value.into());
        if !seen.insert(key) {
            return None;
        }
        match key {
            "path" | "path_prefix" => writeln!(route, "{key} = {value}").ok()?,
            "redirect" => leads = format!("redirect = {{ to = {value} }}\n"),
            _ => {
                let (out, edit) = match key.strip_prefix("service.") {
                    Some(edit) => (&mut service, edit),
                    None => (&mut route, key),
                };
                writeln!(out, "{}", edit_line(edit, &value)?).ok()?;
            }
        }
    }
    Some(format!(
        "[[listener]]\nbind = \"127.0.0.1:80\"\n\
         [[service]]\nname = \"web\"\nhosts = [\"web.example\"]\n\
         pool = [{{ backends = [{{ url = \"http://10.0.0.1\" }}] }}]\n{service}\
         [[route]]\nname = \"case\"\nhosts = [\"*\"]\n{leads}{route}"
    ))
}

fn edit_line(edit: &str, value: &toml::Value) -> Option<String> {
    let (side, what) =
        edit.split_once('.').filter(|(side, _)| matches!(*side, "request" | "response"))?;
    if let Some(key) = PLAIN.iter().find(|key| **key == what) {
        return Some(match *key {
            "headers.remove" | "query.remove" => format!("{side}.{key} = [{value}]"),
            "status" => format!("{side}.{key} = {}", value.as_str()?.parse::<u16>().ok()?),
            _ => format!("{side}.{key} = {value}"),
        });
    }
    let name = |key: &&str| what.strip_prefix(*key).and_then(|rest| rest.strip_prefix('.'));
    let (key, name) = NAMED.iter().find_map(|key| Some((*key, name(key)?)))?;
    Some(format!("{side}.{key}.{} = {value}", toml::Value::String(name.into())))
}

/// A request as hyper hands it out.
#[derive(Debug)]
struct Asked {
    method: String,
    host: String,
    scheme: Scheme,
    path: String,
    query: Option<String>,
}

impl Asked {
    /// Reads `METHOD url`, or `METHOD *`.
    fn read(line: &str) -> Option<Self> {
        let (method, target) = line.split_once(' ')?;
        let uri = Uri::try_from(target).ok()?;
        let method = http::Method::try_from(method).ok()?.to_string();
        let scheme = if uri.scheme_str() == Some("https") { Scheme::Https } else { Scheme::Http };
        let host = uri.authority().map(|it| it.as_str().to_owned()).unwrap_or_default();
        Some(Self {
            method,
            host,
            scheme,
            path: uri.path().into(),
            query: uri.query().map(str::to_owned),
        })
    }
}

impl Facts for Asked {
    fn client(&self) -> Option<IpAddr> {
        Some([192, 0, 2, 7].into())
    }

    fn header(&self, _name: &str) -> Option<&[u8]> {
        None
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }
}

impl Request for Asked {
    fn method(&self) -> &str {
        &self.method
    }

    fn host(&self) -> &str {
        &self.host
    }

    fn scheme(&self) -> Scheme {
        self.scheme
    }
}
