//! One table: fields by name, and at the end a complaint about every key nobody asked for.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use toml::de::DeTable;

use crate::diagnostic::{At, Report};
use crate::read::field::Found;
use crate::read::shape::Kind;
use crate::read::suggest::closest;
use crate::read::value::shorten;
use crate::read::{Field, Given, Mistake, Value};

/// A reader of one table. Dropping it reports the keys that were not asked for.
///
/// A table that is absent reads like an empty one ([`Table::table`]), so that defaults are written
/// once, beside the fields.
#[derive(Debug)]
pub struct Table<'d> {
    report: &'d Report<'d>,
    entries: Option<&'d DeTable<'d>>,
    at: At,
    /// `service.retry`; empty for the root.
    path: Rc<str>,
    /// `in [service.retry]`.
    title: Rc<str>,
    asked: Vec<&'static str>,
}

impl<'d> Table<'d> {
    pub(super) fn root(report: &'d Report<'d>, entries: &'d DeTable<'d>) -> Self {
        Self {
            report,
            entries: Some(entries),
            at: At::START,
            path: Rc::from(""),
            title: Rc::from("at the top of the file"),
            asked: Vec::new(),
        }
    }

    /// The table that is `value`; `entries` is `None` for one that is absent.
    pub(super) fn new(value: &Value<'d>, entries: Option<&'d DeTable<'d>>, many: Many) -> Self {
        let path = value.path();
        let title = match many {
            Many::One => format!("in [{path}]"),
            Many::Array => format!("in [[{path}]]"),
        };
        Self {
            report: value.report(),
            entries,
            at: value.at(),
            path: Rc::from(path),
            title: Rc::from(title),
            asked: Vec::new(),
        }
    }

    /// Where the table starts: at its header or opening brace.
    pub fn at(&self) -> At {
        self.at
    }

    /// Where mistakes are reported that concern more than one value.
    pub fn report(&self) -> &'d Report<'d> {
        self.report
    }

    /// How the tables of an array in this one start, for remedies: `[[service.pool]]`.
    pub fn header_of(&self, key: &str) -> String {
        format!("[[{}]]", join(&self.path, key))
    }

    /// Whether the table was written at all.
    pub fn said(&self) -> bool {
        self.entries.is_some()
    }

    /// Whether any of `keys` was written, be it with a mistake.
    pub fn has_any(&self, keys: &[&str]) -> bool {
        self.entries.is_some_and(|entries| keys.iter().any(|key| entries.contains_key(*key)))
    }

    /// Whether anything was written in it.
    pub fn said_any(&self) -> bool {
        self.entries.is_some_and(|entries| !entries.is_empty())
    }

    /// The field `key` as whatever `read` makes of it; `None` from `read` means that it reported a
    /// mistake. All other readers are shorthands for this one.
    pub fn field<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(Value<'d>) -> Option<T>,
    ) -> Field<'d, T> {
        self.asked.push(key);
        self.report.ask(false, || (join(&self.path, key), None));
        let value = self
            .entries
            .and_then(|entries| entries.get(key))
            .map(|value| Value::new(self.report, &self.path, key, value));
        let at = value.as_ref().map_or(self.at, Value::at);
        let found = match value {
            None => Found::Nothing,
            Some(value) => read(value).map_or(Found::Mistake, Found::Value),
        };
        Field { report: self.report, key, title: Rc::clone(&self.title), at, found }
    }

    /// Notes what would do under a key, be it written or not.
    fn note(&self, key: &str, kind: impl FnOnce() -> Kind) {
        self.report.ask(false, || (join(&self.path, key), Some(kind())));
    }

    /// A text, as it is.
    pub fn text(&mut self, key: &'static str) -> Field<'d, String> {
        self.note(key, || Kind::Text);
        self.field(key, |value| value.text().map(str::to_owned))
    }

    /// A text that `parse` understands.
    pub fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Mistake>,
    ) -> Field<'d, T> {
        self.note(key, || Kind::Text);
        self.field(key, |value| value.parsed(parse))
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Field<'d, T> {
        self.note(key, || Kind::words(words));
        self.field(key, |value| value.choice(words))
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, key: &'static str) -> Field<'d, bool> {
        self.note(key, || Kind::Boolean);
        self.field(key, |value| value.boolean())
    }

    /// A whole number.
    pub fn integer<T>(&mut self, key: &'static str, range: RangeInclusive<T>) -> Field<'d, T>
    where
        T: Copy + PartialOrd + Display + TryFrom<i128>,
    {
        self.note(key, || Kind::integer(&range));
        self.field(key, |value| value.integer(range))
    }

    /// A number with or without a fraction.
    pub fn number(&mut self, key: &'static str, range: RangeInclusive<f64>) -> Field<'d, f64> {
        self.note(key, || Kind::Number(*range.start(), *range.end()));
        self.field(key, |value| value.number(range))
    }

    /// A duration as text, such as `"1.5s"`.
    pub fn duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Field<'d, Duration> {
        self.note(key, || Kind::Duration);
        self.field(key, |value| value.duration(range))
    }

    /// A number of bytes as text, such as `"64KiB"`.
    pub fn size(&mut self, key: &'static str, range: RangeInclusive<usize>) -> Field<'d, usize> {
        self.note(key, || Kind::Size);
        self.field(key, |value| value.size(range))
    }

    /// An array, each item read by `read`. Items with a mistake are left out ([`Value::list`]).
    pub fn list<T>(
        &mut self,
        key: &'static str,
        read: impl FnMut(Value<'d>) -> Option<T>,
    ) -> Field<'d, Vec<T>> {
        self.note(key, || Kind::List);
        self.field(key, |value| value.list(read))
    }

    /// The tables of `[[key]]`, in order.
    pub fn tables(&mut self, key: &'static str) -> Field<'d, Vec<Table<'d>>> {
        self.note(key, || Kind::Tables);
        self.field(key, |value| value.tables())
    }

    /// The table `[key]`; one that is absent or no table reads like an empty one.
    pub fn table(&mut self, key: &'static str) -> Table<'d> {
        self.asked.push(key);
        self.note(key, || Kind::Table);
        match self.entries.and_then(|entries| entries.get(key)) {
            Some(value) => {
                let value = Value::new(self.report, &self.path, key, value);
                value.table().unwrap_or_else(|| Table::new(&value, None, Many::One))
            }
            None => Table {
                report: self.report,
                entries: None,
                at: self.at,
                path: Rc::from(join(&self.path, key)),
                title: Rc::from(format!("in [{}]", join(&self.path, key))),
                asked: Vec::new(),
            },
        }
    }

    /// All entries in the order of the file, for a table whose keys are names that the user chose.
    /// No key is unknown then.
    pub fn entries(mut self) -> Vec<(Given<&'d str>, Value<'d>)> {
        let entries = self.entries.take().into_iter().flatten();
        let mut all: Vec<_> = entries
            .map(|(key, value)| {
                let name = Given { value: &**key.get_ref(), at: At(key.span().start), said: true };
                (name, Value::new(self.report, &self.path, name.value, value).named())
            })
            .collect();
        all.sort_by_key(|(name, _)| name.at);
        all
    }

    /// Warns about each of `keys` that was written, because it has no effect for the reason `why`.
    pub fn warn_without_effect(&self, keys: &[&str], why: &str) {
        let written = self.entries.into_iter().flatten();
        for (key, _) in written.filter(|(key, _)| keys.contains(&&**key.get_ref())) {
            let what = format!("{} has no effect {why}", key.get_ref());
            self.report.warn(At(key.span().start), what, "remove it");
        }
    }

    fn report_unknown_keys(&self) {
        for (key, _) in self.entries.into_iter().flatten() {
            let name: &str = key.get_ref();
            if self.asked.contains(&name) {
                continue;
            }
            let what = format!("unknown key {} {}", shorten(name), self.title);
            let remedy = match closest(name, self.asked.iter().copied()) {
                Some(meant) => format!("did you mean {meant}?"),
                None if self.asked.is_empty() => "remove it: nothing can be set here".to_owned(),
                None => format!("what can be set here is {}", self.asked.join(", ")),
            };
            self.report.error(At(key.span().start), what, remedy);
        }
    }
}

impl Drop for Table<'_> {
    fn drop(&mut self) {
        self.report_unknown_keys();
    }
}

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Many {
    /// `[key]` or `key = {}`.
    One,
    /// `[[key]]` or `key = [{}]`.
    Array,
}

/// `service` and `retry` make `service.retry`.
pub(super) fn join(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        _ => format!("{path}.{key}"),
    }
}
