//! A mistake and its remedy, with the place where it was made.
//!
//! A person who corrects a file wants all of its mistakes at once, each where the cursor has to go
//! and each with what to write instead. So reading never stops at a mistake: it is reported to a
//! [`Report`], something harmless takes the value's place, and reading goes on. Only at the end is
//! it decided whether anything may be used (it may not if there was one error).

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use crate::Source;
use crate::read::shape::{Kind, Shape};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing is made of the whole file.
    Error,
    /// The file means something, though probably not what its author thinks.
    Warning,
}

/// Where something was written. Displays as `lb.toml:12:10`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The name of the source, as the caller gave it.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One mistake.
///
/// ```
/// use lb_config::{Diagnostic, Place, Severity};
///
/// let mistake = Diagnostic {
///     severity: Severity::Error,
///     place: Place { file: "lb.toml".into(), line: 12, column: 10 },
///     what: "weight 0 gets no traffic".into(),
///     remedy: "remove the backend or use 1..=1000".into(),
/// };
/// assert_eq!(
///     mistake.to_string(),
///     "lb.toml:12:10: weight 0 gets no traffic; remove the backend or use 1..=1000",
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where it was made.
    pub place: Place,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
        };
        write!(f, "{}: {kind}{}; {}", self.place, self.what, self.remedy)
    }
}

/// A byte offset in a source: a place that is cheap to carry along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At(pub usize);

impl At {
    /// The first byte: where something is reported that is missing in the whole file.
    pub const START: Self = Self(0);
}

/// Where mistakes in one source are collected.
///
/// It is shared by all readers of a document, so reporting needs no `&mut`.
#[derive(Debug)]
pub struct Report<'s> {
    source: Source<'s>,
    /// The byte offset of each line's first character.
    line_starts: Vec<usize>,
    found: RefCell<Vec<Diagnostic>>,
    hush: Hush,
    /// What was asked, if somebody wants to know.
    asked: Option<RefCell<Shape>>,
}

/// What is not reported, because it would only repeat a mistake in other words.
#[derive(Debug)]
enum Hush {
    /// Mistakes on these lines: their syntax is wrong and was reported.
    Lines(BTreeSet<usize>),
    /// All further mistakes: the syntax is so wrong that keys may have ended up in other tables.
    All,
}

impl<'s> Report<'s> {
    /// Nothing found yet.
    pub fn new(source: Source<'s>) -> Self {
        let after_newlines = source.text.match_indices('\n').map(|(newline, _)| newline + 1);
        Self {
            source,
            line_starts: std::iter::once(0).chain(after_newlines).collect(),
            found: RefCell::default(),
            hush: Hush::Lines(BTreeSet::new()),
            asked: None,
        }
    }

    /// From now on, it is noted what is asked.
    pub(crate) fn note(&mut self) {
        self.asked = Some(RefCell::default());
    }

    /// Notes that `kind` would do under a key, if it is wanted.
    pub(crate) fn ask(&self, of_item: bool, asked: impl FnOnce() -> (String, Option<Kind>)) {
        if let Some(shape) = &self.asked {
            let (path, kind) = asked();
            shape.borrow_mut().ask(path, of_item, kind);
        }
    }

    /// All that was asked since [`note`](Self::note).
    pub(crate) fn asked(self) -> Shape {
        self.asked.map(RefCell::into_inner).unwrap_or_default()
    }

    /// Something that makes the file unusable.
    pub fn error(&self, at: At, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Error, at, what.into(), remedy.into());
    }

    /// Something that does not do what its author probably thinks.
    pub fn warn(&self, at: At, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Warning, at, what.into(), remedy.into());
    }

    /// Line and column of a byte offset. One past the end is the end.
    pub fn place(&self, at: At) -> Place {
        let text = self.source.text;
        let offset = text.floor_char_boundary(at.0);
        let line = self.line_starts.partition_point(|&start| start <= offset);
        let start = self.line_starts[line - 1]; // the first line starts at 0 ≤ offset, so line ≥ 1
        let column = text[start..offset].chars().count() + 1;
        Place { file: self.source.name.to_owned(), line, column }
    }

    /// Where a URL of `host` is written first. Whoever looks at what was read knows its backends, and not
    /// where each was named.
    pub fn url_of(&self, host: &str) -> Option<At> {
        let text = self.source.text;
        let ends = |after: &str| {
            !after.starts_with(|next: char| next.is_alphanumeric() || ".-_".contains(next))
        };
        let mut named = text.match_indices(host);
        let is_url =
            |(at, _): &(usize, &str)| text[..*at].ends_with("//") && ends(&text[at + host.len()..]);
        named.find(is_url).map(|(at, _)| At(at))
    }

    /// How many errors there are so far.
    pub fn errors(&self) -> usize {
        let found = self.found.borrow();
        found.iter().filter(|mistake| mistake.severity == Severity::Error).count()
    }

    /// Everything found, by place; and `value`, unless there was an error.
    pub fn finish<T>(self, value: Option<T>) -> (Option<T>, Vec<Diagnostic>) {
        let usable = value.filter(|_| self.errors() == 0);
        let mut found = self.found.into_inner();
        found.sort_by(|a, b| (&a.place, a.severity, &a.what).cmp(&(&b.place, b.severity, &b.what)));
        (usable, found)
    }

    /// From now on, nothing is reported on the lines that have a mistake already.
    pub(crate) fn hush_lines(&mut self) {
        let lines = self.found.borrow().iter().map(|mistake| mistake.place.line).collect();
        self.hush = Hush::Lines(lines);
    }

    /// From now on, nothing is reported. There must be an error already.
    pub(crate) fn hush_all(&mut self) {
        assert!(self.errors() > 0, "silence would hide the only reason for refusing the file");
        self.hush = Hush::All;
    }

    fn add(&self, severity: Severity, at: At, what: String, remedy: String) {
        let place = self.place(at);
        let hushed = match &self.hush {
            Hush::Lines(lines) => lines.contains(&place.line),
            Hush::All => true,
        };
        if !hushed {
            self.found.borrow_mut().push(Diagnostic { severity, place, what, remedy });
        }
    }
}
