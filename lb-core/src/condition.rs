//! What a route asks of a request besides host and path.

use alloc::string::String;
use alloc::vec::Vec;
use core::str;

use crate::cidr::Cidr;
use crate::percent::form_decoded;
use crate::request::{Request, Scheme};

/// Conditions of one kind in a route.
pub const CONDITIONS_MAX: usize = 64;
/// The header whose value is compared without regard to case (RFC 9110 §7.8).
pub const UPGRADE: &str = "upgrade";
/// Bytes of a name or value that is compared.
pub const COMPARED_BYTES_MAX: usize = 1_024;

/// What must all hold. Those that are empty always do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// One of these methods, as they are written; `GET` stands for `HEAD` as well, which asks for the
    /// same (RFC 9110 §9.3.2).
    pub methods: Vec<String>,
    /// This scheme.
    pub scheme: Option<Scheme>,
    /// All of these headers, whose names are in lower case; the first of each name counts. Of `upgrade`,
    /// which is compared without regard to case, so is what is asked.
    pub headers: Vec<FieldTest>,
    /// All of these query parameters, after percent-decoding; the first of each name counts.
    pub query: Vec<FieldTest>,
    /// An address in one of these ranges.
    pub sources: Vec<Cidr>,
}

/// What is asked of a header or of a query parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTest {
    /// Its name.
    pub name: String,
    /// What its value must be like.
    pub test: Test,
}

/// What a value must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// Anything.
    Present,
    /// This.
    Equals(String),
    /// This and anything.
    Prefix(String),
    /// This somewhere.
    Contains(String),
}

impl Conditions {
    /// How many there are. Each header and parameter is one; methods, scheme and sources are one each.
    pub fn count(&self) -> usize {
        usize::from(!self.methods.is_empty())
            + usize::from(self.scheme.is_some())
            + self.headers.len()
            + self.query.len()
            + usize::from(!self.sources.is_empty())
    }

    /// Whether all hold.
    pub fn hold(&self, request: &dyn Request) -> bool {
        let from = |client| self.sources.iter().any(|range| range.contains(client));
        let header = |asked: &FieldTest| {
            request.header(&asked.name).is_some_and(|value| match &*asked.name {
                UPGRADE => asked.test.takes(&value.to_ascii_lowercase()),
                _ => asked.test.takes(value),
            })
        };
        let parameter = |asked: &FieldTest| {
            parameter(request.query(), &asked.name, |value| asked.test.takes(value))
        };
        (self.methods.is_empty() || self.takes_method(request.method()))
            && self.scheme.is_none_or(|scheme| scheme == request.scheme())
            && self.headers.iter().all(header)
            && (self.sources.is_empty() || request.client().is_some_and(from))
            && self.query.iter().all(parameter)
    }

    /// Whether these hold whenever `others` do, as far as can be told by looking at them.
    pub fn cover(&self, others: &Self) -> bool {
        let implied = |mine: &[FieldTest], theirs: &[FieldTest]| {
            mine.iter().all(|mine| theirs.iter().any(|other| mine.covers(other)))
        };
        let methods = &others.methods;
        let ranges = &others.sources;
        (self.methods.is_empty()
            || (!methods.is_empty() && methods.iter().all(|method| self.takes_method(method))))
            && (self.scheme.is_none() || self.scheme == others.scheme)
            && implied(&self.headers, &others.headers)
            && implied(&self.query, &others.query)
            && (self.sources.is_empty()
                || (!ranges.is_empty()
                    && ranges
                        .iter()
                        .all(|theirs| self.sources.iter().any(|mine| mine.covers(theirs)))))
    }

    fn takes_method(&self, method: &str) -> bool {
        self.methods.iter().any(|said| said == method || (said == "GET" && method == "HEAD"))
    }
}

impl FieldTest {
    fn covers(&self, other: &Self) -> bool {
        self.name == other.name
            && match (&self.test, &other.test) {
                (Test::Present, _) => true,
                (mine, Test::Equals(value)) => mine.takes(value.as_bytes()),
                (Test::Prefix(mine), Test::Prefix(longer)) => longer.starts_with(mine),
                (Test::Contains(mine), Test::Prefix(more) | Test::Contains(more)) => {
                    more.contains(mine)
                }
                _ => false,
            }
    }
}

impl Test {
    fn takes(&self, value: &[u8]) -> bool {
        match self {
            Self::Present => true,
            Self::Equals(said) => value == said.as_bytes(),
            Self::Prefix(said) => value.starts_with(said.as_bytes()),
            // Text within text is found in linear time. What is searched for is text, so that it
            // lies in one of the stretches that are.
            Self::Contains(said) => {
                said.is_empty() || value.utf8_chunks().any(|chunk| chunk.valid().contains(said))
            }
        }
    }
}

/// Whether the first parameter of that name has a value that `takes`.
fn parameter(query: Option<&str>, name: &str, takes: impl FnOnce(&[u8]) -> bool) -> bool {
    let mut pairs = query.into_iter().flat_map(|query| query.split('&'));
    pairs
        .find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (*form_decoded(key) == *name.as_bytes()).then_some(value)
        })
        .is_some_and(|value| takes(&form_decoded(value)))
}
