//! A whole TOML document: syntax first, and what can still be said when it is wrong.

use toml::de::{DeTable, Error};

use crate::Source;
use crate::diagnostic::{At, Diagnostic, Report};
use crate::read::value::shorten;
use crate::read::{Shape, Table, json};

/// A parsed document and the report of its mistakes.
#[derive(Debug)]
pub struct Document<'s> {
    report: Report<'s>,
    root: DeTable<'s>,
}

impl<'s> Document<'s> {
    /// Parses as much as can be understood. Mistakes in the syntax are reported here, all of them.
    ///
    /// Some leave the structure intact (a text without quotes, a key set twice): then reading goes
    /// on and reports what else is wrong on other lines. After others (a bracket that is not
    /// closed) keys may be in the wrong table, and complaints about them would only distract: then
    /// the document can be read like any other, but nothing more is reported and
    /// [`finish`](Self::finish) makes nothing of it.
    pub fn parse(source: &Source<'s>) -> Self {
        let (root, mut errors) = DeTable::parse_recoverable(source.text);
        errors.sort_by_key(|error| (offset(error, source), error.message().to_owned()));

        let mut report = Report::new(*source);
        // One per line: the parser trips again over the rest of a line it did not understand.
        errors.dedup_by_key(|error| report.place(At(offset(error, source))).line);
        for error in &errors {
            let (what, remedy) = explain(error, source);
            report.error(At(offset(error, source)), what, remedy);
        }
        match errors.iter().all(leaves_structure_intact) {
            true => report.hush_lines(),
            false => report.hush_all(),
        }
        Self { report, root: root.into_inner() }
    }

    /// Parses JSON. An array at the top stands for `{ "only": [..] }`. The first mistake in the syntax is
    /// the only one that is reported.
    pub fn parse_json(source: &Source<'s>, only: &'static str) -> Self {
        let mut report = Report::new(*source);
        let root = json::parse(source.text, only).unwrap_or_else(|wrong| {
            report.error(At(wrong.at), wrong.what, wrong.remedy);
            report.hush_all();
            DeTable::new()
        });
        Self { report, root }
    }

    /// Has it noted what is asked from now on, for [`into_shape`](Self::into_shape).
    pub fn noting(mut self) -> Self {
        self.report.note();
        self
    }

    /// What was asked of the document. Tables must have been dropped.
    pub fn into_shape(self) -> Shape {
        self.report.asked()
    }

    /// The reader of the top-level keys.
    pub fn root(&self) -> Table<'_> {
        Table::root(&self.report, &self.root)
    }

    /// Where mistakes are reported that concern more than one value.
    pub fn report(&self) -> &Report<'s> {
        &self.report
    }

    /// Everything found, by place; and `value`, unless there was an error. Tables must have been
    /// dropped, which the borrow checker sees to: they report unknown keys when they are.
    pub fn finish<T>(self, value: Option<T>) -> (Option<T>, Vec<Diagnostic>) {
        self.report.finish(value)
    }
}

const UNQUOTED: &str = "string values must be quoted";
const DUPLICATE: &str = "duplicate key";

/// Whether every key is where its author put it. Unknown messages are taken for the worse case.
fn leaves_structure_intact(error: &Error) -> bool {
    [UNQUOTED, DUPLICATE].iter().any(|known| error.message().starts_with(known))
}

/// Characters that are shown of a value without quotes.
const BARE_MAX: usize = 8;

/// The parser's words, or better ones for what people really get wrong.
fn explain(error: &Error, source: &Source<'_>) -> (String, String) {
    let wrong = error.span().and_then(|span| source.text.get(span)).unwrap_or_default();
    let wrong = shorten(wrong);
    let message = error.message();
    if message.starts_with(UNQUOTED) {
        if wrong.is_empty() {
            return ("a value is missing".into(), "write one or remove the key".into());
        }
        // Who forgot the quotes may have forgotten those of a secret, and diagnostics end up in logs.
        if let Some((end, _)) = wrong.char_indices().nth(BARE_MAX) {
            let wrong = format!("{}..", &wrong[..end]);
            return (format!("{wrong} is not a TOML value"), "write it in quotes".into());
        }
        return (format!("{wrong} is not a TOML value"), format!("write {wrong:?}, in quotes"));
    }
    if message.starts_with(DUPLICATE) {
        return (format!("{wrong} is set twice"), "keep one of the two".into());
    }
    match message.split_once(", expected ") {
        Some((what, "nothing")) => (what.to_owned(), "remove it".into()),
        Some((what, expected)) => (what.to_owned(), format!("TOML expects {expected} here")),
        None => (message.to_owned(), "correct the TOML here".into()),
    }
}

fn offset(error: &Error, source: &Source<'_>) -> usize {
    error.span().map_or(source.text.len(), |span| span.start)
}
