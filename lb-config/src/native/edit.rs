//! `[route.request]`, `[route.response]` and the same of a service: what is changed in heads.

use std::sync::Arc;

use lb_core::config::{
    BadTemplate, EDITS_MAX, EditConfig, HeaderEdits, PathEdit, PathPattern, QueryEdits,
    RequestEdits, ResponseEdits, Slot, Template,
};
use lb_core::edit::{has_body, is_not_for_edits, wrong_prefix};

use crate::address;
use crate::native::balance::is_token;
use crate::read::{Given, Mistake, Table, Value};

/// Bytes of a name that is edited.
const NAME_MAX: usize = 256;

/// Where edits stand.
#[derive(Clone, Copy)]
pub(super) struct Edited<'a> {
    /// The paths that come by; `None` for any.
    pub(super) path: Option<&'a PathPattern>,
    /// Whether a backend answers.
    pub(super) has_backend: bool,
}

pub(super) fn edits(table: &mut Table<'_>, edited: Edited<'_>) -> Arc<EditConfig> {
    let captures: Vec<&str> = edited.path.into_iter().flat_map(PathPattern::captures).collect();
    let request = request(table.table("request"), edited.path, &captures);
    let response = response(table.table("response"), edited.has_backend, &captures);
    Arc::new(EditConfig { request, response })
}

fn request(mut table: Table<'_>, of: Option<&PathPattern>, captures: &[&str]) -> RequestEdits {
    let path = path(&mut table, of, captures);
    let host = table.parsed("host", authority).given().map(|host| host.value);
    let query = query(table.table("query"), captures);
    let headers = headers(table.table("headers"), Slot::RequestHeader, captures);
    RequestEdits { path, query, host, headers }
}

fn response(mut table: Table<'_>, has_backend: bool, captures: &[&str]) -> ResponseEdits {
    let read = |value: Value<'_>| {
        let status = value.integer(200..=599_u16)?;
        if !has_body(status) {
            let what = "says that there is no body, which an answer may have";
            value.wrong(&Mistake::new(what, "use another status"));
            return None;
        }
        Some(status)
    };
    let status = table.field("status", read).given().map(|status| status.value);
    if !has_backend {
        let why = "on an answer that the route gives itself";
        table.warn_without_effect(&["status"], why);
    }
    let slot = if has_backend { Slot::ResponseHeader } else { Slot::OwnHeader };
    ResponseEdits { status, headers: headers(table.table("headers"), slot, captures) }
}

fn path(table: &mut Table<'_>, of: Option<&PathPattern>, captures: &[&str]) -> PathEdit {
    let strip = table.parsed("strip_prefix", prefix).given();
    let add = table.parsed("add_prefix", prefix).given();
    let replace = table.parsed("path", |text| template(text, Slot::Path, captures)).given();
    let report = table.report();
    if let (Some(said), Some(of)) = (&strip, of)
        && !of.may_begin_with(&said.value)
    {
        let what = format!("strip_prefix {:?} has no effect on the path of the route", said.value);
        report.warn(said.at, what, "remove it, or write how the path begins");
    }
    match replace {
        Some(replace) => {
            if let Some(other) = strip.or(add) {
                let what = "path replaces what strip_prefix and add_prefix edit";
                report.error(other.at, what, "keep one of the two");
            }
            PathEdit::Replace(replace.value)
        }
        None if strip.is_none() && add.is_none() => PathEdit::Keep,
        None => {
            let value = |said: Given<String>| said.value;
            PathEdit::Prefix { strip: strip.map(value), add: add.map(value) }
        }
    }
}

fn query(mut table: Table<'_>, captures: &[&str]) -> QueryEdits {
    let remove = removed(&mut table, parameter);
    let set = set(table.table("set"), parameter, Slot::Parameter, captures);
    warn_of_both(&table, &remove, &set);
    QueryEdits { remove: values(remove), set }
}

fn headers(mut table: Table<'_>, slot: Slot, captures: &[&str]) -> HeaderEdits {
    let remove = removed(&mut table, header);
    let set_to = set(table.table("set"), header, slot, captures);
    let append = set(table.table("append"), header, slot, captures);
    warn_of_both(&table, &remove, &set_to);
    HeaderEdits { remove: values(remove), set: set_to, append }
}

fn values<T>(given: Vec<Given<T>>) -> Vec<T> {
    given.into_iter().map(|given| given.value).collect()
}

/// What is set loses all that it had anyway.
fn warn_of_both(table: &Table<'_>, remove: &[Given<String>], set: &[(String, Template)]) {
    for removed in remove.iter().filter(|it| set.iter().any(|(name, _)| *name == it.value)) {
        let what = format!("remove {:?} has no effect: it is set as well", removed.value);
        table.report().warn(removed.at, what, "keep one of the two");
    }
}

fn removed(
    table: &mut Table<'_>,
    name: impl Fn(&str) -> Result<String, Mistake>,
) -> Vec<Given<String>> {
    let item =
        |item: Value<'_>| Some(Given { value: item.parsed(&name)?, at: item.at(), said: true });
    let list = table.list("remove", item).or_given(Vec::new());
    if list.value.len() > EDITS_MAX {
        let what = format!("remove has {} items", list.value.len());
        table.report().error(list.at, what, format!("use at most {EDITS_MAX}"));
    }
    list.value
}

/// Names and what they get.
fn set(
    table: Table<'_>,
    name: impl Fn(&str) -> Result<String, Mistake>,
    slot: Slot,
    captures: &[&str],
) -> Vec<(String, Template)> {
    let (at, report) = (table.at(), table.report());
    let mut all: Vec<(String, Template)> = Vec::new();
    for (said, value) in table.entries() {
        let name = match name(said.value) {
            Ok(name) => name,
            Err(wrong) => {
                let shown: String = said.value.chars().take(80).collect();
                report.error(said.at, format!("{shown:?} {}", wrong.what), wrong.remedy);
                continue;
            }
        };
        if all.iter().any(|(other, _)| *other == name) {
            let what = format!("{name:?} is there twice: upper and lower case are the same");
            report.error(said.at, what, "keep one of the two");
        }
        let value = value.parsed(|text| template(text, slot, captures));
        all.extend(value.map(|value| (name, value)));
    }
    if all.len() > EDITS_MAX {
        let what = format!("there are {} edits", all.len());
        report.error(at, what, format!("use at most {EDITS_MAX}"));
    }
    all
}

/// Reads a template, with a remedy for whatever is wrong with it.
pub(super) fn template(text: &str, slot: Slot, captures: &[&str]) -> Result<Template, Mistake> {
    Template::parse(text, slot, captures).map_err(|bad| {
        let remedy = match (&bad, slot) {
            (BadTemplate::Unknown(_) | BadTemplate::NotHere(_), _) => {
                let names: Vec<String> =
                    slot.names(captures).map(|name| format!("{{{name}}}")).collect();
                format!("use {}", names.join(", "))
            }
            (BadTemplate::Brace, _) => {
                "write {name} for a variable, and {{ or }} for a brace".to_owned()
            }
            (BadTemplate::Character(_), Slot::Path | Slot::Redirect) => {
                "percent-encode it, as in %20 for a space".to_owned()
            }
            (BadTemplate::Character(_), _) => "use visible ASCII and spaces".to_owned(),
            (BadTemplate::Edge, _) => "remove the space".to_owned(),
            (BadTemplate::TooLong, _) => "make it shorter".to_owned(),
            (BadTemplate::Start, Slot::Redirect) => {
                "begin with https://, http:// and a host, with one /, or with {path}".to_owned()
            }
            (BadTemplate::Start, _) => "begin with / or {path}".to_owned(),
            (BadTemplate::Authority, _) => {
                "write the host out or use {host}, and a / behind it".to_owned()
            }
            (BadTemplate::TwoQueries, _) => "remove one of the two".to_owned(),
        };
        Mistake::new(bad.to_string(), remedy)
    })
}

fn prefix(text: &str) -> Result<String, Mistake> {
    match wrong_prefix(text) {
        None => Ok(text.to_owned()),
        Some(what) => {
            let remedy = "write a path such as \"/api\", percent-encoded where it has to be";
            Err(Mistake::new(what, remedy))
        }
    }
}

/// A host with a port or without.
fn authority(text: &str) -> Result<String, Mistake> {
    let bad = |wrong: Mistake| Mistake::new(wrong.what, "write a host such as \"app.internal:80\"");
    if text.contains(['/', '@', '?', '#']) {
        return Err(bad(Mistake::new("has more than a host and a port", "")));
    }
    address::backend_url(&format!("http://{text}")).map_err(bad)?;
    Ok(text.to_ascii_lowercase())
}

fn header(text: &str) -> Result<String, Mistake> {
    let name = text.to_ascii_lowercase();
    if !is_token(text) || text.len() > NAME_MAX {
        return Err(Mistake::new("is no name of a header", "use letters, digits and -"));
    }
    match &*name {
        "host" => Err(Mistake::new("has a key of its own", "write host = \"..\" beside headers")),
        _ if is_not_for_edits(&name) => {
            let what = "frames messages or is for one connection, and cannot be edited";
            Err(Mistake::new(what, "remove it"))
        }
        _ => Ok(name),
    }
}

fn parameter(text: &str) -> Result<String, Mistake> {
    match (1..=NAME_MAX).contains(&text.len()) {
        true => Ok(text.to_owned()),
        false => {
            Err(Mistake::new("is no name of a parameter", format!("use 1..={NAME_MAX} bytes")))
        }
    }
}
