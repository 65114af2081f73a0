//! Paths that a route takes, as patterns: `/health`, `/users/{id}`, `/files/{*rest}`, all below `/api`.
//!
//! A pattern is looked at segment by segment, and so is the order of patterns. Where two take the same
//! path, the first segment in which they differ decides: one that says what stands there goes before
//! one that takes anything there, and that before one that takes all that follows. So `/a` goes before
//! `/{x}`, `/a/{y}` before `/{x}/b`, and a longer prefix before a shorter one. Whether anything else
//! could also match need not be known: that is what makes the order easy to foretell.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::percent::{Within, encoded, normal_path};
use crate::template::{Variable, is_name};

/// Bytes of a pattern.
pub const PATTERN_BYTES_MAX: usize = 1_024;
/// Segments of a pattern.
pub const SEGMENTS_MAX: usize = 32;
/// Captures of a pattern.
pub const CAPTURES_MAX: usize = 8;

/// Which paths a route takes. Ordered as the module says: what goes before is less.
///
/// ```
/// use lb_core::config::PathPattern;
///
/// let user = PathPattern::exact("/users/{id}").unwrap();
/// assert_eq!(user.captures().collect::<Vec<_>>(), ["id"]);
/// assert!(user < PathPattern::prefix("/users").unwrap());
/// assert!(PathPattern::exact("users").is_err());
/// ```
#[derive(Clone, Debug)]
pub struct PathPattern {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) tail: Tail,
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Exactly this.
    Literal(String),
    /// Any that is not empty, under this name.
    Capture(String),
}

/// What may follow the segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Nothing.
    End,
    /// A slash and anything behind it, under this name.
    Rest(String),
    /// Nothing, or a slash and anything.
    Below,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadPath {
    /// It does not begin with `/`.
    NoSlash,
    /// It is longer than [`PATTERN_BYTES_MAX`].
    TooLong,
    /// It has more than [`SEGMENTS_MAX`] segments or [`CAPTURES_MAX`] captures.
    TooMany,
    /// It has a character that no path has.
    Character(char),
    /// Requests are compared in another form, which is this.
    Form(String),
    /// It is a prefix and ends in `/`.
    PrefixEndsInSlash,
    /// A `{` or `}` is no part of a capture that is a whole segment.
    Brace(String),
    /// No name for a capture.
    Name(String),
    /// A variable of templates has this name.
    Reserved(String),
    /// Two captures have this name.
    Twice(String),
    /// `{*name}` is not the end, or is in a prefix.
    RestWithin,
}

impl PathPattern {
    /// Paths as `text` says, from beginning to end; `{name}` is any one segment that is not empty,
    /// and `{*name}` at the end is all that follows, even nothing.
    ///
    /// # Errors
    /// Why `text` is no pattern.
    pub fn exact(text: &str) -> Result<Self, BadPath> {
        let mut pieces = Self::pieces(text)?;
        let mut tail = Tail::End;
        if let Some(Piece::Capture(last)) = pieces.last()
            && let Some(name) = last.strip_prefix('*')
        {
            tail = Tail::Rest(name.to_owned());
            pieces.pop();
        }
        Self { pieces, tail }.checked()
    }

    /// The path `text` and all below it; `{name}` is any one segment that is not empty.
    ///
    /// # Errors
    /// Why `text` is no such prefix.
    pub fn prefix(text: &str) -> Result<Self, BadPath> {
        if text == "/" {
            return Ok(Self::any());
        }
        let pieces = Self::pieces(text)?;
        if text.ends_with('/') {
            return Err(BadPath::PrefixEndsInSlash);
        }
        Self { pieces, tail: Tail::Below }.checked()
    }

    /// All paths.
    pub const fn any() -> Self {
        Self { pieces: Vec::new(), tail: Tail::Below }
    }

    /// The names of what it captures, in order.
    pub fn captures(&self) -> impl Iterator<Item = &str> {
        let within = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Capture(name) => Some(&**name),
            Piece::Literal(_) => None,
        });
        within.chain(match &self.tail {
            Tail::Rest(name) => Some(&**name),
            Tail::End | Tail::Below => None,
        })
    }

    /// Whether some path that it takes begins with `prefix`, at the end of a segment.
    pub fn may_begin_with(&self, prefix: &str) -> bool {
        let mut pieces = self.pieces.iter();
        prefix.split('/').skip(1).all(|segment| match pieces.next() {
            Some(Piece::Literal(literal)) => literal == segment,
            Some(Piece::Capture(_)) => true,
            None => self.tail != Tail::End,
        })
    }

    fn pieces(text: &str) -> Result<Vec<Piece>, BadPath> {
        let Some(inner) = text.strip_prefix('/') else { return Err(BadPath::NoSlash) };
        if text.len() > PATTERN_BYTES_MAX {
            return Err(BadPath::TooLong);
        }
        let pieces: Result<Vec<_>, _> = inner.split('/').map(piece).collect();
        let pieces = pieces?;
        let normal = normal_path(text);
        match normal == text {
            true => Ok(pieces),
            false => Err(BadPath::Form(normal.into_owned())),
        }
    }

    fn checked(self) -> Result<Self, BadPath> {
        if self.pieces.iter().any(|piece| matches!(piece, Piece::Capture(n) if n.starts_with('*')))
        {
            return Err(BadPath::RestWithin);
        }
        let names: Vec<&str> = self.captures().collect();
        if self.pieces.len() > SEGMENTS_MAX || names.len() > CAPTURES_MAX {
            return Err(BadPath::TooMany);
        }
        for (at, name) in names.iter().enumerate() {
            if !is_name(name) {
                return Err(BadPath::Name((*name).to_owned()));
            }
            if Variable::named(name).is_some() {
                return Err(BadPath::Reserved((*name).to_owned()));
            }
            if names[..at].contains(name) {
                return Err(BadPath::Twice((*name).to_owned()));
            }
        }
        Ok(self)
    }

    /// What the order goes by: names of captures mean nothing to it.
    fn ranks(&self) -> impl Iterator<Item = (u8, &str)> {
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Literal(literal) => (1, &**literal),
            Piece::Capture(_) => (2, ""),
        });
        pieces.chain([match self.tail {
            Tail::End => (0, ""),
            Tail::Rest(_) => (3, ""),
            Tail::Below => (4, ""),
        }])
    }
}

/// Two are equal if they take the same paths.
impl PartialEq for PathPattern {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for PathPattern {}

impl PartialOrd for PathPattern {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PathPattern {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.ranks().cmp(other.ranks())
    }
}

/// As it was written.
impl fmt::Display for PathPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => write!(out, "/{literal}")?,
                Piece::Capture(name) => write!(out, "/{{{name}}}")?,
            }
        }
        match &self.tail {
            Tail::Rest(name) => write!(out, "/{{*{name}}}"),
            Tail::Below if self.pieces.is_empty() => out.write_str("/"),
            Tail::End | Tail::Below => Ok(()),
        }
    }
}

fn piece(segment: &str) -> Result<Piece, BadPath> {
    if let Some(name) = segment.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) {
        return match name.contains(['{', '}']) {
            true => Err(BadPath::Brace(segment.to_owned())),
            false => Ok(Piece::Capture(name.to_owned())),
        };
    }
    if segment.contains(['{', '}']) {
        return Err(BadPath::Brace(segment.to_owned()));
    }
    match wrong_character(segment) {
        Some(wrong) => Err(BadPath::Character(wrong)),
        None => Ok(Piece::Literal(segment.to_owned())),
    }
}

/// The first character of a path as it is written in a configuration that no path has.
pub(crate) fn wrong_character(path: &str) -> Option<char> {
    let is_good = |(at, wrong): &(usize, char)| match u8::try_from(*wrong) {
        Ok(b'%') => encoded(&path.as_bytes()[*at..]).is_some(),
        Ok(byte) => Within::Path.takes(byte),
        Err(_) => false,
    };
    path.char_indices().find(|character| !is_good(character)).map(|(_, wrong)| wrong)
}

impl fmt::Display for BadPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSlash => out.write_str("does not begin with /"),
            Self::TooLong => write!(out, "has more than {PATTERN_BYTES_MAX} bytes"),
            Self::TooMany => {
                write!(out, "has more than {SEGMENTS_MAX} segments or {CAPTURES_MAX} captures")
            }
            Self::Character(wrong) => write!(out, "has {wrong:?}, which no path has"),
            Self::Form(_) => out.write_str("is not in the form in which paths are compared"),
            Self::PrefixEndsInSlash => out.write_str("ends in / and is a prefix"),
            Self::Brace(segment) => {
                write!(out, "has {segment:?}, where a capture is a whole segment")
            }
            Self::Name(name) => write!(out, "captures under {name:?}, which is no name"),
            Self::Reserved(name) => write!(out, "captures under {name:?}, which is a variable"),
            Self::Twice(name) => write!(out, "captures twice under {name:?}"),
            Self::RestWithin => out.write_str("goes on behind what captures all the rest"),
        }
    }
}

impl core::error::Error for BadPath {}
