//! What can be wrong with a template.

use alloc::string::String;
use core::fmt::{self, Display};

use super::{TEMPLATE_BYTES_MAX, VARIABLES_MAX};

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadTemplate {
    /// There is no variable of this name.
    Unknown(String),
    /// What this one stands for is not known where the template stands.
    NotHere(String),
    /// A `{` without its `}`, or the other way round.
    Brace,
    /// A character that cannot stand there.
    Character(char),
    /// It begins or ends with a space, which no header's value does (RFC 9110 §5.5).
    Edge,
    /// It is longer than [`TEMPLATE_BYTES_MAX`] or has more than [`VARIABLES_MAX`] variables.
    TooLong,
    /// What it gives would be no path, or no place to redirect to.
    Start,
    /// What a client sends would say which host a redirect leads to.
    Authority,
    /// `{query}` brings a `?`, and there is one already.
    TwoQueries,
}

impl Display for BadTemplate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(out, "has the unknown variable {{{name}}}"),
            Self::NotHere(name) => write!(out, "has {{{name}}}, which is not known here"),
            Self::Brace => out.write_str("has a brace that is not part of a variable"),
            Self::Character(wrong) => write!(out, "has {wrong:?}, which cannot stand here"),
            Self::Edge => out.write_str("begins or ends with a space"),
            Self::TooLong => {
                write!(out, "has more than {TEMPLATE_BYTES_MAX} bytes or {VARIABLES_MAX} variables")
            }
            Self::Start => out.write_str("does not begin like what belongs here"),
            Self::Authority => out.write_str("lets a client say which host it leads to"),
            Self::TwoQueries => out.write_str("has a ? before {query}, which brings its own"),
        }
    }
}

impl core::error::Error for BadTemplate {}
