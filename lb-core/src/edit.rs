//! What is changed in a request on its way to a backend, and in the answer on its way back.
//!
//! Edits stand in a route and in a service, like the layers of an onion with the backend inside: a
//! request passes the route's first and then the service's, an answer the service's first and then
//! the route's. Here they are values: this file computes the target that a backend is asked for, and
//! says which headers change. Whoever holds the message changes it.
//!
//! What frames a message, or is meant for one connection only, cannot be changed
//! ([`is_not_for_edits`]): an edit never makes two readings of one message.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use crate::path::wrong_character;
use crate::percent::{Within, behind_prefix, form_decoded, normal_path, push_encoded};
use crate::template::{Template, Values};

/// Bytes of a path and query that a backend is asked for: what `http` can hold.
pub const TARGET_BYTES_MAX: usize = 65_534;

/// What a route or a service changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EditConfig {
    /// On the way to a backend.
    pub request: RequestEdits,
    /// On the way back.
    pub response: ResponseEdits,
}

/// What is changed in a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestEdits {
    /// In its path.
    pub path: PathEdit,
    /// In its query.
    pub query: QueryEdits,
    /// What it says as `Host`, if that changes: a host, with a port if it has one.
    pub host: Option<String>,
    /// In its headers.
    pub headers: HeaderEdits,
}

/// What is changed in a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PathEdit {
    /// Nothing.
    #[default]
    Keep,
    /// Its beginning.
    Prefix {
        /// Removed from a path that begins with it, at the end of a segment. Begins with `/`.
        strip: Option<String>,
        /// Put before what is left. Begins with `/`, and does not end in one.
        add: Option<String>,
    },
    /// All of it.
    Replace(Template),
}

/// What is changed in a query. Names are compared after percent-decoding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryEdits {
    /// Parameters that are removed.
    pub remove: Vec<String>,
    /// Parameters that get a value, and are added if they are not there. There is one of each then.
    pub set: Vec<(String, Template)>,
}

/// What is changed in headers, in this order. Names are in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Headers that are removed.
    pub remove: Vec<String>,
    /// Headers that get a value in place of all that they had.
    pub set: Vec<(String, Template)>,
    /// Headers that get another value beside what they had.
    pub append: Vec<(String, Template)>,
}

/// What is changed in an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseEdits {
    /// Its status: `200..=599` but those that say that there is no body.
    pub status: Option<u16>,
    /// Its headers.
    pub headers: HeaderEdits,
}

/// A change to one header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It goes.
    Remove,
    /// It gets this value, of visible ASCII and spaces, in place of all that it had.
    Set(String),
    /// It gets this value beside what it had.
    Append(String),
}

/// An edited target would be longer than [`TARGET_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetTooLong;

impl RequestEdits {
    /// Whether a request stays as it is, so that nothing has to be kept to fill templates.
    pub const fn is_empty(&self) -> bool {
        matches!(self.path, PathEdit::Keep)
            && self.query.is_empty()
            && self.host.is_none()
            && self.headers.is_empty()
    }
}

impl ResponseEdits {
    /// Whether an answer stays as it is.
    pub const fn is_empty(&self) -> bool {
        self.status.is_none() && self.headers.is_empty()
    }
}

/// The path and query that a backend is asked for, after the edits in their order; `None` if they are
/// what the client sent. Where dots were followed to find the route, that is the path to begin with.
///
/// # Errors
/// When it would be too long, for which 414 is the answer.
pub fn target(
    layers: &[&RequestEdits],
    values: &Values<'_>,
) -> Result<Option<String>, TargetTooLong> {
    let request = values.request;
    let edits_path = layers.iter().any(|layer| layer.path != PathEdit::Keep);
    let edits_query = layers.iter().any(|layer| !layer.query.is_empty());
    let followed = values.found.followed(request);
    // OPTIONS asks of the server itself with `*`, which no edit makes a path of.
    if !(edits_path || edits_query || followed.is_some()) || !request.path().starts_with('/') {
        return Ok(None);
    }
    let mut path = match edits_path {
        true => Cow::Borrowed(values.found.path(request)),
        false => Cow::Borrowed(followed.unwrap_or_else(|| request.path())),
    };
    let mut query = request.query().map(Cow::Borrowed);
    for layer in layers {
        if let Some(edited) = layer.path.of(&path, values) {
            path = Cow::Owned(edited);
        }
        if !layer.query.is_empty() {
            query = layer.query.of(query.as_deref(), values).map(Cow::Owned);
        }
    }
    let mut out = path.into_owned();
    if let Some(query) = query {
        out.push('?');
        out.push_str(&query);
    }
    if out.len() > TARGET_BYTES_MAX { Err(TargetTooLong) } else { Ok(Some(out)) }
}

/// What a backend is told as `Host` by edits in their order, if they say anything.
pub fn host<'e>(layers: &[&'e RequestEdits]) -> Option<&'e str> {
    layers.iter().rev().find_map(|layer| layer.host.as_deref())
}

impl PathEdit {
    /// The path after the edit; `None` if it stays.
    fn of(&self, path: &str, values: &Values<'_>) -> Option<String> {
        match self {
            Self::Keep => None,
            Self::Prefix { strip, add } => {
                let rest = strip.as_deref().and_then(|prefix| behind_prefix(path, prefix));
                let rest = rest.unwrap_or(path);
                let slash = if rest.starts_with('/') { "" } else { "/" };
                Some([add.as_deref().unwrap_or_default(), slash, rest].concat())
            }
            Self::Replace(template) => template.fill(values),
        }
    }
}

impl QueryEdits {
    const fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty()
    }

    /// The query after the edits. `None`: there is none, not even an empty one. What is not edited
    /// stays as it was written, and where it was.
    fn of(&self, query: Option<&str>, values: &Values<'_>) -> Option<String> {
        let mut out = String::new();
        let mut is_set = alloc::vec![false; self.set.len()];
        for pair in query.into_iter().flat_map(|query| query.split('&')) {
            let name = form_decoded(pair.split_once('=').map_or(pair, |(name, _)| name));
            let names = |said: &String| *name == *said.as_bytes();
            if let Some(place) = self.set.iter().position(|(said, _)| names(said)) {
                if !core::mem::replace(&mut is_set[place], true) {
                    push_pair(&mut out, &self.set[place], values);
                }
            } else if !self.remove.iter().any(names) {
                push_separator(&mut out);
                out.push_str(pair);
            }
        }
        let missing = self.set.iter().zip(&is_set).filter(|(_, is_set)| !**is_set);
        missing.for_each(|(said, _)| push_pair(&mut out, said, values));
        (!out.is_empty()).then_some(out)
    }
}

fn push_pair(out: &mut String, (name, value): &(String, Template), values: &Values<'_>) {
    push_separator(out);
    push_encoded(out, name, Within::Pair);
    out.push('=');
    out.push_str(&value.fill(values).expect("only a redirect has nowhere to go"));
}

fn push_separator(out: &mut String) {
    if !out.is_empty() {
        out.push('&');
    }
}

impl HeaderEdits {
    const fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.append.is_empty()
    }

    /// The headers that are what is said here, or nothing.
    pub fn decided(&self) -> impl Iterator<Item = &str> {
        self.remove.iter().chain(self.set.iter().map(|(name, _)| name)).map(String::as_str)
    }

    /// The changes for one request, in the order in which they are to be made.
    pub fn changes<'e>(
        &'e self,
        values: &'e Values<'e>,
    ) -> impl Iterator<Item = (&'e str, Change)> + 'e {
        let fill =
            |value: &Template| value.fill(values).expect("only a redirect has nowhere to go");
        let remove = self.remove.iter().map(|name| (&**name, Change::Remove));
        let set = self.set.iter().map(move |(name, value)| (&**name, Change::Set(fill(value))));
        let append =
            self.append.iter().map(move |(name, value)| (&**name, Change::Append(fill(value))));
        remove.chain(set).chain(append)
    }
}

impl ResponseEdits {
    /// The status that an answer gets which came with `status`. One that says that there is no body,
    /// or that is not the last word, stays: its message ends where it says.
    pub fn status(&self, status: u16) -> u16 {
        match self.status {
            Some(edited) if has_body(status) => edited,
            _ => status,
        }
    }
}

/// Whether an answer of this status has a body, be it an empty one (RFC 9110 §15).
pub const fn has_body(status: u16) -> bool {
    status >= 200 && !matches!(status, 204 | 205 | 304)
}

/// Whether a header frames messages, leads them, or is for one connection only, so that no edit may
/// touch it. `host` has a key of its own. `name` is in lower case.
pub fn is_not_for_edits(name: &str) -> bool {
    const NOT_FOR_EDITS: [&str; 15] = [
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "sec-websocket-accept",
        "sec-websocket-key",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    NOT_FOR_EDITS.contains(&name)
}

/// Why a text cannot be a prefix that is stripped or added, if so: what is wrong, in a predicate.
pub fn wrong_prefix(text: &str) -> Option<String> {
    if !text.starts_with('/') {
        return Some("does not begin with /".into());
    }
    if text.ends_with('/') {
        return Some("ends in /".into());
    }
    if let Some(wrong) = wrong_character(text) {
        return Some(alloc::format!("has {wrong:?}, which no path has"));
    }
    (normal_path(text) != text).then(|| "is not in the form in which paths are compared".into())
}
