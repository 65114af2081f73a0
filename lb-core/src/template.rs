//! Texts with variables in them: `https://{host}{path}{query}`, `/accounts/{id}`, `{client_ip}`.
//!
//! The list of [variables](Variable) is closed, and a template is read where its captures are known,
//! so that a misspelt name is found before anything is served. What is filled in comes from clients,
//! and is encoded for the place where it will stand: whatever they send, there is no line break, no
//! zero, no space and nothing beyond ASCII in it, and it cannot leave that place: no `?` gets into a
//! path, no `&` into a parameter, no host into a redirect, no `;` or `,` into a header's value.
//!
//! `{{` is `{`, and `}}` is `}`.

mod bad;
mod redirect;

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Display, Write};

pub use bad::BadTemplate;

use crate::percent::{Within, encoded, normal_path, push_encoded, with_one_slash};
use crate::request::{Request, plain_host};
use crate::router::Match;

/// Bytes of a template as it is written.
pub const TEMPLATE_BYTES_MAX: usize = 4_096;
/// Variables in a template, so that no request makes a large text out of a small one.
pub const VARIABLES_MAX: usize = 16;

/// What is filled in for `{name}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    /// `client_ip`: the client's address.
    ClientIp,
    /// `host`: the host that the request is for, without port.
    Host,
    /// `path`: the path that the client asked for, in its normal form.
    Path,
    /// `query`: `?` and the query that the client sent, or nothing.
    Query,
    /// `method`: as in `GET`.
    Method,
    /// `scheme`: `http` or `https`.
    Scheme,
    /// `request_id`: the request's name in logs.
    RequestId,
    /// `backend`: the url of the backend that answered.
    Backend,
    /// `service`: the name of the service.
    Service,
    /// `route`: the name of the route.
    Route,
    /// What the route's pattern captured, counted from 0.
    Capture(u8),
}

impl Variable {
    const NAMED: [(&'static str, Self); 10] = [
        ("client_ip", Self::ClientIp),
        ("host", Self::Host),
        ("path", Self::Path),
        ("query", Self::Query),
        ("method", Self::Method),
        ("scheme", Self::Scheme),
        ("request_id", Self::RequestId),
        ("backend", Self::Backend),
        ("service", Self::Service),
        ("route", Self::Route),
    ];

    /// The variable of that name, other than a capture.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::NAMED.iter().find(|(is, _)| *is == name).map(|(_, variable)| *variable)
    }
}

/// Where a template stands: what may be written there, what is known there, and how it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Where a redirect leads.
    Redirect,
    /// The path that a backend is asked for.
    Path,
    /// The value of a query parameter.
    Parameter,
    /// The value of a request's header.
    RequestHeader,
    /// The value of a response's header.
    ResponseHeader,
    /// The value of a header of a response that no backend gave.
    OwnHeader,
}

impl Slot {
    /// Which variable makes no sense here.
    fn lacks(self, variable: Variable) -> bool {
        match variable {
            Variable::Backend => self != Self::ResponseHeader,
            Variable::Service => matches!(self, Self::Redirect | Self::OwnHeader),
            // It stays as it is beside them.
            Variable::Query => matches!(self, Self::Path | Self::Parameter),
            _ => false,
        }
    }

    /// The names of what can be filled in here, for a route that has these captures.
    pub fn names<'n>(self, captures: &'n [&'n str]) -> impl Iterator<Item = &'n str> {
        let named = Variable::NAMED.iter().filter(move |(_, variable)| !self.lacks(*variable));
        named.map(|(name, _)| *name).chain(captures.iter().copied())
    }

    fn within(self) -> Within {
        match self {
            Self::Redirect | Self::Path => Within::Path,
            Self::Parameter => Within::Pair,
            Self::RequestHeader | Self::ResponseHeader | Self::OwnHeader => Within::Header,
        }
    }

    /// Whether `text` may be written here with this byte at `at`.
    fn takes(self, text: &str, at: usize) -> bool {
        match text.as_bytes()[at] {
            b'%' if matches!(self, Self::Redirect | Self::Path) => {
                encoded(&text.as_bytes()[at..]).is_some()
            }
            b'#' | b'[' | b']' if self == Self::Redirect => true,
            byte if self == Self::Redirect => Within::Query.takes(byte),
            byte if self == Self::Path => Within::Path.takes(byte),
            byte => byte == b' ' || byte.is_ascii_graphic(),
        }
    }
}

/// A text with variables in it.
///
/// ```
/// use lb_core::config::{BadTemplate, Slot, Template};
///
/// let said = "/accounts/{id}";
/// assert_eq!(Template::parse(said, Slot::Path, &["id"]).unwrap().to_string(), said);
/// let wrong = Template::parse(said, Slot::Path, &[]);
/// assert_eq!(wrong, Err(BadTemplate::Unknown("id".into())));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    slot: Slot,
    parts: Vec<Part>,
    /// Names of captures, for [`Display`].
    captures: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(Variable),
}

/// What is filled in.
#[derive(Clone, Copy)]
pub struct Values<'v> {
    /// The request as the client sent it: the same that [`Router::find`](crate::Router::find) saw.
    pub request: &'v dyn Request,
    /// The route that took it.
    pub found: &'v Match<'v>,
    /// Its name in logs.
    pub request_id: &'v dyn Display,
    /// The name of the service; empty where there is none.
    pub service: &'v str,
    /// The url of the backend that answered; empty where none did.
    pub backend: &'v str,
}

impl fmt::Debug for Values<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Values").field("found", &self.found).finish_non_exhaustive()
    }
}

impl Template {
    /// Reads a template that stands in `slot`, for a route with these `captures`.
    ///
    /// # Errors
    /// Why `text` is none.
    pub fn parse(text: &str, slot: Slot, captures: &[&str]) -> Result<Self, BadTemplate> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(BadTemplate::TooLong);
        }
        let parts = parts(text, slot, captures)?;
        let variables = parts.iter().filter(|part| matches!(part, Part::Variable(_))).count();
        if variables > VARIABLES_MAX {
            return Err(BadTemplate::TooLong);
        }
        if slot.within().is_header() && text.trim_matches(' ') != text {
            return Err(BadTemplate::Edge);
        }
        match slot {
            Slot::Redirect => redirect::check(&parts)?,
            Slot::Path => {
                redirect::starts_with_slash(&parts).then_some(()).ok_or(BadTemplate::Start)?
            }
            _ => {}
        }
        let captures = captures.iter().map(|name| (*name).to_owned()).collect();
        Ok(Self { slot, parts, captures })
    }

    /// The text for one request. `None` for a redirect to `{host}` when the request says none, or
    /// one that could not be a host.
    pub fn fill(&self, values: &Values<'_>) -> Option<String> {
        let mut out = String::new();
        let mut within = self.slot.within();
        for part in &self.parts {
            match part {
                // What a query's value is written as is encoded like what comes from a client.
                Part::Text(text) if self.slot == Slot::Parameter => {
                    push_encoded(&mut out, text, Within::Pair);
                }
                Part::Text(text) => out.push_str(text),
                Part::Variable(variable) => {
                    let within = self.within(*variable, within);
                    self.push(Encoded { out: &mut out, within }, *variable, values)?;
                }
            }
            if self.slot == Slot::Redirect && redirect::begins_query(part) {
                within = Within::Pair;
            }
        }
        Some(match self.slot {
            Slot::Redirect if out.starts_with("//") => with_one_slash(&out),
            Slot::Path => normal_path(&out).into_owned(),
            _ => out,
        })
    }

    /// Where a variable stands that is `within` that as a rule. A url is one by itself, however many
    /// commas it has: there is nothing beside it in which they could mean something.
    fn within(&self, variable: Variable, within: Within) -> Within {
        let is_url_byte = |byte: u8| byte.is_ascii_alphanumeric() || b":/.-_~[]".contains(&byte);
        let is_url = |part: &Part| match part {
            Part::Text(text) => text.bytes().all(is_url_byte),
            Part::Variable(variable) => {
                use Variable::{Host, Path, Query, Scheme};
                matches!(variable, Scheme | Host | Path | Query)
            }
        };
        match variable {
            Variable::Path | Variable::Query
                if within == Within::Header && self.parts.iter().all(is_url) =>
            {
                Within::HeaderUrl
            }
            _ => within,
        }
    }

    fn push(
        &self,
        mut encoded: Encoded<'_>,
        variable: Variable,
        values: &Values<'_>,
    ) -> Option<()> {
        let request = values.request;
        let written = match variable {
            Variable::ClientIp => match request.client() {
                Some(address) => write!(encoded, "{}", address.to_canonical()),
                None => Ok(()),
            },
            Variable::Host => match plain_host(request.host()) {
                Some(host) if self.slot == Slot::Redirect => {
                    encoded.out.push_str(host); // it was looked at, and keeps its brackets
                    Ok(())
                }
                Some(host) => encoded.write_str(host),
                None if self.slot == Slot::Redirect => return None,
                None => Ok(()),
            },
            Variable::Path => match values.found.path(request) {
                // The `*` of OPTIONS is no path, and must not end up in an authority.
                path if !path.starts_with('/') && encoded.within == Within::Path => {
                    encoded.write_str("/")
                }
                path => encoded.write_str(path),
            },
            Variable::Query => match request.query() {
                Some(query) => {
                    let mut said = String::from("?");
                    push_encoded(&mut said, query, Within::Query);
                    match self.slot {
                        Slot::Redirect => encoded.out.write_str(&said),
                        _ => encoded.write_str(&said),
                    }
                }
                None => Ok(()),
            },
            Variable::Method => encoded.write_str(request.method()),
            Variable::Scheme => encoded.write_str(request.scheme().as_str()),
            Variable::RequestId => write!(encoded, "{}", values.request_id),
            Variable::Backend => encoded.write_str(values.backend),
            Variable::Service => encoded.write_str(values.service),
            Variable::Route => encoded.write_str(&values.found.route().name),
            Variable::Capture(place) => {
                encoded.write_str(values.found.capture(place.into(), request))
            }
        };
        written.expect("a text takes all that is written to it");
        Some(())
    }
}

/// As it was written, except that a brace that needs no escape gets one.
impl Display for Template {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(text) => {
                    out.write_str(&text.replace('{', "{{").replace('}', "}}"))?;
                }
                Part::Variable(Variable::Capture(place)) => {
                    write!(out, "{{{}}}", self.captures[usize::from(*place)])?;
                }
                Part::Variable(variable) => {
                    let named = Variable::NAMED.iter().find(|(_, is)| is == variable);
                    write!(out, "{{{}}}", named.expect("all others are named").0)?;
                }
            }
        }
        Ok(())
    }
}

/// A text that encodes what is written to it.
struct Encoded<'o> {
    out: &'o mut String,
    within: Within,
}

impl Write for Encoded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        push_encoded(self.out, text, self.within);
        Ok(())
    }
}

/// What may name a capture.
pub(crate) fn is_name(name: &str) -> bool {
    const NAME_MAX: usize = 32;
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.len() <= NAME_MAX
        && name.bytes().all(good)
        && name.starts_with(|first: char| !first.is_ascii_digit())
}

fn parts(text: &str, slot: Slot, captures: &[&str]) -> Result<Vec<Part>, BadTemplate> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut at = 0;
    while let Some(character) = text[at..].chars().next() {
        let rest = &text[at..];
        let doubled = rest.starts_with("{{") || rest.starts_with("}}");
        match character {
            '{' if !doubled => {
                let end = rest.find('}').ok_or(BadTemplate::Brace)?;
                if !literal.is_empty() {
                    parts.push(Part::Text(core::mem::take(&mut literal)));
                }
                parts.push(Part::Variable(variable(&rest[1..end], slot, captures)?));
                at += end + 1;
                continue;
            }
            '}' if !doubled => return Err(BadTemplate::Brace),
            _ if !slot.takes(text, at) => return Err(BadTemplate::Character(character)),
            _ => literal.push(character),
        }
        at += if doubled { 2 } else { character.len_utf8() };
    }
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    Ok(parts)
}

fn variable(name: &str, slot: Slot, captures: &[&str]) -> Result<Variable, BadTemplate> {
    if let Some(place) = captures.iter().position(|capture| *capture == name) {
        let place = u8::try_from(place).expect("a route has few captures");
        return Ok(Variable::Capture(place));
    }
    match Variable::named(name) {
        Some(variable) if slot.lacks(variable) => Err(BadTemplate::NotHere(name.to_owned())),
        Some(variable) => Ok(variable),
        None => Err(BadTemplate::Unknown(name.to_owned())),
    }
}
